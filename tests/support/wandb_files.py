"""What an offline run of W&B holds, read from its log."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")

_BLOCK, _HEADER = 32768, 7  # bytes, of the log format of LevelDB that .wandb files have


def records(folder: Path, run: str) -> Iterator[Any]:
    """The records of the one .wandb file of a run."""
    (path,) = folder.glob(f"wandb/offline-run-*-{run}/run-*.wandb")
    data, at, part = path.read_bytes(), _HEADER, b""
    while at + _HEADER <= len(data):
        if (room := _BLOCK - at % _BLOCK) < _HEADER:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + _HEADER])
        part += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (1, 4):  # full, or last part
            record = pb.Record()
            record.ParseFromString(part)
            yield record
            part = b""


def items(entries: Any) -> dict[str, Any]:
    """Keys and values of a record."""
    return {e.key or "/".join(e.nested_key): json.loads(e.value_json) for e in entries}


def history(folder: Path, run: str) -> list[dict[str, Any]]:
    """The rows that a run logged."""
    return [items(r.history.item) for r in records(folder, run) if r.HasField("history")]


def summary(folder: Path, run: str) -> dict[str, Any]:
    """A run's summary."""
    found = {}
    for record in records(folder, run):
        if record.HasField("summary"):
            found |= items(record.summary.update)
    return found


def header(folder: Path, run: str) -> Any:
    """What a run says of itself first."""
    return next(record.run for record in records(folder, run) if record.HasField("run"))


def configuration(folder: Path, run: str) -> dict[str, Any]:
    """The configuration of a run."""
    return items(header(folder, run).config.update)
