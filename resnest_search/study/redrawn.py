"""What a candidate would score on other validation images: those it has, drawn with replacement.

For all candidates the same images are drawn (Efron, 1979), where it is recorded what each of them
answered: what is hard for one is hard for most, and differences are surer than the scores are.

- Of accuracy it is enough which images are right. Where that is not recorded, but their number is,
  correct answers are binomial.
- Balanced accuracy and macro F1 are worked out anew from the classes and answers of the images of
  each draw, over the classes that these have. A class of few images is in few draws or many, which
  is the noise of such a mean. Where one candidate's answers are not recorded none is drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from resnest_search.metrics import accuracy_error
from resnest_search.study.answers import Classes, class_scores, unpack, unpack_sheet

__all__ = ["CandidateResult", "ImageSheet", "image_error", "redrawn", "sheets_of"]

_AT_ONCE = 1_000_000  # images drawn at a time, which bounds the memory
_DIGITS = 12  # of a mean over classes: equal answers have equal scores, however they are summed
_AGREED = 1e-6  # between the recorded score and that of the answers

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class CandidateResult:
    """What is known of a candidate that was trained to full length at least once.

    Attributes:
        identity: of the candidate.
        number: of its first complete trial; ties go to the lowest.
        costs: every objective but the uncertain one, oriented so that less is better.
        accuracies: of ``metric``, fractions at the last epoch, one for each seed; at least one.
        images: validation images behind each; 0 where that is not known.
        correct: ``record.Epoch.correct`` of each seed's last epoch, or its ``sheet`` where the
            metric is not accuracy; empty for None of all.
        cost_errors: standard error of each cost, which counts for rivals alone; empty for 0.
        log_errors: standard error of each cost's logarithm, between rounds, which is drawn; empty
            for 0.
        rounds: behind each of these; below 2 none is drawn.
        metric: the uncertain objective, one of ``metrics.SHARES``.
    """

    identity: str
    number: int
    costs: tuple[float, ...]
    accuracies: tuple[float, ...]
    images: int = 0
    correct: tuple[str | None, ...] = ()
    cost_errors: tuple[float, ...] = ()
    log_errors: tuple[float, ...] = ()
    rounds: int = 0
    metric: str = "accuracy"

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return math.fsum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class ImageSheet:
    """A candidate's answers, image by image.

    Attributes:
        images: which, see answers.py.
        right: how many of its seeds are right, (n,).
        seeds: how many it has.
        classes: that there are; 0 where only `right` is known.
        truth: the class of each image, (n,).
        answers: of each seed, (seeds, n).
    """

    images: str
    right: Floats
    seeds: int
    classes: int = 0
    truth: Classes = field(default_factory=lambda: np.zeros(0, np.int64))
    answers: Classes = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def counts(self, classes: Classes, by_image: Floats, of: Flags | None = None) -> Floats:
        """How often each class is drawn, (draws, K), from how often each image is, (n, draws).

        ``classes`` is that of each image, (n,), and ``of`` which images count, all where it is
        None.
        """
        images = np.arange(len(classes)) if of is None else np.flatnonzero(of)
        entries = (np.ones(len(images)), (classes[images], images))
        shape = (self.classes, len(classes))
        found: Floats = (csr_array(entries, shape=shape) @ by_image).T
        return found

    def deviation_of_means(self) -> float:
        """Standard error of the mean over classes of what is right: of each class as accuracy."""
        share = self.right / self.seeds
        of_classes = [share[self.truth == label] for label in np.unique(self.truth)]
        errors = [accuracy_error(o.mean(), len(o), float(o.var())) or 0.0 for o in of_classes]
        return math.hypot(*errors) / len(errors)


def sheets_of(results: Sequence[CandidateResult]) -> list[ImageSheet | None]:
    """What each candidate answered; None where that lacks, or does not give the recorded score."""
    sheets = [
        _of_bits(result) if result.metric == "accuracy" else _of_classes(result)
        for result in results
    ]
    if any(s is None and r.metric != "accuracy" for s, r in zip(sheets, results, strict=True)):
        return [None] * len(sheets)
    return sheets


def redrawn(
    results: Sequence[CandidateResult],
    sheets: Sequence[ImageSheet | None],
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Mean score of each candidate on the images of each draw, (candidates, draws)."""
    found = np.repeat([[result.accuracy] for result in results], draws, axis=1)
    shared: dict[tuple[str, int], list[int]] = defaultdict(list)  # candidates, by their images
    for index, (result, sheet) in enumerate(zip(results, sheets, strict=True)):
        if sheet is not None:
            shared[sheet.images, result.images].append(index)
        elif result.images and result.metric == "accuracy":
            share = min(1.0, max(0.0, result.accuracy))
            found[index] = rng.binomial(result.images, share, draws) / result.images
    for (_, images), alike in shared.items():
        group = [sheet for index in alike if (sheet := sheets[index]) is not None]
        score = _accuracies if results[alike[0]].metric == "accuracy" else _means
        place = int(results[alike[0]].metric == "macro_f1")
        parts = [score(group, times, place) for times in _times(images, draws, rng)]
        found[alike] = np.concatenate(parts, axis=1)
    return found


def image_error(result: CandidateResult, sheet: ImageSheet | None, drawn: Floats) -> float:
    """Standard error of a mean score from its images; 0 where it is not known.

    Of accuracy that of Wilson's interval, of balanced accuracy that of each class's, of macro F1
    the deviation of the draws (draws,), unless none differs, as where every answer is right.
    """
    if not result.images or (sheet is None and result.metric != "accuracy"):
        return 0.0
    if sheet is None:
        return accuracy_error(result.accuracy, result.images) or 0.0
    if result.metric == "accuracy":
        spread = float(np.var(sheet.right / sheet.seeds))
        return accuracy_error(result.accuracy, result.images, spread) or 0.0
    deviation = float(np.std(drawn)) if result.metric == "macro_f1" else 0.0
    return deviation or sheet.deviation_of_means()


def _of_bits(result: CandidateResult) -> ImageSheet | None:
    found = [unpack(text, result.images) for text in result.correct]
    sheets = [sheet for sheet in found if sheet is not None]
    if not sheets or len(sheets) != len(result.accuracies):
        return None
    pairs = zip(sheets, result.accuracies, strict=True)
    agree = all(abs(s.right.sum() - a * result.images) < 0.5 for s, a in pairs)
    if not agree or len({sheet.images for sheet in sheets}) > 1:
        return None
    right = np.stack([sheet.right for sheet in sheets]).sum(axis=0).astype(np.float64)
    return ImageSheet(sheets[0].images, right, len(sheets))


def _of_classes(result: CandidateResult) -> ImageSheet | None:
    found = [unpack_sheet(text, result.images) for text in result.correct]
    sheets = [sheet for sheet in found if sheet is not None]
    if not sheets or len(sheets) != len(result.accuracies):
        return None
    first = sheets[0]
    if any(s[:2] != first[:2] or (s.truth != first.truth).any() for s in sheets):
        return None
    answers = np.stack([sheet.answers for sheet in sheets])
    right = answers == first.truth
    sheet = ImageSheet(
        first.images,
        right.sum(axis=0).astype(np.float64),
        len(sheets),
        first.classes,
        first.truth,
        answers,
    )
    once = np.ones((result.images, 1))
    place = int(result.metric == "macro_f1")
    (scores,) = _each_seed(sheet, once, sheet.counts(first.truth, once), place)
    agree = np.abs(scores - np.array(result.accuracies)).max() < _AGREED
    return sheet if agree else None


def _times(images: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each image is drawn, (some of the draws, images), until all are through."""
    at_once = max(1, _AT_ONCE // images)
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        picked = rng.integers(images, size=(size, images))
        picked += images * np.arange(size)[:, None]
        times = np.bincount(picked.ravel(), minlength=size * images).reshape(size, images)
        yield times.astype(np.float64)


def _accuracies(sheets: Sequence[ImageSheet], times: Floats, _: int) -> Floats:
    """Accuracies on images drawn so often, (candidates, draws)."""
    right = np.stack([sheet.right for sheet in sheets])
    most = right.shape[1] * np.array([sheet.seeds for sheet in sheets])
    # Sums of whole numbers are exact, so that equal answers are equal in every draw.
    found: Floats = right @ times.T / most[:, None]
    return found


def _means(sheets: Sequence[ImageSheet], times: Floats, place: int) -> Floats:
    """Balanced accuracies, or macro F1 for place 1, on images drawn so often, as `_accuracies`."""
    by_image = np.ascontiguousarray(times.T)
    images = sheets[0].counts(sheets[0].truth, by_image)  # of the same images for all
    found = [_each_seed(sheet, by_image, images, place).mean(axis=1) for sheet in sheets]
    return np.round(found, _DIGITS)


def _each_seed(sheet: ImageSheet, by_image: Floats, images: Floats, place: int) -> Floats:
    """Scores of each seed, (draws, seeds), from the images of each class, (draws, K)."""
    found = []
    for answers in sheet.answers:
        wrong = answers != sheet.truth
        right = images - sheet.counts(sheet.truth, by_image, wrong)
        named = right + sheet.counts(answers, by_image, wrong) if place else right
        found.append(class_scores(right, images, named)[place])
    return np.stack(found, axis=1)
