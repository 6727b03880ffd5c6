"""Measure every network of a sweep before its first epoch, in a process of its own.

Of its own, so that the driver holds no memory on a GPU, and that a network whose
measuring is killed for its memory takes nobody with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import logging
import math
import multiprocessing
import re
import signal
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.checks import (
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
    SweepConfig,
    TrainConfig,
)
from resnest_search.data.resolve import train_count
from resnest_search.errors import UserError
from resnest_search.execution.profiles import Entry, Profile
from resnest_search.execution.resources import this_machine, workers_of
from resnest_search.files import cache_folder
from resnest_search.metrics import TRAINED
from resnest_search.space import Candidate, Space, configured
from resnest_search.study.costing import Costing
from resnest_search.variant import Variant
from resnest_search.words import counted

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from resnest_search.cost import CostRequest, Costs
    from resnest_search.cost.cache import Cache
    from resnest_search.execution.resources import Allotment

__all__ = [
    "Measure",
    "Progress",
    "age_line",
    "busy_warnings",
    "costs_of",
    "locally",
    "measure_space",
    "of_costs",
    "profile_variant",
    "profiled",
    "remotely",
    "space_by_profile",
    "width_warnings",
]

_GRACE_S = 10.0
_SHOWN = 3  # networks that a message names
_OF_COSTS = re.compile("Other work kept the device|Of [0-9]+ networks one|The latencies of [0-9]")
_AGES = (("day", 86_400), ("hour", 3_600), ("minute", 60))

# What measures: requests in, for each its costs or the reason why there are none.
Measure = Callable[[Sequence["CostRequest"]], "list[Costs | str]"]
Progress = Callable[[int, int], None]  # (visits made, visits in all)


def measure_space(
    config: SweepConfig, space: Space, allotment: Allotment, measure: Measure
) -> dict[str, Costing]:
    """What each network of the space costs, by ``Candidate.network``, limits not yet applied.

    Measured on the kind of device that a trial gets, unless ``measure.device`` names another. A
    training step is of no more images than there are to train on, as in training.
    """
    device = {"gpu": "cuda", "cpu": "cpu"}[allotment.accelerator]
    mode = dataclasses.replace(config.measure, device=config.measure.device or device)
    images = train_count(config.data)
    asked = {
        candidate.network: dataclasses.replace(
            request_of(config, candidate, mode, images, allotment.workers),
            gpu_share=allotment.gpus_per_worker or 1.0,
        )
        for candidate in space.networks
    }
    found = measure(list(asked.values()))
    return {network: _costing(one) for network, one in zip(asked, found, strict=True)}


def profiled(
    config: SweepConfig, candidates: Mapping[str, Candidate], name: str, progress: Progress
) -> tuple[Profile, list[str]]:
    """What candidates' networks cost on this machine, whatever trains them.

    Args:
        config: that they belong to.
        candidates: by what they are called.
        name: of the profile.
        progress: told (visits made, visits in all) as it goes.

    Returns:
        The profile, and a line for each network that cannot be measured.

    Raises:
        UserError: the device has no such mode, or no network can be measured.
    """
    has_gpu = bool(this_machine().gpus)
    check_measured_on(config.measure, has_gpu=has_gpu)
    device = config.measure.device or ("cuda" if has_gpu else "cpu")
    mode = dataclasses.replace(config.measure, device=device)
    workers = workers_of(config.resources, device == "cuda")
    images = _train_images(config.data)
    asked = [request_of(config, c, mode, images, workers) for c in candidates.values()]
    entries, failures = [], []
    for called, request, found in zip(candidates, asked, locally(asked, progress), strict=True):
        costing = _costing(found)
        if costing.failure:
            failures.append(f"{called}: {costing.failure}")
        else:
            entries.append(Entry(called, request.structure, request.step, costing))
    if not entries:
        raise UserError(failures[0] if failures else "no network to measure")
    return Profile(name, mode, entries), failures


def costs_of(
    profile: Profile, config: SweepConfig, candidates: Iterable[Candidate]
) -> dict[str, Costing | None]:
    """What candidates' networks cost by a profile, by ``Candidate.network``; None: not in it."""
    workers = workers_of(config.resources, profile.measure.device == "cuda")
    images = _train_images(config.data)
    return {
        one.network: profile.costing(request_of(config, one, profile.measure, images, workers))
        for one in candidates
    }


def space_by_profile(config: SweepConfig, space: Space) -> dict[str, Costing]:
    """What each network of a space costs by the file that ``measure.profile`` names.

    Raises:
        UserError: it is no profile, or lacks some of them.
    """
    word = config.measure.profile or ""
    found = costs_of(Profile.read(word), config, space.networks)
    missing = [one.name for one in space.networks if found[one.network] is None]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UserError(
            f"measure.profile={word}: lacks {len(missing)} of the {len(space.networks)} networks "
            f"of sweep={config.sweep}: {', '.join(missing[:_SHOWN])}{more}; "
            "valid: a profile of the same sweep, model and data"
        )
    known = {network: costing for network, costing in found.items() if costing is not None}
    limits = [name for name, bound in vars(config.search.limits).items() if bound is not None]
    for key, names in (("objectives", config.search.objectives), ("limits", limits)):
        for name in names:
            lacking = sum(name not in costing.costs for costing in known.values())
            if lacking and name not in TRAINED:
                raise UserError(
                    f"measure.profile={word}: {name}, one of search.{key}, is not known of "
                    f"{lacking} networks: their training step was another; valid: a profile with "
                    "the same train.batch_size, train.precision and resources"
                )
    return known


def _train_images(data: DataConfig) -> int | None:
    """Images to train on; None where they are not on this machine."""
    try:
        return train_count(data)
    except UserError:
        return None


def profile_variant(config: ProfileConfig) -> Costing:
    """What one variant costs on this machine.

    Raises:
        UserError: it is impossible, or cannot be measured.
    """
    check_model(config.model)
    check_train(config.train)
    check_measure(config.measure)
    check_measured_on(config.measure, has_gpu=bool(this_machine().gpus))
    if config.measure.profile:
        raise UserError(f"measure.profile={config.measure.profile}: profile measures; valid: null")
    variant = parse_variant(config.variant, config.model)
    data = config.data
    if data.classes is None:
        raise UserError("data.classes=null: profile reads no images; name the number of classes")
    request = _cost_request(variant, config.model, data, config.train, config.measure)
    costing = _costing(locally([request])[0])
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

    It lies where the cache does, and so is one user's, or that of all who share a folder.
    """
    try:
        folder = cache_folder() if cache in ("auto", "none") else Path(cache)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "measuring.lock").open("w")
    except OSError:  # a home that cannot be written: nobody else of it measures with a lock
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
    except ray.exceptions.RayError as error:
        return f"out of memory or lost: the measuring worker died ({type(error).__name__})"


def busy_warnings(costings: dict[str, Costing]) -> list[str]:
    """A line where other work kept the device busy while it was measured."""
    from resnest_search.cost.busy import TROUBLE_PERCENT

    shares = [(costing.details or {}).get("busy_percent") for costing in costings.values()]
    busy = [share for share in shares if share is not None and share > TROUBLE_PERCENT]
    if not busy:
        return []
    return [
        f"Other work kept the device up to {max(busy):.0f} % busy while {len(busy)} of "
        f"{len(shares)} networks were timed: do not trust their latencies; measure on an idle "
        "machine."
    ]


def age_line(costings: Mapping[str, Costing], begun: str) -> str:
    """How many were measured before this moment, ISO 8601, and how long ago; empty if none."""
    known = [str((costing.details or {}).get("measured") or "") for costing in costings.values()]
    before = [moment for moment in known if moment and moment < begun]
    if not before:
        return ""
    oldest = min(before)
    age_s = (_moment(begun) - _moment(oldest)).total_seconds()
    age = next(
        (counted(int(age_s // unit), noun) for noun, unit in _AGES if age_s >= unit),
        "less than a minute",
    )
    return (
        f"{len(before)} of {len(known)} networks were measured on this machine before, up to {age} "
        "ago: measure.cache=none measures them anew."
    )


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def of_costs(line: str) -> bool:
    """Whether a warning of a sweep is one of `busy_warnings` or `width_warnings`."""
    return bool(_OF_COSTS.match(line))


def width_warnings(costings: dict[str, Costing], asked: float | None) -> list[str]:
    """A line where latencies are less sure than ``measure.half_width`` percent asks."""
    if asked is None:
        return []
    known = [100 * c.half_width for c in costings.values() if c.half_width is not None]
    wide = [percent for percent in known if percent > asked]
    once = sum((c.details or {}).get("latency_rounds") == 1 for c in costings.values())
    lines = [
        f"Of {once} networks one round was timed, which knows no interval, where "
        f"measure.half_width={asked:g} was asked: measure.repeats of at least 5 tells it."
    ]
    lines = lines if once else []
    if not wide:
        return lines
    return [
        *lines,
        f"The latencies of {len(wide)} of {len(known)} networks are known to ±{max(wide):.1f} % at "
        f"worst, where measure.half_width={asked:g} was asked: a longer measure.time_limit_s, "
        "or an idler machine, makes them surer.",
    ]


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
    return dataclasses.replace(request, train_workers=workers)


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
        train_batch=train.batch_size,
        train_precision=train.precision,
        train_channels_last=train.channels_last,
    )


def _costing(result: Costs | str) -> Costing:
    if isinstance(result, str):
        return Costing({}, failure=f"not measured: {result}")
    details: dict[str, Any] = {
        "latency_passes": result.passes,
        "latency_rounds": result.rounds,
        "latency_half_width": result.half_width,
        "deviations": result.deviations,
        "busy_percent": result.busy_percent,
        "versions": result.versions,
        "train_mode": result.train_mode,
        "measured": result.begun,
    }
    if result.form:
        details["form"] = result.form
    return Costing(result.values, result.device, result.mode, details=details)


def _in_process(
    requests: Sequence[CostRequest], progress: Progress, cache: str = "none"
) -> list[Costs | str]:
    """Measure in a new process, which does not outlive the call; EOFError where it dies."""
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
    finally:
        process.kill()
        process.join()


def _in_one(request: CostRequest) -> CostRequest:
    """The request, all rounds of which one process makes."""
    return dataclasses.replace(request, measure=dataclasses.replace(request.measure, processes=1))


def _alone(request: CostRequest) -> Costs | str:
    try:
        return _in_process([_in_one(request)], lambda done, total: None)[0]
    except EOFError:
        return "out of memory: the measuring process was killed"


def _measure_and_send(requests: list[CostRequest], sender: Connection, cache: str) -> None:
    # Ctrl-C reaches the whole foreground group, a scheduler's signals the whole job; the driver
    # alone answers them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    _quiet()
    try:
        found = _measure_all(requests, lambda done, total: sender.send((done, total)), cache)
    except EOFError:  # a process of its own died: so does this one, and its end is heard
        return
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
    from resnest_search.cost.cache import Cache

    folder = cache_folder() if word == "auto" else Path(word)
    try:
        return Cache(folder / "costs.db")
    except (OSError, sqlite3.Error) as error:
        print(
            f"resnest-search: measure.cache={word}: {folder} cannot be used ({error}): "
            "all is measured anew",
            file=sys.stderr,
            flush=True,
        )
        return None
