"""``model.py`` and its weights: the network's whole definition, from the package's own source.

Generated, so that the file and the package cannot drift apart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from resnest_search.data.preprocessing import Preprocessing
from resnest_search.export.formats.base import Format, Winner

__all__ = ["SOURCE", "model_source"]

_NETWORK = ("variant.py", "models/split_attention.py", "models/resnest.py")
_FILES = ("data/images.py", "data/pixels.py")
_FUNCTIONS = "export/standalone.py"
_ARCHIVE = "export/archive.py"
_NAMES = ("Features", "ResNeSt", "build", "classify", "decoded", "load_images", "preprocess")
_TYPING = "if TYPE_CHECKING:\n    from PIL.Image import Image\n"
_DOCSTRING = re.compile(r'\A"""(.*?)"""\n', re.DOTALL)
_DROPPED = re.compile(
    r"^(from __future__ import annotations|from resnest_search\.[\w.]+ import [^(\n]+)\n"
    r"|^__all__ = \[[^\]]*\]\n",
    re.MULTILINE,
)
_IMPORT = re.compile(r"^(?:import \S.*|from \S+ import [^(\n]+)\n", re.MULTILINE)

_USAGE = """\
import torch
from model import build, classify, load_images, preprocess

print(classify("photo.jpg"))  # the likeliest classes with their probabilities; needs Pillow
network = build(pretrained=True).eval()
inputs = load_images("photo.jpg")  # of one file or several, as validation saw them
images = torch.rand(1, {shape})  # in [0, 1]; or uint8
classes = network(preprocess(images)).argmax(1)
maps = network.features()(preprocess(images))  # of each stage, for detection or segmentation
trainable = build(pretrained=True, num_classes=7)  # all weights but the classifier's"""


def model_source(
    title: str,
    arguments: dict[str, Any],
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    weights_sha256: str = "",
    with_archive: bool = False,
) -> str:
    """The text of a module that imports torch and the standard library, and Pillow for files.

    Args:
        title: first line of its docstring.
        arguments: of ``ResNeSt``, ``variant`` among them as text.
        preprocessing: from a file to the network's input.
        class_names: of each logit, in order.
        weights_sha256: of the ``weights.pt`` that `build` accepts; empty for any.
        with_archive: offer ``load_exported`` for a ``model.pt2`` too.
    """
    imports: set[str] = set()
    network = [_parts(name, imports) for name in _NETWORK]
    files = [_parts(name, imports)[1].removeprefix(_TYPING).strip() for name in _FILES]
    constants, functions = _parts(_FUNCTIONS, imports)[1].split("\n\n\n", 1)
    values = {
        "ARGUMENTS": _dictionary(arguments),
        "CLASS_NAMES": _listed(class_names),
        "DECODED": repr(preprocessing.decoded),
        "BACKGROUND": repr(preprocessing.background),
        "RESIZED": _literal(preprocessing.resized),
        "RESIZE": repr(preprocessing.resize),
        "CROP": repr(preprocessing.crop),
        "MEAN": repr(preprocessing.mean),
        "STD": repr(preprocessing.std),
        "WEIGHTS_SHA256": _literal(weights_sha256),
    }
    for name, value in values.items():
        constants = _filled(constants, name, value)
    archive = [_parts(_ARCHIVE, imports)[1]] if with_archive else []
    offered = sorted([*_NAMES, "load_exported"] if with_archive else _NAMES)
    notes = "\n\n".join(note for note, _ in network)
    parts = [
        f'"""{title}\n\n{notes}\n"""\n',
        "from __future__ import annotations\n",
        _sorted_imports(imports),
        _TYPING,
        f"__all__ = {_listed(offered, '[]')}\n",
        f"{constants}\n",
        *(f"\n{body}\n" for body in [*(body for _, body in network), *files, functions, *archive]),
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
    lines = plain + [
        f"from {m} import {', '.join(sorted(names[m], key=_rank))}" for m in sorted(names)
    ]
    ours = [line for line in lines if line.split()[1].partition(".")[0] == "torch"]
    standard = [line for line in lines if line not in ours]
    return "\n".join(standard) + "\n\n" + "\n".join(ours) + "\n"


def _rank(name: str) -> tuple[int, str]:
    """Where ruff sorts a name among those of an import: constants, classes, functions."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def _dictionary(arguments: dict[str, Any]) -> str:
    lines = [f"    {_literal(name)}: {_literal(value)}," for name, value in arguments.items()]
    return "\n".join(["{", *lines, "}"])


def _listed(names: Sequence[str], brackets: str = "()") -> str:
    return "\n".join([brackets[0], *(f"    {_literal(name)}," for name in names), brackets[1]])


def _literal(value: Any) -> str:
    """A value as Python reads it, in double quotes where that needs no more escapes."""
    text = repr(value)
    plain = isinstance(value, str) and '"' not in text and text[0] == "'"
    return f'"{text[1:-1]}"' if plain else text


def _write(winner: Winner, folder: Path) -> None:
    weights = folder / "weights.pt"
    torch.save(winner.network.state_dict(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with_archive = "torch_export" in winner.formats
    text = model_source(
        winner.title,
        winner.arguments,
        winner.preprocessing,
        winner.class_names,
        digest,
        with_archive,
    )
    (folder / "model.py").write_text(text, encoding="utf-8")


SOURCE = Format("source", ("model.py", "weights.pt"), (), _write, _USAGE, "torch pillow", "eager")
