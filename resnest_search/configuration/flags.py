"""Flags of the command line: Hydra's that keep their meaning, and what to do instead of the others.

Standard library alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from resnest_search.errors import UserError

__all__ = ["FLAGS", "Flag", "short", "split_flags"]


@dataclass(frozen=True)
class Flag:
    """A flag that is taken: what it does, and the values of one that has any; "" is any value."""

    help: str
    values: tuple[str, ...] = ()


_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS: dict[str, Flag] = {
    "--help": Flag("Every key of the command, with its value, and its groups."),
    "--version": Flag("The version of this program."),
    "--cfg": Flag("Print the composed configuration and begin nothing.", ("job", "hydra", "all")),
    "--resolve": Flag("Beside --cfg: with what ${…} stands for."),
    "--package": Flag("Beside --cfg: a part of it, such as search.space.", ("",)),
    "--info": Flag("How the configuration was composed.", _INFO),
    "--hydra-help": Flag("Hydra's own help."),
    "--shell-completion": Flag('Completion in a shell: eval "$(resnest-search -sc install=bash)".'),
    "--run": Flag("One run, as without it."),
    "--multirun": Flag("A run for each of several values, one after another: search.seed=0,1,2."),
}
_SHORT = {
    "-h": "--help",
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-sc": "--shell-completion",
    "-r": "--run",
    "-m": "--multirun",
    "-cp": "--config-path",
    "-cn": "--config-name",
    "-cd": "--config-dir",
}
_OWN_FILES = "files of your own are found below the working directory: sweeps/NAME.yaml, "
_OWN_FILES += "model/NAME.yaml, data/NAME.yaml, train/NAME.yaml, …"
_INSTEAD = {
    "--config-path": f"is not taken; {_OWN_FILES}",
    "--config-dir": f"is not taken; {_OWN_FILES}",
    "--config-name": "is not taken; the command names it, and sweep=NAME a file of sweeps/",
    "--experimental-rerun": "is not taken; resume run=FOLDER carries on a run, and its config.yaml "
    "says what it was",
}
_MODES = ("--run", "--multirun", "--cfg", "--info", "--shell-completion", "--hydra-help", "--help")


def split_flags(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The flags by their long names, each with its value, and the other words.

    Raises:
        UserError: a flag is unknown, is not taken here, or lacks its value.
    """
    flags: dict[str, str] = {}
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            others.append(word)
            continue
        typed, equals, value = word.partition("=")
        flag = _SHORT.get(typed, typed)
        _check(typed, flag)
        values = FLAGS[flag].values
        if equals and not values:
            raise UserError(f"{word}: {typed} takes no value")
        if values and not equals and waiting and _fits(flag, waiting[0]):
            value = waiting.pop(0)
        if values and not _fits(flag, value):
            if flag != "--info" or value:
                shown = ", ".join(values) if any(values) else "a package, such as search.space"
                raise UserError(f"{typed}{equals and f'={value}'}: valid: {shown}")
            value = "all"
        flags[flag] = value
    _check_modes(flags)
    return flags, others


def _fits(flag: str, value: str) -> bool:
    if FLAGS[flag].values == ("",):
        return bool(value) and "=" not in value and not value.startswith("-")
    return value in FLAGS[flag].values


def short(flag: str) -> str:
    """The short form of a flag; empty where it has none."""
    return next((letter for letter, name in _SHORT.items() if name == flag), "")


def _check(typed: str, flag: str) -> None:
    if flag in _INSTEAD:
        raise UserError(f"{typed}: {_INSTEAD[flag]}")
    if flag not in FLAGS:
        near = difflib.get_close_matches(typed, [*FLAGS, *_SHORT], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"{typed}: no such flag{hint}; valid: {', '.join(FLAGS)}")


def _check_modes(flags: dict[str, str]) -> None:
    modes = [flag for flag in _MODES if flag in flags]
    if len(modes) > 1:
        raise UserError(f"{' '.join(modes)}: valid: one of them")
    for flag in ("--resolve", "--package"):
        if flag in flags and "--cfg" not in flags:
            raise UserError(f"{flag}: valid: beside --cfg")
