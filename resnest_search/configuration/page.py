"""Every key with its type, its valid values and a line on what it does: the help and docs' page.

``python -m resnest_search.configuration.page`` prints docs/configuration.md.
"""

from __future__ import annotations

import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from resnest_search.configuration.compose import SCHEMAS, run_command
from resnest_search.configuration.flags import FLAGS, short
from resnest_search.configuration.options import defaults, option_files, question
from resnest_search.configuration.schema import Key, keys, sections

__all__ = ["help_text", "page"]

_KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_WIDTH = 100
_HEAD = """\
# Every key

Made from the schema by `python -m resnest_search.configuration.page > docs/configuration.md`.
`python -m resnest_search COMMAND --help` prints the same with the values of the composed
configuration. A word of the command line is `key=value`, or `group=NAME` to choose a file.
A default is that of `sweep=radix_card`, or of the command itself.
"""
_OWN = """\
A group chooses a file, and `key=value` goes before what the file says. Files of your own are found
below the working directory, before shipped ones of the same name, which is then told:
`sweeps/NAME.yaml`, `model/NAME.yaml`, `data/NAME.yaml`, `train/NAME.yaml`,
`search/sampler/NAME.yaml` and so on.
"""


def help_text(command: str, words: Sequence[str]) -> str:
    """The help of a command: its groups, its keys with their values in this composition, its flags.

    Raises:
        UserError: the words compose nothing.
    """
    config, text = _config(command, words), SCHEMAS[command].__doc__ or ""
    lines = [f"usage: python -m resnest_search {_typed(command)} [flags] key=value ...", "", text]
    if groups := defaults(command):
        lines += ["", "Groups, group=NAME chooses a file:"]
        lines += [f"  {group}: {', '.join(sorted(option_files(group)))}" for group in groups]
    lines += ["", "Keys, with their values here:"]
    for title, prefix, found in _parts(SCHEMAS[command]):
        lines += ["", f"{prefix.rstrip('.')}: {title}"] if prefix else []
        for key in found:
            lines.append(f"  {key.name}={_shown(_value(config, key.name))}")
            valid = _valid(key)
            said = f"{key.help} {valid[0].upper()}{valid[1:]}."
            lines += textwrap.wrap(said, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines += ["", "Flags:"]
    for name, flag in FLAGS.items():
        values = f"={'|'.join(flag.values)}" if any(flag.values) else ""
        lines.append(f"  {', '.join(filter(None, (short(name), name)))}{values}")
        lines.append(f"      {flag.help}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/configuration.md."""
    lines = [_HEAD, "## Groups\n", _OWN, "| word | what it chooses |", "| --- | --- |"]
    for group in defaults("sweep"):
        for option in sorted(option_files(group)):
            first = question(group, option)
            lines.append(f"| `{group}={option}` | {_cell(first)} |")
    told: set[str] = set()
    for command, kind in SCHEMAS.items():
        config, elsewhere = _config(command, ()), []
        lines += ["", f"## {_typed(command)}\n", kind.__doc__ or ""]
        for title, prefix, found in _parts(kind):
            if prefix in told:
                elsewhere.append(f"`{prefix}*`")
                continue
            told |= {prefix} - {""}
            lines += [f"\n### {prefix.rstrip('.')}\n\n{title}"] if prefix else []
            lines += ["", "| key | default | type and valid values | what |"]
            lines += ["| --- | --- | --- | --- |"]
            for key in found:
                default = _cell(_shown(_value(config, key.name)))
                lines.append(
                    f"| `{key.name}` | `{default}` | {_cell(_valid(key))} | {_cell(key.help)} |"
                )
        if elsewhere:
            chosen = {group: option for group, option in defaults(command).items() if option}
            begins = " ".join(f"`{group}={option}`" for group, option in chosen.items())
            begun = f", beginning with {begins}" if begins else ""
            lines.append(f"\nAnd {', '.join(elsewhere)} as above{begun}.")
    lines += ["", "## Flags\n", "| flag | what |", "| --- | --- |"]
    for name, flag in FLAGS.items():
        words = " ".join(f"`{word}`" for word in (short(name), name) if word)
        values = f" {', '.join(flag.values)}" if any(flag.values) else ""
        lines.append(f"| {words}{values} | {_cell(flag.help)} |")
    return "\n".join(lines) + "\n"


def _typed(command: str) -> str:
    """How a command is typed."""
    return "profile sweep=NAME" if command == "profile_sweep" else command


def _config(command: str, words: Sequence[str]) -> Any:
    """The command's configuration; with the first sweep where none is named."""
    if "sweep" in defaults(command) and not any(word.startswith("sweep=") for word in words):
        words = [*words, "sweep=radix_card"]
    found: list[Any] = []
    run_command(command, words, found.append)
    return found[0]


def _parts(kind: type[Any]) -> Iterator[tuple[str, str, list[Key]]]:
    """What a section is, its prefix, and its keys: first those of the command itself."""
    for prefix, section in sections(kind):
        depth = prefix.count(".")
        own = [key for key in keys(section, prefix) if key.name.count(".") == depth]
        yield section.__doc__ or "", prefix, own


def _valid(key: Key) -> str:
    """Type and valid values in words."""
    kind = _kind(key.kind)
    words = key.valid.words.removeprefix("a number of ") if key.valid else ""
    return f"{kind} ({words})" if words else kind


def _kind(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        return " or ".join(_kind(one) for one in typing.get_args(kind))
    if kind is types.NoneType:
        return "null"
    if typing.get_origin(kind) is list:
        if typing.get_args(kind) == (Any,):
            return "list"
        name = _KINDS[typing.get_args(kind)[0]]
        return f"list of {name}s" if name != "text" else "list of texts"
    return "mapping" if typing.get_origin(kind) is dict else _KINDS[kind]


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _shown(value: Any) -> str:
    """A value as it is typed."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_shown(one)}' for key, one in value.items())}}}"
        case "":
            return "''"
        case _:
            return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
