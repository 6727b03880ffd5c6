import csv
import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from sample_sweeps import EPOCHS, doubtful, make_sweep, make_trial, mixed, unbalanced

from resnest_search.metrics import COSTS, METRICS
from resnest_search.report.columns import columns
from resnest_search.report.reading import percent, share_text
from resnest_search.report.table import (
    CSV_COLUMNS,
    TrialTable,
    closing,
    front_csv,
    print_closing,
    trials_csv,
)
from resnest_search.report.verdict import choice, ended, noise, unfinished, verdict
from resnest_search.study.record import COMPLETE, FAILED, INTERRUPTED, PAUSED, PRUNED, Ending, Epoch


def printed(renderable, width=100):
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row_of(text, variant):
    return next(line for line in text.splitlines() if variant in line)


def test_the_front_comes_first_and_fastest_first():
    sweep = mixed()
    lines = printed(TrialTable(sweep)).splitlines()[1:]
    starred = [line for line in lines if "★" in line]
    assert lines[: len(starred)] == starred
    assert [line.split("s")[0] for line in starred]
    shown = [next(w for w in line.split() if w.endswith("d")) for line in starred]
    assert shown == [trial.variant for trial in sweep.front]


def test_only_the_knee_is_called_so():
    sweep = mixed()
    text = printed(TrialTable(sweep))
    best = next(trial for trial in sweep.trials if trial.number == sweep.knee)
    assert text.count("★ knee") == 1
    assert best.variant in row_of(text, "★ knee")


def test_a_pruned_trial_is_never_on_the_front_even_if_its_record_says_so():
    wrong = replace(make_trial(2, "2s1x24d", PRUNED), on_front=True)
    sweep = replace(make_sweep([make_trial(0, "1s1x16d")]), chosen=2)
    sweep = replace(sweep, trials=(*sweep.trials, wrong))
    line = row_of(printed(TrialTable(sweep)), "2s1x24d")
    assert "★" not in line
    assert "pruned at epoch 1" in line
    assert f"1/{EPOCHS}" in line


def test_an_unfinished_accuracy_is_in_parentheses_and_a_finished_one_is_not():
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(2, "2s1x24d", PRUNED)])
    text = printed(TrialTable(sweep))
    assert "(" not in row_of(text, "1s1x16d")
    pruned = sweep.trials[1]
    error = (pruned.accuracy * (1 - pruned.accuracy) / 500 + 1 / 500**2 / 4) ** 0.5 * 500 / 501
    assert f"({100 * pruned.accuracy:.2f} ± {100 * error:.2f})" in row_of(text, "2s1x24d")
    assert "training did not end" in text


@pytest.mark.parametrize("width", [60, 72, 80, 100, 160])
def test_a_narrow_terminal_loses_columns_and_never_digits(width):
    sweep = mixed()
    text = printed(TrialTable(sweep), width)
    assert max(map(len, text.splitlines())) <= width
    for trial in sweep.trials:
        if trial.state == COMPLETE:
            line = row_of(text, f" {trial.variant} ")
            assert "…" not in line
    first = row_of(text, sweep.front[0].variant)
    assert f"{100 * sweep.front[0].accuracy:.2f} ±" in first
    assert f"{sweep.front[0].costs['latency_ms']:.2f}" in first
    if width < 80:
        assert "no room for" in text


def test_what_else_varies_and_what_is_unknown_are_shown():
    trial = make_trial(0, "1s1x16d", parameters={"radix": 1, "train.learning_rate": 0.05}, costs={})
    text = printed(TrialTable(make_sweep([trial])))
    assert "learning_rate" in text
    assert "0.05" in text
    assert "radix" not in text
    assert "–" in row_of(text, "1s1x16d")


def test_repeats_are_told_apart_by_their_seed():
    one = make_trial(0, "1s1x16d", candidate="c", seed=11)
    two = make_trial(1, "1s1x16d", candidate="c", seed=12)
    assert "seed" in printed(TrialTable(make_sweep([one, two])))
    assert "seed" not in printed(TrialTable(make_sweep([one])))


def test_csv_gives_back_what_was_recorded(tmp_path):
    sweep = mixed()
    trials_csv(sweep, tmp_path / "trials.csv")
    found = rows(tmp_path / "trials.csv")
    assert tuple(found[0]) == CSV_COLUMNS
    assert len(found) == len(sweep.trials)
    by_candidate = {row["candidate"]: row for row in found}
    for trial in sweep.trials:
        row = by_candidate[trial.candidate]
        assert row["state"] == trial.state
        assert row["reason"] == trial.reason
        assert row["accuracy"] == ("" if trial.accuracy is None else repr(trial.accuracy))
        assert int(row["epochs"]) == trial.epochs
        assert row["pruned_at"] == ("" if trial.pruned_at is None else str(trial.pruned_at))
        assert json.loads(row["parameters"]) == trial.parameters
        assert json.loads(row["versions"]) == trial.versions
        assert {n: float(row[n]) for n in COSTS} == trial.costs
        assert row["on_front"] == ("true" if trial.on_front else "false")
    assert [row["variant"] for row in found if row["knee"] == "true"] == [
        t.variant for t in sweep.trials if t.number == sweep.knee
    ]


def timed(number, variant, latency, half_width):
    """Five rounds of timing."""
    trial = make_trial(number, variant)
    costs = {**trial.costs, "latency_ms": latency}
    return replace(trial, costs=costs, half_width=half_width, latency_rounds=5)


def test_a_latency_stands_with_its_interval(tmp_path):
    trials = [timed(0, "1s1x16d", 1.0, 0.02), timed(1, "2s1x16d", 2.0, 0.1)]
    sweep = make_sweep(trials)
    asked = replace(sweep, config={**sweep.config, "measure": {"half_width": 3.0}})
    text = printed(TrialTable(asked), 200)
    assert " 1.00 ±0.02 " in row_of(text, "1s1x16d")
    assert " 2.00 ±0.20! " in row_of(text, "2s1x16d"), "wider than was asked"
    assert "±0.20!" not in printed(TrialTable(sweep), 200)
    (column,) = [c for c in columns(asked) if c.head == "ms"]
    assert "interval of 95 %" in column.meaning
    trials_csv(asked, tmp_path / "trials.csv")
    for row, trial in zip(rows(tmp_path / "trials.csv"), trials, strict=True):
        low, high = float(row["latency_low_ms"]), float(row["latency_high_ms"])
        assert low < trial.costs["latency_ms"] < high
        assert high / low == pytest.approx((1 + trial.half_width) ** 2)
        assert row["latency_rounds"] == "5"


def test_a_latency_without_rounds_stands_alone(tmp_path):
    sweep = make_sweep([make_trial(0, "1s1x16d")])
    assert "±" not in printed(TrialTable(sweep), 200).replace(" ± ", "")
    trials_csv(sweep, tmp_path / "trials.csv")
    (row,) = rows(tmp_path / "trials.csv")
    assert row["latency_low_ms"] == row["latency_high_ms"] == row["latency_rounds"] == ""


def test_csv_leaves_what_was_not_measured_empty(tmp_path):
    trial = make_trial(0, "1s1x16d", FAILED, curve=(), costs={}, validation_images=0)
    trials_csv(make_sweep([trial]), tmp_path / "trials.csv")
    (row,) = rows(tmp_path / "trials.csv")
    assert row["radix"] == "1"
    for name in ("accuracy", "accuracy_error", "loss", "validation_images", *COSTS):
        assert row[name] == ""


def test_front_csv_holds_the_front_alone_in_the_same_columns(tmp_path):
    sweep = mixed()
    wrong = replace(make_trial(99, "2s1x24d", PRUNED), on_front=True)
    front_csv(replace(sweep, trials=(*sweep.trials, wrong)), tmp_path / "front.csv")
    found = rows(tmp_path / "front.csv")
    assert tuple(found[0]) == CSV_COLUMNS
    assert [row["variant"] for row in found] == [trial.variant for trial in sweep.front]


def test_csv_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "trials.csv"
    path.write_text("old")
    trials_csv(mixed(), path)
    assert path.read_text().startswith("number,")
    assert [p.name for p in tmp_path.iterdir()] == ["trials.csv"]


def test_closing_names_the_knee_the_files_that_exist_and_the_next_commands(tmp_path):
    (tmp_path / "report.html").touch()
    (tmp_path / "study.db").touch()
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    sweep = replace(mixed(), folder=str(tmp_path), finished=False)
    best = next(trial for trial in sweep.trials if trial.number == sweep.knee)
    text = printed(closing(sweep), width=300)
    assert f"The knee of the front is {best.variant}: {100 * best.accuracy:.2f}" in text
    assert f"python -m resnest_search report run={tmp_path}" in text
    assert f"export run={tmp_path} select=latency" in text
    assert f"resume run={tmp_path}" in text
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in text
    assert f"optuna-dashboard sqlite:///{tmp_path}/study.db" in text
    assert "front.csv" not in text


def test_closing_offers_only_what_makes_sense(tmp_path):
    text = printed(closing(replace(make_sweep([]), folder=str(tmp_path))), width=300)
    assert "resume" not in text
    assert "export" not in text
    assert "wandb" not in text
    assert "The front has 0 members, and there is no knee." in text


def test_a_budget_below_what_was_spent_is_not_what_it_was_spent_of():
    sweep = replace(mixed(), finished=False, at_work=False)
    spent = sweep.epochs
    for budget, said in {
        spent + 1: f"{spent} of {spent + 1} epochs",
        spent: f"{spent} of {spent} epochs",
        spent - 1: f"{spent} epochs, beyond the budget of {spent - 1}",
        0: f"{spent} epochs",
    }.items():
        lower = replace(sweep, budget=budget)
        assert unfinished(lower).endswith(f" after {said}.")
        assert f" · {said} · " in printed(closing(lower), width=300)


def test_memory_of_small_networks_is_told_apart():
    memory = METRICS["memory_mib"]
    assert [memory.show(value) for value in (0.1641, 0.1618, 0.0245, 1.0, 9.504)] == [
        *("0.164", "0.162", "0.0245"),
        *("1.00", "9.50"),
    ]
    assert METRICS["latency_ms"].show(0.0512) == "0.051"


def test_a_bound_that_ended_the_sweep_is_offered_twice_as_large():
    def offered(search, seconds=0.0):
        config = {"search": search}
        sweep = replace(mixed(), config=config, seconds=seconds, finished=True)
        text = printed(closing(sweep), width=300)
        return [line.split()[-1] for line in text.splitlines() if line.startswith("train on")]

    spent = mixed().epochs
    assert offered({"budget": spent}) == [f"budget={2 * spent}"]
    assert offered({"budget": spent + 1}) == []
    assert offered({"hours": 0.5}, seconds=1801) == ["hours=1"]
    assert offered({"hours": 0.5}, seconds=1799) == []
    assert offered({}) == []


def test_costs_that_no_trial_has_get_no_column():
    trials = [make_trial(n, f"1s1x{n}6d", costs={"latency_ms": 1.0 + n}) for n in (1, 2)]
    heads = {column.head for column in columns(make_sweep(trials))}
    assert "ms" in heads
    assert heads.isdisjoint({"MiB", "GMACs", "img/s", "#P M"})


def test_no_line_break_gets_into_a_printed_command(tmp_path):
    sweep = replace(mixed(), folder=str(tmp_path / ("long" * 20)))
    console = Console(file=StringIO(), width=80)
    print_closing(sweep, console)
    command = f"python -m resnest_search export run={sweep.folder} select=latency"
    assert any(line.endswith(command) for line in console.file.getvalue().splitlines())


def test_markup_in_a_reason_is_text():
    trial = make_trial(0, "1s1x16d", FAILED, reason="[bold]index [0] is out of range[/bold]")
    assert "[bold]index [0]" in printed(TrialTable(make_sweep([trial])), width=200)


# What noise leaves open


def test_the_table_says_how_probable_a_place_on_the_front_is():
    sweep = doubtful()
    text = printed(TrialTable(sweep), width=200)
    assert "front %" in text.splitlines()[0]
    best = next(trial for trial in sweep.trials if trial.number == sweep.knee)
    assert f" {percent(best.membership)} " in row_of(text, "★ knee")
    assert "front %" not in printed(TrialTable(mixed()), width=200)


def test_probabilities_are_rounded_but_never_to_certainty():
    shares = {0.0: "<1", 0.004: "<1", 0.47: "47", 0.996: ">99", 1.0: ">99", None: ""}
    assert {share: percent(share) for share in shares} == shares


def test_a_mean_stands_at_the_first_seed_and_each_other_seed_says_what_it_repeats():
    sweep = doubtful()
    first, again = sweep.trials[3], sweep.trials[7]
    assert first.variant == again.variant == "2s1x64d"
    mean = sum(sweep.trials[n].accuracy for n in (3, 7, 8)) / 3
    assert share_text(first) == f"{100 * mean:.2f} ± {100 * first.mean_error:.2f}"
    assert share_text(again) == f"{100 * again.accuracy:.2f} ± {100 * again.accuracy_error:.2f}"
    lines = [x for x in printed(TrialTable(sweep), width=200).splitlines() if "2s1x64d" in x]
    assert ["★" in line for line in lines] == [True, False, False]
    assert ["repeats 3" in line for line in lines] == [False, True, True]


def test_a_sweep_that_runs_shows_means_before_their_error_is_known():
    first = replace(doubtful().trials[3], errors={})
    assert share_text(first) == f"{100 * first.mean_accuracy:.2f}"


def test_closing_names_what_is_within_noise_of_the_knee_and_what_noise_that_is():
    sweep = doubtful()
    text = " ".join(printed(closing(sweep), width=1000).split())
    (rival,) = (trial for trial in sweep.trials if trial.number in sweep.rivals)
    assert f"{rival.variant} is within noise of it and costs no more." in text
    assert f"it would be the knee in {percent(sweep.knee_share)} % of cases" in text
    deviation = f"{100 * sweep.seed_deviation:.2f} %, from 2 candidates"
    assert (
        f"This is the noise of the 500 validation images and between seeds ({deviation})." in text
    )


@pytest.mark.parametrize(
    ("sought", "noun"), [("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro F1")]
)
def test_a_mean_over_classes_that_is_sought_stands_with_its_noise(sought, noun, tmp_path):
    sweep = unbalanced(sought)
    best = next(trial for trial in sweep.trials if trial.number == sweep.chosen)
    text = printed(TrialTable(sweep), width=220)
    value = f"{100 * best.means[sought]:.2f} ± {100 * best.errors[sought]:.2f}"
    assert value in row_of(text, best.variant)
    assert f"{value} % {noun}" in choice(sweep)
    assert "front %" in text
    assert f"{100 * sweep.seed_deviation:.2f} %, from 2 candidates" in noise(sweep)
    dearer = replace(sweep, alike=tuple(t.number for t in sweep.front if t is not best)[:1])
    assert f"Noise does not tell its {noun} from that of" in noise(dearer)
    trials_csv(sweep, tmp_path / "trials.csv")
    row = next(r for r in rows(tmp_path / "trials.csv") if r["number"] == str(best.number))
    assert float(row[sought]) == best.metric(sought)
    assert float(row[f"mean_{sought}"]) == best.means[sought]
    assert float(row[f"mean_{sought}_error"]) == best.errors[sought]
    assert row["mean_error"] == ""
    assert f"{100 * best.means['accuracy']:.2f}" in text


def test_means_over_classes_stand_beside_accuracy_where_they_say_something_else():
    heads = [column.head for column in columns(unbalanced("accuracy"))]
    assert heads.index("acc %") < heads.index("bal. acc %") < heads.index("F1 %")
    assert not {"bal. acc %", "F1 %"} & {column.head for column in columns(doubtful())}


def test_what_was_passed_over_for_its_costs_is_named():
    sweep = doubtful()
    dearer = [trial.variant for trial in sweep.front if trial.number in sweep.alike]
    assert dearer == ["2s1x40d"]
    assert "Noise does not tell its accuracy from that of 2s1x40d, no cheaper on average." in noise(
        sweep
    )
    assert "Noise does not" not in noise(replace(sweep, alike=()))
    # one that may cost as little, within the errors of the costs, is not named a second time
    trials = [replace(t, rivals=(2,)) if t.number == sweep.knee else t for t in sweep.trials]
    assert noise(replace(sweep, trials=tuple(trials))).count("2s1x40d, no") == 1
    assert "costs no more" not in noise(replace(sweep, trials=tuple(trials)))


def test_a_front_of_one_or_two_members_has_nothing_to_choose():
    one = make_sweep([make_trial(0, "1s1x16d")])
    assert choice(one).startswith("The front has 1 member, so that there is nothing to choose: 1s1")
    text = printed(TrialTable(one))
    assert ("knee" in text, "first" in text) == (False, False)
    trials = [make_trial(0, "1s1x16d"), make_trial(1, "4s4x64d")]
    two = replace(make_sweep(trials), chosen=1)
    assert "no knee to choose: 4s4x64d comes first in the order of the objectives (accuracy, " in (
        choice(two)
    )
    assert "Beside it: 1s1x16d, with " in choice(two)
    assert "knee" not in printed(TrialTable(two))
    assert "4s4x64d" in row_of(printed(TrialTable(two)), "★ first")


def test_no_accuracy_is_without_error():
    """Of eight of eight Wilson's interval is 67.56 to 100."""
    curve = (Epoch(9, 1.0, 0.1, 0.1, 0.4),)
    trials = [
        make_trial(n, v, curve=curve, validation_images=8)
        for n, v in enumerate(("1s1x16d", "2s1x40d", "4s4x64d"))
    ]
    sweep = make_sweep(trials)
    assert "100.00 ± 5.56 % accuracy (95 % interval 67.56 to 100.00)" in choice(sweep)
    assert "± 0.00" not in printed(TrialTable(sweep))


def test_a_sweep_that_was_interrupted_says_so_first():
    done = mixed()
    assert unfinished(done) == ""
    cut = replace(done, finished=False, at_work=False)
    first = f"Interrupted: not finished. What follows is where it stood after {cut.epochs} of "
    assert verdict(cut)[0].startswith(first)
    assert printed(closing(cut), width=300).startswith(first)
    at_work = replace(done, finished=False)
    assert verdict(at_work)[0].startswith("Not finished: still at work.")
    assert not printed(closing(done)).startswith("Interrupted")


def test_the_closing_says_what_ended_a_sweep_and_what_that_saved():
    trials = [
        make_trial(0, "1s1x16d", curve=_curve(9)),
        make_trial(1, "2s1x16d", PRUNED, reason="promises nothing", curve=_curve(1)),
        make_trial(2, "4s1x16d", PRUNED, reason="promises nothing", curve=_curve(3)),
    ]
    ending = Ending("nothing is worth it", untried=2, epochs=32, seconds=75, lost=(0.0123, 0.04))
    sweep = replace(make_sweep(trials), ending=ending)
    assert ended(sweep) == (
        "Ended: nothing is worth it. Not trained to the end: 2 trials pruned after 1 to 3 epochs "
        "and 2 candidates never begun. That saved 32 of 45 epochs, about 1 min 15 s of training. "
        "Forecasts of their ends say that the front lost 1.2 % of its hypervolume by this, in 95 % "
        "of cases less than 4 %."
    )
    assert ended(sweep) in " ".join(printed(closing(sweep), width=2000).split())
    assert ended(sweep) in verdict(sweep)
    nearly = replace(sweep, ending=replace(ending, lost=(0.0, 0.002)))
    assert "lost under 0.1 % of its hypervolume by this, in 95 % of cases less than 0.2 %" in (
        ended(nearly)
    )
    assert ended(replace(sweep, ending=None)) == ""


def test_what_waits_is_called_paused_and_what_nobody_is_at_interrupted():
    trials = [
        make_trial(0, "1s1x16d"),
        make_trial(1, "2s1x16d", PAUSED, reason="others promise more", curve=_curve(3)),
        make_trial(2, "4s1x16d", INTERRUPTED, curve=_curve(2)),
    ]
    text = printed(closing(make_sweep(trials)), width=200)
    assert "paused after epoch 3: others promise more" in text
    assert "interrupted after epoch 2" in text
    assert "1 complete, 1 paused, 1 interrupted" in text
    assert "running" not in text


def _curve(epochs):
    return tuple(Epoch(n, 0.5, 1.0, 1.0, 0.4) for n in range(1, epochs + 1))


@pytest.mark.parametrize(
    ("objectives", "heads"),
    [
        (("memory_mib", "accuracy"), ["MiB", "acc %", "#P M", "GMACs", "ms", "img/s"]),
        (("loss", "images_per_s"), ["loss", "img/s", "acc %", "#P M", "GMACs", "ms", "MiB"]),
        (("train_memory_mib",), ["train MiB", "acc %", "#P M", "GMACs", "ms", "MiB", "img/s"]),
    ],
)
def test_the_objectives_come_first_in_their_order(objectives, heads):
    sweep = replace(mixed(), objectives=objectives)
    found = [column.head for column in columns(sweep)]
    assert found == ["front", "#", "variant", *heads, "epochs", "state"]
    said = [choice(sweep).index(METRICS[name].unit) for name in objectives]
    assert said == sorted(said)
    narrow = printed(TrialTable(sweep), 60).splitlines()[0]
    assert all(METRICS[name].label in narrow for name in objectives[:2])


def test_a_line_names_the_keys_that_vary_beside_the_variant():
    given = {"variant": "1s1x16d", "train.learning_rate": 0.05, "model.depths": [1, 2]}
    trial = make_trial(0, "1s1x16d", parameters=given)
    assert trial.name == "1s1x16d (model.depths=[1, 2], train.learning_rate=0.05)"
    assert trial.name in choice(make_sweep([trial]))


def test_what_best_holds_is_said_whatever_chose_it(tmp_path):
    sweep = replace(mixed(), folder=str(tmp_path))
    (tmp_path / "best").mkdir()
    facts = {"variant": "9s9x9d", "trial": 7, "selected_as": "knee"}
    (tmp_path / "best" / "model.json").write_text(json.dumps(facts))
    assert f"{tmp_path}/best (9s9x9d, trial 7: select=knee)" in printed(closing(sweep), width=300)
    facts["chosen_as"] = "the fastest of the front"
    (tmp_path / "best" / "model.json").write_text(json.dumps(facts))
    assert "(9s9x9d, trial 7: the fastest of the front)" in printed(closing(sweep), width=300)
    (tmp_path / "best" / "model.json").write_text("[]")
    assert f"{tmp_path}/best\n" in printed(closing(sweep), width=300).replace(" \n", "\n")


def test_several_rivals_are_named_fastest_first_and_none_is_said():
    sweep = doubtful()

    def said(*numbers):
        trials = [replace(t, rivals=numbers) if t.number == sweep.knee else t for t in sweep.trials]
        return noise(replace(sweep, trials=tuple(trials)))

    assert "1s1x40d, 0s2x40d and 1s1x64d are within noise of it and cost no more." in said(1, 5, 0)
    assert "Nothing that costs as little is within noise of it." in said()
    sweep = replace(sweep, objectives=("accuracy",))  # what no objective is need not cost as little
    assert "0s2x40d and 1s1x64d are within noise of it. " in said(1, 5)
    assert "0s2x40d is within noise of it. " in said(5)
    assert "Nothing is within noise of it." in said()


def test_noise_that_was_not_measured_is_said_to_be():
    sweep = doubtful()
    images = replace(sweep, noise=("images",), seed_deviation=None)
    assert noise(images).endswith("that between seeds was not measured.")
    seeds = replace(sweep, noise=("seeds",))
    assert noise(seeds).endswith("that of the validation images is not known.")
    assert noise(mixed()) == ""


def test_csv_holds_what_noise_leaves_open(tmp_path):
    sweep = doubtful()
    trials_csv(sweep, tmp_path / "trials.csv")
    front_csv(sweep, tmp_path / "front.csv")
    found = {int(row["number"]): row for row in rows(tmp_path / "trials.csv")}
    for trial in sweep.trials:
        for name in ("membership", "knee_share", "mean_accuracy", "mean_error", "repeat_of"):
            value = getattr(trial, name)
            assert found[trial.number][name] == ("" if value is None else repr(value))
        assert int(found[trial.number]["seeds"]) == trial.seeds
    assert all(row["membership"] for row in rows(tmp_path / "front.csv"))
    sheets = [t.curve[-1].correct for t in sweep.trials if t.state == COMPLETE]
    text = (tmp_path / "trials.csv").read_text()
    assert not any(sheet in text for sheet in sheets)
