"""``model.pt2``: the network's graph, as ``torch.export`` saves it, without any pickle."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from resnest_search.export.formats.base import Format, Winner

__all__ = ["TORCH_EXPORT"]

_USAGE = """\
import torch
from model import load_exported, preprocess  # refuses archives with pickles

network = load_exported("model.pt2")
classes = network(preprocess(torch.rand(5, {shape}))).argmax(1)"""


def _write(winner: Winner, folder: Path) -> None:
    program = copy.copy(winner.program)
    # They would be pickled, and `load_exported` refuses whatever is.
    program.example_inputs = None
    torch.export.save(program, folder / "model.pt2")


TORCH_EXPORT = Format("torch_export", ("model.pt2",), (), _write, _USAGE, "torch.export's graph")
