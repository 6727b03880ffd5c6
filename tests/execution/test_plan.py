"""The bill of a sweep: every number of it is a bound that a sweep keeps, and nothing is begun."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from command_line import run, study, sweep_file
from finished_run import BUDGET, COMPLETE, PRUNED, WORDS, ask, finished_run
from tables import SIX, rows_of, write
from training_runs import make_run, train

from resnest_search.configuration.schema import (
    LimitsConfig,
    MethodConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.execution.plan import bill
from resnest_search.execution.prepare import prepare
from resnest_search.training import CHECKPOINT

THREE = ["1s1x64d", "2s1x64d", "4s1x64d"]


def lines(**search: object) -> dict[str, str]:
    """The bill by its first words."""
    given = {
        "space": {"variant": THREE},
        "sampler": MethodConfig("random"),
        "pruner": MethodConfig("none"),
    }
    config = SweepConfig(
        model=ModelConfig(depths=[1, 1], planes=[32, 64]),
        search=SearchConfig(**{**given, **search}),  # type: ignore[arg-type]
    )
    return dict(line.split(maxsplit=1) for line in bill(*prepare(config)))  # type: ignore[misc]


def test_a_plan_is_kept_and_begins_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The plan of a sweep that has run elsewhere, without the variant that broke its limit."""
    trained = (*COMPLETE, PRUNED)
    ask(tmp_path)
    planned = run(tmp_path, *WORDS, f"search.space.variant=[{','.join(trained)}]", "plan=true")
    assert (planned.code, planned.err) == (0, "")
    assert not (tmp_path / "out").exists()
    assert f"{len(trained)}, every one" in planned.out
    assert f"at most {BUDGET} (search.budget)" in planned.out
    folder, _ = finished_run(tmp_path_factory)
    assert sum(len(trial.intermediate_values) for trial in study(folder).trials) <= BUDGET
    found = re.search(r"(\d+) checkpoints of ([\d.]+) to ([\d.]+) MiB", planned.out)
    assert found
    sizes = sorted(file.stat().st_size / 2**20 for file in folder.glob(f"trials/*/{CHECKPOINT}"))
    assert len(sizes) == int(found[1]) == len(trained)
    assert [float(found[2]), float(found[3])] == pytest.approx([sizes[0], sizes[-1]], rel=0.2)
    assert float(found[2]) < sizes[0]


def test_a_training_has_a_plan_too(tmp_path: Path) -> None:
    done = run(tmp_path, "train", "variant=1s1x64d", "data.cache=ram", "plan=true", "run=out")
    assert done.err.startswith("resnest-search: data.cache=ram: without effect on data=digits")
    assert done.code == 0, done
    assert "1 trial x 27" in done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("search", "name", "said"),
    [
        ({}, "epochs", "at most 27: 3 trials x 9"),
        ({"repeats": 2}, "epochs", "at most 81: 3 trials x 9 x 3 seeds"),
        ({"repeats": 2, "budget": 40}, "epochs", "at most 40 (search.budget)"),
        ({"budget": 40}, "epochs", "at most 27: 3 trials x 9"),
        ({"trials": 2}, "candidates", "at most 2 of 3 (search.trials)"),
        ({"limits": LimitsConfig(latency_ms=1.0)}, "candidates", "that meets search.limits"),
        ({}, "hours", "not known"),
        ({"hours": 2.0}, "hours", "at most 2 (search.hours)"),
        ({"trials": 2}, "disk", "2 checkpoints"),
        ({"repeats": 1}, "disk", "6 checkpoints"),
    ],
)
def test_each_line_is_a_bound(search: dict[str, object], name: str, said: str) -> None:
    assert said in lines(**search)[name]


def test_what_only_training_tells_apart_is_one_network_to_measure() -> None:
    space = {"variant": THREE, "train.batch_size": [32, 64]}
    found = lines(space=space)
    assert found["candidates"].startswith("6,")
    assert found["measuring"].startswith("3 networks")


@pytest.mark.parametrize(
    "recipe", [{}, {"optimizer": "adamw"}, {"ema": 0.9}, {"optimizer": "adamw", "ema": 0.9}]
)
def test_a_checkpoint_is_as_large_as_the_recipe_makes_it(
    tmp_path: Path, recipe: dict[str, Any]
) -> None:
    wide = {"depths": [1, 1], "planes": [64, 128]}  # so that weights are most of it
    run = make_run(tmp_path, wide, **recipe)
    train(run, stop_after=1)
    search = SearchConfig(
        space={"variant": [run.variant]},
        sampler=MethodConfig("random"),
        pruner=MethodConfig("none"),
    )
    config = SweepConfig(model=run.model, data=run.data, train=run.train, search=search)
    billed = dict(line.split(maxsplit=1) for line in bill(*prepare(config)))["disk"]
    found = re.search(r"checkpoint of ([\d.]+) MiB of weights and what", billed)
    assert found, billed
    size = (tmp_path / CHECKPOINT).stat().st_size / 2**20
    assert float(found[1]) == pytest.approx(size, rel=0.1)


def test_a_range_has_no_end_of_its_own() -> None:
    space = {"variant": THREE, "train.learning_rate": {"low": 0.01, "high": 1.0}}
    assert "at most 5, of a space with a range" in lines(space=space, trials=5)["candidates"]
    found = lines(space=space, hours=1.0)
    assert "bounded by search.hours alone" in found["epochs"]
    assert "a trial;" in found["disk"]


def test_a_table_knows_its_seconds(tmp_path: Path) -> None:
    seconds = dict(zip(SIX, [100.0, 200.0, 300.0, 400.0, 500.0, 600.0], strict=True))
    path = write(tmp_path / "table.csv", rows_of(seconds=seconds))
    sweep_file(tmp_path, {"variant": list(SIX)}, trials=2)
    words = ("trial=table", f"trial.path={path}", "train.epochs=3", "run=out", "plan=true")
    done = run(tmp_path, "sweep=tiny", *words)
    assert done.code == 0, done
    assert f"at most {3 * (600 + 500) / 3600:.3g} virtual" in done.out
    assert "no checkpoints" in done.out


def test_a_table_knows_the_seconds_of_the_seed_that_is_replayed(tmp_path: Path) -> None:
    slow = {0: 1.0, 1: 100.0}
    rows = [{**row, "seconds": slow[int(row["seed"])]} for row in rows_of(SIX[:2])]
    path = write(tmp_path / "table.csv", rows)
    sweep_file(tmp_path, {"variant": list(SIX[:2])})
    words = ("trial=table", f"trial.path={path}", "train.epochs=3", "run=out", "plan=true")
    for seed, repeats, most in ((0, 0, 6), (1, 0, 600), (0, 1, 606), (1, 1, 606), (3, 0, 600)):
        asked = (f"search.seed={seed}", f"search.repeats={repeats}")
        done = run(tmp_path, "sweep=tiny", *words, *asked)
        assert f"at most {most / 3600:.3g} virtual" in done.out
