"""The space: what is enumerated, what names a candidate, and what is refused."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from synthetic import SMALL, make_space

from resnest_search.configuration.schema import ModelConfig, SweepConfig
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.space import Candidate, Space, configured
from resnest_search.variant import Variant

RATES = {"train.learning_rate": [0.05, 0.1]}


def shipped(sweep: str) -> Space:
    path: Path = shipped_folder("sweeps") / f"{sweep}.yaml"
    return Space(yaml.safe_load(path.read_text())["search"]["space"], SMALL)


def variants(space: Space) -> list[str]:
    return [str(candidate.variant) for candidate in space.candidates or ()]


# What is enumerated


def test_radix_card_is_the_twelve() -> None:
    assert variants(shipped("radix_card")) == [
        *("0s1x64d", "0s2x40d", "0s4x24d", "1s1x64d", "1s2x40d", "1s4x24d"),
        *("2s1x64d", "2s2x40d", "2s4x24d", "4s1x64d", "4s2x40d", "4s4x24d"),
    ]


def test_width_is_its_list() -> None:
    widths = [16, 24, 32, 40, 48, 56, 64, 80]
    assert variants(shipped("width")) == [f"2s1x{width}d" for width in widths]


def test_radix_card_width_is_all_that_is_valid_of_the_product() -> None:
    found = variants(shipped("radix_card_width"))
    product = [
        Variant(radix, cardinality, width)
        for radix in (0, 1, 2, 4)
        for cardinality in (1, 2, 4)
        for width in range(8, 81, 8)
    ]
    possible = [variant for variant in product if variant.broken_rule(SMALL.planes) is None]
    assert found == [str(variant) for variant in possible]
    assert len(found) > 100


def test_every_candidate_exists_and_is_there_once() -> None:
    space = shipped("radix_card_width")
    assert space.candidates
    identities = [candidate.identity for candidate in space.candidates]
    assert len(set(identities)) == len(identities)
    for candidate in space.candidates:
        assert candidate.variant.broken_rule(SMALL.planes) is None


def test_planes_that_vary_decide_with_their_own_rule() -> None:
    space = Space({"variant": ["4s2x40d", "1s1x64d"], "model.planes": [[32, 64], [4, 8]]}, SMALL)
    found = {
        (str(candidate.variant), tuple(candidate.others["model.planes"]))
        for candidate in space.candidates or ()
    }
    assert found == {("4s2x40d", (32, 64)), ("1s1x64d", (32, 64)), ("1s1x64d", (4, 8))}


# Identity


def test_identity_is_of_the_candidate_and_not_of_how_it_was_written() -> None:
    ways = [
        make_space(variant=["2s2x40d"], **RATES),
        make_space(radix=[2], cardinality_width=["2x40d"], **RATES),
        make_space(radix=[2], cardinality=[2], width=[40], train={"learning_rate": [0.05, 0.1]}),
        Space({**RATES, "variant": ["1s1x64d", "2s2x40d"]}, SMALL),
    ]
    found = [
        {c.identity for c in space.candidates or () if str(c.variant) == "2s2x40d"}
        for space in ways
    ]
    assert all(identities == found[0] for identities in found)
    assert len(found[0]) == 2


def test_identity_stays_from_version_to_version() -> None:
    """Studies, CSV files and W&B runs of earlier days carry it."""
    assert Candidate(Variant(2, 2, 40), ()).identity == "d9deb75b25"
    other = Candidate(Variant(2, 2, 40), (("train.learning_rate", 0.1),))
    assert other.identity == "61d9b1fd88"


def test_a_whole_number_of_a_float_key_is_the_same_candidate() -> None:
    one = make_space(variant=["2s2x40d"], train={"learning_rate": [1]})
    same = make_space(variant=["2s2x40d"], train={"learning_rate": [1.0]})
    assert one.candidates
    assert same.candidates
    assert one.candidates[0].identity == same.candidates[0].identity


def test_network_is_shared_by_what_costs_the_same() -> None:
    space = make_space(variant=["1s1x64d", "2s1x64d"], **RATES, model={"avd": [True, False]})
    assert space.candidates
    assert len(space.candidates) == 8
    assert len(space.networks) == 4
    by_network = {candidate.network for candidate in space.networks}
    assert {candidate.network for candidate in space.candidates} == by_network
    a, b = (c for c in space.candidates if str(c.variant) == "1s1x64d" and c.others["model.avd"])
    assert a.identity != b.identity
    assert a.network == b.network


def test_how_images_are_varied_costs_nothing_that_is_measured() -> None:
    data = {"policy": ["none", "randaugment"], "erasing": [0.0, 0.1]}
    train = {"cutmix": [0.0, 1.0], "progressive_resizing": [0.5, 1.0]}
    space = make_space(variant=["1s1x64d"], data=data, train=train)
    assert space.candidates is not None
    assert (len(space.candidates), len(space.networks)) == (16, 1)


def test_a_latency_is_measured_once_for_what_only_training_tells_apart() -> None:
    train = {"batch_size": [32, 64], "precision": ["fp32", "bf16"]}
    model = {"dropblock": [0.0, 0.1], "avd": [True, False]}
    space = make_space(variant=["1s1x64d", "2s1x64d"], train=train, model=model)
    assert len(space.networks) == 2 * 4 * 4
    assert space.timed == 2 * 2


# Keys and values


def test_nested_and_dotted_keys_are_the_same() -> None:
    dotted = Space({"variant": ["1s1x64d"], "train.momentum": [0.8, 0.9]}, SMALL)
    nested = Space({"variant": ["1s1x64d"], "train": {"momentum": [0.8, 0.9]}}, SMALL)
    assert dotted.candidates == nested.candidates


def test_a_list_may_be_a_value_and_reaches_the_model() -> None:
    space = Space({"variant": ["1s1x64d"], "model.depths": [[1, 1], [2, 3]]}, SMALL)
    assert space.candidates
    model, data, train = configured(SweepConfig(model=SMALL), space.candidates[1])
    assert model.depths == [2, 3]
    assert model.planes == SMALL.planes
    assert data == SweepConfig().data
    assert train.epochs == SweepConfig().search.epochs


def test_configured_changes_only_what_varies() -> None:
    space = make_space(variant=["1s1x64d"], **RATES)
    assert space.candidates
    config = SweepConfig(model=SMALL)
    config.search.epochs = 5
    _, _, train = configured(config, space.candidates[0])
    assert (train.learning_rate, train.epochs) == (0.05, 5)
    assert (config.train.learning_rate, config.train.epochs) == (0.1, 9)


@pytest.mark.parametrize(
    ("key", "values", "wanted"),
    [
        ("train.learning_rate", {"low": 0.01, "high": 1.0, "log": True}, FloatDistribution),
        ("train.momentum", {"low": 0.5, "high": 0.95}, FloatDistribution),
        ("train.momentum", {"low": 0, "high": 0.9}, FloatDistribution),
        ("train.warmup_epochs", {"low": 0, "high": 2}, FloatDistribution),
        ("train.learning_rate", {"low": 0.1, "high": 0.5, "step": 0.1}, FloatDistribution),
        ("data.train_images", {"low": 100, "high": 200, "step": 50}, IntDistribution),
    ],
)
def test_a_range_has_the_type_of_its_key(key: str, values: Any, wanted: type) -> None:
    space = Space({"variant": ["1s1x64d", "2s1x64d"], key: values}, SMALL)
    assert type(space.distributions[key]) is wanted
    assert space.candidates is None
    assert [str(candidate.variant) for candidate in space.networks] == ["1s1x64d", "2s1x64d"]


@given(st.integers(1, 9), st.sampled_from([0.1, 0.05, 0.3, 1e-3]), st.integers(1, 40))
def test_a_step_of_a_range_is_one_candidate_whoever_adds_it_up(
    low: int, step: float, most: int
) -> None:
    bounds = {"low": low / 10, "high": round(low / 10 + most * step, 6), "step": step}
    space = Space({"variant": ["1s1x64d"], "train.mixup": bounds}, SMALL)
    for number in range(most + 1):
        exact = low / 10 + number * step
        added = [float(np.cumsum([low / 10] + [step] * number)[-1]), round(exact, 6), exact]
        found = [space.proposed({"variant": "1s1x64d", "train.mixup": v}) for v in added]
        assert len({candidate.identity for candidate in found}) == 1
        typed = found[0].others["train.mixup"]
        assert typed == pytest.approx(exact)
        assert space.distributions["train.mixup"]._contains(typed)


def test_a_recorded_value_stays_as_it_is_known_by() -> None:
    """Earlier versions recorded what their samplers had added up."""
    bounds = {"low": 0.1, "high": 0.9, "step": 0.1}
    space = Space({"variant": ["1s1x64d"], "train.mixup": bounds}, SMALL)
    recorded = {"variant": "1s1x64d", "train.mixup": 0.1 + 2 * 0.1}
    assert space.candidate(recorded).others["train.mixup"] == 0.1 + 2 * 0.1 != 0.3
    assert space.proposed(recorded).others["train.mixup"] == 0.3


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("train.mixup", {"low": 0, "high": 1, "step": 0.4}),
        ("data.train_images", {"low": 1, "high": 10, "step": 4}),
    ],
)
def test_a_step_that_does_not_lead_to_the_end_is_refused_of_a_new_sweep(
    key: str, bounds: Any
) -> None:
    with warnings.catch_warnings(action="error"):  # that is one line more than is said of it
        space = Space({"variant": ["1s1x64d"], key: bounds}, SMALL)  # as earlier versions had it
    with pytest.raises(UserError, match=f"step {bounds['step']} does not lead from low"):
        space.check_steps()
    Space({"variant": ["1s1x64d"], key: {**bounds, "step": 1}}, SMALL).check_steps()


def test_a_candidate_of_a_range_has_the_network_that_was_measured() -> None:
    space = Space({"variant": ["1s1x64d"], "train.momentum": {"low": 0.5, "high": 0.9}}, SMALL)
    drawn = space.candidate({"variant": "1s1x64d", "train.momentum": 0.7})
    assert drawn.network == space.networks[0].network
    assert drawn.others == {"train.momentum": 0.7}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_candidates_come_back_from_their_labels(data: st.DataObject) -> None:
    choices = {
        "radix": [0, 2],
        "cardinality_width": ["1x64d", "2x40d"],
        "model.depths": [[1, 1], [2, 1]],
        "model.avd": [True, False],
        "train.learning_rate": [0.1, 0.2],
        "data.augment": ["none", "shift"],
        "data.train_images": [None, 100],
    }
    keys = data.draw(st.permutations(list(choices)))
    space = Space({key: choices[key] for key in keys}, SMALL)
    candidate = data.draw(st.sampled_from(space.candidates))
    labels = space.optuna_parameters(candidate)
    assert set(labels) == set(space.distributions)
    for key, label in labels.items():
        distribution = space.distributions[key]
        assert distribution.to_external_repr(distribution.to_internal_repr(label)) == label
    assert space.candidate(labels) == candidate
    assert space.candidate(labels).identity == candidate.identity


def test_an_impossible_draw_is_a_value_error() -> None:
    space = make_space(radix=[1, 3], cardinality=[1], width=[48, 64])
    with pytest.raises(ValueError, match="impossible"):
        space.candidate({"radix": 3, "cardinality": 1, "width": 64})


def test_settings_hold_every_value_of_a_list_and_both_ends_of_a_range() -> None:
    space = make_space(
        **{
            "variant": V,
            "model.avd": [True, False],
            "data.augment": ["none", "shift"],
            "train.momentum": {"low": 0.5, "high": 0.9},
        }
    )
    seen = [candidate.others for candidate in space.settings()]
    for key, values in {
        "model.avd": {True, False},
        "data.augment": {"none", "shift"},
        "train.momentum": {0.5, 0.9},
    }.items():
        assert {others[key] for others in seen} == values


# Refusals

V = ["1s1x64d"]
NAN = math.nan


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({}, "nothing given; needs variant"),
        ({"radix": [1]}, "radix given; needs"),
        ({"radix": [1], "cardinality": [1]}, "radix + cardinality given"),
        ({"cardinality_width": ["1x64d"]}, "cardinality_width given"),
        ({"variant": V, "radix": [1]}, "variant + radix given"),
        ({"radix": [1], "cardinality_width": ["1x8d"], "width": [8]}, "given; needs"),
        ({"variant": V, "depth": [1]}, "search.space.depth: cannot be varied; valid: variant"),
        ({"variant": V, "train.learnig_rate": [1]}, "valid: train.batch_size, train.accumulate"),
        ({"variant": V, "search.epochs": [1]}, "search.space.search.epochs: cannot be varied"),
        ({"variant": V, "train.epochs": [1]}, "search.space.train.epochs: cannot be varied"),
        ({"variant": V, "data.val_images": [1]}, "search.space.data.val_images: cannot"),
        ({"variant": V, "model": [1]}, "search.space.model: cannot be varied"),
        ({"variant": V, "train": 3}, "search.space.train: cannot be varied"),
        ({"variant": []}, "search.space.variant: an empty list"),
        ({"variant": ["1s1x64d", "1s1x64d"]}, "names a value twice"),
        ({"variant": V, "model.depths": [[1, 1], [1, 1]]}, "names a value twice"),
        ({"variant": V, "train.momentum": [0, 0.0]}, "names a value twice"),
        ({"variant": "1s1x64d"}, "'1s1x64d' is no list of values"),
        ({"variant": V, "train.momentum": 0.9}, "no list of values and no range"),
        ({"variant": V, "train.momentum": {"low": 0.5}}, "no list of values and no range"),
        ({"variant": ["2s2x"]}, "is not of the form RsKxWd"),
        ({"variant": [5]}, "is not of the form RsKxWd"),
        ({"radix": [1], "cardinality_width": ["x64d"]}, "search.space.cardinality_width: "),
        ({"radix": ["1"], "cardinality_width": ["1x64d"]}, "'1' is no whole number of at least 0"),
        ({"radix": [True], "cardinality_width": ["1x64d"]}, "True is no whole number"),
        ({"radix": [-1], "cardinality_width": ["1x64d"]}, "-1 is no whole number of at least 0"),
        ({"radix": [1], "cardinality": [0], "width": [8]}, "0 is no whole number of at least 1"),
        ({"variant": V, "train.learning_rate": ["fast"]}, "'fast' is not of type float"),
        ({"variant": V, "train.batch_size": [1.5]}, "1.5 is not of type int"),
        ({"variant": V, "train.batch_size": [True]}, "True is not of type int"),
        ({"variant": V, "model.avd": [1]}, "1 is not of type bool"),
        ({"variant": V, "model.depths": [2]}, "2 is not of type list"),
        ({"variant": V, "model.depths": [["one", "two"]]}, "search.space.model.depths"),
        ({"variant": V, "radix": {"low": 0, "high": 4}}, "search.space.radix: a range"),
        ({"variant": V, "model.stem_width": {"low": 8, "high": 64}}, "must be a list of values"),
        ({"variant": V, "train.momentum": {"low": 0.9, "high": 0.1}}, "search.space.train.moment"),
        ({"variant": V, "train.momentum": {"low": 0.0, "high": 0.9, "log": True}}, "search.space."),
        ({"variant": V, "train.momentum": {"low": "a", "high": "b"}}, "search.space.train.momentu"),
        ({"variant": V, "train.momentum": {"low": 0.1, "high": 0.9, "stp": 0.1}}, "stp"),
        ({"variant": V, "data.augment": {"low": 0, "high": 1}}, "search.space.data.augment"),
        ({"variant": V, "train.mixup": {"low": NAN, "high": 1}}, "mixup: low nan; valid: a finite"),
        ({"variant": V, "train.mixup": {"low": 0, "high": math.inf}}, "mixup: high inf; valid"),
        ({"variant": V, "train.mixup": {"low": 0, "high": True}}, "mixup: high True; valid"),
        ({"variant": V, "train.mixup": {"low": 0, "high": 1, "step": 0}}, "mixup: step 0; valid"),
        ({"variant": V, "train.mixup": {"low": 0, "high": 1, "step": -1}}, "step -1; valid: above"),
        ({"variant": V, "train.mixup": {"low": 0, "high": 1, "step": NAN}}, "step nan; valid"),
        ({"variant": V, "train.mixup": {"low": 0, "high": 1, "log": "yes"}}, "log 'yes'; valid"),
        ({"variant": V, "train.mixup": {"low": 1, "high": 2, "log": True, "step": 1}}, "log and s"),
        ({"variant": V, "train.mixup": {"low": -1, "high": 1, "log": True}}, "no logarithm"),
        ({"variant": V, "train.mixup": {"low": 1, "high": 0}}, "low 1 is above high 0"),
        ({"variant": V, "data.workers": {"low": 0, "high": 1.5}}, "high 1.5; valid: a whole"),
    ],
)
def test_it_is_refused_in_one_line(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        Space(choices, SMALL)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_listed_value_that_no_network_can_have_names_its_rule() -> None:
    with pytest.raises(UserError) as caught:
        make_space(variant=["1s1x64d", "3s1x64d"])
    message = str(caught.value)
    assert "search.space.variant=3s1x64d" in message
    assert "radix x cardinality = 3 does not divide the group width 32" in message


def test_a_listed_radix_that_fits_no_partner_is_not_dropped_without_a_word() -> None:
    with pytest.raises(UserError, match=r"search\.space\.radix=3: model=small: .*does not divide"):
        make_space(radix=[1, 3], cardinality_width=["1x64d", "2x40d"])


def test_too_large_a_product_is_refused() -> None:
    widths = list(range(1, 60_001))
    with pytest.raises(UserError, match="120000 combinations; at most 100000"):
        Space({"radix": [1], "cardinality": [1, 2], "width": widths}, ModelConfig())
