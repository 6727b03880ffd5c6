import json
import math
from dataclasses import replace

import pytest
from plotly.utils import PlotlyJSONEncoder
from sample_sweeps import doubtful, make_sweep, make_trial, mixed, timed, unbalanced

from resnest_search.panels import Panel, drawn, read_panels
from resnest_search.report.figures import figure_of
from resnest_search.report.figures.names import Spot, placed
from resnest_search.study.record import COMPLETE, FAILED, INFEASIBLE, PRUNED, RUNNING, Driver, Epoch

FRONT = Panel("front", "t", "latency_ms", "accuracy", "memory_mib")
CURVES = Panel("curves", "t", y="accuracy")
COSTS = Panel("scatter", "t", "gmacs", "latency_ms")
PLAIN = [Panel(kind, kind) for kind in ("parallel", "importance", "hypervolume", "timeline")]


def without_latency(trial):
    costs = {name: value for name, value in trial.costs.items() if name != "latency_ms"}
    return replace(trial, costs=costs)


SWEEPS = {
    "empty": make_sweep([]),
    "one": make_sweep([make_trial(0, "2s1x64d")]),
    "none complete": make_sweep(
        [make_trial(0, "2s1x64d", PRUNED), make_trial(1, "1s1x16d", FAILED)]
    ),
    "running only": make_sweep([make_trial(0, "2s1x64d", RUNNING)]),
    "no latency": make_sweep([without_latency(make_trial(n, "2s1x64d")) for n in range(3)]),
    "same everywhere": make_sweep([make_trial(0, "2s1x64d"), make_trial(0, "2s1x64d")]),
    "many": timed(mixed(120)),
    "doubtful": timed(doubtful()),
}


def names(figure):
    return [trace.name for trace in figure.data]


def texts(figure):
    return [note.text for note in figure.layout.annotations]


def trace_of(figure, beginning):
    return next(trace for trace in figure.data if (trace.name or "").startswith(beginning))


def numbers(figure):
    """Every number of a drawing; None is a gap, NaN would be refused by a browser."""
    return json.dumps(figure.to_plotly_json(), cls=PlotlyJSONEncoder, allow_nan=False)


@pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS.keys())
def test_every_figure_of_every_sweep_can_be_drawn_or_is_none(sweep):
    for panel in (FRONT, CURVES, COSTS, *PLAIN, Panel("ledger", "t")):
        figure = figure_of(panel, sweep)
        assert figure is None or numbers(figure)


@pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS.keys())
def test_every_point_says_whose_it_is(sweep):
    for panel in (FRONT, CURVES, COSTS, *PLAIN):
        figure = figure_of(panel, sweep)
        for trace in figure.data if figure else ():
            if trace.customdata is None:
                continue
            owners = [sweep.trials[place] for place in trace.customdata if place is not None]
            if trace.type == "scatter":
                assert len(trace.customdata) == len(trace.x) == len(trace.y)
            if trace.type == "scatter" and trace.hovertext:
                shown = [text for text in trace.hovertext if text is not None]
                assert all(t.name in text for t, text in zip(owners, shown, strict=True))


def test_the_front_names_its_members_and_the_knee():
    sweep = make_sweep([make_trial(n, v) for n, v in enumerate(("1s1x16d", "2s1x40d", "2s2x64d"))])
    found = texts(figure_of(FRONT, sweep))
    for trial in sweep.front:
        knee = f"<b>{trial.variant} (knee)</b>"
        assert (knee if trial.number == sweep.knee else trial.variant) in found


def test_the_pointer_is_told_name_number_state_and_objectives():
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(2, "2s1x24d", PRUNED)])
    figure = figure_of(FRONT, sweep)
    best = sweep.trials[0]
    text = trace_of(figure, "on the front").hovertext[0]
    assert text.startswith("<b>1s1x16d</b>, trial 0<br>complete<br>")
    assert f"{best.costs['latency_ms']:.2f} ms" in text
    assert f"{best.costs['memory_mib']:.2f} MiB" in text
    pruned = trace_of(figure, "pruned").hovertext[0]
    assert "<b>2s1x24d</b>, trial 2<br>pruned at epoch 1: dominated at the rung" in pruned
    assert "(" in pruned.split("<br>")[2]  # its accuracy is unfinished


def test_a_name_is_no_markup():
    trial = replace(make_trial(0, "1s1x16d"), variant="", parameters={"a": "<img src=x>"})
    figure = figure_of(FRONT, make_sweep([trial]))
    assert "<img" not in numbers(figure)


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (("64 images of 32x32, fp32",) * 2, "training step of 64 images of 32x32, fp32, MiB"),
        (("64 images of 32x32, fp32", "8 images of 32x32, fp32"), "each trial's own batch, MiB"),
        (("", ""), "peak memory of a training step, MiB"),
    ],
)
def test_the_memory_of_a_training_step_names_its_batch(modes, said):
    trials = [make_trial(n, "2s1x64d", train_mode=mode) for n, mode in enumerate(modes)]
    sweep = make_sweep(trials)
    over = figure_of(Panel("scatter", "t", "train_memory_mib", "accuracy"), sweep)
    assert said in over.layout.xaxis.title.text
    up = figure_of(Panel("scatter", "t", "gmacs", "train_memory_mib"), sweep)
    assert said in up.layout.yaxis.title.text


def test_pruned_trials_are_said_to_be_unfinished_and_have_no_name():
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(2, "2s1x24d", PRUNED)])
    figure = figure_of(FRONT, sweep)
    assert any(name.startswith("pruned at epoch 1, unfinished") for name in names(figure))
    assert "2s1x24d" not in texts(figure)


def test_what_lies_off_the_axis_is_counted_above_it_too():
    losses = {0: 0.4, 1: 0.5, 2: 0.6, 3: 9.0, 4: 9.0}
    states = {3: PRUNED, 4: RUNNING}
    trials = [
        make_trial(n, "1s1x16d", states.get(n, COMPLETE), curve=(Epoch(1, 0.5, loss, 1, 1),))
        for n, loss in losses.items()
    ]
    sweep = make_sweep(trials, objectives=("loss", "latency_ms"))
    drawing = figure_of(Panel("front", "t", "latency_ms", "loss"), sweep)
    assert trace_of(drawing, "pruned").name.endswith("unfinished (1 above the axis)")
    assert trace_of(drawing, "under way").name == "under way, unfinished (1 above the axis)"


def test_what_another_device_rules_out_was_trained_all_the_same():
    trained = replace(make_trial(1, "2s1x16d"), state=INFEASIBLE)
    never = make_trial(-1, "4s1x16d", INFEASIBLE)
    sweep = make_sweep([make_trial(0, "1s1x16d"), never])
    assert trace_of(figure_of(COSTS, sweep), "infeasible").name == "infeasible, never trained"
    sweep = make_sweep([make_trial(0, "1s1x16d"), trained, never])
    assert trace_of(figure_of(COSTS, sweep), "infeasible").name == "infeasible"


def test_a_pruned_trial_marked_as_front_is_still_drawn_as_pruned():
    wrong = replace(make_trial(2, "2s1x24d", PRUNED), on_front=True)
    sweep = replace(make_sweep([make_trial(0, "1s1x16d")]), chosen=2)
    figure = figure_of(FRONT, replace(sweep, trials=(*sweep.trials, wrong)))
    assert not any("2s1x24d" in text for text in texts(figure))
    assert "knee of the front" not in names(figure)


def test_controls_are_squares_and_sizes_are_named_only_where_they_tell_something():
    figure = figure_of(FRONT, make_sweep([make_trial(0, "0s1x16d"), make_trial(1, "2s1x40d")]))
    trace = trace_of(figure, "on the front (square: radix 0)")
    assert sorted(trace.marker.symbol) == ["circle", "square"]
    assert "size: peak memory of inference, MiB" in figure.layout.xaxis.title.text
    alone = figure_of(FRONT, make_sweep([make_trial(1, "2s1x40d")]))
    assert not any("radix 0" in name for name in names(alone))
    assert "size" not in alone.layout.xaxis.title.text


def test_the_area_of_a_marker_grows_with_its_metric():
    trials = [
        replace(make_trial(n, "2s1x40d"), costs={"latency_ms": 1.0 + n, "memory_mib": m})
        for n, m in enumerate((10.0, 20.0, 30.0))
    ]
    sizes = []
    for trace in figure_of(FRONT, make_sweep(trials)).data:
        sizes += trace.marker.size or ()
    least, middle, most = sorted(sizes)
    assert middle**2 - least**2 == pytest.approx(most**2 - middle**2, rel=0.02)


def test_the_step_line_is_the_best_to_be_had_and_bars_are_standard_errors():
    sweep = mixed()
    figure = figure_of(FRONT, sweep)
    line = trace_of(figure, "best to be had")
    assert list(line.x) == sorted(line.x)
    assert list(line.y) == sorted(line.y)
    for cost, best in zip(line.x, line.y, strict=True):
        reached = [t.accuracy for t in sweep.front if t.costs["latency_ms"] <= cost + 1e-9]
        assert best == pytest.approx(100 * max(reached))
    trace = trace_of(figure, "on the front")
    for place, bar in zip(trace.customdata, trace.error_y.array, strict=True):
        assert bar == pytest.approx(100 * sweep.trials[place].accuracy_error)


def test_a_mean_over_classes_that_is_sought_has_its_axis_its_bars_and_its_curves():
    sweep = unbalanced()
    front, *_ = [panel for panel in drawn(read_panels(), sweep) if panel.kind == "front"]
    assert front.y == "balanced_accuracy"
    trace = trace_of(figure_of(front, sweep), "knee of the front")
    (best,) = (trial for trial in sweep.trials if trial.number == sweep.knee)
    assert trace.y == pytest.approx([100 * best.means["balanced_accuracy"]])
    assert trace.error_y.array == pytest.approx([100 * best.errors["balanced_accuracy"]])
    assert figure_of(Panel("curves", "t", y="balanced_accuracy"), sweep) is not None
    assert figure_of(Panel("curves", "t", y="macro_f1"), doubtful()) is None  # of earlier versions


def test_latencies_have_the_error_of_their_rounds():
    trials = [
        make_trial(n, v, deviations={"latency_ms": 0.02 * (n + 1)}, latency_rounds=5)
        for n, v in enumerate(("1s1x16d", "2s2x64d"))
    ]
    figure = figure_of(COSTS, make_sweep(trials))
    trace = trace_of(figure, "on the front")
    for place, bar in zip(trace.customdata, trace.error_y.array, strict=True):
        trial = trials[place]
        assert bar == pytest.approx(trial.log_error("latency_ms") * trial.costs["latency_ms"])


def test_nan_is_left_out():
    curve = (Epoch(1, 0.5, 1.0, 1.0, 1.0), Epoch(2, math.nan, math.nan, math.nan, 1.0))
    sweep = make_sweep([make_trial(0, "1s1x16d", FAILED, curve=curve), make_trial(1, "2s1x16d")])
    for panel in (FRONT, CURVES, Panel("curves", "t", y="loss")):
        assert "NaN" not in numbers(figure_of(panel, sweep))


def test_curves_have_a_colour_for_each_radix_and_mark_rungs_and_ends():
    variants = ("1s1x16d", "1s1x40d", "2s1x40d", "2s2x64d")
    complete = [make_trial(n, v) for n, v in enumerate(variants)]
    sweep = make_sweep([*complete, make_trial(4, "2s1x24d", PRUNED)])
    figure = figure_of(CURVES, sweep)
    assert [shape.x0 for shape in figure.layout.shapes] == list(sweep.rungs)
    colors = {trace.name.split(",")[0]: trace.line.color for trace in figure.data[:-1]}
    assert set(colors) == {"radix 1", "radix 2"}
    assert len(set(colors.values())) == 2
    ends = trace_of(figure, "pruned here")
    assert list(ends.customdata) == [4]
    assert list(ends.x) == [1]


def test_a_curve_of_one_epoch_has_an_axis_of_whole_epochs():
    trial = make_trial(0, "1s1x16d", curve=(Epoch(1, 0.5, 1.0, 1.0, 1.0),))
    axis = figure_of(CURVES, make_sweep([trial])).layout.xaxis
    assert axis.dtick == 1
    assert list(axis.range) == [0.5, 1.5]


def test_a_complete_trial_off_the_front_is_not_named():
    slow = make_trial(0, "2s4x64d", curve=(Epoch(9, 0.3, 1, 1, 1),))
    sweep = make_sweep([slow, make_trial(1, "1s1x16d", COMPLETE)])
    assert "2s4x64d" not in texts(figure_of(FRONT, sweep))


def test_rivals_of_the_knee_are_ringed_and_further_seeds_are_marks():
    sweep = doubtful()
    figure = figure_of(FRONT, sweep)
    rings = trace_of(figure, "within noise of the knee, and costs no more")
    assert {sweep.trials[place].number for place in rings.customdata} == set(sweep.rivals)
    seeds = trace_of(figure, "another seed")
    repeats = {t.number for t in sweep.trials if t.repeat_of is not None}
    assert {sweep.trials[place].number for place in seeds.customdata} == repeats
    assert texts(figure).count("2s1x64d") == 1
    plain = names(figure_of(FRONT, mixed()))
    assert not any("within noise" in name or "another seed" in name for name in plain)
    assert not any("another seed" in name for name in names(figure_of(COSTS, sweep)))


def test_what_noise_alone_may_keep_off_the_front_is_named():
    sweep = doubtful()
    likely = [t.variant for t in sweep.trials if not t.on_front and (t.membership or 0) > 0.05]
    assert likely
    assert set(likely) <= set(texts(figure_of(FRONT, sweep)))


def test_names_cover_neither_points_nor_one_another():
    spots = [Spot(float(n % 7), float(n * n % 3), 9.0, f"{n}s1x40d" * 3) for n in range(30)]
    shown = dict(placed(spots, spots))
    assert 3 < len(shown) < len(spots)
    crowd = [Spot(0.0, 0.0, 9.0, "2s1x40d")] * 5 + [Spot(1.0, 1.0, 9.0, "2s2x40d")]
    places = [tuple(place.values()) for number, place in placed(crowd, crowd) if number < 5]
    assert len(places) == len(set(places))


def test_parallel_axes_are_what_varies_and_the_objectives():
    variants = ("1s1x40d", "2s1x40d", "2s2x40d")
    sweep = make_sweep(
        [make_trial(n, v, parameters={"train.lr": n}) for n, v in enumerate(variants)]
    )
    lines = figure_of(PLAIN[0], sweep).data[0]
    labels = [dimension.label for dimension in lines.dimensions]
    assert labels == ["radix", "cardinality", "lr", "acc %", "ms", "MiB"]  # all are 40 wide
    members = [sweep.trials[place].on_front for place in lines.customdata]
    assert list(lines.line.color) == [int(member) for member in members]
    radix = lines.dimensions[0]
    shown = [radix.ticktext[value] for value in radix.values]
    assert shown == [str(sweep.trials[place].dimensions["radix"]) for place in lines.customdata]


def test_a_parameter_may_be_a_list():
    depths = [[2, 2], [1, 1], [1, 3]]
    trials = [
        make_trial(n, f"{n % 2 + 1}s1x{w}d", parameters={"model.depths": depths[n % 3]})
        for n, w in enumerate((8, 16, 24, 32, 40, 48, 56, 64, 72))
    ]
    sweep = timed(make_sweep(trials))
    axes = figure_of(Panel("parallel", "t"), sweep).data[0].dimensions
    axis = next(axis for axis in axes if axis.label == "depths")
    assert list(axis.ticktext) == ["[1, 1]", "[1, 3]", "[2, 2]"]
    assert list(axis.tickvals) == [0, 1, 2]
    bars = figure_of(Panel("importance", "t"), sweep).data
    assert "depths" in bars[0].y


def test_keys_with_one_last_part_keep_their_whole_names():
    trials = [
        make_trial(n, "1s1x16d", parameters={"train.size": n, "data.size": -n}) for n in range(3)
    ]
    lines = figure_of(PLAIN[0], make_sweep(trials)).data[0]
    labels = [dimension.label for dimension in lines.dimensions]
    assert labels[:2] == ["data.size", "train.size"]


def test_the_timeline_has_a_gap_where_a_trial_waited():
    curve = tuple(
        Epoch(n, 0.5, 1.0, 1.0, seconds=2.0, at=at) for n, at in enumerate((2.0, 4.0, 40.0), 1)
    )
    sweep = make_sweep([make_trial(0, "1s1x16d", curve=curve)])
    spans = trace_of(figure_of(PLAIN[3], sweep), "trains")
    assert list(spans.x) == [0.0, 4.0, None, 38.0, 40.0, None]


def test_the_ledger_adds_up_to_all_seconds_of_the_slots():
    sweep = replace(timed(mixed()), drivers=(Driver(begun=0.0, slots=2, gpus=0.0),))
    figure = figure_of(Panel("ledger", "t"), sweep)
    assert sum(bar.x[0] for bar in figure.data) == pytest.approx(2 * sweep.seconds)
    assert figure_of(Panel("ledger", "t"), mixed()) is None


def test_the_shipped_dashboard_draws_each_of_its_panels():
    sweep = replace(timed(doubtful()), drivers=(Driver(begun=0.0, slots=1, gpus=0.0),))
    panels = [p for p in drawn(read_panels(), sweep) if p.kind not in ("table", "config")]
    assert len(panels) == 9
    assert all(figure_of(panel, sweep) is not None for panel in panels)
