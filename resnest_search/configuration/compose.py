"""From the command line to the typed schema, through Hydra; bad input becomes one line.

The only module that knows hydra and omegaconf. The words of the command line are checked
here before Hydra composes them, so that a misspelt key is answered with its nearest
neighbours instead of Hydra's own several lines.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnest_search.configuration import schema
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.words import quoted

__all__ = ["COMMANDS", "from_record", "question", "run_command", "sweep_files", "to_record"]

COMMANDS: dict[str, tuple[str, type[Any]]] = {
    "sweep": ("config", schema.SweepConfig),
    "train": ("train", schema.TrainCommandConfig),
    "profile": ("profile", schema.ProfileConfig),
    "resume": ("resume", schema.ResumeConfig),
    "report": ("report", schema.ReportConfig),
    "export": ("export", schema.ExportConfig),
}
# Mappings whose keys are the user's own.
_FREE = re.compile(r"search\.(space|sampler\.args|pruner\.args)\.(.+)")
_TYPES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def run_command(command: str, words: Sequence[str], task: Callable[[Any], None]) -> None:
    """Compose the command's config from ``key=value`` words and call the task with its schema.

    ``--help``, ``--cfg job`` and the other flags of Hydra keep their meaning.

    Raises:
        UserError: a word does not parse, names no key or group, or has a value of another type.
    """
    file, kind = COMMANDS[command]
    store = ConfigStore.instance()
    store.store(name=f"{command}_schema", node=kind)
    if command == "sweep":
        _register_sweeps(store)
    words = _checked(command, kind, words)
    composed: list[tuple[Any, str]] = []  # empty where a flag such as --help printed something

    def main(config: Any) -> None:
        composed.append((config, str(HydraConfig.get().runtime.choices.get("sweep", ""))))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    sys.argv = [f"resnest_search {command}", *words]
    folder = str(shipped_folder("conf"))
    entry = hydra.main(config_path=folder, config_name=file, version_base="1.3")(main)
    try:
        entry()
        typed = [(OmegaConf.to_object(config), sweep) for config, sweep in composed]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error, words)) from error
    for config, sweep in typed:
        if isinstance(config, schema.SweepConfig):
            config.sweep = sweep
        task(config)


def sweep_files() -> dict[str, Path]:
    """The sweeps that ``sweep=NAME`` can mean: the package's, and ./sweeps before them."""
    folders = (shipped_folder("sweeps"), Path.cwd() / "sweeps")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def question(sweep: str) -> str:
    """The question that a sweep answers: line 1 of its file, empty where it is unknown."""
    path = sweep_files().get(sweep)
    lines = path.read_text().splitlines() if path else []
    return lines[0].lstrip("# ").strip() if lines and lines[0].startswith("#") else ""


def to_record(config: schema.SweepConfig) -> dict[str, Any]:
    """The resolved config as plain JSON-able data."""
    return dataclasses.asdict(config)


def from_record(record: dict[str, Any]) -> schema.SweepConfig:
    """The config that ``to_record`` wrote; keys that this version does not know are an error.

    Raises:
        UserError: the record does not fit the schema.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema.SweepConfig), record)
    except OmegaConfBaseException as error:
        raise UserError(f"the run's recorded configuration: {_first_line(error)}") from error
    typed = OmegaConf.to_object(merged)
    if not isinstance(typed, schema.SweepConfig):
        raise UserError("the run's recorded configuration is no sweep")
    return typed


def _register_sweeps(store: ConfigStore) -> None:
    for name, path in sweep_files().items():
        try:
            node = OmegaConf.load(path)
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise UserError(f"sweep={name}: {path} is no YAML: {_first_line(error)}") from error
        store.store(group="sweep", name=name, node=node, package="_global_")


def _checked(command: str, kind: type[Any], words: Sequence[str]) -> list[str]:
    """The words as Hydra takes them, each one known to name a group or a key.

    Raises:
        UserError: it does not.
    """
    groups, keys = _groups(command), _keys(kind)
    fixed: list[str] = []
    flags: list[str] = []
    for word in words:
        if word.startswith("-") or (flags and "=" not in word):  # Hydra's own, or its value
            flags.append(word)
            continue
        word = quoted(word)
        override = _parse(word)
        key = override.key_or_group
        if key in groups:
            _check_option(key, word.partition("=")[2], groups[key])
        elif any(name.startswith(f"{key}.") for name in keys):
            inside = [name for name in keys if name.rpartition(".")[0] == key]
            raise UserError(f"{word}: {key} holds several keys; valid: {', '.join(inside)}")
        elif _FREE.fullmatch(key):
            word = word if word[0] in "+~" else f"++{word}"
        elif key not in keys:
            raise UserError(_unknown(key, [*groups, *keys]))
        fixed.append(word)
    if "sweep" in groups and not any(word.startswith("sweep=") for word in fixed):
        if not {"--help", "-h"} & set(flags):
            names = ", ".join(groups["sweep"])
            raise UserError(f"sweep: none named; write sweep=NAME with one of {names}")
        fixed.append(f"sweep={groups['sweep'][0]}")  # Hydra's help shows a whole config
    # No log file and no output folder of Hydra's: a run's folder is the sweep's business.
    fixed += ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled"]
    return [*flags, *fixed, "hydra.output_subdir=null", "hydra.run.dir=."]


def _parse(word: str) -> Override:
    if "=" not in word and not word.startswith("~"):
        raise UserError(f"{word!r} is no key=value")
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{word!r} does not parse: {_first_line(error)}") from error


def _check_option(group: str, value: str, options: list[str]) -> None:
    if value not in options:
        near = _nearest(value, options)
        raise UserError(f"{group}={value}: no such option{near}; valid: {', '.join(options)}")


def _groups(command: str) -> dict[str, list[str]]:
    """Config groups that the command's defaults list selects from, and their options."""
    folder = shipped_folder("conf")
    defaults = yaml.safe_load((folder / f"{COMMANDS[command][0]}.yaml").read_text())["defaults"]
    names = [next(iter(entry)) for entry in defaults if isinstance(entry, dict)]
    options = {name: sorted(p.stem for p in (folder / name).glob("*.yaml")) for name in names}
    if "sweep" in options:
        options["sweep"] = sorted(sweep_files())
    return options


def _keys(kind: type[Any], prefix: str = "") -> list[str]:
    """Every dotted key of a schema; a mapping or list is one key."""
    keys: list[str] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key = f"{prefix}{field.name}"
        keys.append(key)
        if dataclasses.is_dataclass(hints[field.name]):
            keys += _keys(hints[field.name], f"{key}.")
    return keys


def _unknown(key: str, valid: Iterable[str]) -> str:
    valid = list(dict.fromkeys(valid))
    parent = key.rpartition(".")[0]
    siblings = [name for name in valid if name.rpartition(".")[0] == parent and name != parent]
    shown = siblings or [name for name in valid if "." not in name]
    near = _nearest(key, valid)
    return f"{key}: no such key or group{near}; valid here: {', '.join(shown)}"


def _nearest(word: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=3, cutoff=0.6)
    if not near:  # a misplaced key: the same last name elsewhere
        last = word.rpartition(".")[2]
        near = [name for name in valid if name.rpartition(".")[2] == last][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _one_line(error: Exception, words: Sequence[str]) -> str:
    """Hydra's or OmegaConf's message as one line with key and value."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause)
    key = getattr(cause, "full_key", None)
    match = re.search(r"Value '(.*?)' of type '.*?' could not be converted to (\w+)", text)
    if match and key:
        wanted = {"Integer": int, "Float": float, "Boolean": bool, "String": str}.get(match[2])
        kind = _TYPES[wanted] if wanted else match[2]
        return f"{key}: {match[1]!r} is not {kind}"
    if key and "is not a valid bool" in text:
        return f"{key}: {text.split(chr(39))[1]!r} is not {_TYPES[bool]}"
    if key and "is not a ListConfig" in text:
        return f"{key}: not a list; write {key}=[value,value]"
    first = _first_line(cause)
    if key and key not in first:
        first = f"{key}: {first}"
    named = [word for word in words if key and word.lstrip("+~").startswith(f"{key}=")]
    return f"{first} (from {named[0]})" if named else first


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("raised while composing config:"):
        place = lines[0].partition(":")[0].removeprefix("In ")  # Hydra's "In 'sweep/mine': …"
        return f"{place}: {'; '.join(line for line in lines[1:] if 'object_type' not in line)}"
    return lines[0] if lines else type(error).__name__
