"""A program of its own: load one exported file where the package cannot be imported, and use it.

usage: python -P checker.py REQUEST

REQUEST is a JSON file with the keys of `main`. It writes the outputs of all images to
``logits.npy`` and its timing to ``timing.json``, both in the working directory. It imports
nothing of the package, whose modules are refused to whatever it loads.
"""

from __future__ import annotations

import importlib.abc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKAGE", "main"]

PACKAGE = "resnest_search"
WARMUP = 10
PASSES = (10, 100)  # at least and at most
SECONDS = 5.0  # of timed passes, once there are enough of them

Array = NDArray[np.float32]
Run = Callable[[Array], Array]  # (B, C, H, W) to (B, classes)


class Blocker(importlib.abc.MetaPathFinder):
    """Answers every import of the package as if it were not installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Raise where the name is the package's."""
        if fullname.partition(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load_source(folder: Path, threads: int) -> Run:
    """``model.py`` with ``weights.pt``."""
    return with_torch(model_module(folder).build(pretrained=True).eval(), threads)


def load_torch_export(folder: Path, threads: int) -> Run:
    """``model.pt2``."""
    return with_torch(model_module(folder).load_exported(folder / "model.pt2"), threads)


def load_timm(folder: Path, threads: int) -> Run:
    """``timm/``."""
    import timm

    network = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True)
    return with_torch(network.eval(), threads)


def load_onnx(folder: Path, threads: int) -> Run:
    """``model.onnx``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Array) -> Array:
        logits: Array = session.run(["logits"], {"images": images})[0]
        return logits

    return run


LOADERS: dict[str, Callable[[Path, int], Run]] = {
    "source": load_source,
    "torch_export": load_torch_export,
    "onnx": load_onnx,
    "timm": load_timm,
}


def model_module(folder: Path) -> Any:
    """``model.py``, imported as a user of the folder imports it."""
    import importlib

    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("model")
    finally:
        sys.path.remove(str(folder))


def with_torch(network: Any, threads: int) -> Run:
    """A module of torch as a function of arrays."""
    import torch

    def run(images: Array) -> Array:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            logits: Array = network(torch.tensor(images)).numpy()
        return logits

    return run


def timed(run: Run, image: Array) -> dict[str, Any]:
    """Wall-clock time of passes of the same ``(1, C, H, W)`` image: median and 95th percentile."""
    for _ in range(WARMUP):
        run(image)
    samples: list[float] = []
    begun = time.perf_counter()
    while len(samples) < PASSES[0] or (
        len(samples) < PASSES[1] and time.perf_counter() - begun < SECONDS
    ):
        start = time.perf_counter_ns()
        run(image)
        samples.append((time.perf_counter_ns() - start) / 1e6)
    return {
        "latency_ms": statistics.median(samples),
        "latency_p95_ms": float(np.percentile(samples, 95)),
        "passes": len(samples),
    }


def main(format: str, folder: str, images: str, batch: int, threads: int) -> None:
    """Outputs of every image, and the latency of one.

    Args:
        format: a key of `LOADERS`.
        folder: the export's.
        images: a .npy file of float32 ``(N, C, H, W)``, as the network takes them.
        batch: images of a pass; the last may have fewer.
        threads: of those passes. The timed ones have one.
    """
    given = np.load(images, mmap_mode="r")
    load = LOADERS[format]
    run = load(Path(folder), threads)
    batches = (np.array(given[start : start + batch]) for start in range(0, len(given), batch))
    np.save("logits.npy", np.concatenate([run(images) for images in batches]))
    timing = timed(load(Path(folder), 1), np.array(given[:1]))
    Path("timing.json").write_text(json.dumps(timing), encoding="utf-8")


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
