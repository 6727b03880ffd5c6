"""From the command line to the typed schema, through Hydra; bad input becomes one line.

With `overrides`, which checks the words before, the only module that knows hydra and omegaconf.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnest_search.configuration import schema
from resnest_search.configuration.checks import check_keys
from resnest_search.configuration.flags import FLAGS, split_flags
from resnest_search.configuration.options import defaults, hidden, option_files, primary
from resnest_search.configuration.overrides import (
    FREE,
    SPACE,
    checked,
    first_line,
    nearest,
    parsed,
    unknown,
)
from resnest_search.errors import UserError
from resnest_search.words import quoted

__all__ = [
    "COMMANDS",
    "SCHEMAS",
    "Base",
    "from_record",
    "measured_beside",
    "mode_named",
    "run_command",
    "to_record",
    "value_of",
]

COMMANDS: dict[str, type[Any]] = {
    "sweep": schema.SweepConfig,
    "train": schema.TrainCommandConfig,
    "profile": schema.ProfileConfig,
    "resume": schema.ResumeConfig,
    "report": schema.ReportConfig,
    "export": schema.ExportConfig,
    "evaluate": schema.EvaluateConfig,
    "compare": schema.CompareConfig,
    "dashboard": schema.DashboardConfig,
    "list": schema.ListCommandConfig,
}
SCHEMAS = COMMANDS | {"profile_sweep": schema.SpaceProfileConfig}  # of profile sweep=NAME
_TYPES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_HYDRA = (  # no log file and no output folder of Hydra's: a run's folder is the sweep's business
    *("hydra/job_logging=disabled", "hydra/hydra_logging=disabled", "hydra.output_subdir=null"),
    *("hydra.run.dir=.", "hydra.sweep.subdir=."),
)
_SHELLS = re.compile("(install|uninstall|query)=(bash|zsh|fish)")
_ABSENT = re.compile(r"Could not delete from config\. '(.+)' does not exist")  # as Hydra says it
_PACKAGE = re.compile(r"(?:#.*\n)*?#\s*@package\s+(\S+)")  # among a file's first comments
_BASE = "_base_"  # option of a group that holds what a `Base` says of it
_SHOWING = {"--hydra-help", "--shell-completion"}  # flags with which nothing is composed


@dataclass(frozen=True)
class Base:
    """What a command's configuration begins with, where that is not its own file.

    Attributes:
        groups: all keys of a group, in place of the option that is chosen where none is typed.
        values: other keys of the command.
    """

    groups: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Any]


def run_command(
    command: str,
    words: Sequence[str],
    task: Callable[[Any], None],
    base: Callable[[Sequence[Any]], Base | None] | None = None,
) -> None:
    """Compose the command's config from ``key=value`` words and call the task with its schema.

    With ``--multirun`` once for each combination of several values, when all are composed. Nothing
    is called where a flag, such as ``--cfg job``, asks to be shown something.

    Args:
        command: one of `SCHEMAS`.
        words: keys, groups and flags, as typed.
        task: gets each configuration.
        base: finds in what the words alone compose what they are to be put on top of.

    Raises:
        UserError: a word does not parse, names no key or group, or has a value that is not valid.
    """
    flags, words = split_flags(words)
    if "--shell-completion" in flags:
        command, words = _completing(words)
    package, names = flags.get("--package"), _names(SCHEMAS[command])
    if package and package not in names and not package.startswith(f"{SPACE}."):
        raise UserError(f"--package={unknown(package, names)}")
    groups = {group: sorted(option_files(group)) for group in defaults(command)}
    register = partial(_register, command, groups, words)  # as they are typed
    several = {"run"} if command == "compare" else set()
    if "--hydra-help" in flags:
        words = []
    elif "--shell-completion" not in flags:
        words = checked(words, names, groups, "--multirun" in flags, several)
        if "sweep" in groups and not any(word.startswith("sweep=") for word in words):
            valid = ", ".join(groups["sweep"])
            raise UserError(f"sweep: none named; write sweep=NAME with one of {valid}")
    found = None
    if base is not None and not _SHOWING & flags.keys():
        found = base(_composed_over(register(), command, _of_runs(flags), words))
    composed = _composed_over(register(found), command, flags, words, told=True)
    for config in _each_in_a_folder_of_its_own(composed):
        task(config)


def value_of(word: str) -> Any:
    """The value of a word, with what ``${…}`` in it stands for; None of several.

    Raises:
        UserError: it does not parse.
    """
    override = parsed(quoted(word))
    given = None if override.is_sweep_override() else override.value()
    return OmegaConf.create({"value": given}).value


def _composed_over(
    broken: Mapping[str, UserError],
    command: str,
    flags: Mapping[str, str],
    words: Sequence[str],
    told: bool = False,
) -> list[Any]:
    """What `_composed` gives, over files of which some cannot be used.

    Raises:
        UserError: the words name one of these, or compose nothing valid.
    """
    try:
        return _composed(command, flags, words, told)
    except (HydraException, OmegaConfBaseException) as error:
        for file, reason in broken.items():
            if f"'{file}'" in str(error):
                raise reason from error
        if absent := _ABSENT.search(str(error)):
            others = [word for word in words if word.partition("=")[0] != f"~{absent[1]}"]
            found = _composed_over(broken, command, _of_runs(flags), others)
            raise UserError(_not_there(absent[1], found)) from error
        raise UserError(_one_line(error, words, _names(SCHEMAS[command]))) from error


def _of_runs(flags: Mapping[str, str]) -> dict[str, str]:
    """Of flags, what composes several runs: with these alone all is composed and nothing shown."""
    return {flag: value for flag, value in flags.items() if flag == "--multirun"}


def _not_there(key: str, configs: Sequence[Any]) -> str:
    """What is said of a key to take away that is not in all of these, or not by then."""
    section = next(name for name in FREE if key.startswith(f"{name}."))
    for config in configs:
        names = [f"~{section}.{name}" for name in schema.dotted(attrgetter(section)(config))]
        if f"~{key}" not in names:
            near, valid = nearest(f"~{key}", names), ", ".join(names) or "none"
            return f"~{key}: there is no such key to take away{near}; valid: {valid}"
    return f"~{key}: taken away or given by another word, too; valid: only one of them"


def _composed(
    command: str, flags: Mapping[str, str], words: Sequence[str], told: bool
) -> list[Any]:
    """The typed configuration of each run; none where a flag had something printed.

    ``told``: whether a file that stands before a shipped one is said.
    """
    composed: list[Any] = []
    failed: list[OmegaConfBaseException] = []  # Hydra would print more than one line
    chosen: set[tuple[str, str | None]] = set()

    def main(config: Any) -> None:
        try:
            composed.append(OmegaConf.to_object(config))
        except OmegaConfBaseException as error:
            failed.append(error)
        chosen.update(HydraConfig.get().runtime.choices.items())

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    logging.raiseExceptions = "--info" not in flags  # which logs to a reader that may go away
    shown = [f"{flag}={value}" if value else flag for flag, value in flags.items()]
    entry = hydra.main(config_path=None, config_name=primary(command).stem, version_base="1.3")
    with tempfile.TemporaryDirectory() as folder:  # Hydra's record of several runs
        words = [*words, *_HYDRA, f"hydra.sweep.dir='{folder}'"]
        sys.argv = ["resnest-search", *shown, *words]
        entry(main)()
    if failed:
        raise failed[0]
    for config in composed:
        check_keys(config)
    for group, option in sorted(chosen, key=str) if told else ():
        if not group.startswith("hydra") and option and (path := hidden(group, option)):
            file = path.relative_to(Path.cwd())
            print(f"{group}={option}: ./{file} is taken, not the shipped one", flush=True)
    return composed


def _each_in_a_folder_of_its_own(configs: Sequence[Any]) -> Sequence[Any]:
    runs = [config.run for config in configs if getattr(config, "run", None)]
    if len(configs) > 1 and len(set(runs)) < len(runs):
        raise UserError(
            f"run={runs[0]}: one folder for {len(runs)} runs; valid: null, or with what differs, "
            "such as run=runs/${search.seed}"
        )
    return configs


def _register(
    command: str,
    groups: Mapping[str, Iterable[str]],
    words: Sequence[str],
    base: Base | None = None,
) -> dict[str, UserError]:
    """Give Hydra the command's files; those that cannot be used, with the reason.

    From the store they compose alike, wherever they lie, and without a search path on which any
    config.yaml of the working directory would count.
    """
    store = ConfigStore.instance()
    for group in groups:  # what this process composed before may be there no more
        store.repo.pop(group.partition("/")[0], None)
    named = "sweep" if command == "profile_sweep" else command  # they share a file
    store.store(name=f"{named}_schema", node=SCHEMAS[command])
    store.store(name=primary(command).stem, node=_primary(command, base))
    for group, node in (base.groups if base else {}).items():
        store.store(group=group, name=_BASE, node=OmegaConf.create(dict(node)))
    broken: dict[str, UserError] = {}
    for group in groups:
        for option, path in option_files(group).items():
            try:
                node = _node(group, option, path)
            except UserError as error:
                broken[f"{group}/{option}"] = error
                continue
            if isinstance(node.get("search"), DictConfig):
                _make_room(node, words)
            store.store(group=group, name=option, node=node, package=_package(group, path))
    return broken


def _make_room(node: DictConfig, words: Sequence[str]) -> None:
    """Of a sweep, what words replace or take away, as Hydra can do it."""
    if any(word.startswith(f"{SPACE}={{") for word in words):
        node.search.space, node.search.first, node.rows = {}, [], []
    space = node.search.get("space")
    if not isinstance(space, DictConfig):
        return
    # By its dots, where the file has a key in one. Of a word it may be the beginning.
    named = (word.partition("=")[0] for word in words if word.startswith("~"))
    taken = [name.removeprefix(f"~{SPACE}.") for name in named]
    for key in [key for key in map(str, space) if "." in key]:
        section = space.get(key.partition(".")[0], OmegaConf.create({}))
        if isinstance(section, DictConfig) and any(f"{w}.".startswith(f"{key}.") for w in taken):
            OmegaConf.update(space, key, space.pop(key))


def _primary(command: str, base: Base | None) -> Any:
    """The file that a command begins with, on a base where one is given."""
    node = OmegaConf.load(primary(command))
    if base is None:
        return node
    for entry in node.defaults:
        if isinstance(entry, DictConfig):
            entry.update({group: _BASE for group in entry if group in base.groups})
    return OmegaConf.merge(node, dict(base.values))


def _node(group: str, option: str, path: Path) -> DictConfig:
    """What a file holds; of a sweep, a model, a recipe or a mode its name, too."""
    try:
        node = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{group}={option}: {path} is no YAML: {_fault(error)}") from error
    if not isinstance(node, DictConfig):
        raise UserError(f"{group}={option}: {path}: holds no key: value")
    if group == "sweep":
        node.sweep = option
    elif (package := _package(group, path)) is not None:
        if group in ("model", "train", "measure"):  # it says itself where its keys belong
            own = node.setdefault(group, {}) if package == "_global_" else node
            own.setdefault("name", option)
    elif group in ("model", "train", "measure"):
        node.setdefault("name", option)
    elif "name" not in node and "defaults" not in node:
        raise UserError(f"{group}={option}: {path}: says no name, which decides what it is")
    return node


def _fault(error: Exception) -> str:
    """What is wrong with a file, in one line, and where."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return first_line(error)
    said = ", ".join(filter(None, (error.context, error.problem)))
    return f"line {error.problem_mark.line + 1}: {said}"


def _package(group: str, path: Path) -> str | None:
    if group == "sweep":
        return "_global_"
    found = _PACKAGE.match(path.read_text())
    return found[1] if found else None


def _completing(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command whose words are asked for by a shell, and Hydra's own words.

    The shell's line is in the environment; what Hydra does not know of it is answered here.
    """
    if len(words) != 1 or not _SHELLS.fullmatch(words[0]):
        raise UserError(f"{' '.join(['-sc', *words])}: valid: -sc install=bash, zsh or fish")
    command, line = "sweep", os.environ.get("COMP_LINE", "")
    program, *typed = line.split() or [""]
    typed += [""] if line.endswith(" ") else []  # the last word is the one to complete
    if len(typed) > 1 and typed[0] in COMMANDS:
        command = typed.pop(0)
        # Of these two commands one has keys that begin like this.
        if command == "profile" and any(word.startswith("s") for word in typed):
            command = "profile_sweep"
    elif len(typed) == 1:
        print(*(name for name in COMMANDS if name.startswith(typed[0])))
    if typed and typed[-1].startswith("-"):
        print(*(flag for flag in FLAGS if flag.startswith(typed[-1])))
        typed[-1] = "-"
    if "sweep" in defaults(command) and not any(word.startswith("sweep=") for word in typed):
        typed.insert(0, f"sweep={next(iter(option_files('sweep')))}")
    os.environ["COMP_LINE"] = " ".join([program, *typed])
    return command, list(words)


def to_record(config: schema.SweepConfig) -> dict[str, Any]:
    """The resolved config as plain JSON-able data."""
    return dataclasses.asdict(config)


def from_record(record: dict[str, Any]) -> schema.SweepConfig:
    """The config that ``to_record`` wrote; keys that this version does not know are an error.

    Runs up to 0.2.0 have the name alone as ``tracking``, and of several workers no
    ``train.sync_norm``: each normalised by its own batches, as it goes on to do.

    Raises:
        UserError: the record does not fit the schema.
    """
    if isinstance(name := record.get("tracking"), str):
        record = {**record, "tracking": {"name": name}}
    resources, train = record.get("resources", {}), record.get("train", {})
    asked = [resources.get(key) for key in ("workers_per_trial", "gpus_per_trial")]
    several = any(isinstance(count, int | float) and count > 1 for count in asked)
    if several and "sync_norm" not in train:
        record = {**record, "train": {**train, "sync_norm": False}}
    kind = schema.RetrainedConfig if "source" in record else schema.SweepConfig
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), record)
    except OmegaConfBaseException as error:
        raise UserError(f"the run's recorded configuration: {first_line(error)}") from error
    typed = OmegaConf.to_object(merged)
    if not isinstance(typed, schema.SweepConfig):
        raise UserError("the run's recorded configuration is no sweep")
    return typed


def mode_named(name: str) -> schema.MeasureConfig:
    """The mode of a file of ``measure/``, as ``measure=NAME`` alone composes it.

    Raises:
        UserError: there is none, or it does not fit the schema.
    """
    files = option_files("measure")
    if name not in files:
        raise UserError(f"measure.also={name}: valid: {', '.join(sorted(files))}")
    try:
        plain = OmegaConf.structured(schema.MeasureConfig)
        found = OmegaConf.to_object(OmegaConf.merge(plain, _node("measure", name, files[name])))
    except OmegaConfBaseException as error:
        raise UserError(f"measure.also={name}: {first_line(error)}") from error
    assert isinstance(found, schema.MeasureConfig)
    return found


def measured_beside(measure: schema.MeasureConfig) -> list[schema.MeasureConfig]:
    """The modes of ``measure.also``, as they are measured beside this one.

    How a network is deployed is the file's own. How often it is timed until it is sure, on how many
    threads, with which cache, and where the file says none on which device and images of which
    size, is as in the mode beside which it is measured.

    Raises:
        UserError: one is none, or two have one name.
    """
    found = [mode_named(name) for name in measure.also]
    names = [measure.name, *(mode.name for mode in found)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"measure.also=[{','.join(measure.also)}]: two modes are called {name}; valid: "
                f"each once, and not {measure.name}, which is measured as it is"
            )
    size, device = measure.image_size, measure.device
    shared = ("processes", "half_width", "time_limit_s", "threads", "cache", "doubtful")
    return [
        dataclasses.replace(
            mode,
            image_size=size if mode.image_size is None else mode.image_size,
            device=mode.device or device,
            also=[],
            profile=None,
            **{key: getattr(measure, key) for key in shared},
        )
        for mode in found
    ]


def _names(kind: type[Any]) -> list[str]:
    """Every dotted key of a schema, and every section."""
    inner = [prefix.rstrip(".") for prefix, _ in schema.sections(kind) if prefix]
    return [*(key.name for key in schema.keys(kind)), *inner]


def _one_line(error: Exception, words: Sequence[str], names: Sequence[str]) -> str:
    """Hydra's or OmegaConf's message as one line with key and value."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause)
    in_file = re.match(r"'([\w-]+/[^']+)': ", first_line(cause))
    told = re.search(r"full_key: ([^\s;]+)", text)
    key = getattr(cause, "full_key", None) or (told and told[1])
    if required := re.search(r"field '(.+?)' is not Optional", text):
        return f"{required[1]}: null is no value of it"
    match = re.search(r"Value '(.*?)' of type '.*?' could not be converted to (\w+)", text)
    if match and key:
        wanted = {"Integer": int, "Float": float, "Boolean": bool, "String": str}.get(match[2])
        kind = _TYPES[wanted] if wanted else match[2]
        place = f"{in_file[1]}: " if in_file else ""
        return f"{place}{key}: {match[1]!r} is not {kind}"
    if misspelt := re.search(r"Key '.*?' not in '.*(?s:.*)full_key: (.+)", str(cause)):
        place, colon, _ = first_line(cause).rpartition(": Key ")
        return f"{place}{colon and ': '}{unknown(misspelt[1], names)}"
    if key and "is not a valid bool" in text:
        return f"{key}: {text.split(chr(39))[1]!r} is not {_TYPES[bool]}"
    if key and "is not a ListConfig" in text:
        return f"{key}: not a list; write {key}=[value,value]"
    first = first_line(cause)
    if key and key not in first:
        first = f"{key}: {first}"
    named = [word for word in words if key and word.lstrip("+~").startswith(f"{key}=")]
    return f"{first} (from {named[0]})" if named else first
