"""Studies in databases of their own, and databases and disks that give up in mid-sweep."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import optuna
import pytest
from command_line import ONE_AT_A_TIME, SMALL, Done, logged, rows, run, started, sweep_file
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from tables import SIX, rows_of, write

from resnest_search import __main__ as program
from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.errors import UserError
from resnest_search.execution.resources import Allotment
from resnest_search.execution.training_thread import TrainingThread
from resnest_search.execution.tune_bridge import StrategyScheduler
from resnest_search.study import storage
from resnest_search.study.storage import RECORD, check_storage, trouble
from resnest_search.training import Report, Run

POSTGRES = os.environ.get("RESNEST_SEARCH_TEST_POSTGRES", "")  # a URL, its user may make tables
SECRET = "opensesame9"
EPOCHS = 5
PAIR = ["1s1x64d", "2s1x64d"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is: a sweep of six variants and a table of them, four epochs each."""
    sweep_file(tmp_path, {"variant": list(SIX)}, epochs=4)
    write(tmp_path / "curves.csv", rows_of())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def replay(*words: str) -> None:
    """A sweep that takes no time."""
    fixed = ("sweep=tiny", "trial=table", "trial.path=curves.csv", "tracking=none")
    run_command("sweep", [*fixed, *words], program.sweep)


def command(name: str, task: Any, *words: str) -> None:
    run_command(name, list(words), task)


def studies(url: str) -> list[optuna.study.StudySummary]:
    return optuna.get_all_study_summaries(storage=url)


# What is refused


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("study.db", "is no URL of a database"),
        (f"user:{SECRET}@host/database", "is no URL of a database"),
        (f"postgresql://user:{SECRET}@host:port/database", "is no URL of a database"),
        (f"redis://:{SECRET}@host", "is no URL of a database"),
        ("sqlite://", "would be gone with the process"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        (f"postgresql+pg8000://user:{SECRET}@localhost:1/d", "driver is not installed.*pg8000"),
    ],
)
def test_a_database_that_cannot_be_had_is_one_line_without_password(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check_storage(url)
    text = str(caught.value)
    assert text.startswith("storage=")
    assert "\n" not in text
    assert SECRET not in text


def test_a_server_that_does_not_answer_is_named_before_anything_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg2")
    url = f"postgresql+psycopg2://user:{SECRET}@localhost:1/sweeps?connect_timeout=3"
    with pytest.raises(UserError, match=r"storage=.*Connection refused") as caught:
        replay(f"storage={url}", "run=out")
    assert SECRET not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert not (folder / "out").exists()


# A database that several runs share


def test_runs_share_a_database_and_each_is_found_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{folder / 'shared.db'}"
    for name in ("one", "two"):
        replay("storage=sqlite:///shared.db", f"run={name}", "search.trials=4")
        assert not (folder / name / "study.db").exists()
    names = {json.loads((folder / name / RECORD).read_text())["study"] for name in ("one", "two")}
    assert {found.study_name for found in studies(url)} == names
    assert all(name.startswith("tiny/") for name in names)
    (folder / "one" / "trials.csv").unlink()
    command("report", program.report, "run=one")
    assert len(rows(folder / "one" / "trials.csv")) == 4
    command("resume", program.resume, "run=two", "trials=6")
    assert sorted(found.n_trials for found in studies(url)) == [4, 6]
    with pytest.raises(UserError, match="replays a table"):
        command("export", program.export, "run=one")
    capsys.readouterr()


def test_a_database_that_has_moved_is_named_at_the_resume(folder: Path) -> None:
    replay("storage=sqlite:///shared.db", "run=out", "search.trials=4")
    (folder / "shared.db").rename(folder / "moved.db")
    with pytest.raises(UserError, match="is no study of a sweep"):
        command("report", program.report, "run=out")
    command("resume", program.resume, "run=out", "trials=6", "storage=sqlite:///moved.db")
    assert json.loads((folder / "out" / RECORD).read_text())["url"].endswith("/moved.db")
    command("report", program.report, "run=out")
    assert len(rows(folder / "out" / "trials.csv")) == 6


def test_a_url_for_a_study_that_lies_in_its_folder_is_refused(folder: Path) -> None:
    replay("run=out", "search.trials=2")
    with pytest.raises(UserError, match=r"storage=sqlite:.*study of this run is"):
        command("report", program.report, "run=out", "storage=sqlite:///other.db")


@pytest.mark.parametrize("form", ["u:{}@h/d", "u@h/d?password={}"])
def test_a_password_is_used_and_written_nowhere(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql+psycopg2://{form.format(SECRET)}"
    used: list[str] = []

    class Elsewhere(RDBStorage):
        def __init__(self, url: str, options: Any) -> None:
            used.append(url)
            super().__init__(f"sqlite:///{folder / 'server.db'}")

    monkeypatch.setattr(storage, "RDBStorage", Elsewhere)
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "resnest_search", f"storage={url}"])
    replay(f"storage={url}", "run=out", "tracking=offline", "search.trials=3")
    assert SECRET in used[-1]
    command("report", program.report, "run=out")
    assert "***" not in used[-1]
    command("resume", program.resume, "run=out", "trials=4", f"storage={url}")
    assert SECRET in used[-1]
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


# What gives up in mid-sweep


def study_at(url: str) -> optuna.Study:
    (found,) = studies(url)
    return optuna.load_study(study_name=found.study_name, storage=url)


def trained(folder: Path) -> int:
    return sum(map(len, logged(folder, "finished").values()))


def nothing_lost(folder: Path, trials: list[optuna.trial.FrozenTrial]) -> None:
    """Every trial has ended, and no epoch was finished twice."""
    assert [t.state for t in trials] == [TrialState.COMPLETE] * len(PAIR)
    assert [sorted(t.intermediate_values) for t in trials] == [list(range(1, EPOCHS + 1))] * 2
    for epochs in logged(folder, "finished").values():
        assert len(epochs) == len(set(epochs))


def stopped_in_one_line(done: Done, *said: str) -> None:
    assert all(part in done.one_line for part in said), done
    assert "resume run=" in done.one_line
    assert "Traceback" not in done.out


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """A SQLite file that another program does not let go."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


def real_sweep(*words: str) -> tuple[str, ...]:
    fixed = (
        "sweep=tiny",
        "search/sampler=grid",
        "search/pruner=none",
        f"train.epochs={EPOCHS}",
        "run=out",
    )
    return (*SMALL, ONE_AT_A_TIME, *fixed, *words)


def test_a_locked_database_ends_the_sweep_in_order_and_loses_nothing(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": PAIR})
    file, folder = tmp_path / "shared.db", tmp_path / "out"
    url = f"sqlite:///{file}"
    with started(tmp_path, *real_sweep(f"storage={url}?timeout=1")) as sweeping:
        sweeping.until(lambda: trained(folder) >= 2)
        with held(file):
            done = sweeping.wait()
        assert sweeping.left_behind() == []
    stopped_in_one_line(done, "database is locked", str(file))
    assert run(tmp_path, "resume", "run=out").code == 0
    nothing_lost(folder, study_at(url).trials)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root mounts a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Write until nothing more fits."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


def test_a_full_disk_ends_the_sweep_in_order_and_loses_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    sweep_file(tmp_path, {"variant": PAIR})
    folder = small_disk / "out"
    with started(tmp_path, *real_sweep(f"run={folder}")) as sweeping:
        sweeping.until(lambda: trained(folder) >= 2)
        filler = fill(small_disk)
        done = sweeping.wait()
        assert sweeping.left_behind() == []
    stopped_in_one_line(done, str(folder))
    filler.unlink()
    ended = run(tmp_path, "resume", f"run={folder}")
    assert ended.code == 0, ended
    nothing_lost(folder, study_at(f"sqlite:///{folder / 'study.db'}").trials)


def test_a_trial_that_meets_a_full_disk_has_not_failed(tmp_path: Path) -> None:
    def train(run: Run, report: Report) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = str(tmp_path / "trials" / "3")
    task = Run(3, "0s1x64d", ModelConfig(), DataConfig(), TrainConfig(), 0, folder)
    message = TrainingThread(train, task).next()
    assert message.whose == "disk"
    strategy = MagicMock()
    scheduler = StrategyScheduler(strategy, MagicMock(), Allotment(1, 1, 0.0, 1))
    result = {"curve": [], "note": "", "failure": message.failure, "whose": message.whose}
    with pytest.raises(OSError, match="No space left") as caught:
        scheduler.on_trial_result(None, SimpleNamespace(config={"run": task}), result)
    strategy.fail.assert_not_called()
    said = trouble(caught.value, tmp_path)
    assert said is not None
    assert said.startswith(folder)


# A server


@pytest.mark.skipif(not POSTGRES, reason="RESNEST_SEARCH_TEST_POSTGRES names no server")
def test_a_sweep_on_a_server_is_killed_resumed_reported_and_exported(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": PAIR})
    folder = tmp_path / "out"
    words = real_sweep(f"storage={POSTGRES}", "tracking=offline")
    with started(tmp_path, *words) as sweeping:
        sweeping.until(lambda: trained(folder) >= 2)
        sweeping.process.kill()
        sweeping.process.wait()
        assert sweeping.left_behind() == []
    time.sleep(1)
    password = storage.make_url(POSTGRES).password
    environment = {"PGPASSWORD": str(password)} if password else {}
    for words in (("resume",), ("report",), ("export", "select=latency")):
        done = run(tmp_path, words[0], "run=out", *words[1:], **environment)
        assert done.code == 0, done
    name = json.loads((folder / RECORD).read_text())["study"]
    nothing_lost(folder, optuna.load_study(study_name=name, storage=check_storage(POSTGRES)).trials)
    if password:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if str(password).encode() in path.read_bytes()] == []
    optuna.delete_study(study_name=name, storage=check_storage(POSTGRES))
