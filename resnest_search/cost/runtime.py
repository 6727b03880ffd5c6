"""A network as ONNX Runtime runs it on a CPU, which is how many deploy one."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["Session", "as_onnx", "runtime_version"]

_OPSET = 18


class Session(nn.Module):
    """An exported network in a session of ONNX Runtime.

    Args:
        model: a file of `as_onnx`.
        threads: within an operation.
    """

    def __init__(self, model: Path, threads: int) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors, which are exceptions, too
        self._session: Any = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, classes]`` of float32 images ``[B, C, H, W]`` in memory."""
        (logits,) = self._session.run(None, {"images": images.numpy()})
        return torch.from_numpy(logits)


def as_onnx(network: nn.Module, images: torch.Tensor) -> Path:
    """A file of the network in eval mode for images of this ``[B, C, H, W]`` shape.

    It stands in the system's folder for temporary files, where who asked for it deletes it.

    By torch's exporter that traces: it takes a third of a second for a small network, the newer
    one, which exports have, some ten. Both are the same graph of convolutions to the runtime.
    """
    handle, name = tempfile.mkstemp(suffix=".onnx", prefix="resnest_search_")
    os.close(handle)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the exporter is the older one
            torch.onnx.export(
                network.eval(),
                (images,),
                name,
                dynamo=False,
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["logits"],
            )
    finally:
        logging.disable(before)
    return Path(name)


def runtime_version() -> str:
    """Of ONNX Runtime, whichever of its packages is installed."""
    import onnxruntime

    return str(onnxruntime.__version__)
