"""Several processes over gloo, without Ray: what each of them comes to."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, distributed, nn
from torch.nn.modules.module import register_module_forward_hook
from training_runs import Listener

from resnest_search.models.resnest import ResNeSt
from resnest_search.training import Run, fit

PATIENCE_S = 60.0
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["resnest_search.training.fitting"])  # seconds for each, else
_Result = TypeVar("_Result")


class _Environment(LightningEnvironment):
    """One of several processes that somebody else has started, each as on a node of its own."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__()
        self._rank, self._world = rank, world

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self._rank

    def global_rank(self) -> int:
        return self._rank

    def world_size(self) -> int:
        return self._world


@dataclass
class Ended:
    """What a process had at the end of a training."""

    listener: Listener
    state: dict[str, Tensor]  # of the network
    masks: list[Tensor]  # of each dropout in training: what was kept


def together(work: Callable[..., _Result], *each: tuple[Any, ...]) -> list[_Result]:
    """What ``work(rank, world, *arguments)`` returns in one process for each tuple of arguments.

    Raises:
        RuntimeError: processes failed; says what each of those did.
        multiprocessing.TimeoutError: one was not done in time.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"tcp://localhost:{probe.getsockname()[1]}"
    world = len(each)
    with _PROCESSES.Pool(world, maxtasksperchild=1) as pool:  # ended with the block
        tasks = [
            pool.apply_async(_joined, (work, address, rank, world, arguments))
            for rank, arguments in enumerate(each)
        ]
        results, failures = [], []
        for rank, task in enumerate(tasks):
            try:
                results.append(pickle.loads(task.get(PATIENCE_S)))
            except RuntimeError as error:
                failures.append(f"worker {rank}: {error}")
    if failures:
        raise RuntimeError("\n".join(failures))
    return results


def _joined(
    work: Callable[..., _Result], address: str, rank: int, world: int, arguments: tuple[Any, ...]
) -> bytes:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    try:
        result = work(rank, world, *arguments)
        return pickle.dumps(result)  # as bytes, since tensors would go by files that close with us
    finally:
        distributed.destroy_process_group()


def train_together(*runs: Run, stop_after: int | None = None) -> list[Ended]:
    """What the processes of one training end with; each is given its run."""
    return together(_train, *((run, stop_after) for run in runs))


def _train(rank: int, world: int, run: Run, stop_after: int | None) -> Ended:
    networks: dict[int, ResNeSt] = {}
    masks: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, ResNeSt):
            networks[0] = module
        elif isinstance(module, nn.Dropout) and module.p and module.training:
            masks.append(output.detach() != 0)

    handle = register_module_forward_hook(keep)
    try:
        listener = Listener(stop_after)
        fit(run, listener, _Environment(rank, world), world)
    finally:
        handle.remove()
    return Ended(listener, dict(networks[0].state_dict()), masks)
