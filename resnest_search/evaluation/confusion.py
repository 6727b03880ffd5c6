"""What follows from a confusion matrix: rows are the true classes, columns the answers."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnest_search.metrics import accuracy_error, accuracy_interval
from resnest_search.study.answers import Floats, class_scores

__all__ = ["Confusion"]

_DRAWS = 200  # of the images, for the error of what is no mean over them


@dataclass(frozen=True)
class Confusion:
    """Counts of images ``(K, K)`` by true class and answer, and the names of the K classes."""

    counts: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, labels: NDArray[np.int64], answers: NDArray[np.int64], names: tuple[str, ...]
    ) -> Confusion:
        """From the true class and the answer of each image, both ``(N,)``."""
        counts = np.zeros((len(names), len(names)), dtype=np.int64)
        np.add.at(counts, (labels, answers), 1)
        return cls(counts, names)

    @property
    def images(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(np.trace(self.counts) / self.images)

    @property
    def balanced_accuracy(self) -> float:
        """Mean share of right answers of a class, over the classes that have images."""
        return float(self._scores[0])

    @property
    def macro_f1(self) -> float:
        """Mean of 2 TP / (2 TP + FP + FN), over the classes that have images or answers."""
        return float(self._scores[1])

    @property
    def balanced_error(self) -> float:
        """Standard error of balanced accuracy: of the mean of accuracies that each have theirs."""
        return math.hypot(*(k["standard_error"] for k in self.classes)) / len(self.classes)

    @cached_property
    def macro_error(self) -> float:
        """Standard error of macro F1: its deviation over images drawn anew (Efron, 1979).

        That of balanced accuracy where no draw differs, as where every answer is right.
        """
        truth, answer = np.nonzero(self.counts)
        right, number = truth == answer, len(self.names)
        shares = self.counts[truth, answer] / self.images
        rng = np.random.default_rng(0)
        found = []
        for _ in range(_DRAWS):
            drawn = rng.multinomial(self.images, shares)
            hits = np.bincount(truth[right], drawn[right], number)
            sizes, named = (np.bincount(k, drawn, number) for k in (truth, answer))
            found.append(class_scores(hits, sizes, named)[1])
        return float(np.std(found)) or self.balanced_error

    @property
    def _scores(self) -> tuple[Floats, Floats]:
        return class_scores(self.counts.diagonal(), self.counts.sum(1), self.counts.sum(0))

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Of each class that has images: how many, the right ones, and what most others become."""
        return [self._class(k) for k, size in enumerate(self.counts.sum(1)) if size]

    def _class(self, k: int) -> dict[str, Any]:
        row = self.counts[k]
        images, right = int(row.sum()), int(row[k])
        wrong = row.copy()
        wrong[k] = 0
        share = right / images
        return {
            "name": self.names[k],
            "images": images,
            "right": right,
            "accuracy": share,
            "standard_error": accuracy_error(share, images),
            "taken_for": self.names[int(wrong.argmax())] if wrong.any() else None,
        }

    def facts(self) -> dict[str, Any]:
        """All of it in plain values, but for the matrix; accuracies are fractions."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "standard_error": accuracy_error(self.accuracy, self.images),
            "interval": list(accuracy_interval(self.accuracy, self.images) or ()),
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_error": self.balanced_error,
            "macro_f1": self.macro_f1,
            "macro_f1_error": self.macro_error,
            "classes": self.classes,
        }

    def write(self, path: Path) -> None:
        """As CSV: a row for each true class, a column for each answer."""
        # A folder's name may be no text of UTF-8.
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(["true class", *self.names])
            for name, row in zip(self.names, self.counts, strict=True):
                writer.writerow([name, *row.tolist()])
