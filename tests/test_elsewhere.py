"""A space's costs in a file, and a finished run seen with them, as the commands have it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, Done, rows, run, sweep_file

from resnest_search.metrics import COSTS

RECORDED = ROOT / "tests" / "fixtures" / "run-0.2.0"
QUICK = ("measure.repeats=5", "measure.warmup=0", "measure.processes=1", "measure.half_width=null")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    shutil.copytree(RECORDED, tmp_path / "run")
    return tmp_path / "run"


def profiled(folder: Path, *words: str) -> Done:
    """A profile of the recorded run's space, in profile.json."""
    config = json.loads(json.dumps(_config()))
    sweep_file(folder, {"variant": config["search"]["space"]["variant"]})
    model = [f"model.{key}={value}".replace(" ", "") for key, value in _shape(config).items()]
    return run(folder, "profile", "sweep=tiny", "out=profile.json", *model, *QUICK, *words)


def _config() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((RECORDED / "config.yaml").read_text())
    return found


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config["model"].items() if k in ("depths", "planes", "stem_width")}


def changed(path: Path, latency: dict[str, float]) -> None:
    """The profile with other latencies, by variant."""
    text = json.loads(path.read_text())
    for entry in text["networks"]:
        entry["costing"]["costs"]["latency_ms"] = latency.get(entry["name"], 9.0)
        entry["costing"]["device"] = "a toaster"
    path.write_text(json.dumps(text))


def test_a_run_is_seen_with_the_costs_of_another_device(recorded: Path) -> None:
    cwd = recorded.parent
    done = profiled(cwd)
    assert done.code == 0, done
    assert (cwd / "profile.png").read_bytes().startswith(b"\x89PNG")
    trials = {row["variant"]: row for row in rows(recorded / "trials.csv")}
    whole = [v for v, row in trials.items() if row["state"] == "complete"]
    best = max(whole, key=lambda variant: float(trials[variant]["accuracy"]))
    worst = min(whole, key=lambda variant: float(trials[variant]["accuracy"]))
    assert best in done.out
    # Where the best is the fastest and the others are slow, it is all of the front.
    changed(cwd / "profile.json", {v: 1.0 if v == best else 9.0 for v in trials})
    before = (recorded / "trials.csv").read_text()
    done = run(cwd, "report", "run=run", "measure.profile=profile.json")
    assert done.code == 0, done
    assert "a toaster" in done.out
    assert "report again" not in done.out
    seen = {row["variant"]: row for row in rows(recorded / "elsewhere/profile/trials.csv")}
    assert float(seen[worst]["latency_ms"]) == 9.0
    assert seen[best]["accuracy"] == trials[best]["accuracy"]
    front = [row["variant"] for row in rows(recorded / "elsewhere/profile/front.csv")]
    assert best in front
    assert "a toaster" in (recorded / "elsewhere/profile/report.html").read_text()
    assert (recorded / "trials.csv").read_text() == before
    # Another profile of that file name has a folder of its own, and the first one keeps its.
    (cwd / "other").mkdir()
    shutil.copy(cwd / "profile.json", cwd / "other")
    changed(cwd / "other/profile.json", dict.fromkeys(trials, 3.0))
    for word in ("other/profile.json", "profile.json", "other/profile.json"):
        done = run(cwd, "report", "run=run", f"measure.profile={word}")
        assert done.code == 0, done
        there = f"elsewhere/profile{'-2' * ('other' in word)}"
        assert f"Tables and page: {recorded / there}" in done.out
        found = {row["variant"]: row for row in rows(recorded / there / "trials.csv")}
        assert float(found[worst]["latency_ms"]) == (3.0 if "other" in word else 9.0)
    assert len(list((recorded / "elsewhere").iterdir())) == 2
    done = run(cwd, "export", "run=run", "select=latency", "measure.profile=profile.json")
    assert done.code == 0, done
    assert "by profile: 1 ms" in done.out
    facts = json.loads((recorded / "best/model.json").read_text())
    assert facts["variant"] == best
    assert "by the costs of profile (a toaster" in facts["chosen_as"]
    assert facts["costs"]["device"] == "a toaster"
    assert "On the front there, not here" in done.err
    # Within a budget there the best is out: it has become the slowest.
    changed(cwd / "profile.json", {v: 9.0 if v == best else 1.0 for v in trials})
    words = ("select=accuracy", "limits.latency_ms=5", "measure.profile=profile.json")
    done = run(cwd, "export", "run=run", *words)
    assert done.code == 0, done
    facts = json.loads((recorded / "best" / "model.json").read_text())
    assert facts["variant"] != best
    said = "the most accurate of the front within limits.latency_ms=5, by the costs of profile"
    assert facts["chosen_as"].startswith(said)


def test_a_sweep_takes_its_costs_from_a_profile(tmp_path: Path) -> None:
    """With those of a mode beside its own, in which it is seen later without measuring."""
    words = ("data.train_images=64", "data.val_images=40", "train.epochs=1", "tracking=none")
    sweep_file(tmp_path, {"variant": ["0s1x64d", "1s1x64d"]})
    also = "measure.also=[throughput]"
    done = run(tmp_path, "profile", "sweep=tiny", "out=there.json", also, *words, *QUICK)
    assert done.code == 0, done
    assert "throughput ms" in done.out
    changed(tmp_path / "there.json", {"0s1x64d": 3.0, "1s1x64d": 4.0})
    done = run(tmp_path, "sweep=tiny", "run=out", "measure.profile=there.json", *words)
    assert done.code == 0, done
    assert "Measuring" not in done.out
    assert "Costs are those of there.json: a toaster" in done.out
    found = {row["variant"]: row for row in rows(tmp_path / "out/trials.csv")}
    assert {name: float(row["latency_ms"]) for name, row in found.items()} == {
        "0s1x64d": 3.0,
        "1s1x64d": 4.0,
    }
    assert {row["device"] for row in found.values()} == {"a toaster"}
    of_32 = {name: row["throughput.latency_ms"] for name, row in found.items()}
    assert all(float(latency) > 0 for latency in of_32.values())
    assert "beside it, throughput" in (tmp_path / "out/report.html").read_text()
    # Seen in that mode, its figures are the recorded ones; in another way of it they are measured.
    done = run(tmp_path, "report", "run=out", "measure=throughput")
    assert "Measur" not in done.out + done.err
    seen = rows(tmp_path / "out/elsewhere/throughput/trials.csv")
    assert {row["variant"]: row["latency_ms"] for row in seen} == of_32
    assert {"batch 32" in row["mode"] for row in seen} == {True}
    done = run(tmp_path, "report", "run=out", "measure=throughput", "measure.batch=2", *QUICK)
    assert "batch 2," in done.out, done


def test_the_help_of_a_spaces_profile_is_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "profile", "sweep=radix_card", "--help")
    assert done.out.startswith("usage: python -m resnest_search profile sweep=NAME [flags]")
    assert "  out=null\n" in done.out
    assert "  out=" not in run(tmp_path, "profile", "--help").out


def test_a_cost_that_a_profile_lacks_is_no_objective_and_no_limit(tmp_path: Path) -> None:
    """Of another batch the memory of a training step is another."""
    sweep_file(tmp_path, {"variant": ["0s1x64d"]})
    assert run(tmp_path, "profile", "sweep=tiny", "out=there.json", *QUICK).code == 0
    words = ("sweep=tiny", "run=out", "measure.profile=there.json", "train.batch_size=16")
    for key in (
        "search.limits.train_memory_mib=9",
        "search.objectives=[accuracy,train_memory_mib]",
    ):
        said = run(tmp_path, *words, key).one_line
        assert "measure.profile=there.json: train_memory_mib, one of search." in said
        assert not (tmp_path / "out").exists()


def test_a_plan_with_a_profile_measures_nothing(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["0s1x64d"]})
    assert run(tmp_path, "profile", "sweep=tiny", "out=there.json", *QUICK).code == 0
    done = run(tmp_path, "sweep=tiny", "measure.profile=there.json", "plan=true")
    assert done.code == 0, done
    assert "none: costs are those of there.json" in done.out


def test_networks_that_a_profile_lacks_are_named(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["0s1x64d"]})
    assert run(tmp_path, "profile", "sweep=tiny", "out=there.json", *QUICK).code == 0
    sweep_file(tmp_path, {"variant": ["0s1x64d", "2s1x64d"]})
    done = run(tmp_path, "sweep=tiny", "run=out", "measure.profile=there.json")
    assert "measure.profile=there.json: lacks 1 of the 2 networks" in done.one_line
    assert "2s1x64d" in done.one_line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "run=run", "measure.profile=no.json"], "measure.profile=no.json: No such file"),
        (["report", "run=run", "measure.profile=run/config.yaml"], "is no JSON"),
        (["report", "run=run", "measure.profile=other.json"], "is no profile"),
        (["report", "run=run", "measure.profile=empty.json"], "has no network"),
        (["export", "run=run", "measure.profile=other.json"], "is no profile"),
        (["report", "run=run", "measure.profile=nan.json"], "is no profile"),
        (["report", "run=run", "measure.profile=details.json"], "is no profile"),
        (["report", "run=run", "measure.batch=8"], "measure.batch=8: nothing is measured"),
        (
            ["report", "run=run", "measure.batch=8", "measure.profile=empty.json"],
            "measure.batch=8: a profile has its own",
        ),
        (
            ["report", "run=run", "measure=eager", "measure.profile=empty.json"],
            "measure.profile=empty.json: has its own mode",
        ),
        (["report", "run=run", "measure=eager", "measure.name=.."], "measure.name=..: names a"),
        (["sweep=radix_card", "measure.profile=no.json"], "measure.profile=no.json: No such file"),
        (["profile", "sweep=radix_card", "run=there"], "run=there: profile makes no run"),
        (["profile", "sweep=radix_card", "measure.profile=empty.json"], "profile measures"),
        (["profile", "variant=1s1x64d", "measure.profile=empty.json"], "profile measures"),
        (["profile", "sweep=table", "trial.path=run/trials.csv"], "sweep=table: replays a table"),
        (["profile", "sweep=radix_card", "out=run"], "out=run: is a folder"),
        (["report", "run=run", "measure=eager", "measure.also=[fast]"], "is seen in one mode"),
        (["report", "run=run", "measure=eager", "measure.doubtful=mark"], "of a sweep to come"),
        (["profile", "variant=1s1x64d", "measure.doubtful=refuse"], "valid: auto, mark"),
        (["sweep=radix_card", "measure.also=[eager]"], "two modes are called eager; valid: each"),
        (["sweep=radix_card", "measure.also=[fast,fast]"], "two modes are called fast"),
        (["profile", "sweep=radix_card", "measure.also=[slow]"], "measure.also=slow: valid: "),
        (["sweep=radix_card", "measure.also=[fast]"], "measure.also=[fast]: fast: measure.form="),
        (["profile", "sweep=nothing"], "sweep=nothing: no such option"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    recorded: Path, words: list[str], said: str
) -> None:
    (recorded.parent / "other.json").write_text('{"a": 1}')
    costs = dict.fromkeys(COSTS, 1.0)
    details = dict.fromkeys(("latency_passes", "latency_rounds", "latency_half_width"), 1)
    details |= {"busy_percent": None, "deviations": {}}
    for name, wrong in (("nan", {"latency_ms": math.nan}), ("details", {})):
        costing = {"costs": costs | wrong, "device": "", "mode": "", "details": details}
        costing |= {"details": "x"} if name == "details" else {}
        entry = {"name": "", "structure": "", "step": "", "costing": costing}
        text = {"format": "resnest-search profile 1", "measure": {}, "networks": [entry]}
        (recorded.parent / f"{name}.json").write_text(json.dumps(text))
    empty = {"format": "resnest-search profile 1", "measure": {}, "networks": []}
    (recorded.parent / "empty.json").write_text(json.dumps(empty))
    assert said in run(recorded.parent, *words).one_line


def test_a_profile_of_other_networks_is_refused(recorded: Path) -> None:
    cwd = recorded.parent
    assert profiled(cwd, "data.classes=99").code == 0
    done = run(cwd, "report", "run=run", "measure.profile=profile.json")
    assert "has none of the" in done.one_line
    assert not (recorded / "elsewhere").exists()


def test_a_run_is_seen_in_another_mode_of_this_machine(recorded: Path) -> None:
    done = run(recorded.parent, "report", "run=run", "measure=throughput", *QUICK)
    assert done.code == 0, done
    assert "batch 32" in done.out
    found = rows(recorded / "elsewhere/throughput/trials.csv")
    assert {"batch 32" in row["mode"] for row in found if row["state"] == "complete"} == {True}


def test_two_runs_are_laid_side_by_side(recorded: Path) -> None:
    cwd = recorded.parent
    shutil.copytree(recorded, cwd / "other")
    done = run(cwd, "compare", "run=[run,other]", "out=both")
    assert done.code == 0, done
    assert "noise does not tell them apart" in done.out
    page = (cwd / "both/compare.html").read_text(encoding="utf-8")
    assert "sweeps side by side" in page
    assert '"type":"scatter"' in page
    found = rows(cwd / "both/compare.csv")
    assert {row["run"] for row in found} == {"A", "B"}
    assert len(found) == 2 * len(rows(recorded / "trials.csv"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=[run]"], "run=[run]: 1 given; valid: two or more"),
        (["run=[run,none]"], "run=none: is no folder"),
        (["run=run"], "run: not a list; write run=[value,value]"),
        (["run=[run,run]", "out=run/study.db/x"], "out=run/study.db/x: "),
        ([], "run=[]: 0 given"),
    ],
)
def test_what_cannot_be_compared_is_refused(recorded: Path, words: list[str], said: str) -> None:
    assert said in run(recorded.parent, "compare", *words).one_line
