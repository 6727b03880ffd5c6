"""The door for Python: what docs/notebook.md promises, and where it is refused."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import ONE_AT_A_TIME, ROOT, SMALL, rows, run, sweep_file
from tables import rows_of, write

import resnest_search as rs
from resnest_search.configuration.compose import run_command
from resnest_search.errors import UserError
from resnest_search.notebook import _with_folder
from resnest_search.training import load_weights
from resnest_search.words import value_word

RECORDED = ROOT / "tests" / "fixtures" / "run-0.2.0"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def in_python(cwd: Path, program: str) -> subprocess.Popen[str]:
    (cwd / "program.py").write_text(program)
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_block_of_the_docs_runs_from_end_to_end(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    blocks = BLOCK.findall((ROOT / "docs" / "notebook.md").read_text())
    assert len(blocks) == 6
    ended = "".join(f"{block}\nprint('block {n}')\n" for n, block in enumerate(blocks))
    process = in_python(tmp_path, ended)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert [line for line in out.splitlines() if line.startswith("block ")] == [
        f"block {n}" for n in range(6)
    ]
    assert "limits.latency_ms=1e-06: no complete trial is within it; the closest, " in out
    # What the search says is printed, as in a terminal.
    assert "every trial" in out
    (table,) = (tmp_path / "runs" / "table").iterdir()
    assert f"<run {table} of table: " in out
    assert (tmp_path / "latency_against_memory.html").stat().st_size > 1000
    assert (tmp_path / "runs" / "three" / "best" / "model.py").exists()


def test_figures_are_those_of_the_page() -> None:
    opened = rs.open_run(RECORDED)
    front = opened.figure()
    assert front.layout.xaxis.title.text.startswith("latency, ms (median)")
    assert opened.figure("scatter", x="parameters_m", y="memory_mib").layout.xaxis.title.text == (
        "parameters, millions"
    )
    assert opened.figure("curves", y="loss").layout.yaxis.title.text == "validation loss"
    for kind, axes, line in (
        ("pie", {}, "figure: of 'pie' there is nothing to draw; valid here: front, curves"),
        ("pie", {"x": "gmacs"}, "figure: kind 'pie' is none of front, scatter"),
        ("scatter", {"x": "speed", "y": "gmacs"}, "figure: x 'speed' is none of accuracy"),
        ("ledger", {}, "figure: of 'ledger' there is nothing to draw"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(line)}"):
            opened.figure(kind, **axes)


def test_tables_are_those_of_the_files() -> None:
    opened = rs.open_run(RECORDED)
    for frame, name in ((opened.trials, "trials.csv"), (opened.front, "front.csv")):
        written = rows(RECORDED / name)
        assert [str(number) for number in frame["number"]] == [row["number"] for row in written]
        shared = [column for column in written[0] if column in frame]
        assert len(shared) > 30
        for column in shared:
            for value, text in zip(frame[column], [row[column] for row in written], strict=True):
                match value:
                    case bool():
                        assert text == str(value).lower()
                    case float() if not math.isnan(value):
                        assert column.startswith("knee") or value == pytest.approx(float(text))
                    case int() | str():
                        assert text == str(value)
    assert opened.trials["number"].dtype == "Int64"
    assert opened.trials["parameters"][0] == {"variant": opened.trials["variant"][0]}
    assert opened.trials["on_front"].sum() == len(opened.front) == 1


def test_a_network_is_that_of_its_checkpoint() -> None:
    opened = rs.open_run(RECORDED)
    (chosen,) = opened.front["number"]
    given = load_weights(RECORDED / "trials" / str(chosen))
    for network in (opened.load(), opened.load("latency", limits={"parameters_m": 0.003})):
        assert not network.training
        found = network.state_dict()
        assert found.keys() == given.keys()
        assert all(torch.equal(found[name], given[name]) for name in given)
    other = next(v for v in opened.trials["variant"] if v not in set(opened.front["variant"]))
    fewer = opened.load(other).state_dict()
    assert not all(torch.equal(fewer[n], given[n]) for n in given if n in fewer)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"select": "8s8x8d"}, "select=8s8x8d: is no trial of this run"),
        ({"limits": {"speed": 2}}, "limits.speed: no such key; valid here: latency_ms, "),
        ({"limits": {"latency_ms": -1}}, "limits.latency_ms=-1: valid: above 0"),
        ({"limits": {"latency_ms": "2"}}, "limits.latency_ms: '2' is not a number"),
        ({"weights": {"accuracy": math.nan}}, "weights.accuracy=nan: valid: a number of at least"),
        ({"weights": {"gmacs": 2}}, "weights.gmacs=2: is no objective of this run"),
        ({"select": "accuracy", "weights": {"accuracy": 2}}, "weights.accuracy=2: weighs what"),
    ],
)
def test_what_export_refuses_is_refused(asked: dict, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        rs.open_run(RECORDED).load(**asked)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_gone_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(RECORDED, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "trials")
    with pytest.raises(UserError, match="its checkpoint is gone"):
        rs.open_run(tmp_path / "run").load()


def test_what_the_command_line_refuses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = run(tmp_path, "sweep=radix_card", "train.epochz=3").one_line
    with pytest.raises(UserError) as caught:
        rs.search(sweep="radix_card", **{"train.epochz": 3})
    assert f"resnest-search: {caught.value}" == typed
    assert capfd.readouterr().err == ""
    for words, said in {
        ("sweep=radix_card", "plan=true"): "plan=true: makes no run; valid here: false",
        ("--multirun", "sweep=radix_card"): "--multirun: is of the command line",
        ("train.epochs=3",): "sweep: none named",
    }.items():
        with pytest.raises(UserError, match=said):
            rs.search(*words)
    with pytest.raises(UserError, match="is no folder"):
        rs.open_run("absent")
    assert not (tmp_path / "runs").exists()


def test_a_replayed_table_has_no_networks_and_search_is_found_beside_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnest_search.search.strategy  # hides the function of that name by the package

    assert resnest_search.search.strategy.Strategy
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "curves.csv", rows_of())
    words = {"trial.path": Path("curves.csv"), "tracking": "none"}
    opened = rs.search("sweep=table", "run=null", **words)
    assert opened.folder.parent == tmp_path / "runs" / "table"
    assert len(opened.trials) == 6
    with pytest.raises(UserError, match="replays a table, which has no weights"):
        opened.load()


def test_an_interrupt_reaches_the_search_once(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["0s1x64d", "1s1x64d"]})
    words = [*SMALL, ONE_AT_A_TIME, "train.epochs=200", "run=out"]
    program = f"import resnest_search as rs\nrs.search('sweep=tiny', *{words!r})\n"
    process = in_python(tmp_path, program)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("out/trials/*/epochs.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGINT, err
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "Interrupted. Carry on with: " in out
    assert "not finished" in repr(rs.open_run(tmp_path / "out"))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        ("fp32", "fp32"),
        (Path("a b"), "a b"),
        (["1s1x64d", 2, None], "[1s1x64d,2,null]"),
        ({"low": 1e-4, "log": True, "of": [Path("a, b")]}, "{low:0.0001,log:true,of:['a, b']}"),
    ],
)
def test_values_are_typed_as_hydra_has_them(value: object, word: str) -> None:
    assert value_word(value) == word


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (("run=nb/x",), "nb/x"),
        (("run=nb/x'",), "nb/x'"),
        (("run='a b'",), "a b"),
        (("run='it\\'s 2'",), "it's 2"),
        (("++run=nb/plus",), "nb/plus"),
        (("run=${oc.env:PLACE}/nb",), "somewhere/nb"),
        (('run=nb/"q"', "plan=False"), 'nb/"q"'),
    ],
)
def test_the_folder_is_that_of_the_command_line(
    words: tuple[str, ...], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "somewhere")
    found, typed = _with_folder([*words, "sweep=table"])
    assert found == Path(folder)
    composed: list[Any] = []
    run_command("sweep", typed, composed.append)
    assert composed[0].run == folder


@pytest.mark.parametrize("word", ["run=null", "run=", "run=''"])
def test_without_a_folder_it_is_a_new_one(word: str) -> None:
    found, typed = _with_folder([word, "sweep=table"])
    assert found.parent == Path("runs/table")
    assert typed == ["sweep=table", f"run='{found}'"]
