"""Sweeps that are interrupted or killed, and resumed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from command_line import ONE_AT_A_TIME, SMALL, logged, rows, run, started, study, sweep_file
from optuna.trial import TrialState


def finished_once(folder: Path) -> None:
    """No epoch of any trial was finished twice, and the study has each that was decided on."""
    for number, epochs in logged(folder, "finished").items():
        assert len(epochs) == len(set(epochs)), f"trial {number}: {epochs}"
    for trial in study(folder).trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        assert [e["epoch"] for e in trial.user_attrs.get("curve", [])] == steps


def test_trial_of_a_killed_worker_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["1s1x64d", "2s1x64d"]})
    folder = tmp_path / "out"
    words = ("search/pruner=none", "train.epochs=6", "run=out")
    with started(tmp_path, "sweep=tiny", *SMALL, ONE_AT_A_TIME, *words) as command:
        command.until(
            lambda: any(max(e, default=0) >= 2 for e in logged(folder, "finished").values())
        )
        victim = command.training()[0]
        victim.kill()
        done = command.wait()
        left = command.left_behind()
    assert done.code == 0, done
    assert "its worker was lost" in done.out
    assert "continues after epoch" in done.out
    assert left == []
    trials = study(folder).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert [len(t.intermediate_values) for t in trials] == [6, 6]
    finished_once(folder)
    repeated = sum(
        (Counter(e) - Counter(set(e)) for e in logged(folder, "started").values()), Counter()
    )
    assert repeated.total() <= 1  # the epoch that the victim was at


def in_flight(folder: Path) -> set[tuple[int, int]]:
    """Trial and epoch of what was begun and not ended."""
    ended = logged(folder, "finished")
    return {
        (number, epoch)
        for number, epochs in logged(folder, "started").items()
        for epoch in set(epochs) - set(ended[number])
    }


def decisions(folder: Path) -> dict[tuple[int, str], Any]:
    """What each rung has decided on each trial."""
    return {
        (t.number, rung): decision
        for t in study(folder).trials
        for rung, decision in t.user_attrs.get("rungs", {}).items()
    }


def test_interrupted_and_then_killed_sweep_ends_with_nothing_done_twice(tmp_path: Path) -> None:
    variants = ["0s1x64d", "1s1x64d", "2s1x64d"]
    sweep_file(tmp_path, {"variant": variants})
    folder = tmp_path / "out"

    def epochs() -> int:
        return sum(map(len, logged(folder, "finished").values()))

    with started(tmp_path, "sweep=tiny", *SMALL, "train.epochs=5", "run=out") as command:
        command.until(lambda: epochs() >= 2)
        os.killpg(command.process.pid, signal.SIGINT)  # as Ctrl-C does
        done = command.wait()
        assert command.left_behind() == []
    assert done.code == 130, done
    assert f"resume run={folder}" in done.out
    assert any(line.startswith("Interrupted: not finished.") for line in done.out.splitlines())
    assert "Traceback" not in done.out + done.err
    assert (folder / "report.html").is_file()
    assert any(row["state"] == "interrupted" for row in rows(folder / "trials.csv"))
    cut_off, decided, so_far = in_flight(folder), decisions(folder), epochs()

    with started(tmp_path, "resume", "run=out") as command:
        command.until(lambda: epochs() >= so_far + 2)
        command.process.send_signal(signal.SIGSTOP)  # alive, and no further while we look
        refusal = run(tmp_path, "resume", "run=out").one_line
        assert str(command.process.pid) in refusal
        command.process.kill()
        command.process.wait()
        assert command.left_behind() == []
    assert any(t.state == TrialState.RUNNING for t in study(folder).trials)
    cut_off |= in_flight(folder)
    decided |= decisions(folder)

    done = run(tmp_path, "resume", "run=out")
    assert done.code == 0, done
    trials = study(folder).trials
    assert sorted(t.params["variant"] for t in trials) == variants
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    finished_once(folder)
    assert {
        (number, epoch)
        for number, begun in logged(folder, "started").items()
        for epoch, times in Counter(begun).items()
        if times > 1
    } <= cut_off
    assert decided.items() <= decisions(folder).items()

    logs = {path: path.read_bytes() for path in folder.glob("trials/*/*")}
    with started(tmp_path, "resume", "run=out") as command:
        again = command.wait()
        assert not command.started_ray
    assert again.code == 0, again
    assert {path: path.read_bytes() for path in folder.glob("trials/*/*")} == logs
    assert [(t.number, t.state, t.values) for t in study(folder).trials] == [
        (t.number, t.state, t.values) for t in trials
    ]
