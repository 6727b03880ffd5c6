"""What noise leaves open, against plain fronts, exact probabilities and known truths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from resnest_search.pareto import non_dominated
from resnest_search.study.answers import pack, pack_sheet
from resnest_search.study.knee import knee
from resnest_search.study.redrawn import redrawn, sheets_of
from resnest_search.study.uncertainty import CandidateResult, contested, estimate

ONE_SET, ANOTHER_SET = "a" * 64, "b" * 64  # digests of validation images


def sheet(right: Sequence[bool] | np.ndarray, images: str = ONE_SET) -> str:
    return pack(np.asarray(right, dtype=bool), images)


def answering(
    number: int, costs: tuple[float, ...], *answers: np.ndarray, images: str = ONE_SET
) -> CandidateResult:
    """A candidate of which each seed's answers are known."""
    return CandidateResult(
        f"c{number}",
        number,
        costs,
        tuple(float(np.mean(right)) for right in answers),
        len(answers[0]),
        tuple(sheet(right, images) for right in answers),
    )


@st.composite
def candidates(draw: st.DrawFn, noise: bool = True) -> list[CandidateResult]:
    """Up to six, of few distinct costs and accuracies, so that there are ties."""
    images = draw(st.sampled_from([8, 24])) if noise else 0
    found = []
    for number in range(draw(st.integers(1, 6))):
        costs = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
        seeds = draw(st.integers(1, 3)) if noise else 1
        rights = [draw(st.integers(0, 8)) for _ in range(seeds)]
        sheets: tuple[str | None, ...] = ()
        if noise and draw(st.booleans()):
            sheets = tuple(sheet(np.arange(images) < right * images // 8) for right in rights)
        accuracies = tuple(right / 8 for right in rights)
        found.append(CandidateResult(f"c{number}", number, costs, accuracies, images, sheets))
    return found


def oriented(results: Sequence[CandidateResult]) -> np.ndarray:
    return np.array([(-result.accuracy, *result.costs) for result in results])


def burden(result: CandidateResult) -> float:
    """Mean logarithm of its costs; only where all are above 0."""
    return float(np.mean(np.log(result.costs)))


def total(result: CandidateResult) -> float:
    return math.log((10_000 * (1 - result.accuracy) + 1) / 10_002) + burden(result)


# What always holds


@settings(max_examples=60, deadline=None)
@given(candidates())
def test_probabilities_are_probabilities(results: list[CandidateResult]) -> None:
    found = estimate(results, draws=50)
    assert found.membership.keys() == {result.identity for result in results}
    assert all(0 <= share <= 1 for share in found.membership.values())
    assert sum(found.knee_share.values()) == pytest.approx(1)
    for name, share in found.knee_share.items():
        assert share <= found.membership[name]


@settings(max_examples=60, deadline=None)
@given(candidates(noise=False))
def test_without_noise_it_is_the_plain_front(results: list[CandidateResult]) -> None:
    found = estimate(results, draws=20)
    points = oriented(results)
    kept = non_dominated(points)
    assert found.membership == {
        result.identity: float(on_front) for result, on_front in zip(results, kept, strict=True)
    }
    members = np.flatnonzero(kept)
    named = {result.identity: result for result in results}
    assert found.knee is not None
    assert found.knee_share[found.knee] == 1
    assert named[found.knee] in [results[index] for index in members]
    if all(0 not in result.costs for result in results):  # else by what else has a cost
        names = ("accuracy", "latency_ms", "memory_mib")
        at = results[members[knee(points[members], names)]]
        assert total(named[found.knee]) == pytest.approx(total(at))
    assert contested(results) == []
    assert set(found.errors.values()) == {None}


@settings(max_examples=60, deadline=None)
@given(candidates())
def test_the_cheapest_in_a_cost_is_on_the_front_for_sure(results: list[CandidateResult]) -> None:
    cheapest = replace(results[0], costs=(-1, results[0].costs[1]))
    found = estimate([cheapest, *results[1:]], draws=50)
    assert found.membership[cheapest.identity] == 1


@settings(max_examples=60, deadline=None)
@given(st.data(), candidates())
def test_the_order_does_not_matter(data: st.DataObject, results: list[CandidateResult]) -> None:
    shuffled = data.draw(st.permutations(results))
    assert estimate(shuffled, draws=30) == estimate(results, draws=30)
    assert contested(shuffled, draws=30) == contested(results, draws=30)


@settings(max_examples=60, deadline=None)
@given(candidates())
def test_rivals_cost_no_more(results: list[CandidateResult]) -> None:
    costs = {result.identity: result.costs for result in results}
    for winner, rivals in estimate(results, draws=30).rivals.items():
        assert winner not in rivals
        for rival in rivals:
            assert all(a <= b for a, b in zip(costs[rival], costs[winner], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_the_same_answers_never_beat_each_other(right: list[bool], seeds: int, others: int) -> None:
    answers = np.array(right)
    rng = np.random.default_rng(others)
    cheap = answering(0, (1.0,), *[answers] * seeds)
    dear = answering(1, (2.0,), *[answers] * seeds)
    twin = answering(2, (1.0,), *[answers] * seeds)
    rest = [answering(9 + n, (9.0,), rng.random(len(right)) < 0.5) for n in range(others)]
    found = estimate([cheap, dear, twin, *rest], draws=50)
    assert found.membership["c0"] == found.membership["c2"] == 1
    assert found.membership["c1"] == 0
    assert found.rivals["c0"] == ("c2",)
    assert {"c0", "c2"} <= set(found.rivals["c1"])


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    results = [CandidateResult(f"c{n}", n, (float(n),), (0.9 + n / 100,), 300) for n in range(5)]
    assert estimate(results, seed=3) == estimate(results, seed=3)
    assert estimate(results, seed=3) != estimate(results, seed=4)


def test_nothing_has_no_uncertainty() -> None:
    assert estimate([]).membership == {}
    assert contested([]) == []


@settings(max_examples=60, deadline=None)
@given(candidates())
def test_the_knee_is_on_the_front_and_what_is_alike_is_dearer(
    results: list[CandidateResult],
) -> None:
    found = estimate(results, draws=50)
    named = {result.identity: result for result in results}
    front = {results[index].identity for index in np.flatnonzero(non_dominated(oriented(results)))}
    assert found.knee in front
    assert {*found.alike} <= front - {found.knee}
    if all(0 not in result.costs for result in results):
        cheapest = burden(named[found.knee])
        assert all(burden(named[name]) >= cheapest - 1e-12 for name in found.alike)


# Noise of the images


def chance(images: int, better: float, worse: float) -> float:
    """That more images are drawn of the first kind than of the second; exact."""
    total = 0.0
    for more in range(images + 1):
        for less in range(min(more, images - more + 1)):
            rest = images - more - less
            ways = math.comb(images, more) * math.comb(images - more, less)
            total += ways * better**more * worse**less * (1 - better - worse) ** rest
    return total


def test_images_are_drawn_in_pairs() -> None:
    """The dearer is on the front only where it is better: a known probability."""
    image = np.arange(100)
    dear = answering(0, (2.0,), image >= 4)  # 4 wrong
    cheap = answering(1, (1.0,), (image < 4) | (image >= 12))  # 8 others wrong
    found = estimate([dear, cheap], draws=20_000)
    assert found.membership["c0"] == pytest.approx(chance(100, 0.08, 0.04), abs=0.015)
    assert found.membership["c1"] == 1
    assert found.rivals == {"c0": ("c1",), "c1": ()}


def test_pairs_are_told_apart_where_accuracies_alone_are_not() -> None:
    image = np.arange(400)
    better, worse = image >= 40, image >= 52  # wrong on the same images and on twelve more
    paired = [answering(0, (2.0,), better), answering(1, (1.0,), worse)]
    alone = [replace(result, correct=()) for result in paired]
    strangers = [paired[0], answering(1, (1.0,), worse, images=ANOTHER_SET)]
    assert estimate(paired).rivals["c0"] == ()
    assert estimate(paired).membership["c0"] == 1
    for unpaired in (alone, strangers):
        assert estimate(unpaired).rivals["c0"] == ("c1",)
        assert estimate(unpaired).membership["c0"] < 0.97


@pytest.mark.parametrize(
    "correct", [("rubbish",), (sheet(np.arange(400) >= 41),), (sheet(np.ones(399)),)]
)
def test_a_sheet_that_is_not_of_the_accuracy_is_not_believed(correct: tuple[str, ...]) -> None:
    result = answering(0, (1.0,), np.arange(400) >= 40)
    other = CandidateResult("c1", 1, (0.5,), (0.89,), 400)
    alone = replace(result, correct=())
    assert estimate([replace(result, correct=correct), other]) == estimate([alone, other])


def test_an_error_is_that_of_the_images() -> None:
    right = np.arange(400) >= 40
    sure = [
        answering(0, (1.0,), right),
        CandidateResult("c1", 1, (1.0,), (0.9,), 400),
        CandidateResult("c2", 2, (1.0,), (0.9,)),
    ]
    found = estimate(sure).errors
    half = math.sqrt(0.9 * 0.1 / 400 + 1 / 4 / 400**2) / (1 + 1 / 400)
    assert found["c0"] == found["c1"] == pytest.approx(half)
    assert half == pytest.approx(math.sqrt(0.9 * 0.1 / 400), rel=0.01)
    assert found["c2"] is None


@pytest.mark.parametrize("known", [True, False])
def test_all_right_is_no_certainty(known: bool) -> None:
    """Eight of eight: half of Wilson's interval at one standard error, 1 / (2 (8 + 1))."""
    result = answering(0, (1.0,), np.ones(8, dtype=bool))
    found = estimate([result if known else replace(result, correct=())])
    assert found.errors["c0"] == pytest.approx(1 / 18)
    silent = CandidateResult("c0", 0, (1.0,), (0.9, 0.9))
    assert estimate([silent]).errors["c0"] is None  # seeds that agree are no error of 0


@pytest.mark.parametrize(("accuracy", "shared"), [(0.98, 0.5), (0.95, 0.0)])
def test_equals_are_rarely_told_apart(accuracy: float, shared: float) -> None:
    """Of pairs that are truly alike, a twentieth: what the interval promises."""
    rng = np.random.default_rng(0)
    apart = 0
    for trial in range(400):
        same, common = rng.random(360) < shared, rng.random(360) < accuracy
        one, other = (np.where(same, common, rng.random(360) < accuracy) for _ in range(2))
        pair = [answering(0, (1.0,), one), answering(1, (1.0,), other)]
        apart += not estimate(pair, draws=400, seed=trial).rivals["c0"]
    assert 0.01 < apart / 400 < 0.09


# Noise between seeds


def test_the_deviation_between_seeds_is_pooled_and_concerns_all() -> None:
    results = [
        CandidateResult("c0", 0, (3.0,), (0.90, 0.94)),
        CandidateResult("c1", 1, (2.0,), (0.90, 0.91, 0.92)),
        CandidateResult("c2", 2, (1.0,), (0.88,)),
    ]
    found = estimate(results, draws=20_000)
    pooled = math.sqrt((2 * 0.02**2 + 2 * 0.01**2) / 3)
    assert found.seed_deviation == pytest.approx(pooled)
    for name, seeds in (("c0", 2), ("c1", 3), ("c2", 1)):
        assert found.errors[name] == pytest.approx(pooled / math.sqrt(seeds))
    # better than c2, which is cheaper: a normal difference
    apart = (0.91 - 0.88) / math.hypot(pooled / math.sqrt(3), pooled)
    assert found.membership["c1"] == pytest.approx(0.5 * math.erfc(-apart / math.sqrt(2)), abs=0.02)


def test_one_seed_each_measures_no_deviation() -> None:
    assert estimate([CandidateResult("c0", 0, (1.0,), (0.9,), 100)]).seed_deviation is None


def test_more_seeds_settle_what_one_leaves_open() -> None:
    def run(seeds: int) -> float:
        several = [(0.92, 0.90) * seeds, (0.905, 0.885) * seeds]
        results = [CandidateResult(f"c{n}", n, (2.0 - n,), a) for n, a in enumerate(several)]
        return estimate(results).membership["c0"]

    assert run(1) < 0.93 < 0.97 < run(8)


def test_images_and_seeds_add_up() -> None:
    rng = np.random.default_rng(0)
    answers = [rng.random(500) < rate for rate in (0.90, 0.93)]
    result = answering(0, (1.0,), *answers)
    found = estimate([result])
    mean = np.mean(answers, axis=0)
    images = (float(np.var(mean)) / 500 + 1 / 4 / 500**2) / (1 + 1 / 500) ** 2
    seeds = float(np.var([right.mean() for right in answers], ddof=1)) / 2
    assert found.errors["c0"] == pytest.approx(math.sqrt(images + seeds))


# Noise of the costs


def timed(number: int, latency: float, error: float, rounds: int = 5, **more: Any) -> Any:
    """Of one latency that is known to this error of its logarithm; its accuracy is exact."""
    accuracy = more.pop("accuracy", 0.9)
    costs = more.pop("costs", (latency,))
    errors = (error,) * len(costs)
    return CandidateResult(
        f"c{number}", number, costs, (accuracy,), log_errors=errors, rounds=rounds, **more
    )


@settings(max_examples=60, deadline=None)
@given(candidates(), st.sampled_from([(0.0, 5), (0.3, 0), (0.3, 1)]))
def test_costs_without_a_deviation_are_exact(
    results: list[CandidateResult], known: tuple[float, int]
) -> None:
    error, rounds = known
    stated = [replace(r, log_errors=(error, error), rounds=rounds) for r in results]
    assert estimate(stated, draws=50) == estimate(results, draws=50)


def test_two_latencies_that_rounds_do_not_tell_apart_share_the_front() -> None:
    """Of equal accuracies the faster alone is on a front: 0.7 % faster, where 2 % are noise."""
    exact = estimate([timed(0, 1.0, 0.0), timed(1, 1.007, 0.0)]).membership
    assert exact == {"c0": 1.0, "c1": 0.0}
    error = 0.02
    found = estimate([timed(0, 1.0, error, 1000), timed(1, 1.007, error, 1000)], draws=20_000)
    faster = 0.5 * math.erfc(-math.log(1.007) / (2 * error))  # a normal difference of sqrt(2) e
    assert found.membership["c0"] == pytest.approx(faster, abs=0.02)
    assert found.membership["c0"] + found.membership["c1"] == pytest.approx(1)
    assert found.rivals == {"c0": ("c1",), "c1": ("c0",)}
    assert found.knee_share == found.membership


def test_few_rounds_leave_more_open_than_their_deviation_says() -> None:
    """Student's t of one degree of freedom, whose differences are again Cauchy's."""
    pair = [timed(0, 1.0, 0.02, 2), timed(1, 1.1, 0.02, 2)]
    slower = 0.5 - math.atan(math.log(1.1) / 0.04) / math.pi
    assert estimate(pair, draws=20_000).membership["c1"] == pytest.approx(slower, abs=0.01)


def test_what_shares_a_timing_moves_with_it() -> None:
    one, twin = timed(0, 1.0, 0.1), timed(1, 1.0, 0.1, accuracy=0.8)
    other = timed(2, 1.001, 0.1, accuracy=0.8)
    found = estimate([one, twin, other]).membership
    assert found["c1"] == 0, "its network is that of the better one"
    assert found["c2"] > 0.3
    # images per second, which come negated, fall as the latency rises
    both = [timed(n, 0, 0.1, costs=(ms, -1000 / ms)) for n, ms in enumerate((1.0, 1.01))]
    found = estimate(both).membership
    assert found["c0"] + found["c1"] == pytest.approx(1)


def test_a_count_beside_a_latency_stays_exact() -> None:
    errors = {"log_errors": (0.5, 0.0), "rounds": 5}
    small = CandidateResult("c0", 0, (1.0, 2.0), (0.9,), **errors)
    large = CandidateResult("c1", 1, (1.0 + 1e-9, 2.001), (0.9,), **errors)
    found = estimate([small, large])
    assert found.membership["c0"] == 1
    assert found.rivals == {"c0": (), "c1": ("c0",)}


@pytest.mark.parametrize("count", [12, 70])
def test_drawn_fronts_are_fronts_however_many_candidates(count: int) -> None:
    """Few are compared pair by pair, many by a library: the same law holds for both."""
    rng = np.random.default_rng(count)
    ladder = [timed(n, 1.0 + n, 1e-6, accuracy=0.5 + n / 1000) for n in range(count)]
    beaten = [timed(count + n, 1.5 + n, 1e-6, accuracy=0.4) for n in rng.permutation(5)]
    found = estimate([*ladder, *beaten], draws=60).membership
    assert [found[f"c{n}"] for n in range(count)] == [1.0] * count
    assert [found[f"c{count + n}"] for n in range(5)] == [0.0] * 5


# Rivals and the contested


def test_a_rival_may_cost_more_by_the_error_of_its_measurement() -> None:
    winner = CandidateResult("c0", 0, (1.00, 5.0), (0.9,), 100, cost_errors=(0.01, 0.0))
    near = CandidateResult("c1", 1, (1.02, 5.0), (0.9,), 100, cost_errors=(0.01, 0.0))
    far = CandidateResult("c2", 2, (1.03, 5.0), (0.9,), 100, cost_errors=(0.01, 0.0))
    bigger = CandidateResult("c3", 3, (0.90, 5.1), (0.9,), 100, cost_errors=(0.01, 0.0))
    assert estimate([winner, near, far, bigger]).rivals["c0"] == ("c1",)


def test_without_costs_all_that_is_as_accurate_is_a_rival() -> None:
    results = [CandidateResult(f"c{n}", n, (), (a,), 400) for n, a in enumerate((0.9, 0.89, 0.7))]
    found = estimate(results)
    assert found.rivals["c0"] == ("c1",)
    assert found.membership["c0"] + found.membership["c1"] >= 1
    assert found.membership["c2"] == 0


def test_contested_are_those_that_noise_leaves_open_the_most_doubtful_first() -> None:
    results = [
        CandidateResult("fast", 0, (1.0,), (0.90,), 1000),
        CandidateResult("doubtful", 1, (2.0,), (0.901,), 1000),
        CandidateResult("likely", 2, (3.0,), (0.918,), 1000),
        CandidateResult("sure", 3, (4.0,), (0.99,), 1000),
        CandidateResult("hopeless", 4, (5.0,), (0.85,), 1000),
    ]
    assert contested(results) == ["doubtful", "likely"]
    membership = estimate(results).membership
    assert contested(results, low=membership["doubtful"]) == ["likely"]
    assert contested(results, high=membership["likely"]) == ["doubtful"]


# Means over classes

_SCORES = {
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": lambda truth, answers: f1_score(truth, answers, average="macro"),
}


def scored(
    metric: str, number: int, cost: float, truth: np.ndarray, *answers: np.ndarray, images=ONE_SET
) -> CandidateResult:
    """A candidate of which the answers of each seed are known, and what they come to."""
    return CandidateResult(
        f"c{number}",
        number,
        (cost,),
        tuple(float(_SCORES[metric](truth, own)) for own in answers),
        len(truth),
        tuple(pack_sheet(truth, own, 5, images) for own in answers),
        metric=metric,
    )


def mistaken(truth: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Answers of which such a share is another of the same classes."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < share, rng.permutation(truth), truth)


@pytest.mark.parametrize("metric", _SCORES)
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_means_over_classes_are_worked_out_anew_from_the_drawn_images(metric: str) -> None:
    truth = np.repeat([0, 1, 2, 4], [40, 12, 6, 1])  # a class of one image, and one of none
    own = [mistaken(truth, share, seed) for seed, share in enumerate((0.3, 0.3, 0.1))]
    results = [scored(metric, 0, 1.0, truth, *own[:2]), scored(metric, 1, 2.0, truth, own[2])]
    found = redrawn(results, sheets_of(results), 20, np.random.default_rng(3))
    picked = np.random.default_rng(3).integers(len(truth), size=(20, len(truth)))
    score = _SCORES[metric]
    for draw, images in enumerate(picked):
        scores = [score(truth[images], answers[images]) for answers in own]
        assert found[:, draw] == pytest.approx([np.mean(scores[:2]), scores[2]], abs=1e-11)


@pytest.mark.parametrize("metric", _SCORES)
def test_the_error_of_a_mean_over_classes_is_what_other_images_would_make_of_it(
    metric: str,
) -> None:
    def answers(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wrong = rng.random(len(truth)) < np.array([0.1, 0.3, 0.5])[truth]
        return np.where(wrong, rng.integers(0, 3, len(truth)), truth)

    scores, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = np.repeat([0, 1, 2], [200, 50, 20])
        result = scored(metric, 0, 1.0, truth, answers(truth, rng))
        scores.append(result.accuracy)
        if seed < 20:
            errors.append(estimate([result], draws=200).errors["c0"])
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.25)


@pytest.mark.parametrize("metric", _SCORES)
def test_means_over_classes_have_noise_where_all_answers_are_recorded_alone(metric: str) -> None:
    truth = np.arange(60) % 5
    sure, same = (scored(metric, n, n + 1.0, truth, mistaken(truth, 0.2, 0)) for n in (0, 1))
    found = estimate([sure, same])
    assert found.with_images
    assert found.membership == {"c0": 1, "c1": 0}  # as good in every draw, and dearer
    right = estimate([scored(metric, 0, 1.0, truth, truth)])
    assert right.errors["c0"] is not None
    assert right.errors["c0"] > 0  # nobody knows that nothing would be wrong another time
    for lacking in ((), (None,), (sheet(np.ones(60)),), (sure.correct[0][:-4],)):
        without = estimate([sure, replace(same, correct=lacking)])
        assert not without.with_images
        assert set(without.errors.values()) == {None}
    elsewhere = estimate([replace(sure, accuracies=(0.9,)), same])  # not what the answers come to
    assert not elsewhere.with_images
