from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from sample_sweeps import make_sweep, make_trial, mixed

from resnest_search.report.live import LiveTable
from resnest_search.report.reading import time_left
from resnest_search.study.record import FAILED, INFEASIBLE, PAUSED, PRUNED, RUNNING, Driver


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def plain(updates, clock=None):
    console = Console(file=StringIO(), width=80)
    with LiveTable("radix_card", console, clock=clock or Clock()) as live:
        for sweep in updates:
            live.update(sweep)
    return console.file.getvalue().splitlines()


def on_terminal(sweep, height=50):
    console = Console(file=StringIO(), force_terminal=True, width=100, height=height, no_color=True)
    with LiveTable("radix_card", console) as live:
        live.message("ray is up")
        live.update(sweep)
        return console.file.getvalue()


def test_each_end_of_a_trial_is_one_plain_line():
    running = make_trial(0, "1s1x16d", RUNNING)
    ended = make_trial(0, "1s1x16d")
    lines = plain([make_sweep([running]), make_sweep([ended]), make_sweep([ended])])
    assert len(lines) == 1
    assert lines[0].startswith("trial 0 · 1s1x16d · complete · epochs 9/9 · accuracy ")
    assert "\x1b" not in lines[0]


def test_pruned_and_failed_lines_say_why_and_never_shine():
    wrong = replace(make_trial(2, "2s1x24d", PRUNED), on_front=True)
    sweep = replace(make_sweep([]), trials=(wrong, make_trial(3, "2s2x24d", FAILED)))
    pruned, failed = plain([sweep])
    assert "pruned at epoch 1: dominated" in pruned
    assert "accuracy (" in pruned
    assert "★" not in pruned
    assert "failed: CUDA out of memory" in failed


def test_candidates_that_were_ruled_out_share_a_line():
    out = [make_trial(-1, "4s4x96d", INFEASIBLE, candidate=str(n)) for n in range(30)]
    (line,) = plain([make_sweep(out)])
    assert line.startswith("30 ruled out before training")
    assert "over the limit" in line


def test_a_pause_is_no_end_and_keys_that_vary_are_named():
    keys = {"variant": "1s1x16d", "train.learning_rate": 0.05}
    paused = make_trial(0, "1s1x16d", PAUSED, reason="others promise more")
    ended = make_trial(1, "1s1x16d", parameters=keys)
    (line,) = plain([make_sweep([paused, ended])])
    assert line.startswith("trial 1 · 1s1x16d (train.learning_rate=0.05) · complete · ")
    shown = on_terminal(make_sweep([paused, ended]))
    assert "paused before an epoch ended: others" in shown
    assert "running" not in shown


def test_a_line_has_the_objectives_in_their_order():
    sweep = replace(make_sweep([make_trial(0, "1s1x16d")]), objectives=("images_per_s", "loss"))
    (line,) = plain([sweep])
    trial = sweep.trials[0]
    rate, loss = trial.costs["images_per_s"], trial.curve[-1].loss
    assert f"9/9 · {rate:.0f} img/s · {loss:.3f} loss · accuracy " in line
    assert "MiB" not in line


def test_progress_is_told_every_ten_seconds_at_most():
    clock = Clock()
    running = make_sweep([make_trial(0, "1s1x16d", RUNNING)])

    def updates():
        for now in (1, 9, 11, 12, 20, 22):
            clock.now = now
            yield running

    lines = plain(updates(), clock)
    assert len(lines) == 2
    assert lines[0] == "radix_card: 1 running · 2 of 180 epochs · 5 min 21 s"


def test_the_terminal_shows_a_table_and_messages_above_it():
    sweep = mixed(12)
    shown = on_terminal(sweep)
    assert shown.index("ray is up") < shown.index("radix_card")
    assert "2/9" in shown
    assert "★" in shown
    assert "1 running" in shown


def test_a_large_sweep_fits_the_screen_with_the_running_ones_first():
    running = [make_trial(500 + n, f"4s1x{n + 10}d", RUNNING) for n in range(3)]
    sweep = mixed(120)
    sweep = replace(sweep, trials=(*sweep.trials, *running))
    table = on_terminal(sweep, height=24)
    lines = [line for line in table.splitlines() if line.strip()]
    assert len(lines) <= 24
    assert "more" in table
    assert table.index("4s1x10d") < table.index("★")
    assert "★" in table


def test_words_tell_the_states_without_colour():
    shown = on_terminal(mixed(20))
    for word in ("complete", "pruned at epoch", "failed", "running", "infeasible"):
        assert word in shown


def test_an_error_passes_through():
    try:
        with LiveTable("x", Console(file=StringIO(), force_terminal=True)):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return
    raise AssertionError("the interrupt was swallowed")


def under_way(**changes):
    trials = [make_trial(0, "1s1x16d"), make_trial(1, "2s1x16d", RUNNING)]
    first, second = (
        replace(t, curve=tuple(replace(e, at=20.0 + 10 * e.epoch, seconds=10.0) for e in t.curve))
        for t in trials
    )
    drivers = (Driver(begun=1.0, slots=2, gpus=0.0),)
    sweep = make_sweep([first, second], finished=False, drivers=drivers)
    return replace(sweep, **{"seconds": 130.0, "budget": 33, **changes})


def test_what_is_left_is_the_rest_of_the_budget_at_the_pace_so_far():
    sweep = under_way()
    assert sweep.epochs == 11
    assert time_left(sweep) == 22 * 10.0  # 110 s for 11 epochs, since the first one began
    hours = {"search": {"hours": 200 / 3600}}
    assert time_left(under_way(config=hours)) == pytest.approx(70.0)
    for other in (under_way(finished=True), under_way(at_work=False), under_way(trials=())):
        assert time_left(other) is None
    clock = Clock()
    console = Console(file=StringIO(), width=200)
    with LiveTable("radix_card", console, clock=clock) as live:
        clock.now = 11.0
        live.update(sweep)
    assert (
        "11 of 33 epochs · 2 min 10 s · up to about 3 min 40 s left at this pace"
        in console.file.getvalue()
    )


def test_each_epoch_is_one_line_where_that_is_asked_for():
    first = under_way()
    again = replace(first, trials=(first.trials[0], make_trial(1, "2s1x16d", RUNNING)))
    console = Console(file=StringIO(), width=200)
    with LiveTable("radix_card", console, clock=Clock(), every_epoch=True) as live:
        for sweep in (first, again):
            live.update(sweep)
    lines = [line for line in console.file.getvalue().splitlines() if " · epoch " in line]
    assert len(lines) == 11
    epoch = first.trials[0].curve[2]
    said = f"trial 0 · 1s1x16d · epoch 3/9 · {100 * epoch.accuracy:.2f} % accuracy · "
    assert lines[2].startswith(said + "0.667 loss")
