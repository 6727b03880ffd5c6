"""``model.pt2``: the network's graph, as ``torch.export`` saves it, without any pickle."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from resnest_search.export.formats.base import Format, Winner

__all__ = ["TORCH_EXPORT"]

_USAGE = """\
import torch
from model import CLASS_NAMES, load_exported, load_images

network = load_exported("model.pt2")  # refuses archives with pickles
with torch.inference_mode():
    logits = network(load_images("photo.jpg"))
print(CLASS_NAMES[int(logits.argmax(1))])"""


def _write(winner: Winner, folder: Path) -> None:
    program = copy.copy(winner.program)
    # They would be pickled, and `load_exported` refuses whatever is.
    program.example_inputs = None
    extra = {f"{name}.json": text for name, text in winner.metadata.items()}
    torch.export.save(program, folder / "model.pt2", extra_files=extra)


TORCH_EXPORT = Format(
    "torch_export", ("model.pt2",), (), _write, _USAGE, "torch pillow", "torch.export's graph"
)
