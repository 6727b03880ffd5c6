"""Start Ray, let Tune run the strategy's trials, and end in an orderly way."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray import tune
from threadpoolctl import threadpool_limits

from resnest_search import stopping
from resnest_search.configuration.schema import ResourcesConfig
from resnest_search.data.sharing import release
from resnest_search.errors import UserError
from resnest_search.execution.resources import Allotment, Machine, allot, on_nodes, this_machine
from resnest_search.execution.scratch import make_ray_folder
from resnest_search.execution.trainable import TrialTrainable
from resnest_search.execution.tune_bridge import StrategyScheduler, StrategySearcher
from resnest_search.search import Assignment, Strategy
from resnest_search.search.observer import Observer

__all__ = ["cluster", "run_trials"]

_RETRIES = 2  # of a trial whose worker or node was lost
_HELPERS = ("/dashboard/dashboard.py", "/log_monitor.py", "/_private/monitor.py")  # Ray's
_ANSWER_S = 10.0  # for the head of a cluster that is at work
_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # next to nothing passes through it

# Ray reads these when it is imported or started: no usage report, no second set of
# result files, no snapshots of a state that the study holds, and no log on the terminal. And no
# worker processes before a trial asks for one: Tune's are never among them.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",  # else whatever runs beside it starves the training
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(config: ResourcesConfig, verbose: bool) -> Iterator[Allotment]:
    """A running Ray, of this machine alone or the one at the address, and what a trial gets.

    Raises:
        UserError: a trial does not fit, or nobody answers at the address.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    level = logging.INFO if verbose else logging.FATAL
    logging.getLogger("ray").setLevel(level)
    warnings.filterwarnings("default" if verbose else "ignore", module=r"ray\b")
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": level}
    sessions = ""
    if config.address is None:
        machine = this_machine()
        allotment = allot(config, machine)
        sessions = make_ray_folder()
        _start(machine, {**options, "_temp_dir": sessions})
    else:
        _connect(config.address, options)
        nodes = [_machine(node) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        machine = Machine(sum(node.cpus for node in nodes), sum(node.gpus for node in nodes))
        allotment = on_nodes(allot(config, machine), nodes)
    try:
        stopping.watch()
        yield allotment
    finally:
        with stopping.held():
            if sessions:
                _end_helpers()
            ray.shutdown()
            release()
            if sessions:
                shutil.rmtree(sessions, ignore_errors=True)


def _machine(node: dict[str, Any]) -> Machine:
    return Machine(*(int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU")))


def run_trials(
    strategy: Strategy,
    allotment: Allotment,
    make_run: Callable[[Assignment], Any],
    observer: Observer,
    verbose: bool,
    trainable: type[tune.Trainable] = TrialTrainable,
) -> bool:
    """Run trials until the strategy has no more; False where Ctrl-C ended it before.

    Args:
        strategy: decides.
        allotment: what a trial gets.
        make_run: makes of an assignment what the trainable runs, with its ``number``.
        observer: is told of each start and each epoch.
        verbose: let Ray speak.
        trainable: runs the trials.
    """
    scratch = tempfile.mkdtemp(prefix="resnest-search-")
    # All workers start at once. One after the other, each that starts while a trial ends is
    # dropped for the worker that has become free, and short trials never get the second.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(allotment.slots)
    searcher = StrategySearcher(strategy, allotment, make_run, observer)

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        bundles = allotment.bundles_of(alone=config.get("alone", False))
        return tune.PlacementGroupFactory(bundles, strategy="PACK")

    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StrategyScheduler(strategy, observer, allotment, searcher.heard),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=2 if verbose else 0,
            callbacks=[_Signals()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
        ),
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        # Forecasts are of small matrices, and threads of theirs that wait for each other by
        # spinning would keep the cores from what trains.
        with threadpool_limits(1, "blas"):
            tuner.fit()
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(scratch, ignore_errors=True)
    return strategy.finished


def _start(machine: Machine, options: dict[str, Any]) -> None:
    """Start Ray here.

    Raises:
        UserError: it does not start.
    """
    try:
        with stopping.held(), stopping.unheard():
            ray.init(
                address="local",  # a cluster of RAY_ADDRESS was not asked for
                num_cpus=machine.cpus,
                num_gpus=machine.gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **options,
            )
            stopping.watch()  # Ray's own handler ends the process with a dump
    except BaseException as error:
        ray.shutdown()
        shutil.rmtree(options["_temp_dir"], ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"Ray does not start on this machine: {lines[0]}") from error


def _end_helpers() -> None:
    """End what runs beside Ray's core, which nobody needs any more.

    Ray sends SIGTERM to one after the other, which they never hear, and waits a second for each.
    """
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended
            if any(word.endswith(_HELPERS) for word in child.cmdline()):
                child.kill()


class _Signals(tune.Callback):
    """Puts our handlers back after Tune has put its own there."""

    def setup(self, *args: Any, **info: Any) -> None:
        stopping.watch()


def _check_answers(address: str) -> None:
    """Raises UserError where nobody listens at HOST:PORT, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"resources.address={address}: no Ray cluster answers: {error}; valid: auto, or "
            "HOST:PORT of its head"
        ) from error


def _connect(address: str, options: dict[str, Any]) -> None:
    _check_answers(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"resources.address={address}: no Ray cluster answers: {lines[0]}"
        ) from error
