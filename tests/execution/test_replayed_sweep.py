"""``trial=table`` on the command line: replayed, interrupted, resumed, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import rows, study
from tables import SIX, rows_of, write

from resnest_search import __main__ as program
from resnest_search.configuration.compose import run_command
from resnest_search.errors import UserError
from resnest_search.search import Strategy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is: a sweep of six variants and a table of them, four epochs each."""
    (tmp_path / "sweeps").mkdir()
    space = ", ".join(SIX)
    text = f"# A question\nsearch:\n  epochs: 4\n  space:\n    variant: [{space}]\n"
    (tmp_path / "sweeps" / "tiny.yaml").write_text(text)
    write(tmp_path / "curves.csv", rows_of())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(*words: str) -> None:
    fixed = ("sweep=tiny", "trial=table", "trial.path=curves.csv", "tracking=none")
    run_command("sweep", [*fixed, *words], program.sweep)


def resume(*words: str) -> None:
    run_command("resume", words, program.resume)


def exactly(folder: Path) -> list[Any]:
    """All that a study says of its trials, moments too."""
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.user_attrs)
        for t in study(folder).trials
    ]


def interrupted_after(reports: int, patch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come after so many epochs."""
    report, made = Strategy.report, [0]

    def counted(self: Strategy, *args: Any) -> bool:
        made[0] += 1
        if made[0] > reports:
            raise KeyboardInterrupt
        return report(self, *args)

    patch.setattr(Strategy, "report", counted)


def test_a_table_is_replayed_and_reported_without_data_or_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("data=imagenet", "trial.workers=3", "run=out")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines().count("Nothing exported: a replayed table has no weights.") == 1
    assert "resnest_search export" not in said.out
    assert "Measuring" not in said.out
    assert {"study.db", "trials.csv", "front.csv", "report.html", "config.yaml"} <= {
        path.name for path in (folder / "out").iterdir()
    }
    assert not (folder / "out" / "best").exists()
    assert not (folder / "out" / "trials").exists()
    table = {row["variant"]: row for row in rows(folder / "out" / "trials.csv")}
    assert set(table) == set(SIX)
    assert {row["device"] for row in table.values()} == {"recorded"}
    assert {row["gmacs"] for row in table.values()} == {""}


def test_an_interrupted_replay_resumes_as_if_nothing_had_happened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    halving = ("search/pruner=pareto_halving", "search.pruner.args.first_rung=1")
    words = ("trial.workers=2", *halving)
    sweep(*words, "run=whole")
    with monkeypatch.context() as patch:
        interrupted_after(7, patch)
        with pytest.raises(SystemExit, match="130"):
            sweep(*words, "run=broken")
    assert "Interrupted. Carry on with" in capsys.readouterr().out
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    resume(f"run={folder / 'broken'}")
    assert exactly(folder / "broken") == exactly(folder / "whole")


def test_a_larger_budget_carries_a_replay_on(folder: Path) -> None:
    sweep("search.budget=5", "run=out")
    resume("run=out", "budget=11")
    assert (
        sum(
            len(t.intermediate_values) - t.user_attrs.get("inherited", 0)
            for t in study(folder / "out").trials
        )
        == 11
    )


def test_a_bound_below_what_was_spent_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("search.budget=8", "run=out")
    before = (folder / "out" / "config.yaml").read_text()
    for word, said in {
        "budget=7": "budget=7: 8 epochs were trained by now; valid: more, or null",
        "trials=1": r"trials=1: \d+ trials were begun by now; valid: more, or null",
    }.items():
        with pytest.raises(UserError, match=said):
            resume("run=out", word)
    assert (folder / "out" / "config.yaml").read_text() == before
    resume("run=out", "budget=8")
    assert "budget=16" in capsys.readouterr().out


def test_a_run_that_cannot_be_written_is_one_line(folder: Path) -> None:
    sweep("search.budget=8", "run=out")
    (folder / "out" / "front.csv").unlink()
    (folder / "out" / "front.csv").mkdir()
    with pytest.raises(UserError, match=r"^run=.*out: Is a directory; valid: one that can be"):
        run_command("report", ["run=out"], program.report)


def test_a_page_that_cannot_be_drawn_costs_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder / "dashboards" / "own.yaml"
    own.parent.mkdir()
    own.write_text("panels: [{kind: table, title: All}]\n")
    sweep_of_run = program._conduct

    def without_it(*args: Any) -> None:
        own.unlink()
        sweep_of_run(*args)

    monkeypatch.setattr(program, "_conduct", without_it)
    sweep("run=out", "dashboard=own")
    said = capsys.readouterr()
    assert said.err.startswith("resnest-search: no page (dashboard=own: there is none; valid: ")
    assert said.err.count("\n") == 1
    assert "resnest_search report run=" in said.err
    assert "Nothing exported: a replayed table has no weights." in said.out
    assert "The knee of the front is" in said.out or "The front has" in said.out
    assert len(rows(folder / "out" / "trials.csv")) == len(SIX)


def test_a_resume_tracks_as_it_is_told_from_then_on(folder: Path) -> None:
    sweep("run=out", "search.budget=6")
    resume("run=out", "budget=11", "tracking=offline", "tracking.tags=[a,b]")
    assert study(folder / "out").user_attrs["config"]["tracking"] == {
        "name": "offline",
        "project": None,
        "entity": None,
        "tags": ["a", "b"],
        "listeners": [],
    }
    assert list((folder / "out" / "wandb").glob("offline-run-*-t0"))
    resume("run=out", "budget=12")
    assert study(folder / "out").user_attrs["config"]["tracking"]["tags"] == ["a", "b"]


@pytest.mark.parametrize("word", ["dashboard=nope", "tracking.listeners=[nope]", "budget=1"])
def test_a_refused_resume_leaves_the_record_as_it_was(folder: Path, word: str) -> None:
    sweep("run=out", "search.budget=6")
    before = study(folder / "out").user_attrs["config"], (folder / "out/config.yaml").read_text()
    if word == "budget=1":  # refused for another reason, late
        (folder / "curves.csv").write_text("changed\n")
    with pytest.raises(UserError):
        resume("run=out", word)
    after = study(folder / "out").user_attrs["config"], (folder / "out/config.yaml").read_text()
    assert before == after


def test_killed_while_it_takes_over_an_earlier_run_it_is_not_resumed_without_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("search.budget=8", "run=earlier")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("resnest_search.execution.sweep._hand_over", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep("search.warm_start=[earlier]", "run=out")
    with pytest.raises(UserError, match="stopped before its first trial; start the sweep again"):
        resume("run=out")
    sweep("search.warm_start=[earlier]", "run=again")
    reused = [t for t in study(folder / "again").trials if "warm_start" in t.user_attrs]
    assert len(reused) == 2


def test_what_this_sweep_rules_out_is_not_said_to_be_reused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("run=earlier")
    capsys.readouterr()
    sweep("search.warm_start=[earlier]", "search.limits.latency_ms=2.0", "run=out")
    said = capsys.readouterr().out
    complete = sum(t.state.name == "COMPLETE" for t in study(folder / "earlier").trials)
    reused = sum("warm_start" in t.user_attrs for t in study(folder / "out").trials)
    assert 0 < reused < complete
    assert f"{complete} reused as finished" in said
    assert f"{complete - reused} of them are ruled out here" in said


def test_ray_replays_the_table_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep("trial.engine=ray", "search/pruner=none", "run=out")
    assert "Nothing exported" in capsys.readouterr().out
    states = {t.params["variant"]: len(t.intermediate_values) for t in study(folder / "out").trials}
    assert states == dict.fromkeys(SIX, 4)


def test_a_table_that_has_changed_is_refused_on_resume(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("search.budget=5", "run=out")
    write(folder / "curves.csv", rows_of(seeds=(5,)))
    with pytest.raises(UserError, match="has changed since the sweep began"):
        resume("run=out", "budget=11")
    (folder / "curves.csv").unlink()
    with pytest.raises(UserError, match="No such file or directory"):
        resume("run=out", "budget=11")


OWN = [
    {"parameter:op": op, "parameter:depth": depth, "cost:watts": watts, "gmacs": 5 - watts}
    | {"seed": 0, "epoch": epoch, "seconds": watts, "true_accuracy": 0.5}
    | {"accuracy": round(0.1 * watts + 0.05 * epoch, 3), "train_loss": 1 / epoch}
    for op, depth, watts in (("pool", 3, 1.25), ("conv", 3, 2.5), ("conv", 5, 3.75))
    for epoch in (1, 2, 3)
]


def test_one_command_replays_whatever_a_table_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "own.csv", OWN)
    words = ["sweep=table", "trial.path=own.csv", "tracking=none", "search/pruner=none"]
    run_command("sweep", [*words, "run=whole"], program.sweep)
    said = capsys.readouterr().out
    assert "3 complete · 9 of 9 epochs" in said
    assert "depth=3, op=conv · complete · epochs 3/3 · accuracy 40.00 % · 2.5 watts" in said
    assert "The knee of the front is depth=" in said
    assert tuple(t.values for t in study(folder / "whole").trials if t.params["op"] == "pool") == (
        [0.275, 1.25, 3.75],
    )
    table = rows(folder / "whole" / "front.csv")
    assert {row["watts"] for row in table} == {"1.25", "2.5", "3.75"}
    assert json.loads(table[0]["parameters"]) == {"op": "pool", "depth": 3}
    page = (folder / "whole" / "report.html").read_text()
    assert "watts" in page
    with monkeypatch.context() as patch:
        interrupted_after(4, patch)
        with pytest.raises(SystemExit, match="130"):
            run_command("sweep", [*words, "run=broken"], program.sweep)
    resume("run=broken")
    assert exactly(folder / "broken") == exactly(folder / "whole")
    run_command("sweep", [*words, "search.warm_start=[whole]", "run=again"], program.sweep)
    assert "3 reused as finished" in capsys.readouterr().out


def test_of_a_table_epochs_and_objectives_may_be_given(folder: Path) -> None:
    write(folder / "own.csv", OWN)
    words = ["sweep=table", "trial.path=own.csv", "tracking=none", "run=out", "search.epochs=2"]
    run_command("sweep", [*words, "search.objectives=[accuracy,watts]"], program.sweep)
    assert {len(t.intermediate_values) for t in study(folder / "out").trials} <= {1, 2}
    assert len(study(folder / "out").directions) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "trial.path=null: valid: a CSV of recorded curves"),
        (
            ("trial.path=own.csv", "search.objectives=[accuracy,volts]"),
            "search.objectives: volts: .*own.csv has no such column; valid: accuracy, watts, gmacs",
        ),
        (("trial.path=own.csv", "search.epochs=4"), "search.epochs=4: .* records 3; valid: 1 to 3"),
        (
            ("trial.path=own.csv", "sweep=tiny", "trial=table"),
            "search.space: .*own.csv varies op, depth; valid: sweep=table",
        ),
        (("trial.name=train",), "search.epochs=0: valid: at least 1"),
    ],
)
def test_what_a_table_does_not_hold_is_refused(
    words: tuple[str, ...], said: str, folder: Path
) -> None:
    write(folder / "own.csv", OWN)
    fixed = [] if any(word.startswith("sweep=") for word in words) else ["sweep=table"]
    with pytest.raises(UserError, match=said):
        run_command("sweep", [*fixed, *words, "run=out"], program.sweep)
    assert not (folder / "out").exists()


def test_an_export_of_a_replay_is_refused(folder: Path) -> None:
    sweep("search.budget=5", "run=out")
    with pytest.raises(UserError, match="replays a table, which has no weights"):
        run_command("export", ["run=out"], program.export)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trial.path=none.csv", "none.csv: No such file or directory"),
        ("trial.path=null", "trial.path=null: valid: a CSV of recorded curves"),
        ("measure.profile=here.json", "measure.profile=.*here.json: a table has its own costs"),
        ("resources.address=auto", "resources.address=auto: a table is replayed in this process"),
        ("trial.engine=dask", "trial.engine=dask: valid: simulator, ray"),
        ("trial.workers=0", "trial.workers=0"),
        ("search.epochs=9", "search.epochs=9: .*curves.csv records 4; valid: 1 to 4"),
        ("search.space.train.momentum=[0.8,0.9]", "search.space.train.momentum: trial=table"),
    ],
)
def test_what_cannot_be_replayed_is_refused_before_anything_is_written(
    word: str, said: str, folder: Path
) -> None:
    with pytest.raises(UserError, match=said):
        sweep(word, "run=out")
    assert not (folder / "out").exists()
