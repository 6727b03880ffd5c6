"""A sweep in which nothing was trained to its end does not look like one that was."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import yaml
from command_line import ONE_AT_A_TIME, SMALL, logged, run, started, study, sweep_file
from PIL import Image
from tables import SIX, rows_of, write

from resnest_search.execution.outcome import shortfall
from resnest_search.study.record import Sweep, TrialRecord


def make_sweep(folder: Path, *trials: TrialRecord) -> Sweep:
    return Sweep("tiny", "", str(folder), {}, ("accuracy",), trials)


def make_trial(number: int, state: str, reason: str = "") -> TrialRecord:
    return TrialRecord(number, f"c{number}", "1s1x64d", {}, state, reason)


def images_with_an_empty_file(root: Path) -> Path:
    """Two classes of 32 images, and one to train on that nobody can read."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(16):
                Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    path = root / "train" / "cat" / ("of_a_name_" * 12 + ".png")
    path.write_bytes(b"")
    return path


def test_a_sweep_whose_trials_all_fail_says_why_and_where(tmp_path: Path) -> None:
    broken = images_with_an_empty_file(tmp_path / "images")
    sweep_file(tmp_path, {"variant": ["1s1x64d", "2s1x64d"]})
    own = ("data=image_folder", f"data.root={tmp_path / 'images'}", "data.image_size=8")
    small = [word for word in SMALL if not word.startswith("data.")]
    words = (*own, "data.check=false", "data.val_images=null", "data.test_images=null")
    done = run(tmp_path, "sweep=tiny", *small, *words, ONE_AT_A_TIME, "run=out")
    assert done.code == 1, done
    line = done.err.splitlines()[-1]
    assert "2 failed" in line
    log = tmp_path / "out" / "trials" / "0" / "error.log"
    assert str(log) in line
    assert log.read_text().splitlines()[-1].removeprefix("resnest_search.errors.") in line
    assert broken.name in line
    again = run(tmp_path, "resume", "run=out")
    assert (again.code, again.err.splitlines()[-1]) == (1, line)


def test_images_that_come_while_it_trains_stop_a_sweep_and_fail_no_trial(tmp_path: Path) -> None:
    """Each trial lists them anew, and of others the split is another."""
    images_with_an_empty_file(tmp_path / "images").unlink()
    sweep_file(tmp_path, {"variant": ["1s1x64d", "2s1x64d"]})
    own = ("data=image_folder", f"data.root={tmp_path / 'images'}", "data.image_size=8")
    small = [word for word in SMALL if not word.startswith("data.")]
    words = (*own, "data.val_images=null", "data.test_images=null", "search/pruner=none")
    folder, new = tmp_path / "out", tmp_path / "images" / "train" / "cat" / "new.png"
    with started(tmp_path, "sweep=tiny", *small, *words, ONE_AT_A_TIME, "run=out") as sweeping:
        sweeping.until(lambda: bool(logged(folder, "finished") if folder.exists() else {}))
        shutil.copy(tmp_path / "images" / "train" / "dog" / "0.png", new)
        done = sweeping.wait()
    assert done.code == 2, done
    assert "stopped: data.root: " in done.err.splitlines()[-1]
    assert "images have come or gone since the sweep began" in done.err.splitlines()[-1]
    states = [trial.state.name for trial in study(folder).trials]
    assert "FAIL" not in states
    new.unlink()
    again = run(tmp_path, "resume", "run=out")
    assert again.code == 0, again
    assert [trial.state.name for trial in study(folder).trials] == ["COMPLETE", "COMPLETE"]


def test_a_training_that_diverges_is_no_success(tmp_path: Path) -> None:
    recorded = [row | {"loss": 0.5 if row["epoch"] < 2 else "nan"} for row in rows_of(epochs=2)]
    write(tmp_path / "curves.csv", recorded)
    sweep_file(tmp_path, {"variant": [SIX[0]]}, epochs=2)
    table = ("trial=table", "trial.path=curves.csv", "tracking=none")
    done = run(tmp_path, "sweep=tiny", *table, "run=out")
    assert done.code == 1, done
    (line,) = done.err.splitlines()
    assert "diverged" in line


def test_the_end_of_a_traceback_is_said_where_the_reason_hides_it(tmp_path: Path) -> None:
    """A loader process's error begins with a line that says nothing."""
    sweep = make_sweep(tmp_path, make_trial(3, "failed", "RuntimeError: Caught in a worker"))
    log = tmp_path / "trials" / "3" / "error.log"
    log.parent.mkdir(parents=True)
    log.write_text("RuntimeError: Caught in a worker\nTraceback\nOSError: cat.png is cut off\n\n")
    line = shortfall(sweep)
    assert "RuntimeError: Caught in a worker; OSError: cat.png is cut off" in line
    assert str(log) in line


def test_what_a_bound_ended_before_anything_was_complete_is_said(tmp_path: Path) -> None:
    spent = "the budget of 1 epochs is spent"
    ended = make_trial(0, "pruned", spent)
    line = shortfall(make_sweep(tmp_path, ended))
    assert "1 pruned" in line
    assert spent in line
    assert shortfall(make_sweep(tmp_path, ended, make_trial(1, "complete"))) == ""
    assert "none was begun" in shortfall(make_sweep(tmp_path))


def test_measuring_is_in_the_hours(tmp_path: Path) -> None:
    """An hour that reading and measuring have used up is not used again for training."""
    sweep_file(tmp_path, {"variant": ["1s1x64d", "2s1x64d"]})
    hours = "search.hours=0.00001"
    with started(tmp_path, "sweep=tiny", *SMALL, "search.epochs=2", hours, "run=out") as command:
        done = command.wait()
        assert not command.started_ray
    assert done.code == 1, done
    assert "search.hours=1e-05" in done.err
    found = study(tmp_path / "out")
    assert found.trials == []
    assert found.user_attrs["seconds"] > 0
    assert found.user_attrs["finished"]
    recorded = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert recorded["train"]["epochs"] == recorded["search"]["epochs"] == 2
    assert found.user_attrs["config"] == recorded
