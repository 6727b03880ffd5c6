"""Answer sheets as text: what goes in comes out, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_search.study.answers import pack, unpack

DIGEST = "0123456789abcdef" * 4


@given(st.lists(st.booleans(), min_size=1, max_size=99))
def test_answers_come_back(right: list[bool]) -> None:
    found = unpack(pack(np.array(right), DIGEST), len(right))
    assert found is not None
    assert found.images == DIGEST[:8]
    assert found.right.tolist() == right


def test_the_usual_answers_take_less_than_a_bit_an_image() -> None:
    right = np.random.default_rng(0).random(50_000) < 0.97
    assert len(pack(right, DIGEST)) * 8 < 0.6 * len(right)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: None,
        lambda text: "",
        lambda text: text[:-4],
        lambda text: text.replace(":", ""),
        lambda text: text[:12] + chr(ord(text[12]) ^ 1) + text[13:],
        lambda text: "rubbish",
    ],
)
def test_damaged_answers_are_none(damage) -> None:
    text = pack(np.arange(360) % 7 > 0, DIGEST)
    assert unpack(text, 360) is not None
    assert unpack(damage(text), 360) is None


@pytest.mark.parametrize("count", [0, 352, 361])
def test_answers_to_another_number_of_images_are_none(count: int) -> None:
    assert unpack(pack(np.ones(360, dtype=bool), DIGEST), count) is None
