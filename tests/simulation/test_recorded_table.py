"""Tables of recorded curves: what they tell, and how a broken one is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from tables import SIX, Row, rows_of, write

from resnest_search.configuration.schema import LimitsConfig, ModelConfig, SearchConfig
from resnest_search.errors import UserError
from resnest_search.simulation.space import TableSpace
from resnest_search.simulation.table import COLUMNS, Table
from resnest_search.space import Candidate, Space, distribution_of
from resnest_search.variant import Variant

MODEL = ModelConfig(depths=[1, 1], planes=[32, 64])
FIRST = Candidate(Variant.parse(SIX[0]), ())


def table_of(folder: Path, rows: list[Row]) -> Table:
    return Table.read(write(folder / "curves.csv", rows))


def refusal(folder: Path, rows: list[Row]) -> str:
    with pytest.raises(UserError) as caught:
        table_of(folder, rows)
    (line,) = str(caught.value).splitlines()
    assert str(folder / "curves.csv") in line
    return line.removeprefix(f"trial.path={folder / 'curves.csv'}: ")


# What a table tells


def test_variants_seeds_epochs_and_costs_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = rows_of(seeds=(7, 3), epochs=4)
    table = table_of(tmp_path, rows)
    assert [candidate.name for candidate in table.candidates] == list(SIX)
    assert table.epochs == 4
    assert set(table.columns) == set(COLUMNS)
    for variant in table.candidates:
        assert table.seeds(variant) == (3, 7)
        assert set(table.costs(variant)) == {"latency_ms", "memory_mib"}
    first = table.epoch(table.candidates[0], 1, 1)  # the second smallest seed is 7, the first row's
    assert (first.epoch, first.accuracy, first.seconds) == (
        1,
        rows[0]["accuracy"],
        rows[0]["seconds"],
    )
    assert table.costs(table.candidates[0])["latency_ms"] == rows[0]["latency_ms"]


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    rows = rows_of()
    one, other = table_of(tmp_path, rows), table_of(tmp_path, rows[::-1])
    assert set(one.candidates) == set(other.candidates)
    for variant in one.candidates:
        assert [one.curve(variant, s) for s in (0, 1)] == [other.curve(variant, s) for s in (0, 1)]


def test_recorded_seeds_serve_in_turn(tmp_path: Path) -> None:
    table = table_of(tmp_path, rows_of(seeds=(0, 1, 2)))
    variant = table.candidates[0]
    curves = [table.curve(variant, seed) for seed in range(6)]
    assert curves[:3] == curves[3:]
    assert len({curve[-1].accuracy for curve in curves[:3]}) == 3


def test_what_a_table_lacks_is_unknown_and_not_invented(tmp_path: Path) -> None:
    entry = table_of(tmp_path, rows_of()).epoch(FIRST, 0, 1)
    assert (entry.loss, entry.train_loss, entry.images, entry.at) == (None, None, 0, None)


def test_further_columns_are_read_and_strangers_ignored(tmp_path: Path) -> None:
    further = {"images": 360, "loss": 0.5, "train_loss": 0.7, "gmacs": 0.003, "note": "x"}
    table = table_of(tmp_path, [row | further for row in rows_of()])
    entry = table.epoch(FIRST, 0, 2)
    assert (entry.loss, entry.train_loss, entry.images) == (0.5, 0.7, 360)
    assert table.costs(FIRST)["gmacs"] == 0.003
    assert set(table.columns) == {*COLUMNS, "images", "loss", "train_loss", "gmacs"}
    assert table.cost_names == ("latency_ms", "memory_mib", "gmacs")


def test_an_empty_cell_of_a_further_column_is_unknown(tmp_path: Path) -> None:
    table = table_of(tmp_path, [row | {"loss": "", "gmacs": ""} for row in rows_of()])
    assert table.epoch(FIRST, 0, 1).loss is None
    assert "gmacs" not in table.costs(FIRST)


def test_a_run_that_diverged_may_end_early(tmp_path: Path) -> None:
    rows = [row | {"loss": 0.5} for row in rows_of(epochs=4)]
    kept = [row for row in rows if not (row["seed"] == 1 and row["epoch"] > 2)]
    for row in kept:
        if row["seed"] == 1 and row["epoch"] == 2:
            row["loss"] = "nan"
    table = table_of(tmp_path, kept)
    curve = table.curve(FIRST, 1)
    assert len(curve) == 2
    assert curve[-1].loss is not None
    assert math.isnan(curve[-1].loss)
    assert len(table.curve(FIRST, 0)) == 4


def test_spreadsheets_add_marks_and_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.csv", rows_of(SIX[:1]))
    text = path.read_text().replace(",", ", ")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert Table.read(path).curve(FIRST, 0)
    assert Table.read(path).epochs == 4


# What is refused


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("accuracy", "high", "line 3: accuracy='high': is no number"),
        ("accuracy", "97.5", "line 3: accuracy=97.5: valid: a number from 0 to 1"),
        ("accuracy", "nan", "line 3: accuracy=nan: valid: a number from 0 to 1"),
        ("accuracy", "", "line 3: accuracy='': is no number"),
        ("latency_ms", "", "line 3: latency_ms='': is no number"),
        ("memory_mib", "-1", "line 3: memory_mib=-1: valid: a number of at least 0"),
        ("seconds", "inf", "line 3: seconds=inf: valid: a number of at least 0"),
        ("radix", "1.5", "line 3: radix=1.5: valid: a whole number of at least 0"),
        ("cardinality", "0", "line 3: cardinality=0: valid: a whole number of at least 1"),
        ("epoch", "0", "line 3: epoch=0: valid: a whole number of at least 1"),
        ("seed", "-1", "line 3: seed=-1: valid: a whole number of at least 0"),
    ],
)
def test_a_wrong_cell_is_named(column: str, value: str, said: str, tmp_path: Path) -> None:
    rows = rows_of()
    rows[1][column] = value
    assert refusal(tmp_path, rows) == said


@pytest.mark.parametrize("column", [c for c in COLUMNS if c not in ("latency_ms", "memory_mib")])
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != column} for row in rows_of()]
    assert refusal(tmp_path, rows).startswith(f"line 1: no column {column}; needed: radix, ")


def test_a_column_that_stands_there_twice_is_named(tmp_path: Path) -> None:
    rows = [row | {" seed": 0} for row in rows_of()]
    assert refusal(tmp_path, rows) == "line 1: column seed stands there twice"


def test_a_missing_epoch_is_named(tmp_path: Path) -> None:
    rows = rows_of(SIX[:2], epochs=4)
    del rows[5]  # epoch 2 of seed 1 of the first variant
    assert refusal(tmp_path, rows) == (
        "line 8: epoch: 1s1x32d with seed 1 lacks epoch 2; valid: every epoch from 1 to 4"
    )


def test_a_curve_shorter_than_others_is_named(tmp_path: Path) -> None:
    assert "1s1x32d with seed 1 lacks epoch 4" in refusal(
        tmp_path, [r for r in rows_of(SIX[:2]) if r["radix"] != 1 or r["seed"] + r["epoch"] < 5]
    )


def test_a_repeated_epoch_is_named_with_both_lines(tmp_path: Path) -> None:
    rows = rows_of(SIX[:1])
    assert refusal(tmp_path, [*rows, rows[2]]) == (
        "line 10: epoch=3: 1s1x32d with seed 0 has it in line 4; valid: one row an epoch"
    )


@pytest.mark.parametrize(("column", "cells"), [("latency_ms", (1.5, 2.5)), ("gmacs", (1, ""))])
def test_costs_that_differ_within_a_variant_are_named(
    column: str, cells: tuple[Any, Any], tmp_path: Path
) -> None:
    rows = [row | {column: cells[0]} for row in rows_of(SIX[:1])]
    rows[6][column] = cells[1]
    said = refusal(tmp_path, rows)
    assert said.startswith(f"line 8: {column}={cells[1] or 'nothing'}: 1s1x32d has {cells[0]} in")
    assert "in line 2; valid: the same in every row of a candidate" in said


def test_no_rows_and_no_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(UserError, match="line 2: no rows; valid: one for each epoch"):
        Table.read(path)
    path.write_bytes(b"\xff\xfe\x00radix")
    with pytest.raises(UserError, match="is no text; valid: a CSV file"):
        Table.read(path)
    with pytest.raises(UserError, match="No such file or directory; valid: a CSV file"):
        Table.read(tmp_path / "none.csv")
    path.write_text("")
    with pytest.raises(UserError, match="line 1: no column radix"):
        Table.read(path)


# A space over a table


def test_costings_are_the_recorded_costs_of_each_network(tmp_path: Path) -> None:
    table = table_of(tmp_path, rows_of())
    space = Space({"variant": list(SIX[1:4])}, MODEL)
    costings = table.costings(space)
    assert set(costings) == {candidate.network for candidate in space.networks}
    for candidate in space.networks:
        costing = costings[candidate.network]
        assert costing.costs == table.costs(candidate)
        assert (costing.device, costing.mode) == ("recorded", "table")
        assert not costing.failure
        assert not costing.infeasible


def test_a_space_beyond_the_table_is_refused_with_variant_and_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, rows_of())
    with pytest.raises(UserError) as caught:
        table.costings(Space({"variant": ["1s1x32d", "4s2x40d"]}, MODEL))
    assert str(caught.value) == (
        f"search.space: 4s2x40d is not in trial.path={table.path}; valid: {', '.join(SIX)}"
    )


@pytest.mark.parametrize(
    "choices",
    [
        {"train.learning_rate": [0.1, 0.2]},
        {"train.learning_rate": {"low": 0.1, "high": 0.2}},
        {"model.avd": [True, False]},
    ],
)
def test_keys_that_only_a_training_heeds_are_refused(
    choices: dict[str, Any], tmp_path: Path
) -> None:
    table = table_of(tmp_path, rows_of())
    with pytest.raises(UserError) as caught:
        table.costings(Space({"variant": list(SIX), **choices}, MODEL))
    said = f"search.space.{next(iter(choices))}: trial=table: {table.path} records no such key"
    assert str(caught.value).startswith(said)


# Tables with parameters and costs of their own

OWN = (
    "parameter:depth,parameter:op,parameter:rate,cost:watts,gmacs,true_accuracy,seconds,"
    "epoch,seed,accuracy"
)


def own_table(folder: Path, text: str, header: str = OWN) -> Table:
    path = folder / "curves.csv"
    path.write_text(f"{header}\n{text}")
    return Table.read(path)


TWO_OWN = "3,pool,1e-3,2.5,4,0.5,1,1,0,0.25\n12,conv,0.01,1.5,3,0.75,1,1,0,0.625\n"


def test_own_parameters_are_numbers_or_words_by_what_all_their_cells_are(tmp_path: Path) -> None:
    table = own_table(tmp_path, TWO_OWN)
    assert [dict(candidate.parameters) for candidate in table.candidates] == [
        {"depth": 3, "op": "pool", "rate": 0.001},
        {"depth": 12, "op": "conv", "rate": 0.01},
    ]
    assert [candidate.name for candidate in table.candidates] == [
        "depth=3, op=pool, rate=0.001",
        "depth=12, op=conv, rate=0.01",
    ]
    assert table.cost_names == ("watts", "gmacs")
    assert table.costs(table.candidates[1]) == {"watts": 1.5, "gmacs": 3.0}
    assert table.true_accuracy(table.candidates[1]) == 0.75
    assert table.epoch(table.candidates[1], 0, 1).accuracy == 0.625
    mixed = own_table(tmp_path, TWO_OWN.replace("12,conv", "deep,conv"))
    assert [dict(c.parameters)["depth"] for c in mixed.candidates] == ["3", "deep"]


def test_parameters_may_stand_beside_the_variant(tmp_path: Path) -> None:
    rows = [row | {"parameter:stem": stem} for stem in ("deep", "flat") for row in rows_of(SIX[:1])]
    table = table_of(tmp_path, rows)
    assert [candidate.name for candidate in table.candidates] == [
        "1s1x32d (stem=deep)",
        "1s1x32d (stem=flat)",
    ]


def test_long_keys_leave_the_values_alone_in_a_name(tmp_path: Path) -> None:
    header = OWN.replace("depth", "NumberOfLayersInAll")
    assert own_table(tmp_path, TWO_OWN, header).candidates[0].name == "3/pool/0.001"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("3,pool", "3,"), "line 2: parameter:op='': valid: a number or a word"),
        (("2.5,4", "x,4"), "line 2: cost:watts='x': is no number"),
        (("2.5,4", "-1,4"), "line 2: cost:watts=-1: valid: a number of at least 0"),
        ((",0.5,1,1", ",1.5,1,1"), "line 2: true_accuracy=1.5: valid: a number from 0 to 1"),
        (("cost:watts,gmacs", "watts,macs"), "line 1: no cost; needed: radix, cardinality, width"),
        (("cost:watts", "cost:gmacs"), "line 1: column cost:gmacs: valid: cost:NAME of letters, "),
        (("cost:watts", "cost:state"), "line 1: column cost:state: valid: cost:NAME of letters, "),
        (("parameter:op", "parameter:a.b"), "line 1: column parameter:a.b: valid: parameter:NAME"),
        (("parameter:op", "parameter:"), "line 1: column parameter:: valid: parameter:NAME of "),
        (("parameter:op", "parameter:rate"), "line 1: column rate stands there twice"),
        (("cost:watts", "cost:repeat"), "line 1: column cost:repeat: valid: cost:NAME of letters"),
        (("cost:watts", "cost:also"), "line 1: column cost:also: valid: cost:NAME of letters, "),
        (("cost:watts", "cost:rate"), "line 1: column rate stands there twice"),
        (("parameter:op", "radix"), "line 1: no column cardinality; needed: radix, cardinality"),
    ],
)
def test_a_wrong_column_or_cell_of_its_own_is_named(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    header, _, text = f"{OWN}\n{TWO_OWN}".replace(*change, 1).partition("\n")
    with pytest.raises(UserError) as caught:
        own_table(tmp_path, text, header)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"trial.path={tmp_path / 'curves.csv'}: {said}")


def test_the_space_of_a_table_is_its_candidates_and_no_product(tmp_path: Path) -> None:
    table = own_table(tmp_path, TWO_OWN)
    space = TableSpace(table.candidates)
    assert space.candidates == space.networks == table.candidates
    for candidate in table.candidates:
        assert space.candidate(space.optuna_parameters(candidate)) == candidate
    # What is no candidate stands for the nearest: here two of three values decide.
    assert space.candidate({"depth": 3, "op": "pool", "rate": 0.01}) == table.candidates[0]
    assert space.candidate({"depth": 12, "op": "conv", "rate": 0.001}) == table.candidates[1]
    assert table.costings(space)[table.candidates[0].network].costs == {"watts": 2.5, "gmacs": 4.0}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["b", "a", "b"], CategoricalDistribution(["a", "b"])),
        ([4, 1, 2], CategoricalDistribution([1, 2, 4])),
        (list(range(1, 41)), IntDistribution(1, 40)),
        ([2**k for k in range(20)], IntDistribution(1, 2**19, log=True)),
        ([0.5 * k for k in range(20)], FloatDistribution(0.0, 9.5)),
        ([10.0**-k for k in range(20)], FloatDistribution(1e-19, 1.0, log=True)),
    ],
)
def test_words_are_choices_and_many_numbers_a_range(values: list[Any], found: Any) -> None:
    assert distribution_of(values) == found


@pytest.mark.parametrize("column", ["images_per_s", "loss"])
def test_an_objective_that_a_row_leaves_empty_is_refused(column: str, tmp_path: Path) -> None:
    rows = [row | {column: 0.5} for row in rows_of()]
    for row in rows[8:16]:  # all of the second variant
        row[column] = ""
    table = table_of(tmp_path, rows)
    table.check(SearchConfig(epochs=4))
    said = f"search.objectives: {column}: {table.path} leaves it empty for {SIX[1]}"
    with pytest.raises(UserError) as caught:
        table.check(SearchConfig(epochs=4, objectives=["accuracy", column]))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (SearchConfig(epochs=5), "search.epochs=5: FILE records 4; valid: 1 to 4"),
        (
            SearchConfig(epochs=4, objectives=["accuracy", "gmacs"]),
            "search.objectives: gmacs: FILE has no such column; valid: accuracy, latency_ms, ",
        ),
        (
            SearchConfig(epochs=4, objectives=["loss"]),
            "search.objectives: loss: FILE has no such column; valid: accuracy, latency_ms, ",
        ),
        (
            SearchConfig(epochs=4, limits=LimitsConfig(parameters_m=1.0)),
            "search.limits: parameters_m: FILE has no such column; valid: latency_ms, memory_mib",
        ),
        (
            SearchConfig(epochs=4, repeats=2),
            "search.repeats=2: FILE records 2 seeds of a variant, and a seed repeated tells "
            "nothing new; valid: 0 to 1",
        ),
    ],
)
def test_searches_that_want_more_than_was_recorded_are_refused(
    search: SearchConfig, said: str, tmp_path: Path
) -> None:
    table = table_of(tmp_path, rows_of())
    with pytest.raises(UserError) as caught:
        table.check(search)
    assert str(caught.value).startswith(said.replace("FILE", str(table.path)))


def test_a_number_too_large_to_reckon_with_is_a_word(tmp_path: Path) -> None:
    rows = [row | {"parameter:id": 10**400 + depth} for depth in (0, 1) for row in rows_of(SIX[:1])]
    table = table_of(tmp_path, rows)
    assert [dict(c.others)["id"] for c in table.candidates] == [str(10**400), str(10**400 + 1)]


def test_a_search_that_the_table_serves_is_accepted(tmp_path: Path) -> None:
    limits = LimitsConfig(latency_ms=2.0)
    table_of(tmp_path, rows_of()).check(SearchConfig(epochs=3, repeats=1, limits=limits))
