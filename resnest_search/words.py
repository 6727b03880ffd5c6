"""Words of the command line, taken literally where they are paths and printed so that they paste;
numbers with their nouns, and the present.

Hydra's grammar gives ``?``, ``=``, ``,``, ``#``, quotes, spaces and letters beyond ASCII a
meaning, or none. A path may hold any of them, so that its word is quoted before Hydra reads it.
"""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Container

__all__ = ["command", "counted", "now", "quoted"]

_PATHS = (
    *("run", "runs", "storage", "out", "data.root", "trial.path", "model.pretrained"),
    *("measure.cache", "measure.profile"),
)
_PATH_LISTS = ("search.warm_start",)
_PROGRAM = "python -m resnest_search"


def command(name: str, **keys: object) -> str:
    """A command of ours as it is typed into a shell, each key with its literal value."""
    words = [f"{key}={_literal(str(value))}" for key, value in keys.items()]
    return f"{_PROGRAM} {shlex.join([name, *words])}"


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2 images``: a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def quoted(word: str, lists: Container[str] = ()) -> str:
    """A word as Hydra takes it: the value of a path's key is quoted, any other word stays.

    ``null``, a value in quotes, and what ``${…}`` stands for keep Hydra's meaning. A key that
    takes several paths may be given a single one; ``lists`` are path's keys that take several here.
    """
    key, equals, value = word.partition("=")
    plain = key.lstrip("+")
    if not equals or not value or value == "null" or _in_quotes(value):
        return word
    if plain in lists and value.startswith("["):
        return word
    if plain in _PATHS:
        return f"{key}={_hydra(value)}"
    if plain in _PATH_LISTS and not value.startswith("["):
        return f"{key}=[{_hydra(value)}]"
    return word


def _literal(value: str) -> str:
    """A value without interpolations: what looks like one is escaped, as OmegaConf has it."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)


def _in_quotes(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _hydra(value: str) -> str:
    """In single quotes; there backslashes count where they stand before a quote alone."""
    doubled = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{doubled}'"
