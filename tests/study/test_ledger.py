"""Where a sweep's time went."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_sweeps import make_sweep, make_trial

from resnest_search.report.verdict import time_spent
from resnest_search.study.ledger import ledger
from resnest_search.study.record import Driver, Epoch, Sweep


def swept(drivers: list[Driver], held: list[tuple[float, float]], seconds: float) -> Sweep:
    """A sweep whose trials trained and held a slot for so many seconds."""
    trials = [
        make_trial(number, "1s1x64d", seconds=trained, occupied=occupied)
        for number, (trained, occupied) in enumerate(held)
    ]
    return make_sweep(trials, drivers=tuple(drivers), seconds=seconds)


def test_every_second_of_a_slot_is_told_once() -> None:
    sweep = swept([Driver(10.0, 2, 0.0)], [(30.0, 40.0), (25.0, 30.0)], 60.0)
    found = ledger(sweep)
    assert found is not None
    assert (found.preparing, found.training, found.beside) == (20.0, 55.0, 15.0)
    assert found.idle == 2 * 50 - 70
    assert found.total == 2 * 60
    said = time_spent(sweep)
    assert said.startswith("Of 1 min 00 s on 2 slots: 46 % training, 17 % before the first trial")
    assert "12 % beside training" in said
    assert said.endswith("25 % idle.")
    assert "GPU" not in said


def test_a_resumed_sweep_has_the_slots_of_each_driver() -> None:
    drivers = [Driver(10.0, 1, 1.0), Driver(40.0, 4, 0.5)]
    found = ledger(swept(drivers, [(100.0, 110.0)], 100.0))
    assert found is not None
    assert found.total == 10 + 30 + 4 * 60
    assert found.gpu == 10 + 30 + 4 * 0.5 * 60
    assert "0.044 GPU-hours" in time_spent(swept(drivers, [(100.0, 110.0)], 100.0))


@given(
    begun=st.floats(0, 100),
    slots=st.integers(1, 8),
    trained=st.lists(st.floats(0, 50), max_size=8),
    beside=st.floats(0, 5),
    rest=st.floats(0, 100),
)
def test_the_sum_is_wall_clock_by_slots(
    begun: float, slots: int, trained: list[float], beside: float, rest: float
) -> None:
    """Where trials held no more than there was."""
    held = [(one, one + beside) for one in trained]
    seconds = begun + sum(occupied for _, occupied in held) / slots + rest
    found = ledger(swept([Driver(begun, slots, 0.0)], held, seconds))
    assert found is not None
    assert found.total == pytest.approx(slots * seconds)
    assert min(found.preparing, found.training, found.beside, found.idle) >= 0


def test_what_an_earlier_version_trained_is_in_no_account() -> None:
    """It noted no slots: the first that did was a later driver."""
    trial = make_trial(0, "1s1x64d", curve=(Epoch(1, 0.5, 1.0, 1.0, 4.0, at=20.0),))
    sweep = make_sweep([trial], drivers=(Driver(60.0, 1, 0.0),), seconds=90.0)
    assert ledger(sweep) is None
    assert ledger(replace(sweep, drivers=(Driver(10.0, 1, 0.0),))) is not None


def test_without_slots_nothing_is_said() -> None:
    sweep = replace(swept([], [(1.0, 2.0)], 9.0))
    assert ledger(sweep) is None
    assert time_spent(sweep) == ""
