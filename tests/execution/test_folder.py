"""A run's folder and its lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resnest_search import __main__ as program
from resnest_search.configuration.compose import run_command
from resnest_search.errors import UserError
from resnest_search.execution.folder import existing_folder, is_held, locked, new_folder

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from resnest_search.execution.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = new_folder(str(tmp_path / "a" / "b"), "sweep")
    assert folder == tmp_path / "a" / "b"
    assert folder.is_dir()


def test_new_folder_is_named_by_sweep_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = new_folder(None, "radix_card")
    assert folder.is_absolute()
    assert folder.parent == tmp_path / "runs" / "radix_card"
    assert folder.is_dir()


def test_sweeps_that_begin_at_once_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len({new_folder(None, "radix_card") for _ in range(9)}) == 9


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    assert new_folder(str(tmp_path), "sweep") == tmp_path


def test_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match=r"not empty.*resume"):
        new_folder(str(tmp_path), "sweep")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_file_in_the_way_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="run="):
        new_folder(str(tmp_path / name), "sweep")


def test_run_is_found_by_its_study(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    assert existing_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(("name", "said"), [(None, "none named"), ("", "none named")])
def test_run_must_be_named(name: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        existing_folder(name)


def test_folder_that_is_none_of_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.db"):
        existing_folder(str(tmp_path))
    with pytest.raises(UserError, match="is no folder"):
        existing_folder(str(tmp_path / "absent"))


def test_second_driver_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"at work in it .process {holder.pid}."),
            locked(tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=60)
        with locked(tmp_path):
            assert (tmp_path / "driver.lock").read_text() == str(os.getpid())
    finally:
        holder.kill()
        holder.wait()


def test_whether_a_driver_is_at_work_is_told_without_being_in_its_way(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with locked(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert is_held(tmp_path / "driver.lock")  # nobody can tell


def test_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("command", ["evaluate", "compare", "profile"])
def test_what_cannot_be_written_in_the_end_is_refused_at_the_beginning(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    shutil.copytree(ROOT / "tests" / "fixtures" / "run-0.2.0", tmp_path / "run")
    words = {"evaluate": ["run=run"], "compare": ["run=[run,run]"], "profile": ["sweep=width"]}
    kind = "profile_sweep" if command == "profile" else command
    with pytest.raises(UserError, match=f"^out=file/x: {tmp_path}/file is no folder$"):
        run_command(kind, [*words[command], "out=file/x"], getattr(program, kind))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]
