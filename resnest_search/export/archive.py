"""`load_exported`: ``model.pt2`` without unpickling or evaluating anything in it.

A generated ``model.py`` has this file's own text, where the folder has a ``model.pt2``.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from resnest_search.export.standalone import verified

__all__ = ["load_exported"]

# The records of an archive that hold plain text, JSON or raw tensors, below its root folder.
PLAIN_RECORDS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|models/model\.json|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|extra/(class_names|preprocessing)\.json"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+)"
)
# torch.export.load evaluates a size such as Mul(Integer(16), Symbol('s77', positive=True)).
PLAIN_SIZE = re.compile(
    r"((Add|Integer|Mul|Symbol|True|integer|positive|[su]?\d+)\b|[-'(),= ])*", re.ASCII
)
PLAIN_OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+", re.ASCII)


def load_exported(path: str | Path) -> torch.nn.Module:
    """The network of a ``model.pt2``: (B, C, H, W) images to (B, num_classes) logits.

    ``torch.export.load`` unpickles some records of an archive and evaluates sizes, guards
    and operators' names of its graph as Python. Here an archive is refused where it has any
    pickled record, or a graph with more than plain sizes and operators of ATen; what is
    loaded is a copy of the records that were looked at.

    Raises:
        RuntimeError: with one line, the archive is refused or damaged, or `verified`
            refuses it.
    """
    content = verified(Path(path))
    try:
        records = read_records(content)
        reason = next(refusals(records), "")
    except Exception as error:  # a damaged archive raises whatever its first wrong byte leads to
        reason = f"it is damaged ({type(error).__name__})"
    if reason:
        raise RuntimeError(f"{path} is refused: {reason}") from None
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    copy.seek(0)
    try:
        return torch.export.load(copy).module()
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise RuntimeError(f"{path} cannot be loaded: {type(error).__name__}: {line}") from None


def read_records(content: bytes) -> dict[str, bytes]:
    """The records of an archive by name, checked by their CRC-32.

    Raises:
        ValueError: a name occurs twice, or a record is compressed.
        zipfile.BadZipFile: it is no archive, or damaged.
    """
    records: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            if info.filename in records or info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(info.filename)
            records[info.filename] = archive.read(info)
    return records


def refusals(records: dict[str, bytes]) -> Iterator[str]:
    """Why the records of an archive are not plain, one reason at a time."""
    for name, record in records.items():
        if name.endswith("/data/sample_inputs/model.pt"):  # pickled, so ours is empty
            if record:
                yield f"{name} is a pickle"
        elif not PLAIN_RECORDS.fullmatch(name):
            yield f"{name} may be a pickle"
        elif name.endswith("_config.json"):
            payloads = json.loads(record)["config"].values()
            if any(payload["use_pickle"] for payload in payloads):
                yield f"{name} names a pickle"
        elif name.endswith("/model.json"):
            graph = json.loads(record)
            if graph.get("guards_code"):
                yield "its graph has guards in Python"
            yield from unsafe_values(graph)


def unsafe_values(value: Any) -> Iterator[str]:
    """What a graph has anywhere that is no plain size, and no operator of ATen."""
    if isinstance(value, list):
        for item in value:
            yield from unsafe_values(item)
    elif isinstance(value, dict):
        if "target" in value and "inputs" in value:
            target = str(value["target"])
            if not PLAIN_OPERATOR.fullmatch(target):
                yield f"its graph calls {target!r}"
        if "expr_str" in value and not PLAIN_SIZE.fullmatch(str(value["expr_str"])):
            yield "its graph has a size that is no plain expression"
        for item in value.values():
            yield from unsafe_values(item)
