"""What Optuna and optuna-dashboard make of a finished sweep's study, which know nothing of ours."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import numpy as np
import optuna
import pytest
from command_line import run
from tables import rows_of, write

from resnest_search.pareto import non_dominated

VARIANTS = tuple(f"{r}s{k}x{w}d" for r in (1, 2, 4) for k in (1, 2) for w in (16, 32, 64))
PLAIN = ("search/sampler=grid", "search/pruner=none", "search.objectives=[accuracy,latency_ms]")
SWEEPS = {
    "plain": (),
    "repeats": ("search.repeats=2",),
    "pruned": ("search/pruner=pareto_halving", "search.budget=40"),
    "limits": ("search.limits.latency_ms=2.6", "search.limits.images_per_s=1"),
    "all": (
        "search.repeats=2",
        "search/pruner=pareto_halving",
        "search.limits.memory_mib=3.5",
        "search.objectives=[accuracy,latency_ms,memory_mib]",
    ),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of each variant, of 200 images, so that some are in doubt."""
    found = rows_of(VARIANTS, seeds=(0, 1, 2))
    for row in found:
        row["images"] = 200
        row["accuracy"] = round(row["accuracy"] * 200) / 200
        row["images_per_s"] = 1000 / row["latency_ms"]
    return write(tmp_path_factory.mktemp("table") / "curves.csv", found)


@pytest.fixture(scope="module", params=SWEEPS)
def folder(
    request: pytest.FixtureRequest, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished sweep."""
    cwd = tmp_path_factory.mktemp(request.param)
    words = (*PLAIN, *SWEEPS[request.param])
    done = run(cwd, "sweep=table", f"trial.path={table}", "tracking=none", "run=out", *words)
    assert done.code == 0, done
    return cwd / "out"


def front(folder: Path) -> set[int]:
    with (folder / "front.csv").open() as file:
        return {int(row["number"]) for row in csv.DictReader(file)}


def opened(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}")


def kinds(folder: Path) -> set[str]:
    """What the trials of a sweep are, so that no case is of plain trials alone."""
    study = opened(folder)
    found = {"repeats" for trial in study.trials if "repeat" in trial.user_attrs}
    found |= {"pruned" for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED}
    return found | {"limits" for _ in study.user_attrs["infeasible"]}


def test_best_trials_are_those_of_the_front(folder: Path) -> None:
    name = folder.parent.name.rstrip("0123456789")
    wanted = {"plain": set(), "all": {"repeats", "pruned", "limits"}}.get(name, {name})
    assert kinds(folder) >= wanted
    assert {trial.number for trial in opened(folder).best_trials} == front(folder)


def test_a_trial_says_by_how_much_it_holds_each_limit(folder: Path) -> None:
    study = opened(folder)
    bounds = study.user_attrs["config"]["search"]["limits"]
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    for trial in study.trials:
        sign = {"images_per_s": -1}
        found = [sign.get(n, 1) * (trial.user_attrs[n] - bounds[n]) for n in bounds]
        found += [1.0] * ("repeat" in trial.user_attrs)
        assert list(trial.constraints.values()) == pytest.approx(found)
        assert all(value <= 0 for value in found[: len(bounds)])


def test_optuna_dashboard_draws_the_same_front(folder: Path) -> None:
    """As its page does: of the complete trials of its API those of no positive constraint."""
    pytest.importorskip("optuna_dashboard")
    detail = served(folder)
    whole = [trial for trial in detail["trials"] if trial["state"] == "Complete"]
    feasible = [t for t in whole if all(value <= 0 for value in t["constraints"])]
    signs = [1 if way == "minimize" else -1 for way in detail["directions"]]
    points = np.array([trial["values"] for trial in feasible]) * signs
    on = non_dominated(points)
    assert {t["number"] for t, is_on in zip(feasible, on, strict=True) if is_on} == front(folder)


def served(folder: Path) -> dict[str, Any]:
    """The study as optuna-dashboard's own API has it."""
    from optuna_dashboard import wsgi

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    application = wsgi(storage)
    (study,) = storage.get_all_studies()
    request: dict[str, Any] = {"PATH_INFO": f"/api/studies/{study._study_id}"}
    setup_testing_defaults(request)
    statuses: list[str] = []
    body = b"".join(application(request, lambda status, *headers: statuses.append(status)))
    assert statuses[0].startswith("200"), body
    found: dict[str, Any] = json.loads(body)
    return found
