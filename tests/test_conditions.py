"""Keys that exist only beside values of others: the right candidates everywhere, none twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic import SMALL, Workers, make_config, make_costings, make_space, make_strategy

from resnest_search.conditions import mapped
from resnest_search.configuration.schema import MethodConfig, SweepConfig
from resnest_search.errors import UserError
from resnest_search.space import Candidate, Space, configured

V = ["1s1x64d"]
# Listed before what it depends on, an alternative beside others, and a chain.
CHAIN = {
    "model.avd_first": {"choices": [True, False], "when": {"radix": 2}},
    "radix": {"choices": [0, 2], "when": {"data.augment": "shift"}, "else": 0},
    "cardinality_width": ["1x64d"],
    "train.mixup": [0, 0.2],
    "data.augment": {"choices": ["none", "shift"], "when": {"train.mixup": 0.2}},
}


def others(space: Space) -> list[dict[str, Any]]:
    return [candidate.others for candidate in space.candidates or ()]


def test_a_chain_has_no_more_than_its_links() -> None:
    space = Space(CHAIN, SMALL)
    found = [(c.in_words, c.others) for c in space.candidates or ()]
    mixup = {"train.mixup": 0.2}
    assert found == [
        ("0s1x64d", {"train.mixup": 0.0}),
        ("0s1x64d", {"data.augment": "none", **mixup}),
        ("0s1x64d", {"data.augment": "shift", **mixup}),
        ("2s1x64d", {"data.augment": "shift", **mixup, "model.avd_first": True}),
        ("2s1x64d", {"data.augment": "shift", **mixup, "model.avd_first": False}),
    ]
    keys = list(CHAIN)
    for candidate in space.candidates or ():
        listed = [key for key, _ in candidate.parameters]
        assert listed == [key for key in keys if key in listed]


def test_what_does_not_exist_stays_as_the_sweep_has_it() -> None:
    config = SweepConfig(model=SMALL)
    config.train.mixup = 0.4
    space = make_space(
        radix=[0, 2], cardinality_width=["1x64d"],
        **{"train.mixup": {"choices": [0.2], "when": {"radix": 2}}},
    )  # fmt: skip
    plain, mixed = space.candidates or ()
    assert configured(config, plain)[2].mixup == 0.4
    assert configured(config, mixed)[2].mixup == 0.2
    assert plain.identity == next(iter(make_space(variant=["0s1x64d"]).candidates or ())).identity


def test_a_cost_that_hangs_on_what_costs_nothing_is_measured_once() -> None:
    space = make_space(
        variant=["1s1x64d", "2s1x64d"],
        **{
            "train.mixup": [0.0, 0.1, 0.2],
            "model.avd": {"choices": [True, False], "when": {"train.mixup": [0.1, 0.2]}},
        },
    )
    assert len(space.candidates or ()) == 2 * (1 + 2 * 2)
    assert {c.network for c in space.candidates or ()} == {c.network for c in space.networks}
    assert len(space.networks) == space.timed == 2 * 3


KEYS: dict[str, list[Any]] = {
    "train.mixup": [0.0, 0.1, 0.2],
    "train.label_smoothing": [0.0, 0.1],
    "data.augment": ["none", "shift"],
    "data.train_images": [None, 100],
    "model.avd": [True, False],
    "model.depths": [[1, 1], [2, 1]],
    "radix": [0, 1, 2],
}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """A space with conditions on keys that come earlier in an order that the listing hides."""
    keys = draw(st.permutations(sorted(KEYS)))[: draw(st.integers(2, 5))]
    keys = list(dict.fromkeys([*keys, "radix"]))
    found: dict[str, Any] = {"cardinality_width": ["1x64d"]}
    for place, key in enumerate(keys):
        size = draw(st.integers(1, len(KEYS[key])))
        found[key] = KEYS[key][:size]
        parents = draw(st.lists(st.sampled_from(keys[:place]), max_size=2)) if place else []
        when = {}
        for parent in parents:
            listed = found[parent]["choices"] if isinstance(found[parent], dict) else found[parent]
            when[parent] = draw(
                st.lists(st.sampled_from(listed), min_size=1, max_size=2, unique_by=str)
            )
        if when:
            found[key] = {"choices": found[key], "when": when}
            if key == "radix" or draw(st.booleans()):
                found[key]["else"] = draw(st.sampled_from(KEYS[key]).map(lambda v: [v]))
    return {key: found[key] for key in draw(st.permutations(list(found)))}


def brute_force(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By its definition: each combination of all values, without what does not exist in it."""
    rules = {k: v if isinstance(v, dict) else {"choices": v} for k, v in space.items()}
    every = [[*r["choices"], *(v for v in r.get("else", []) if v not in r["choices"])]
             for r in rules.values()]  # fmt: skip
    found: list[dict[str, Any]] = []
    for combination in itertools.product(*every):
        values = dict(zip(rules, combination, strict=True))
        for _ in rules:  # as often as a chain can be long
            values = dict(_existing(values, rules))
        possible = all(values[key] in _allowed(values, rules[key]) for key in values)
        if possible and values not in found:
            found.append(values)
    return found


def _allowed(values: Mapping[str, Any], rule: Mapping[str, Any]) -> list[Any]:
    holds = all(k in values and values[k] in wanted for k, wanted in rule.get("when", {}).items())
    return rule["choices"] if holds else rule.get("else", [])


def _existing(
    values: Mapping[str, Any], rules: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    yield from ((key, value) for key, value in values.items() if _allowed(values, rules[key]))


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_candidates_are_those_of_the_definition(space: dict[str, Any]) -> None:
    wanted = brute_force(space)
    listed = {
        (key, str(value))
        for key, rule in space.items()
        for value in (rule["choices"] + rule.get("else", []) if isinstance(rule, dict) else rule)
    }
    if listed != {(key, str(value)) for values in wanted for key, value in values.items()}:
        with pytest.raises(UserError, match="is beside no values"):
            Space(space, SMALL)
        return
    made = Space(space, SMALL)
    assert made.candidates is not None
    found = [dict(candidate.parameters) for candidate in made.candidates]
    assert sorted(map(str, map(sorted_items, found))) == sorted(map(str, map(sorted_items, wanted)))
    assert len({candidate.identity for candidate in made.candidates}) == len(found)
    networks = {candidate.network for candidate in made.networks}
    assert {candidate.network for candidate in made.candidates} == networks
    for candidate in made.candidates:
        assert made.candidate(made.optuna_parameters(candidate)) == candidate


def sorted_items(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(values.items())


@settings(max_examples=30, deadline=None)
@given(spaces(), st.integers(0, 2**31))
def test_whatever_is_drawn_is_a_candidate_or_impossible(space: dict[str, Any], seed: int) -> None:
    try:
        made = Space(space, SMALL)
    except UserError:
        assume(False)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    for _ in range(10):
        drawn = study.ask(dict(made.distributions)).params
        try:
            candidate = made.candidate(drawn)
        except ValueError:  # another value than else
            assert any(isinstance(rule, dict) and "else" in rule for rule in space.values())
        else:
            assert candidate in (made.candidates or ())


RANGED: dict[str, Any] = {
    "variant": ["1s1x64d", "2s1x64d"],
    "data.augment": ["none", "shift"],
    "train.mixup": {"low": 0.1, "high": 0.4, "when": {"data.augment": "shift"}},
    "train.label_smoothing": {"choices": [0.0, 0.1], "when": {"data.augment": "none"}},
}


def test_a_range_may_exist_beside_others_alone() -> None:
    space = Space(RANGED, SMALL)
    assert space.candidates is None
    drawn = {"variant": "1s1x64d", "data.augment": "none", "train.mixup": 0.3}
    drawn["train.label_smoothing"] = 0.1
    assert space.candidate(drawn).others == {"data.augment": "none", "train.label_smoothing": 0.1}
    seen = [candidate.others for candidate in space.settings()]
    assert {values["train.mixup"] for values in seen if "train.mixup" in values} == {0.1, 0.4}
    assert all(("train.mixup" in values) == (values["data.augment"] == "shift") for values in seen)
    smoothing = {v["train.label_smoothing"] for v in seen if "train.label_smoothing" in v}
    assert smoothing == {0.0, 0.1}


@pytest.mark.parametrize("space", [CHAIN, RANGED], ids=["chain", "range"])
@pytest.mark.parametrize("sampler", ["known_cost", "random", "qmc", "tpe", "nsga2", "gp"])
def test_every_sampler_proposes_candidates_of_the_space_and_none_twice(
    sampler: str, space: dict[str, Any]
) -> None:
    made = Space(space, SMALL)
    strategy = make_strategy(
        space=made,
        config=make_config(sampler=MethodConfig(sampler), trials=8),
        costings=make_costings(made),
    )
    order = Workers(strategy).run().order
    identities = [candidate.identity for candidate in order]
    assert len(set(identities)) == len(identities) == (5 if made.candidates else 8)
    for trial in strategy.study.trials():
        assert trial.params == made.optuna_parameters(made.candidate(trial.params))
        assert trial.params.keys() == trial.distributions.keys()
    if made.candidates:
        assert {*order} == {*made.candidates}
    else:
        assert all(("train.mixup" in c.others) == is_shifted(c) for c in order)


def is_shifted(candidate: Candidate) -> bool:
    return bool(candidate.others["data.augment"] == "shift")


def when(key: str, wanted: Any, **more: Any) -> dict[str, Any]:
    return {"variant": V, "train.mixup": [0, 0.2], "data.augment": {
        "choices": ["none", "shift"], "when": {key: wanted}, **more}}  # fmt: skip


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (when("train.momentum", 0.9), "data.augment.when.train.momentum: is no other key of the"),
        (when("train.mixup", 0.3), "when.train.mixup=0.3: is none of its choices; valid: 0.0, 0.2"),
        (when("train.mixup", [0.2, "a"]), "when.train.mixup=a: is none of its choices"),
        (when("train.mixup", True), "when.train.mixup=True: is none of its choices"),
        (when("data.augment", "none"), "when.data.augment: is no other key of the space; valid: v"),
        (when("train.mixup", 0.2, els="none"), "data.augment: els beside choices; valid: choices"),
        (when("train.mixup", 0.2, **{"else": "flip"}) | {"train.mixup": {"low": 0, "high": 1}},
         "when.train.mixup: train.mixup has a range; valid: a key with a list"),
        (when("train.mixup", 0.2, **{"else": 1}), "data.augment: 1 is not of type str"),
        ({"variant": V, "train.mixup": {"choices": [0.2], "when": {}}}, "mixup.when: {}; valid"),
        ({"variant": V, "train.mixup": {"choices": [0.2], "else": 0}}, "else without when"),
        ({"variant": V, "train.mixup": {"low": 0, "high": 1, "else": 0}}, "else is of choices"),
        ({"variant": V, "train.mixup": {"choices": 0.2}}, "0.2 is no list of values"),
        ({"variant": V, "train.mixup": {"choices": [0.2], "low": 0}}, "mixup: low beside choices"),
        ({"radix": [0, 2], "cardinality": [1],
          "width": {"choices": [32, 64], "when": {"radix": 2}}},
         "search.space.width: every network has one; valid: beside when, else: VALUE"),
        ({"variant": V, "train.mixup": {"choices": [0.2], "when": {"data.augment": "none"}},
          "data.augment": {"choices": ["none"], "when": {"train.mixup": 0.2}}},
         "train.mixup when data.augment when train.mixup: a circle"),
        ({"variant": V, "model.avd": [True, False],
          "data.augment": {"choices": ["none"], "when": {"model.avd": True}},
          "train.mixup": {"choices": [0.2], "when": {"data.augment": "none", "model.avd": False}}},
         "search.space.train.mixup=0.2: is beside no values of the keys that its when names"),
    ],
)  # fmt: skip
def test_it_is_refused_in_one_line(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        Space(choices, SMALL)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_combinations_of_which_conditions_leave_few_are_listed() -> None:
    steps = {f"train.{name}": [0.0, 0.1] for name in ("mixup", "label_smoothing", "weight_decay")}
    steps |= {"train.learning_rate": [0.1, 0.2], "train.momentum": [0.8, 0.9]}
    rest = {
        "data.workers": {"choices": list(range(9000)), "when": {"train.momentum": 0.9}},
        "train.warmup_epochs": {"choices": list(range(9)), "when": {"train.momentum": 0.8}},
    }
    keys = {**steps, **rest}
    with pytest.raises(UserError, match="at least 100001 combinations; at most 100000"):
        Space({"variant": V, **keys}, SMALL)
    few = {k: v for k, v in keys.items() if k in {"train.momentum", *rest}}
    assert len(Space({"variant": V, **few}, SMALL).candidates or ()) == 9000 + 9


def test_a_key_is_changed_wherever_its_values_stand() -> None:
    held = {
        "variant": V,
        "model.pretrained": {"choices": ["a", "b"], "when": {"train.mixup": 0.2}, "else": None},
        "train": {"mixup": {"choices": [0, 0.2], "when": {"model.pretrained": ["a"]}}},
        "model": {"pretrained": ["c"], "avd_first": [True]},
    }
    assert mapped(held, "model.pretrained", lambda path: path and f"/{path}") == {
        "variant": V,
        "model.pretrained": {"choices": ["/a", "/b"], "when": {"train.mixup": 0.2}, "else": None},
        "train": {"mixup": {"choices": [0, 0.2], "when": {"model.pretrained": ["/a"]}}},
        "model": {"pretrained": ["/c"], "avd_first": [True]},
    }
