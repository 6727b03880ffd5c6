"""Variant: parsing, printing and the rules of what can be built."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_search.variant import Variant, attention_width, group_width

VARIANTS = st.builds(Variant, st.integers(0, 64), st.integers(1, 64), st.integers(1, 512))


@given(VARIANTS)
def test_printing_and_parsing_are_inverse(variant):
    assert Variant.parse(str(variant)) == variant


@given(st.text(alphabet="0123456789sxd-+ _", max_size=12))
def test_whatever_parses_prints_as_it_was_written(text):
    with contextlib.suppress(ValueError):
        assert str(Variant.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2s2x40",
        "2s2x40d ",
        " 2s2x40d",
        "2S2x40d",
        "-1s2x40d",
        "2s0x40d",
        "2s2x0d",
        "02s2x40d",
        "2s2x40dd",
        "2s2x4.0d",
        "2s2x40d\n",
        "٢s2x40d",
        "2x2s40d",
        "s2x40d",
        "2s2xd",
        "+2s2x40d",
    ],
)
def test_malformed_text_is_refused_and_named(text):
    with pytest.raises(ValueError, match="variant") as caught:
        Variant.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((-1, 1, 64), "radix"),
        ((1, 0, 64), "cardinality"),
        ((1, 1, 0), "width"),
        ((2.0, 1, 64), "radix"),
        ((True, 1, 64), "radix"),
        ((1, "2", 64), "cardinality"),
    ],
)
def test_impossible_numbers_are_refused(numbers, name):
    with pytest.raises(ValueError, match=name):
        Variant(*numbers)


@given(VARIANTS, st.lists(st.integers(1, 512), min_size=1, max_size=4))
def test_validity_is_the_divisibility_of_every_stage(variant, planes):
    possible = True
    for width, attention in (
        (group_width(p, variant), attention_width(p, variant)) for p in planes
    ):
        groups = max(variant.radix, 1) * variant.cardinality
        possible &= width > 0 and width % groups == 0
        possible &= variant.radix == 0 or attention % variant.cardinality == 0
    assert (variant.broken_rule(planes) is None) == possible
    if not possible:
        with pytest.raises(ValueError, match=f"{variant} is impossible: stage"):
            variant.check(planes)
    else:
        assert variant.check(planes) is variant


@pytest.mark.parametrize(
    ("text", "planes", "rule"),
    [
        ("3s1x64d", [64], "radix x cardinality = 3 does not divide the group width 64"),
        ("1s3x64d", [10], "cardinality 3 does not divide the attention width 32"),
        ("1s1x1d", [32], "leaves no channel"),
        ("4s2x40d", [32, 16], "stage 2"),
    ],
)
def test_the_broken_rule_is_named(text, planes, rule):
    assert rule in Variant.parse(text).broken_rule(planes)


def test_radix_0_needs_no_attention():
    assert Variant.parse("0s3x64d").broken_rule([10]) is None
