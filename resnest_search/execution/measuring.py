"""Measure every network of a sweep before its first epoch, in a process of its own.

Of its own, so that the driver holds no memory on a GPU, and that a network whose
measuring is killed for its memory takes nobody with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import math
import multiprocessing
import signal
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search import stopping
from resnest_search.configuration.checks import (
    check_images,
    check_measure,
    check_measured_on,
    check_model,
    check_train,
    parse_variant,
)
from resnest_search.configuration.schema import (
    DataConfig,
    MeasureConfig,
    ModelConfig,
    ProfileConfig,
    SpaceProfileConfig,
    SweepConfig,
    TrainConfig,
)
from resnest_search.data.resolve import train_count
from resnest_search.errors import UserError
from resnest_search.execution.precision import profiled_precision
from resnest_search.execution.resources import this_machine
from resnest_search.execution.training_thread import failure_reason
from resnest_search.files import cache_folder
from resnest_search.space import Candidate, Space, configured
from resnest_search.study.costing import Costing
from resnest_search.variant import Variant

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from resnest_search.cost import CostRequest, Costs
    from resnest_search.cost.cache import Cache
    from resnest_search.execution.resources import Allotment

__all__ = [
    "Measure",
    "Progress",
    "alone",
    "check_beside",
    "check_profiled",
    "costing_of",
    "costings_of",
    "locally",
    "measure_space",
    "profile_variant",
    "remotely",
    "request_of",
    "timed_on_gpu",
]

_GRACE_S = 10.0

# What measures: requests in, for each its costs or the reason why there are none.
Measure = Callable[[Sequence["CostRequest"]], "list[Costs | str]"]
Progress = Callable[[int, int], None]  # (visits made, visits in all)


def measure_space(
    config: SweepConfig, space: Space, allotment: Allotment, measure: Measure
) -> dict[str, Costing]:
    """What each network of the space costs, by ``Candidate.network``, limits not yet applied.

    Measured on the kind of device that a trial gets, unless ``measure.device`` names another. A
    training step is of no more images than there are to train on, as in training.

    Raises:
        UserError: these are too few for the parts that batches are to come in.
    """
    device = "cuda" if timed_on_gpu(config, allotment) else "cpu"
    mode = dataclasses.replace(config.measure, device=device)
    images = train_count(config.data)
    for candidate in [*space.settings()] or space.networks[:1]:
        if images is not None:
            check_images(configured(config, candidate)[2], images, allotment.workers)
    asked = {
        candidate.network: dataclasses.replace(
            request_of(config, candidate, mode, images, allotment.workers),
            gpu_share=allotment.gpus_per_worker or 1.0,
        )
        for candidate in space.networks
    }
    return costings_of(asked, measure)


def timed_on_gpu(config: SweepConfig, allotment: Allotment) -> bool:
    """Whether networks are timed on a GPU: where a trial gets one, unless a device is named."""
    asked = config.measure.device
    return allotment.accelerator == "gpu" if asked is None else asked == "cuda"


def costings_of(asked: Mapping[str, CostRequest], measure: Measure) -> dict[str, Costing]:
    """What requests cost, and beside that in the modes of ``measure.also``, in one measuring.

    Args:
        asked: requests of one mode, by what they are called.
        measure: measures them.
    """
    from resnest_search.configuration.compose import measured_beside  # not where networks are timed

    if not asked:
        return {}
    modes = measured_beside(next(iter(asked.values())).measure)
    every = [
        request if mode is None else dataclasses.replace(request, measure=mode)
        for mode in (None, *modes)
        for request in asked.values()
    ]
    found = iter([costing_of(one) for one in measure(every)])
    costings = {name: next(found) for name in asked}
    also: dict[str, dict[str, Any]] = {name: {} for name in asked}
    for mode in modes:
        for name in asked:
            beside = dataclasses.asdict(next(found))
            also[name][mode.name] = {**beside, "asked": dataclasses.asdict(mode)}
    return {name: _with_beside(costing, also[name]) for name, costing in costings.items()}


def _with_beside(costing: Costing, also: dict[str, Any]) -> Costing:
    if not also or costing.failure:
        return costing
    return dataclasses.replace(costing, details={**(costing.details or {}), "also": also})


def check_beside(measure: MeasureConfig, has_gpu: bool | None = None) -> None:
    """Raises UserError where a mode of ``measure.also`` is none, or cannot be measured.

    Args:
        measure: the mode beside which they are measured.
        has_gpu: as of `check_measured_on`; None where the device is not known yet.
    """
    from resnest_search.configuration.compose import measured_beside

    for mode in measured_beside(measure):
        try:
            check_measure(mode)
            if has_gpu is not None:
                check_measured_on(mode, has_gpu)
        except UserError as error:
            words = ",".join(measure.also)
            raise UserError(f"measure.also=[{words}]: {mode.name}: {error}") from None


def check_profiled(config: ProfileConfig | SpaceProfileConfig) -> None:
    """Raises UserError where something cannot be measured on this machine without its images."""
    check_model(config.model)
    check_train(config.train)
    check_measure(config.measure)
    has_gpu = bool(this_machine().gpus)
    check_measured_on(config.measure, has_gpu)
    check_beside(config.measure, has_gpu)
    if config.measure.profile:
        raise UserError(f"measure.profile={config.measure.profile}: profile measures; valid: null")
    if config.measure.doubtful == "refuse":
        raise UserError("measure.doubtful=refuse: profile says what is doubtful; valid: auto, mark")
    if config.data.classes is None:
        raise UserError("data.classes=null: profile reads no images; name the number of classes")


def profile_variant(config: ProfileConfig) -> Costing:
    """What one variant costs on this machine.

    Raises:
        UserError: it is impossible, or cannot be measured.
    """
    check_profiled(config)
    device = config.measure.device or ("cuda" if this_machine().gpus else "cpu")
    variant = parse_variant(config.variant, config.model)
    data = config.data
    train = profiled_precision(config.train, device)
    request = _cost_request(variant, config.model, data, train, config.measure)
    costing = costings_of({config.variant: request}, locally)[config.variant]
    if costing.failure:
        raise UserError(f"variant={variant}: {costing.failure}")
    return costing


def locally(
    requests: Sequence[CostRequest], progress: Progress = lambda done, total: None
) -> list[Costs | str]:
    """Measure on this machine; where the process dies, one by one to find out on which network.

    Alone among the measurings of this user's on the machine, of which a second one waits.

    Args:
        requests: what to measure, all with one ``measure.cache``.
        progress: told (visits made, visits in all) as it goes.
    """
    cache = requests[0].measure.cache if requests else "none"
    with alone(cache):
        try:
            return _in_process(requests, progress, cache)
        except EOFError:
            return _one_by_one(requests, _alone)


@contextlib.contextmanager
def alone(cache: str = "auto") -> Iterator[None]:
    """Hold the lock that a measuring has on the machine, once it is free.

    That of this user's measurings, and that of a folder of costs, which several users may share.
    """
    folders = [cache_folder(), *([Path(cache)] if cache not in ("auto", "none") else [])]
    with contextlib.ExitStack() as held:
        for folder in folders:
            held.enter_context(_locked(folder))
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "measuring.lock").open("a")
    except OSError:  # one that cannot be written: nobody measures with its lock
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            line = "another sweep is measuring on this machine: waiting until it is done"
            print(f"resnest-search: {line}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # whoever holds it has it until the file is closed, or the process has died


def _one_by_one(
    requests: Sequence[CostRequest], measure: Callable[[CostRequest], Costs | str]
) -> list[Costs | str]:
    """Measure each request on its own; those of one network share what was timed first."""
    timed: dict[str, Costs] = {}
    found = [measure(request) for request in requests]
    for request, costs in zip(requests, found, strict=True):
        if not isinstance(costs, str):
            timed.setdefault(request.timed, costs)
    return [
        costs if isinstance(costs, str) else costs.timed_as(timed[request.timed])
        for request, costs in zip(requests, found, strict=True)
    ]


def remotely(allotment: Allotment) -> Measure:
    """Measure on a node of the running cluster, which then trains nothing of ours."""
    import ray

    gpus = 1 if allotment.gpus_per_worker else 0
    # On a CPU the whole node: whatever else ran on it would be in the figures.
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    whole = max(int(node["Resources"].get("CPU", 0)) for node in nodes)
    cpus = allotment.cpus_per_worker if gpus else whole
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_measure_all)

    def measure(requests: Sequence[CostRequest]) -> list[Costs | str]:
        try:
            found: list[Costs | str] = ray.get(task.remote(list(requests)))
        except ray.exceptions.RayError:  # the worker died: find out on which network
            found = _one_by_one(requests, partial(_remotely_alone, task))
        return found

    return measure


def _remotely_alone(task: Any, request: CostRequest) -> Costs | str:
    import ray

    try:
        found: list[Costs | str] = ray.get(task.remote([_in_one(request)]))
        return found[0]
    except ray.exceptions.RayTaskError as error:
        return failure_reason(error.cause if isinstance(error.cause, Exception) else error)
    except ray.exceptions.RayError as error:
        return f"out of memory or lost: the measuring worker died ({type(error).__name__})"


def request_of(
    config: SweepConfig,
    candidate: Candidate,
    mode: MeasureConfig,
    images: int | None,
    workers: int,
) -> CostRequest:
    """What is measured of a candidate.

    Args:
        config: of its sweep.
        candidate: whose costs are meant.
        mode: of inference.
        images: to train on, which bound the batch; None where that is not known.
        workers: processes of a trial.
    """
    model, data, train = configured(config, candidate)
    size = train.batch_size if images is None else min(train.batch_size, images)
    share = dataclasses.replace(train, batch_size=math.ceil(size / workers))
    request = _cost_request(candidate.built, model, data, share, mode)
    fused = workers == 1 or not train.sync_norm
    return dataclasses.replace(request, train_workers=workers, train_fused=fused)


def _cost_request(
    variant: Variant,
    model: ModelConfig,
    data: DataConfig,
    train: TrainConfig,
    measure: MeasureConfig,
) -> CostRequest:
    from resnest_search.cost import CostRequest

    if data.classes is None:
        raise ValueError("the data's classes are not resolved")
    return CostRequest(
        variant=str(variant),
        model=model,
        channels=data.channels,
        classes=data.classes,
        image_size=data.image_size,
        measure=measure,
        train_batch=math.ceil(train.batch_size / train.accumulate),
        train_precision=train.precision,
        train_channels_last=train.channels_last,
        train_optimizer=train.optimizer,
        train_ema=train.ema > 0,
    )


def costing_of(result: Costs | str) -> Costing:
    """What is kept of a measurement, or why there is none."""
    if isinstance(result, str):
        return Costing({}, failure=f"not measured: {result}")
    details: dict[str, Any] = {
        "latency_passes": result.passes,
        "latency_rounds": result.rounds,
        "latency_half_width": result.half_width,
        "deviations": result.deviations,
        "busy_percent": result.busy_percent,
        "busy_s": result.busy_s,
        "versions": result.versions,
        "train_mode": result.train_mode,
        "measured": result.begun,
    }
    known = {"form": result.form, "gpu_mib": result.gpu_mib, "gpu": result.gpu}
    details |= {name: value for name, value in known.items() if value}
    return Costing(result.values, result.device, result.mode, details=details)


def _in_process(
    requests: Sequence[CostRequest], progress: Progress, cache: str = "none"
) -> list[Costs | str]:
    """Measure in a new process, which does not outlive the call.

    Raises:
        EOFError: with how it died.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(list(requests), sender, cache))
    process.start()
    sender.close()  # so that the other end's death is the end of the pipe
    try:
        while isinstance(message := receiver.recv(), tuple):
            progress(*message)
        found: list[Costs | str] = message
        process.join(_GRACE_S)  # a compiler has processes of its own to end
        return found
    except EOFError:
        process.join(_GRACE_S)
        raise EOFError(_ended_with(process.exitcode)) from None
    finally:
        process.kill()
        process.join()


def _in_one(request: CostRequest) -> CostRequest:
    """The request, all rounds of which one process makes."""
    return dataclasses.replace(request, measure=dataclasses.replace(request.measure, processes=1))


def _alone(request: CostRequest) -> Costs | str:
    try:
        return _in_process([_in_one(request)], lambda done, total: None)[0]
    except EOFError as error:
        return str(error)


def _ended_with(code: int | None) -> str:
    """How a process died, by its exit code; who kills one is the kernel, for want of memory."""
    if code in (None, -signal.SIGKILL):
        return "out of memory: the measuring process was killed"
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    return f"the measuring process was ended {how}; what it said stands above"


def _measure_and_send(requests: list[CostRequest], sender: Connection, cache: str) -> None:
    # Ctrl-C reaches the whole foreground group, a scheduler's signals the whole job; the driver
    # alone answers them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    stopping.with_parent()
    _quiet()
    # Where a process of its own has died so does this one, and its end is heard; where the one that
    # asked is gone there is nobody to tell.
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            found = _measure_all(requests, lambda done, total: sender.send((done, total)), cache)
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:  # a fault of ours, or of a driver's: no lack of memory
            traceback.print_exc()
            found = [failure_reason(error)] * len(requests)
        sender.send(found)


def _quiet() -> None:
    """A compiler's advice is for who writes kernels; its errors come back as reasons."""
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\b")


def _measure_all(
    requests: list[CostRequest], progress: Progress | None = None, cache: str = "none"
) -> list[Costs | str]:
    from resnest_search.cost import measure_all

    return measure_all(requests, progress=progress, cache=_cache(cache))


def _cache(word: str) -> Cache | None:
    """The cache that ``measure.cache`` names; a line where it cannot be used."""
    if word == "none":
        return None
    from resnest_search.cost.cache import FILE, Cache

    folder = cache_folder() if word == "auto" else Path(word)
    try:
        return Cache(folder / FILE)
    except (OSError, sqlite3.Error) as error:
        print(
            f"resnest-search: measure.cache={word}: {folder} cannot be used ({error}): "
            "all is measured anew",
            file=sys.stderr,
            flush=True,
        )
        return None
