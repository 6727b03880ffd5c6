"""The words of the command line, checked before Hydra composes anything.

A misspelt key is answered with its nearest neighbours instead of Hydra's own several lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from resnest_search.errors import UserError
from resnest_search.words import quoted

__all__ = ["FREE", "SPACE", "checked", "first_line", "nearest", "parsed", "unknown"]

SPACE = "search.space"
FREE = (SPACE, "search.sampler.args", "search.pruner.args")  # whose keys are the user's own
_FREE = re.compile(rf"({'|'.join(map(re.escape, FREE))})(\..+)?")
_NAME = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_][\w.-]*", re.ASCII | re.IGNORECASE)
_INSTEAD = {  # of Hydra's own keys, by how they begin
    "hydra.run.": "run=FOLDER names the folder of a run",
    "hydra.sweep.": "run=FOLDER names the folder of a run",
    "hydra.output_subdir": "run=FOLDER names the folder of a run",
    "hydra.verbose": "verbose=true says more",
    "hydra.searchpath": "files of your own are found as sweeps/NAME.yaml, model/NAME.yaml, …",
    "hydra": "run=FOLDER names the folder of a run, verbose=true says more, resources.* how much "
    "is trained at once",
}


def checked(
    words: Sequence[str],
    keys: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    multirun: bool,
    lists: Container[str] = (),
) -> list[str]:
    """The words as Hydra takes them, each one known to name a group or a key.

    Args:
        words: without flags.
        keys: of the command's schema, dotted; sections too.
        groups: the options of each.
        multirun: whether a word may have several values, each for a run of its own.
        lists: keys that take several paths here, and one elsewhere.

    Raises:
        UserError: a word does not parse, names neither, or names no option.
    """
    named = (_option(quoted(word, lists), groups) for word in words)
    return [_checked(word, keys, groups, multirun) for word in named]


def _option(word: str, groups: Mapping[str, Sequence[str]]) -> str:
    """A file's name that is a number, or no word of Hydra's, in quotes."""
    group, _, name = word.partition("=")
    known = name in groups.get(group, ()) and "'" not in name and "\\" not in name
    return f"{group}='{name}'" if known and not _NAME.fullmatch(name) else word


def _checked(
    word: str, keys: Sequence[str], groups: Mapping[str, Sequence[str]], multirun: bool
) -> str:
    override = parsed(word)
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        instead = next(text for start, text in _INSTEAD.items() if key.startswith(start))
        raise UserError(f"{key}: Hydra's own keys are not taken; {instead}")
    section = _FREE.fullmatch(key)
    is_free = section is not None and section[1] in keys
    if key not in groups and key not in keys and not is_free:
        raise UserError(unknown(key, [*groups, *keys]))
    if override.is_sweep_override() and not multirun:
        raise UserError(
            f"{word}: several values; valid: {key}=[…] where a list is meant, "
            "or --multirun for a run of each"
        )
    own = is_free and key not in keys  # a key that the user makes up
    if override.is_delete() and not own:
        valid = f"{SPACE}={{…}} replaces all that varies" if key == SPACE else f"{key}=VALUE"
        raise UserError(f"{word}: cannot be taken away; valid: {valid}")
    if key in groups:
        _check_options(override, groups[key])
    elif not _is_mapping(override):
        if inside := [name for name in keys if name.rpartition(".")[0] == key]:
            raise UserError(f"{word}: {key} holds several keys; valid: {', '.join(inside)}")
        if is_free and not own:
            raise UserError(f"{word}: holds keys; valid: {key}={{KEY: VALUE, …}}, or {key}.KEY=…")
    plain = word[0] not in "+~" and is_free
    return f"++{word}" if plain else word


def _is_mapping(override: Override) -> bool:
    if not override.is_sweep_override():
        return isinstance(override.value(), dict)
    if override.value_type not in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP):
        return False
    return all(isinstance(value, dict) for value in override.sweep_iterator())


def parsed(word: str) -> Override:
    """A word of Hydra's.

    Raises:
        UserError: it is none.
    """
    if "=" not in word and not word.startswith("~"):
        raise UserError(f"{word!r} is no key=value; a command stands first, before any key or flag")
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{word!r} does not parse: {first_line(error)}") from error


def _check_options(override: Override, options: Sequence[str]) -> None:
    group = override.key_or_group
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return  # what it matches is among them
    several = override.is_sweep_override()
    values = list(override.sweep_string_iterator()) if several else [override.value()]
    for value in values:
        if value not in options:
            near = nearest(str(value), options)
            raise UserError(f"{group}={value}: no such option{near}; valid: {', '.join(options)}")


def unknown(key: str, valid: Iterable[str]) -> str:
    """What is said of a key that is none of the valid ones, with those that are near."""
    valid = list(dict.fromkeys(valid))
    parent = key.rpartition(".")[0]
    siblings = [name for name in valid if name.rpartition(".")[0] == parent and name != parent]
    shown = siblings or [name for name in valid if "." not in name]
    near = nearest(key, valid)
    return f"{key}: no such key or group{near}; valid here: {', '.join(shown)}"


def nearest(word: str, valid: Sequence[str]) -> str:
    """A question whether something near a word was meant; empty where nothing is."""
    near = difflib.get_close_matches(word, valid, n=3, cutoff=0.6)
    if not near:  # a misplaced key: the same last name elsewhere
        last = word.rpartition(".")[2]
        near = [name for name in valid if name.rpartition(".")[2] == last][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def first_line(error: BaseException) -> str:
    """What an error of Hydra's, OmegaConf's or YAML's says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("raised while composing config:"):
        place = lines[0].partition(":")[0].removeprefix("In ")  # Hydra's "In 'sweep/mine': …"
        return f"{place}: {'; '.join(line for line in lines[1:] if 'object_type' not in line)}"
    return lines[0] if lines else type(error).__name__
