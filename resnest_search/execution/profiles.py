"""Costs of networks in a file: measured on one machine, read on another."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.checks import check_measured_on, given
from resnest_search.configuration.schema import DataConfig, MeasureConfig, SweepConfig
from resnest_search.data.resolve import train_count
from resnest_search.errors import UserError
from resnest_search.execution.measuring import Progress, costings_of, locally, request_of
from resnest_search.execution.precision import profiled_precision
from resnest_search.execution.resources import this_machine, workers_of
from resnest_search.files import write_atomically
from resnest_search.metrics import COSTS, TRAINED
from resnest_search.space import Candidate, Space
from resnest_search.study.costing import Costing

if TYPE_CHECKING:
    from resnest_search.cost import CostRequest

__all__ = ["Entry", "Profile", "costs_of", "profiled", "space_by_profile"]

_FORMAT = "resnest-search profile 1"
_VALID = "valid: a file that `profile sweep=NAME out=FILE` wrote"
_OF_A_STEP = "train_memory_mib"
_SHOWN = 3  # networks that a message names


@dataclass(frozen=True)
class Entry:
    """A network of a profile.

    Attributes:
        name: for who reads the file.
        structure: see `CostRequest`.
        step: see `CostRequest`.
        costing: what it costs.
    """

    name: str
    structure: str
    step: str
    costing: Costing


@dataclass(frozen=True)
class Profile:
    """What networks cost on a device in a mode.

    Attributes:
        name: what it is called: its file, without the ending, or the mode.
        measure: the mode.
        entries: of the networks that could be measured, at least one.
    """

    name: str
    measure: MeasureConfig
    entries: Sequence[Entry]

    @property
    def place(self) -> str:
        """The device and the mode, as a person reads them."""
        one = self.entries[0].costing
        return f"{one.device}: {one.mode}"

    def costing(self, request: CostRequest) -> Costing | None:
        """What the network of a request costs; None where it is not in the profile.

        The memory of a training step is there where the same step was measured.
        """
        found = [entry for entry in self.entries if entry.structure == request.structure]
        if not found:
            return None
        exact = next((entry.costing for entry in found if entry.step == request.step), None)
        if exact is not None:
            return exact
        timed = found[0].costing
        costs = {name: value for name, value in timed.costs.items() if name != _OF_A_STEP}
        return dataclasses.replace(timed, costs=costs)

    def write(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        entries = [dataclasses.asdict(entry) for entry in self.entries]
        text = {"format": _FORMAT, "measure": dataclasses.asdict(self.measure), "networks": entries}
        write_atomically(path, json.dumps(text, indent=1) + "\n")

    @classmethod
    def read(cls, word: str) -> Profile:
        """The profile of a file, as ``measure.profile`` names it.

        Raises:
            UserError: there is none, or it is none.
        """
        path = Path(word)
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"measure.profile={word}: {error.strerror}; {_VALID}") from error
        except ValueError as error:
            raise UserError(f"measure.profile={word}: is no JSON; {_VALID}") from error
        try:
            if text["format"] != _FORMAT:
                raise ValueError(text["format"])
            entries = [_entry(found) for found in text["networks"]]
            known = {field.name for field in dataclasses.fields(MeasureConfig)}
            mode = MeasureConfig(**{k: v for k, v in text["measure"].items() if k in known})
            if not isinstance(mode.image_size, int | None) or not isinstance(mode.batch, int):
                raise TypeError("measure")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"measure.profile={word}: is no profile; {_VALID}") from error
        if not entries:
            raise UserError(f"measure.profile={word}: has no network; {_VALID}")
        return cls(path.stem, mode, entries)


def _entry(found: Mapping[str, Any]) -> Entry:
    given = found["costing"]
    costs = {str(name): float(value) for name, value in given["costs"].items()}
    if not set(COSTS) <= costs.keys() or not all(0 < v < math.inf for v in costs.values()):
        raise ValueError("costs")
    details = given["details"]
    for name in ("latency_passes", "latency_rounds", "latency_half_width", "busy_percent"):
        if not isinstance(details[name], int | float | None):
            raise TypeError(name)
    if not isinstance(details["deviations"], dict):
        raise TypeError("deviations")
    costing = Costing(costs, str(given["device"]), str(given["mode"]), details=dict(details))
    return Entry(str(found["name"]), str(found["structure"]), str(found["step"]), costing)


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
    config = dataclasses.replace(config, train=profiled_precision(config.train, device))
    workers = workers_of(config.resources, device == "cuda")
    images = _train_images(config.data)
    asked = {
        called: request_of(config, one, mode, images, workers) for called, one in candidates.items()
    }
    entries, failures = [], []
    for called, costing in costings_of(asked, partial(locally, progress=progress)).items():
        if costing.failure:
            failures.append(f"{called}: {costing.failure}")
        else:
            request = asked[called]
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
    search = config.search
    for key, names in (("objectives", search.objectives), ("limits", given(search.limits))):
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
