"""The processes of one trial: the trainable itself is the first, its peers are actors."""

from __future__ import annotations

import contextlib
import gc
import socket
from dataclasses import dataclass
from typing import Any

import ray
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from resnest_search.execution.resources import Allotment
from resnest_search.execution.training_thread import WorkerLost
from resnest_search.training import Report, Run, fit

__all__ = ["Workers"]

_GRACE_S = 5.0


@dataclass
class _Environment(ClusterEnvironment):
    """Tells Lightning which of a trial's processes this is; Ray has started them all."""

    address: str
    port: int
    rank: int
    world: int

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.address

    @property
    def main_port(self) -> int:
        return self.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.world

    def set_world_size(self, size: int) -> None:
        """Fixed from the start."""

    def global_rank(self) -> int:
        return self.rank

    def set_global_rank(self, rank: int) -> None:
        """Fixed from the start."""

    def local_rank(self) -> int:
        return 0  # each process sees only its own device

    def node_rank(self) -> int:
        return self.rank


class _Peer:
    """A further worker of a trial; its failure shows in the first one's collectives."""

    def train(self, run: Run, environment: _Environment) -> None:
        _train(run, lambda curve, note: True, environment)


class Workers:
    """Trains in this process and, where a trial has more workers, in actors beside it.

    The actors live in the trial's own placement group, and are kept for the next trial.
    """

    def __init__(self, allotment: Allotment) -> None:
        self._allotment = allotment
        self._peers: list[Any] = []

    def train(self, run: Run, report: Report) -> None:
        """``training.fit`` over all workers; returns when every one has ended."""
        world = self._allotment.workers
        if world == 1:
            _train(run, report, None)
            return
        self._peers = self._peers or [self._start(rank) for rank in range(1, world)]
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        port = _free_port()
        environments = [_Environment(address, port, rank, world) for rank in range(world)]
        pending = [
            peer.train.remote(run, environment)
            for peer, environment in zip(self._peers, environments[1:], strict=True)
        ]
        try:
            if _train(run, report, environments[0]):
                ray.get(pending)
            else:
                self._dismiss()  # they wait for a first worker that will not come
        except Exception as error:
            lost = any(_is_lost(task) for task in pending)
            self._dismiss()  # they may wait in a collective that nobody will join
            if lost:
                raise WorkerLost("a further worker of the trial was lost") from error
            raise

    def _start(self, rank: int) -> Any:
        bundle = self._allotment.bundles[rank]
        group = ray.util.get_current_placement_group()
        if group is None:
            raise RuntimeError("a trial with several workers runs in a placement group")
        return (
            ray.remote(_Peer)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=rank
                ),
            )
            .remote()
        )

    def _dismiss(self) -> None:
        for peer in self._peers:
            ray.kill(peer)
        self._peers = []


def _is_lost(task: Any) -> bool:
    """Whether a peer's process has died, which shows a moment after its collectives fail."""
    try:
        ray.get(task, timeout=_GRACE_S)
    except ray.exceptions.RayActorError:
        return True
    except Exception:  # its own error, or it is still at work
        return False
    return False


def _train(run: Run, report: Report, environment: _Environment | None) -> bool:
    world = environment.world if environment else 1
    try:
        return fit(run, report, environment, world)
    finally:
        if environment is not None and torch.distributed.is_initialized():
            with contextlib.suppress(RuntimeError):  # a peer that died has closed it already
                torch.distributed.destroy_process_group()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
