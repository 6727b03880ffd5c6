"""``model.int8.onnx``: weights and activations in 8 bits, for ONNX Runtime on a CPU.

Quantised statically, with QuantizeLinear and DequantizeLinear around each operator: ranges of
activations are those that training images show, as they are trained on, those of weights of each
channel are its own. That is another network than the trained one, with an accuracy of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from resnest_search.export.formats.base import Format, Winner
from resnest_search.export.formats.onnx import ONNX, silence

__all__ = ["CALIBRATED", "ONNX_INT8"]

CALIBRATED = 256  # training images, at most

_USAGE = ONNX.usage.replace("model.onnx", "model.int8.onnx")


def _write(winner: Winner, folder: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given = _Given(winner.calibration())
    with tempfile.TemporaryDirectory(prefix="resnest-search-") as work, silence():
        ONNX.write(winner, Path(work))
        prepared, out = Path(work) / "prepared.onnx", folder / "model.int8.onnx"
        quant_pre_process(Path(work) / ONNX.file, prepared, skip_symbolic_shape=True)
        quantize_static(prepared, out, given, QuantFormat.QDQ, per_channel=True)
    model = onnx.load(out)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, winner.metadata)
    onnx.checker.check_model(model)
    onnx.save(model, out)


class _Given:
    """What `quantize_static` asks for images."""

    def __init__(self, batches: Iterable[torch.Tensor]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The inputs of a pass; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


ONNX_INT8 = Format(
    "onnx_int8",
    ("model.int8.onnx",),
    ONNX.packages,
    _write,
    _USAGE,
    ONNX.needs,
    "ONNX Runtime, int8",
    exact=False,
)
