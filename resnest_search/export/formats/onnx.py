"""``model.onnx``: one file for ONNX Runtime and its like, for any batch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from resnest_search.export.formats.base import Format, Winner

__all__ = ["ONNX", "silence"]

_OPSET = 18

_USAGE = """\
import json

import onnxruntime
from model import load_images  # or by the metadata's "preprocessing"

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
logits = session.run(None, {"images": load_images("photo.jpg").numpy()})[0]
print(names[int(logits.argmax(1)[0])])"""


def _write(winner: Winner, folder: Path) -> None:
    import onnx

    with silence():
        program = torch.onnx.export(
            winner.program,
            dynamo=True,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export made no program")
    model = program.model_proto
    _tidy(model)
    onnx.helper.set_model_props(model, winner.metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))


def _tidy(model: Any) -> None:
    """Take out what names this machine's folders, and call the first dimension "batch"."""
    graph = model.graph
    del graph.value_info[:]  # shapes in between, which a runtime infers
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing of the exporter's progress on the screen; its errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    said = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


ONNX = Format(
    "onnx",
    ("model.onnx",),
    ("onnx", "onnxscript", "onnxruntime"),
    _write,
    _USAGE,
    "onnxruntime torch pillow",
    "ONNX Runtime",
)
