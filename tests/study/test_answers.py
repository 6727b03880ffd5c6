"""Answers as text: what goes in comes out, and nothing else does; scores are scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from resnest_search.study.answers import class_scores, pack, pack_sheet, unpack, unpack_sheet

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


# Classes


@st.composite
def answered(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """Classes, and true ones and answers of some images: of few images, or without any."""
    classes = draw(st.sampled_from([2, 3, 7, 257, 1000]))
    one = st.integers(0, min(classes, draw(st.sampled_from([2, 5, 1000]))) - 1)
    pairs = draw(st.lists(st.tuples(one, one), min_size=1, max_size=40))
    truth, answers = np.array(pairs, dtype=np.int64).T
    return classes, truth, answers


@given(answered())
def test_classes_and_answers_come_back(given_: tuple[int, np.ndarray, np.ndarray]) -> None:
    classes, truth, answers = given_
    found = unpack_sheet(pack_sheet(truth, answers, classes, DIGEST), len(truth))
    assert found is not None
    assert (found.images, found.classes) == (DIGEST[:8], classes)
    assert found.truth.tolist() == truth.tolist()
    assert found.answers.tolist() == answers.tolist()


@given(answered())
def test_scores_are_those_of_scikit_learn(given_: tuple[int, np.ndarray, np.ndarray]) -> None:
    classes, truth, answers = given_
    parts = (truth[truth == answers], truth, answers)
    counts = [np.bincount(part, minlength=classes) for part in parts]
    balanced, f1 = class_scores(*counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are no true class of these images
        assert balanced == pytest.approx(balanced_accuracy_score(truth, answers), abs=1e-12)
    assert f1 == pytest.approx(f1_score(truth, answers, average="macro"), abs=1e-12)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: None,
        lambda text: text[:-4],
        lambda text: text.replace(":7:", ":0:"),
        lambda text: text.replace(":7:", ":6:"),
        lambda text: text.replace(":7:", ":700:"),
        lambda text: text.partition(":")[2],
    ],
)
def test_damaged_sheets_are_none(damage) -> None:
    truth = np.arange(90) % 7
    text = pack_sheet(truth, np.roll(truth, 1), 7, DIGEST)
    assert unpack_sheet(text, 90) is not None
    assert unpack_sheet(damage(text), 90) is None
