"""Words of the command line, taken literally where they are paths and printed so that they paste;
numbers with their nouns, and the present.

Hydra's grammar gives ``?``, ``=``, ``,``, ``#``, quotes, spaces and letters beyond ASCII a
meaning, or none. A path may hold any of them, so that its word is quoted before Hydra reads it.
"""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Container, Mapping
from typing import Any

__all__ = ["command", "counted", "flat", "now", "path_word", "quoted", "value_word"]

_PATHS = (
    *("run", "runs", "source", "storage", "out", "data.root", "trial.path", "model.pretrained"),
    *("measure.cache", "measure.profile"),
)
_PATH_LISTS = ("search.warm_start",)
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)
_PROGRAM = "python -m resnest_search"


def command(name: str, **keys: object) -> str:
    """A command of ours as it is typed into a shell, each key with its literal value."""
    words = [f"{key}={_literal(str(value))}" for key, value in keys.items()]
    return f"{_PROGRAM} {shlex.join([name, *words])}"


def flat(section: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        key = f"{prefix}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found


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


def path_word(key: str, path: object) -> str:
    """A key with a path that means itself, whatever characters it has."""
    return f"{key}={_hydra(_literal(str(path)))}"


def value_word(value: object) -> str:
    """A value of Python's as it is typed after ``key=``; a text stands as it is.

    Within lists and mappings a text with characters of Hydra's grammar is quoted.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(_inner_word, value))}]"
        case Mapping():
            return f"{{{','.join(f'{k}:{_inner_word(one)}' for k, one in value.items())}}}"
        case _:
            return str(value)


def _inner_word(value: object) -> str:
    text = value_word(value)
    is_text = value is not None and not isinstance(
        value, bool | int | float | list | tuple | Mapping
    )
    return _hydra(text) if is_text and not _PLAIN.fullmatch(text) else text


def _literal(value: str) -> str:
    """A value without interpolations: what looks like one is escaped, as OmegaConf has it."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)


def _in_quotes(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _hydra(value: str) -> str:
    """In single quotes; there backslashes count where they stand before a quote alone."""
    doubled = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{doubled}'"
