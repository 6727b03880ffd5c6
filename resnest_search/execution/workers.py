"""The processes of one trial: the trainable itself is the first, its peers are actors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import distributed

from resnest_search.execution.resources import Allotment
from resnest_search.execution.training_thread import WorkerLost, let_go_of_memory
from resnest_search.training import Report, Run, fit

__all__ = ["Workers"]

_Store: Any = distributed.TCPStore  # type: ignore[attr-defined]
_GRACE_S = 5.0
_MEETING_S = 300.0  # for a process to start and import, on a busy machine


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

    def ready(self) -> None:
        """Answers once its process has started."""

    def train(self, run: Run, environment: _Environment) -> None:
        store = _Store(
            environment.address,
            environment.port,
            is_master=False,
            timeout=timedelta(seconds=_MEETING_S),
        )
        _train(run, lambda curve, note: True, environment, store)
        let_go_of_memory()  # after a failure this process is ended


class Workers:
    """Trains in this process and, where a trial has more workers, in actors beside it.

    The actors live in the trial's own placement group, and are kept for the next trial.
    """

    def __init__(self, allotment: Allotment) -> None:
        self._allotment = allotment
        self._peers: list[Any] = []

    def train(self, run: Run, report: Report) -> None:
        """``training.fit`` over all workers; returns when every one has ended.

        Raises:
            WorkerLost: one has died, or does not start.
        """
        world = self._allotment.workers
        if world == 1:
            _train(run, report)
            return
        self._meet(world)
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        # A port of the system's choice, taken from now on: trials side by side get one each.
        store = _Store(address, 0, is_master=True, wait_for_workers=False)
        environments = [_Environment(address, store.port, rank, world) for rank in range(world)]
        pending = [
            peer.train.remote(run, environment)
            for peer, environment in zip(self._peers, environments[1:], strict=True)
        ]
        try:
            if _train(run, report, environments[0], store):
                ray.get(pending)
            else:
                self._dismiss()  # they wait for a first worker that will not come
        except Exception as error:
            failures = [_failure(task) for task in pending]
            self._dismiss()  # they may wait in a collective that nobody will join
            if any(isinstance(failure, ray.exceptions.RayActorError) for failure in failures):
                raise WorkerLost("a further worker of the trial was lost") from error
            causes = [failure for failure in failures if failure and not _of_connection(failure)]
            if causes and _of_connection(error):
                raise causes[0] from error  # whose end is all that this one has seen
            raise

    def _meet(self, world: int) -> None:
        """Have all peers, alive: in a collective one that never came would be waited for."""
        self._peers = self._peers or [self._start(rank) for rank in range(1, world)]
        try:
            ray.get([peer.ready.remote() for peer in self._peers], timeout=_MEETING_S)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            self._dismiss()
            raise WorkerLost("a further worker of the trial does not answer") from error

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


def _failure(task: Any) -> Exception | None:
    """Why a peer's training failed, which shows a moment after its collectives do."""
    try:
        ray.get(task, timeout=_GRACE_S)
    except ray.exceptions.GetTimeoutError:  # it is still at work
        return None
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    except Exception as error:
        return error
    return None


def _of_connection(error: Exception) -> bool:
    """Whether a collective says that another process has gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _train(
    run: Run, report: Report, environment: _Environment | None = None, store: Any = None
) -> bool:
    try:
        if environment is None:
            return fit(run, report)
        _join(environment, run.accelerator, store)
        return fit(run, report, environment, environment.world)
    finally:
        if environment is not None and distributed.is_initialized():
            with contextlib.suppress(RuntimeError):  # a peer that died has closed it already
                distributed.destroy_process_group()


def _join(environment: _Environment, accelerator: str, store: Any) -> None:
    """Make the process group, before anything that may fail in one process alone.

    So that from here on whoever fails closes it, which the others notice.
    """
    store.set(f"here {environment.rank}", "")
    everyone = [f"here {rank}" for rank in range(environment.world)]
    try:
        store.wait(everyone, timedelta(seconds=_MEETING_S))
    except distributed.DistError as error:
        raise WorkerLost("a worker of the trial does not come to its meeting point") from error
    gpu = accelerator == "gpu"
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        store=store,
        rank=environment.rank,
        world_size=environment.world,
        device_id=torch.device("cuda", 0) if gpu else None,  # each sees only its own
    )
