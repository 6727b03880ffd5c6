import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, mixed

from resnest_search.report.curves import MOST_OTHERS, curves_svg
from resnest_search.report.labels import spread
from resnest_search.report.plots import front_svg, scatter_svg
from resnest_search.study.record import COMPLETE, FAILED, PRUNED, RUNNING, Epoch


def texts(svg):
    root = ET.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")]


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
    "many": mixed(120),
    "doubtful": doubtful(),
}


@pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS.keys())
def test_every_plot_is_well_formed_for_every_sweep(sweep):
    for svg in (front_svg(sweep), curves_svg(sweep), scatter_svg(sweep, "gmacs", "latency_ms")):
        assert svg.startswith("<svg")
        assert ET.fromstring(svg).tag.endswith("svg")


def test_the_front_names_its_members_and_the_knee():
    sweep = make_sweep([make_trial(n, v) for n, v in enumerate(("1s1x16d", "2s1x40d", "2s2x64d"))])
    found = texts(front_svg(sweep))
    for trial in sweep.front:
        name = f"{trial.variant} (knee)" if trial.number == sweep.knee else trial.variant
        assert name in found


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
    assert any(said in text for text in texts(scatter_svg(sweep, "train_memory_mib", "accuracy")))
    assert any(said in text for text in texts(scatter_svg(sweep, "gmacs", "train_memory_mib")))


def test_pruned_trials_are_said_to_be_unfinished_and_have_no_name():
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(2, "2s1x24d", PRUNED)])
    found = texts(front_svg(sweep))
    assert any(t.startswith("pruned at epoch 1, accuracy unfinished") for t in found)
    assert "2s1x24d" not in found


def test_a_pruned_trial_marked_as_front_is_still_drawn_as_pruned():
    wrong = replace(make_trial(2, "2s1x24d", PRUNED), on_front=True)
    sweep = replace(make_sweep([make_trial(0, "1s1x16d")]), chosen=2)
    found = texts(front_svg(replace(sweep, trials=(*sweep.trials, wrong))))
    assert not any("2s1x24d" in text for text in found)
    assert "knee of the front" not in found


def test_controls_and_sizes_have_legends_only_where_they_occur():
    with_control = make_sweep([make_trial(0, "0s1x16d"), make_trial(1, "2s1x40d")])
    found = texts(front_svg(with_control))
    assert "square: radix 0, no attention" in found
    assert "peak memory of inference, MiB: 9.50" in found
    alone = texts(front_svg(make_sweep([make_trial(1, "2s1x40d")])))
    assert not any("radix 0" in text or "peak memory" in text for text in alone)


def test_ids_differ_between_plots_and_references_resolve():
    sweep = mixed()
    one, two = front_svg(sweep, name="a"), scatter_svg(sweep, "gmacs", "accuracy", name="b")
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in (one, two)]
    assert not set(ids[0]) & set(ids[1])
    for svg, known in zip((one, two), ids, strict=True):
        assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)[0]) & set(known)
        for pair in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg):
            assert "".join(pair) in known


def test_a_plot_is_the_same_each_time_and_carries_no_date():
    sweep = mixed()
    assert front_svg(sweep) == front_svg(sweep)
    assert "metadata" not in front_svg(sweep)


def test_nan_is_left_out():
    curve = (Epoch(1, 0.5, 1.0, 1.0, 1.0), Epoch(2, math.nan, math.nan, math.nan, 1.0))
    sweep = make_sweep([make_trial(0, "1s1x16d", FAILED, curve=curve), make_trial(1, "2s1x16d")])
    for svg in (front_svg(sweep), curves_svg(sweep), curves_svg(sweep, "loss")):
        assert "nan" not in svg.lower().replace("dominant", "")


def test_curves_mark_rungs_and_where_a_pruned_training_ended():
    complete = [make_trial(n, v) for n, v in enumerate(("1s1x16d", "2s1x40d", "2s2x64d"))]
    found = texts(curves_svg(make_sweep([*complete, make_trial(3, "2s1x24d", PRUNED)])))
    assert "rung" in found
    assert "pruned, training ended here" in found
    assert "2s1x40d (knee)" in found


def test_curves_of_a_thousand_trials_are_thinned_and_say_so():
    many = [make_trial(n, "2s4x64d", PRUNED) for n in range(1000)]
    sweep = make_sweep([make_trial(2000, "1s1x16d"), *many])
    svg = curves_svg(sweep)
    assert f"not on the front ({MOST_OTHERS} of 1000 drawn)" in texts(svg)
    assert len(svg) < 1_000_000


def test_spread_keeps_order_and_gaps_and_bounds():
    found = spread([5.0, 5.0, 1.0, 9.9], gap=1.0, low=0.0, high=10.0)
    ranked = sorted(found)
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(ranked))
    assert found[2] == 1.0
    assert found[0] < found[1]
    assert max(found) <= 10


def test_a_complete_trial_off_the_front_is_not_named():
    slow = make_trial(0, "2s4x64d", curve=(Epoch(9, 0.3, 1, 1, 1),))
    sweep = make_sweep([slow, make_trial(1, "1s1x16d", COMPLETE)])
    assert "2s4x64d" not in texts(front_svg(sweep))


def test_rivals_of_the_knee_are_ringed_and_further_seeds_are_marks():
    sweep = doubtful()
    found = texts(front_svg(sweep))
    assert "ringed: within noise of the knee, and costs no more" in found
    assert "another seed; the mean is drawn in full" in found
    assert found.count("2s1x64d") == 1
    plain = texts(front_svg(mixed()))
    assert not any("ringed" in text or "another seed" in text for text in plain)
    assert not any(
        "another seed" in text for text in texts(scatter_svg(sweep, "gmacs", "latency_ms"))
    )


def test_what_noise_alone_may_keep_off_the_front_is_named():
    sweep = doubtful()
    likely = [t.variant for t in sweep.trials if not t.on_front and (t.membership or 0) > 0.05]
    assert likely
    assert set(likely) <= set(texts(front_svg(sweep)))
