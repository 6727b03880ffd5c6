"""Costs of networks in a file: measured on one machine, read on another."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.errors import UserError
from resnest_search.files import write_atomically
from resnest_search.metrics import COSTS
from resnest_search.study.costing import Costing

if TYPE_CHECKING:
    from resnest_search.cost import CostRequest

__all__ = ["Entry", "Profile"]

_FORMAT = "resnest-search profile 1"
_VALID = "valid: a file that `profile sweep=NAME out=FILE` wrote"
_OF_A_STEP = "train_memory_mib"


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
