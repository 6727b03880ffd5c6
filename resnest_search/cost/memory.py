"""Memory: the refusal of what cannot fit, and what a GPU's allocator really gave."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost.account import Make, Shape, sgd, train_step
from resnest_search.cost.latency import Made, deploy
from resnest_search.cost.precision import as_in_training
from resnest_search.errors import lacks_memory
from resnest_search.models.fused import fuse

__all__ = ["OutOfMemory", "cuda_inference", "cuda_peak", "cuda_training", "mapped_to_out_of_memory"]


class OutOfMemory(RuntimeError):  # noqa: N818
    """A network does not fit the device.

    Attributes:
        needed_mib: what the account says it needs, in MiB; the allocator may need more.
        have_mib: all memory of the device, in MiB.
    """

    def __init__(self, needed_mib: float, have_mib: float) -> None:
        super().__init__(needed_mib, have_mib)  # the arguments make it picklable
        self.needed_mib = needed_mib
        self.have_mib = have_mib

    def __str__(self) -> str:
        return (
            f"out of memory: it needs at least {self.needed_mib:.0f} MiB "
            f"and the device has {self.have_mib:.0f} MiB"
        )


@contextmanager
def mapped_to_out_of_memory(needed_mib: float, have_mib: float) -> Iterator[None]:
    """Raise `OutOfMemory` where torch or Python was refused memory; other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, torch.OutOfMemoryError) or lacks_memory(error)):
            raise
    else:
        return
    # Raised outside the handlers: the first error's traceback would keep the tensors alive.
    raise OutOfMemory(needed_mib, have_mib)


def cuda_inference(
    make: Make, shape: Shape, mode: MeasureConfig, device: torch.device, made: Made | None
) -> int:
    """Peak bytes that torch allocates on a GPU for one deployed network and its pass.

    Weights and cuBLAS's and cuDNN's workspaces included; the CUDA context is not. Of a CUDA graph
    it is that of the same pass without one: a graph keeps for good what its pass took.
    """
    mode = replace(mode, cuda_graph=False)

    def prepare() -> Callable[[], None]:
        network, images = deploy(make().to(device), torch.zeros(shape, device=device), mode, made)

        def run() -> None:
            with torch.inference_mode():
                network(images)

        return run

    return cuda_peak(device, mode.precision, prepare)


def cuda_training(
    make: Make,
    shape: Shape,
    precision: str,
    channels_last: bool,
    device: torch.device,
    optimizer: str = "sgd",
    fused: bool = True,
) -> int:
    """Peak bytes that torch allocates on a GPU for one training step that is not the first.

    The step of `account.train_step`, with weights, gradients and the optimizer's state in
    float32, and split attention fused, as `training` runs it where batch norm is not synchronised.
    """

    def prepare() -> Callable[[], None]:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = (fuse(make()) if fused else make()).to(device).train()
        network.to(memory_format=layout)
        images = torch.zeros(shape, device=device).to(memory_format=layout)
        weights = network.parameters()
        stepped = torch.optim.AdamW(weights) if optimizer == "adamw" else sgd(weights)
        return lambda: train_step(network, stepped, images, precision)

    return cuda_peak(device, precision, prepare)


def cuda_peak(
    device: torch.device, precision: str, prepare: Callable[[], Callable[[], None]]
) -> int:
    """Peak bytes that torch allocates on a GPU for what is prepared and for its second run."""
    with torch.cuda.device(device), as_in_training(precision):
        _release()
        before = torch.cuda.memory_allocated()
        run = prepare()
        run()  # makes momentum and workspaces, and compiles
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
        del run
        _release()
    return peak


def _release() -> None:
    """Give back what the last network left, so that the order of networks does not matter."""
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()  # else only the first network would pay for them
    torch.cuda.empty_cache()
