"""A program of its own: load one exported file where the package cannot be imported, and use it.

usage: python -P checker.py REQUEST

REQUEST is a JSON file with the keys of `main`. It writes the outputs of all images to
``logits.npy``, what files become to ``read.npy`` where the format reads files, and what the format
says of itself and its timing to ``facts.json``, all in the working directory. It imports nothing
of the package, whose modules are refused to whatever it loads; one that needs nothing of the
package either, the watch of the CPU, is loaded from its file.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
WATCHED_S = 0.5  # at least: the kernel counts in ticks of 10 ms

Array = NDArray[np.float32]
Run = Callable[[Array], Array]  # (B, C, H, W) to (B, classes)


@dataclass(frozen=True)
class Loaded:
    """An exported file at work.

    Attributes:
        run: images to logits.
        metadata: what the format says of classes and preprocessing, by name.
        read: image files to images, where the format can.
    """

    run: Run
    metadata: dict[str, Any]
    read: Callable[[list[str]], Array] | None = None


class Blocker(importlib.abc.MetaPathFinder):
    """Answers every import of the package as if it were not installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Raise where the name is the package's."""
        if fullname.partition(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load_source(folder: Path, threads: int) -> Loaded:
    """``model.py`` with ``weights.pt``."""
    module = model_module(folder)

    def read(files: list[str]) -> Array:
        images: Array = module.load_images(*files).numpy()
        return images

    network = module.build(pretrained=True).eval()
    return Loaded(with_torch(network, threads), {"class_names": list(module.CLASS_NAMES)}, read)


def load_torch_export(folder: Path, threads: int) -> Loaded:
    """``model.pt2``."""
    import torch

    path = folder / "model.pt2"
    run = with_torch(model_module(folder).load_exported(path), threads)
    extra = {"class_names.json": "", "preprocessing.json": ""}
    torch.export.load(path, extra_files=extra)
    names = {name.removesuffix(".json"): json.loads(text) for name, text in extra.items()}
    return Loaded(run, names)


def load_timm(folder: Path, threads: int) -> Loaded:
    """``timm/``, and the transform that timm makes of it."""
    import timm
    import torch

    module = model_module(folder)
    network: Any = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
    data: Any = timm.data
    config = data.resolve_model_data_config(network)
    transform = data.create_transform(**config)

    def read(files: list[str]) -> Array:
        channels = config["input_size"][0]
        images = (module.decoded(file, channels, module.BACKGROUND) for file in files)
        batch: Array = torch.stack([transform(image) for image in images]).numpy()
        return batch

    metadata = {"class_names": list(network.pretrained_cfg["label_names"])}
    return Loaded(with_torch(network, threads), metadata, read)


def load_onnx(folder: Path, threads: int, file: str = "model.onnx") -> Loaded:
    """``model.onnx``, or another file of ONNX."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        str(folder / file), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Array) -> Array:
        logits: Array = session.run(["logits"], {"images": images})[0]
        return logits

    metadata = session.get_modelmeta().custom_metadata_map
    return Loaded(run, {name: json.loads(value) for name, value in metadata.items()})


LOADERS: dict[str, Callable[[Path, int], Loaded]] = {
    "source": load_source,
    "torch_export": load_torch_export,
    "onnx": load_onnx,
    "onnx_int8": functools.partial(load_onnx, file="model.int8.onnx"),
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


def timed(run: Run, image: Array, watch: Any) -> dict[str, Any]:
    """Wall-clock time of passes of the same ``(1, C, H, W)`` image: median and 95th percentile.

    ``busy_percent`` is what other processes took of our CPUs meanwhile; None where unknown.
    """
    begun = time.perf_counter()
    watching = watch.CpuWatch()
    for _ in range(WARMUP):
        run(image)
    samples: list[float] = []
    timed_from = time.perf_counter()
    while len(samples) < PASSES[0] or (
        len(samples) < PASSES[1] and time.perf_counter() - timed_from < SECONDS
    ):
        start = time.perf_counter_ns()
        run(image)
        samples.append((time.perf_counter_ns() - start) / 1e6)
    time.sleep(max(0.0, begun + WATCHED_S - time.perf_counter()))
    return {
        "latency_ms": statistics.median(samples),
        "latency_p95_ms": float(np.percentile(samples, 95)),
        "passes": len(samples),
        "busy_percent": watching.read().percent,
    }


def module_at(path: str) -> ModuleType:
    """A module by its file alone."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(
    format: str, folder: str, images: str, files: list[str], batch: int, threads: int, watch: str
) -> None:
    """Outputs of every image, what files become, and the latency of one image.

    Args:
        format: a key of `LOADERS`.
        folder: the export's.
        images: a .npy file of float32 ``(N, C, H, W)``, as the network takes them.
        files: image files.
        batch: images of a pass; the last may have fewer.
        threads: of those passes. The timed ones have one.
        watch: the file of a module that has ``CpuWatch``.
    """
    given = np.load(images, mmap_mode="r")
    load = LOADERS[format]
    loaded = load(Path(folder), threads)
    batches = (np.array(given[start : start + batch]) for start in range(0, len(given), batch))
    np.save("logits.npy", np.concatenate([loaded.run(images) for images in batches]))
    if loaded.read is not None:
        np.save("read.npy", loaded.read(files))
    timing = timed(load(Path(folder), 1).run, np.array(given[:1]), module_at(watch))
    facts = {"metadata": loaded.metadata, "timing": timing}
    Path("facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
