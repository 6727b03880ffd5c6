"""Where a sweep's time went: of every slot that a trial could have had, each second once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resnest_search.study.record import Sweep

__all__ = ["Ledger", "ledger"]


@dataclass(frozen=True)
class Ledger:
    """Seconds of slots; a sweep on two slots spends two of them in a second.

    Attributes:
        preparing: reading images and measuring, while no slot trains.
        training: epochs, validation included.
        beside: from the start of a trial to its last epoch without those: workers that start,
            images that are loaded, checkpoints, decisions.
        idle: slots without a trial, and trials that were lost before their first epoch.
        gpu: of GPUs, as many as were held by slots.
        joules: of all training; None where that of some epoch is not known.
    """

    preparing: float
    training: float
    beside: float
    idle: float
    gpu: float
    joules: float | None = None

    @property
    def total(self) -> float:
        """All of them."""
        return self.preparing + self.training + self.beside + self.idle


def ledger(sweep: Sweep) -> Ledger | None:
    """The account of a sweep; None where no driver noted its slots, as in virtual time."""
    if not sweep.drivers:
        return None
    first = sweep.drivers[0]
    begun = [
        epoch.at - epoch.seconds for t in sweep.trials for epoch in t.own_curve[:1] if epoch.at
    ]
    if begun and min(begun) < first.begun - 1.0:  # an earlier version trained some of it
        return None
    spans = list(_spans(sweep))
    preparing = first.slots * first.begun
    held = sum(slots * seconds for slots, _, seconds in spans)
    training = sum(trial.seconds for trial in sweep.trials)
    occupied = max(training, sum(trial.occupied for trial in sweep.trials))
    gpu = first.gpus * preparing + sum(slots * gpus * seconds for slots, gpus, seconds in spans)
    trained = [trial.joules for trial in sweep.trials if trial.seconds]
    joules = sum(filter(None, trained)) if trained and None not in trained else None
    idle = max(0.0, held - occupied)
    return Ledger(preparing, training, occupied - training, idle, gpu, joules)


def _spans(sweep: Sweep) -> Iterator[tuple[int, float, float]]:
    """Slots, GPUs of each and seconds of every driver: until the next began, or until now."""
    ends = [*(driver.begun for driver in sweep.drivers[1:]), sweep.seconds]
    for driver, end in zip(sweep.drivers, ends, strict=True):
        yield driver.slots, driver.gpus, max(0.0, end - driver.begun)
