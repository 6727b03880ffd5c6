"""``model.py`` and its weights: the network's whole definition, from the package's own source.

Generated, so that the file and the package cannot drift apart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from resnest_search.export.formats.base import Format, Winner

__all__ = ["SOURCE", "model_source"]

_NETWORK = ("variant.py", "models/split_attention.py", "models/resnest.py")
_FUNCTIONS = "export/standalone.py"
_ARCHIVE = "export/archive.py"
_NAMES = ("Features", "ResNeSt", "build", "preprocess")
_DOCSTRING = re.compile(r'\A"""(.*?)"""\n', re.DOTALL)
_DROPPED = re.compile(
    r"^(from __future__ import annotations|from resnest_search\.[\w.]+ import [^(\n]+)\n"
    r"|^__all__ = \[[^\]]*\]\n",
    re.MULTILINE,
)
_IMPORT = re.compile(r"^(?:import \S.*|from \S+ import [^(\n]+)\n", re.MULTILINE)

_USAGE = """\
import torch
from model import build, preprocess

network = build(pretrained=True).eval()
images = torch.rand(1, {shape})  # in [0, 1]
classes = network(preprocess(images)).argmax(1)
maps = network.features()(preprocess(images))  # of each stage, for detection or segmentation
trainable = build(pretrained=True, num_classes=7)  # all weights but the classifier's"""


def model_source(
    title: str,
    arguments: dict[str, Any],
    mean: Iterable[float],
    std: Iterable[float],
    weights_sha256: str = "",
    with_archive: bool = False,
) -> str:
    """The text of a module that imports torch and the standard library alone.

    Args:
        title: first line of its docstring.
        arguments: of ``ResNeSt``, ``variant`` among them as text.
        mean: of each channel of images in [0, 1]; empty where images stay as they are.
        std: likewise.
        weights_sha256: of the ``weights.pt`` that `build` accepts; empty for any.
        with_archive: offer ``load_exported`` for a ``model.pt2`` too.
    """
    imports: set[str] = set()
    network = [_parts(name, imports) for name in _NETWORK]
    constants, functions = _parts(_FUNCTIONS, imports)[1].split("\n\n\n", 1)
    values = {
        "ARGUMENTS": _dictionary(arguments),
        "MEAN": repr(tuple(mean)),
        "STD": repr(tuple(std)),
        "WEIGHTS_SHA256": f'"{weights_sha256}"',
    }
    for name, value in values.items():
        constants = _filled(constants, name, value)
    archive = [_parts(_ARCHIVE, imports)[1]] if with_archive else []
    offered = sorted([*_NAMES, "load_exported"] if with_archive else _NAMES)
    names = ", ".join(f'"{name}"' for name in offered)
    notes = "\n\n".join(note for note, _ in network)
    parts = [
        f'"""{title}\n\n{notes}\n"""\n',
        "from __future__ import annotations\n",
        _sorted_imports(imports),
        f"__all__ = [{names}]\n",
        f"{constants}\n",
        *(f"\n{body}\n" for body in [*(body for _, body in network), functions, *archive]),
    ]
    return "\n".join(parts)


def _parts(name: str, imports: set[str]) -> tuple[str, str]:
    """Docstring and body of a file of the package; its imports of others join the given ones."""
    text = resources.files("resnest_search").joinpath(name).read_text(encoding="utf-8")
    docstring = _DOCSTRING.match(text)
    if docstring is None:
        raise ValueError(f"{name} has no docstring")
    text = _DROPPED.sub("", text[docstring.end() :])
    imports.update(line.strip() for line in _IMPORT.findall(text))
    return docstring[1].strip(), _IMPORT.sub("", text).strip()


def _filled(constants: str, name: str, value: str) -> str:
    """The constants with another value of one of them."""
    text, count = re.subn(rf"(?m)^({name}\b.*?) = .*$", lambda m: f"{m[1]} = {value}", constants)
    if count != 1:
        raise ValueError(f"{_FUNCTIONS} has {count} lines of {name}")
    return text


def _sorted_imports(imports: set[str]) -> str:
    plain = sorted(line for line in imports if line.startswith("import "))
    names: dict[str, set[str]] = {}
    for line in imports - set(plain):
        module, _, imported = line.removeprefix("from ").partition(" import ")
        names.setdefault(module, set()).update(imported.split(", "))
    lines = plain + [f"from {m} import {', '.join(sorted(names[m]))}" for m in sorted(names)]
    ours = [line for line in lines if line.split()[1].partition(".")[0] == "torch"]
    standard = [line for line in lines if line not in ours]
    return "\n".join(standard) + "\n\n" + "\n".join(ours) + "\n"


def _dictionary(arguments: dict[str, Any]) -> str:
    lines = [f'    "{name}": {_literal(value)},' for name, value in arguments.items()]
    return "\n".join(["{", *lines, "}"])


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _write(winner: Winner, folder: Path) -> None:
    weights = folder / "weights.pt"
    torch.save(winner.network.state_dict(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with_archive = "torch_export" in winner.formats
    text = model_source(
        winner.title, winner.arguments, winner.mean, winner.std, digest, with_archive
    )
    (folder / "model.py").write_text(text, encoding="utf-8")


SOURCE = Format("source", ("model.py", "weights.pt"), (), _write, _USAGE, "eager")
