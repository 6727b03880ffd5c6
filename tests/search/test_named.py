"""Candidates that are named: what is trained first, and the rows of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic import SIX, SMALL, Workers, make_config, make_space, make_strategy
from tables import rows_of as table_rows
from tables import write

from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import MethodConfig, SearchConfig, SweepConfig
from resnest_search.errors import UserError
from resnest_search.search import first_candidates, rows_of, with_rows_first
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated
from resnest_search.simulation.table import Table
from resnest_search.space import Space, configured
from resnest_search.study.record import Row
from resnest_search.study.study import SweepStudy

RATES = make_space(variant=["1s1x64d", "2s1x64d"], **{"train.learning_rate": [0.1, 0.2]})
RANGE = make_space(
    radix=[1, 2],
    cardinality_width=["1x64d"],
    **{
        "data.augment": ["none", "shift"],
        "train.mixup": {"low": 0.1, "high": 0.4, "when": {"data.augment": "shift"}},
    },
)
RATED = "2s1x64d (train.learning_rate=0.2)"
MIXED = {"variant": "2s1x64d", "data.augment": "shift", "train.mixup": 0.2}
STEPS = make_space(variant=["1s1x64d"], **{"train.mixup": {"low": 0.0, "high": 1.0, "step": 0.25}})
WHOLE = {"variant": "1s1x64d", "train.mixup": 1}


@pytest.mark.parametrize(
    ("space", "entry", "name"),
    [
        (make_space(), "2s2x16d", "2s2x16d"),
        (make_space(), {"width": 40}, "2s2x40d"),
        (RATES, {"variant": "2s1x64d", "train.learning_rate": 0.2}, RATED),
        (RATES, {"radix": 1, "train": {"learning_rate": 0.1}}, "1s1x64d (train.learning_rate=0.1)"),
        (RATES, "radix=2 train.learning_rate=0.1", "2s1x64d (train.learning_rate=0.1)"),
        (RATES, "2s1x64d (train.learning_rate=0.1)", "2s1x64d (train.learning_rate=0.1)"),
        (RATES, RATES.candidates[3].identity, RATED),
        (RANGE, MIXED, "2s1x64d (data.augment=shift, train.mixup=0.2)"),
        (RANGE, {"radix": 1, "data.augment": "none"}, "1s1x64d (data.augment=none)"),
    ],
)  # fmt: skip
def test_so_much_as_tells_a_candidate_names_it(space: Space, entry: Any, name: str) -> None:
    (found,) = first_candidates(space, [entry])
    assert found.name == name
    if space.candidates:
        assert found in space.candidates


@pytest.mark.parametrize(
    ("space", "entries", "words"),
    [
        (RATES, ["2s1x64d"], "search.first[0]=2s1x64d: fits 2 candidates, which differ in tra"),
        (RATES, ["4s1x64d"], "variant=4s1x64d is not in it; valid: 1s1x64d, 2s1x64d"),
        (RATES, [{"train.mixup": 0.1}], "train.mixup is no key of the space; valid: variant"),
        (RATES, [{}], "search.first[0]={}: valid: a variant, key=value words, or {KEY: value}"),
        (RATES, [3], "search.first[0]=3: valid: a variant, key=value words"),
        (make_space(), ["2s2x16d", {"width": 16}], "first[1]={width: 16}: 2s2x16d is named twice"),
        (make_space(), [{"radix": 4, "width": 16}], "no candidate has them together"),
        (RANGE, ["1s1x64d"], "does not say data.augment"),
        (RANGE, ["so"], "search.first[0]=so: "),
        (RANGE, [MIXED | {"train.mixup": 0.5}], "train.mixup=0.5: valid: 0.1 to 0.4"),
        (STEPS, [{"variant": "1s1x64d", "train.mixup": 0.3}], "valid: 0.0 to 1.0 in steps of 0.25"),
        (STEPS, [WHOLE, WHOLE | {"train.mixup": 1.0}], "is named twice"),
        (RANGE, [MIXED | {"data.augment": "none"}], "train.mixup does not exist beside the others"),
        (RANGE, [MIXED | {"data.workers": 1}], "data.workers is no key of the space; valid: radix"),
    ],
)  # fmt: skip
def test_what_names_no_candidate_is_refused_in_one_line(
    space: Space, entries: list[Any], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        first_candidates(space, entries)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# Trained first

FIRST = ["4s1x64d", "1s1x64d", "2s1x32d"]


@pytest.mark.parametrize("sampler", ["known_cost", "random", "tpe"])
def test_they_are_trained_first_in_their_order(sampler: str) -> None:
    config = make_config(sampler=MethodConfig(sampler), first=FIRST)
    order = Workers(make_strategy(config=config)).run().order
    assert [candidate.name for candidate in order[:3]] == FIRST
    assert sorted(candidate.name for candidate in order) == sorted(SIX)


def test_a_tolerance_does_not_end_it_before_them_and_a_number_of_trials_does() -> None:
    sampler = MethodConfig("known_cost")
    config = make_config(sampler=sampler, first=SIX[::-1], tolerance=0.9)
    order = Workers(make_strategy(config=config)).run().order
    assert [candidate.name for candidate in order] == SIX[::-1]
    config = make_config(sampler=sampler, first=FIRST, trials=2)
    order = Workers(make_strategy(config=config)).run().order
    assert [candidate.name for candidate in order] == FIRST[:2]


def test_killed_in_the_midst_of_them_a_sweep_goes_on_in_their_order() -> None:
    config = make_config(sampler=MethodConfig("known_cost"), first=SIX[::-1])
    study = SweepStudy.create(None, config.objectives)
    Workers(make_strategy(study, config=config)).run(reports=6)
    Workers(make_strategy(study, config=config)).run()
    whole = Workers(make_strategy(config=config)).run()
    names = [trial.user_attrs["variant"] for trial in study.trials()]
    assert names == [candidate.name for candidate in whole.order] == SIX[::-1]


def test_a_simulation_has_them_first_too(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path / "table.csv", table_rows()))
    search = SearchConfig(
        {"variant": SIX}, ["accuracy", "latency_ms"], epochs=4, first=FIRST,
        sampler=MethodConfig("known_cost"), pruner=MethodConfig("none"),
    )  # fmt: skip
    clock = VirtualClock()
    study, strategy = simulated(SweepConfig(model=SMALL, search=search), table, clock)
    simulate(strategy, table, clock, workers=2)
    assert [trial.user_attrs["variant"] for trial in study.trials()][:3] == FIRST


# Rows


def test_rows_are_candidates_with_published_figures_in_the_units_of_metrics() -> None:
    entries = [
        {"name": "plain", "of": "1s1x64d", "accuracy": 80.5, "parameters_m": 26.2},
        {"name": "split", "of": {"radix": 4}},
    ]
    space = make_space()
    first, second = rows_of(space, entries)
    assert first.published == pytest.approx({"accuracy": 0.805, "parameters_m": 26.2})
    assert second == Row("split", first_candidates(space, ["4s1x64d"])[0].identity, {})
    assert with_rows_first([], entries) == ["1s1x64d", {"radix": 4}]
    assert with_rows_first(["2s2x16d"], entries) == ["2s2x16d"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["1s1x64d"], "rows[0]=1s1x64d: valid: {name: TEXT, of: CANDIDATE"),
        ([{"name": "plain"}], "rows[0]={name: plain}: valid"),
        ([{"name": "plain", "of": "8s1x64d"}], "rows[0].of=8s1x64d: variant=8s1x64d is not in it"),
        ([{"name": "plain", "of": "1s1x64d", "top1": 80}], "rows[0].top1: is no metric; valid"),
        ([{"name": "plain", "of": "1s1x64d", "accuracy": "80"}], "rows[0].accuracy=80: valid"),
        ([{"name": "plain", "of": "1s1x64d"}, {"name": "plain", "of": "2s1x32d"}], "there twice"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_in_one_line(rows: list[Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        rows_of(make_space(), rows)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [[], ["data=imagenet", "model=resnest50", "train=paper"]])
def test_the_papers_breakdown_is_five_rows_each_with_one_thing_more(
    words: list[str],
) -> None:
    composed: list[SweepConfig] = []
    run_command("sweep", ["sweep=breakdown", *words], composed.append)
    (config,) = composed
    space = Space(config.search.space, config.model)
    rows = rows_of(space, config.rows)
    assert [row.candidate for row in rows] == [c.identity for c in space.candidates or ()]
    assert [round(100 * row.published["accuracy"], 2) for row in rows] == [
        *(78.31, 79.15, 79.41, 80.64, 81.13)
    ]
    sections = [configured(config, candidate) for candidate in space.candidates or ()]
    assert [
        (c.in_words, train.mixup, data.policy)
        for c, (_, data, train) in zip(space.candidates or (), sections, strict=True)
    ] == [
        ("0s1x64d", 0.0, "none"),
        ("0s1x64d", 0.2, "none"),
        ("0s1x64d", 0.2, "autoaugment"),
        ("2s1x64d", 0.2, "autoaugment"),
        ("2s1x64d", 0.2, "autoaugment"),
    ]
    assert [model.avd_first for model, _, _ in sections[3:]] == [True, False]
