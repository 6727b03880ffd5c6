"""Recorded learning curves with their costs: what trials would find out, without training them."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from resnest_search.configuration.checks import given
from resnest_search.configuration.schema import LimitsConfig, SearchConfig
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS, SHARES, TRAINED
from resnest_search.space import Candidate, Space, candidate_of
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch

__all__ = ["COLUMNS", "COST", "PARAMETER", "Table"]

# Of the tables of this project's own networks.
COLUMNS = (
    *("radix", "cardinality", "width", "seed", "epoch"),
    *("accuracy", "latency_ms", "memory_mib", "seconds"),
)

PARAMETER, COST = "parameter:", "cost:"  # before the names of a table's own columns
_VARIANT = ("radix", "cardinality", "width")
_NEEDED = ("seed", "epoch", "accuracy", "seconds")
_FURTHER = ("balanced_accuracy", "macro_f1", "images", "loss", "train_loss", "true_accuracy")
_LEAST = {"cardinality": 1, "width": 1, "epoch": 1}  # of all others 0
_WHOLE = (*_VARIANT, "seed", "epoch", "images")
_LOSSES = ("loss", "train_loss")  # which may be any number, and infinite where a run diverged
_SHARES = (*SHARES, "true_accuracy")
_NEVER_EMPTY = (*_VARIANT, *_NEEDED, "latency_ms", "memory_mib")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)  # of a column of the table's own
# Facts that a trial keeps beside its costs, and columns that trials.csv has: no costs' names.
_TAKEN = {
    *("alone", "also", "training_joules"),
    *("busy_percent", "busy_s", "form", "gpu", "gpu_mib", "measured"),
    *("accuracy_error", "accuracy_high", "accuracy_low", "bound", "candidate"),
    *("deviations", "latency_half_width", "latency_high_ms", "latency_low_ms", "latency_rounds"),
    *("cardinality_width", "continues", "curve", "device", "diverged", "epochs"),
    *("full_epochs", "inherited", "knee", "knee_share", "latency_passes", "mean_accuracy"),
    *("mean_balanced_accuracy", "mean_balanced_accuracy_error"),
    *("mean_macro_f1", "mean_macro_f1_error"),
    *("mean_error", "membership", "mode", "number", "on_front", "own_costs", "parameters"),
    *(
        "paused",
        "phase",
        "pruned_at",
        "reason",
        "repeat",
        "repeat_of",
        "seeds",
        "segments",
        "state",
        "train_mode",
    ),
    *("validation_images", "variant", "versions", "warm_start"),
}
_SHOWN = 12  # candidates that a message lists


@dataclass(frozen=True)
class _Columns:
    """Columns of a file that mean something here, in its order."""

    parameters: tuple[str, ...]  # own ones, without their mark
    costs: tuple[str, ...]  # without a mark
    numbers: dict[str, str]  # by the name in the file, all but the parameters: without a mark
    varied: bool  # whether it has the variant's three

    @property
    def varying(self) -> tuple[str, ...]:
        """What tells one candidate from another."""
        return (*_VARIANT, *self.parameters) if self.varied else self.parameters


@dataclass(frozen=True)
class _Row:
    line: int  # in the file, from 1
    words: tuple[str, ...]  # of its own parameters
    numbers: dict[str, float]  # by column; what is empty is absent

    @property
    def seed(self) -> int:
        return int(self.numbers["seed"])

    @property
    def number(self) -> int:
        """Of its epoch, from 1."""
        return int(self.numbers["epoch"])

    def epoch(self) -> Epoch:
        found = self.numbers
        return Epoch(
            epoch=self.number,
            accuracy=found["accuracy"],
            loss=found.get("loss"),
            train_loss=found.get("train_loss"),
            seconds=found["seconds"],
            images=int(found.get("images", 0)),
            balanced_accuracy=found.get("balanced_accuracy"),
            macro_f1=found.get("macro_f1"),
        )

    def diverged(self) -> bool:
        return not all(math.isfinite(self.numbers.get(name, 0.0)) for name in _LOSSES)


class Table:
    """Recorded curves of some candidates, all of one length.

    Attributes:
        path: the file.
        digest: SHA-256 of the file.
        candidates: in the order of the file. Their parameters are its columns.
        parameters: names of what varies: the variant's three where the file has them, then
            those of its own.
        cost_names: of its costs, in its order.
        epochs: length of every curve; only one that diverged is shorter.
        columns: of the file, as far as they mean something here, without marks.
    """

    def __init__(self, path: Path, digest: str, columns: _Columns, rows: Sequence[_Row]) -> None:
        self.path = path
        self.digest = digest
        self.parameters = columns.varying
        self.cost_names = columns.costs
        self.columns = (*self.parameters, *columns.numbers.values())
        self.epochs = max(row.number for row in rows)
        self._costs: dict[str, dict[str, float]] = {}  # this and what follows by identity
        self._true: dict[str, float | None] = {}
        self._curves: dict[str, dict[int, tuple[Epoch, ...]]] = {}
        found = _by_candidate(columns, rows)
        self.candidates = tuple(found)
        for candidate, own in found.items():
            _check_alike(path, candidate.name, own, (*columns.costs, "true_accuracy"))
            first, identity = own[0].numbers, candidate.identity
            self._costs[identity] = {name: first[name] for name in columns.costs if name in first}
            self._true[identity] = first.get("true_accuracy")
            self._curves[identity] = _curves(path, candidate.name, own, self.epochs)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The table of a CSV file with one row an epoch; docs/simulator.md has its columns.

        Raises:
            UserError: it is no such file; names file, line and column.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise UserError(f"trial.path={path}: {reason}; valid: a CSV file") from None
        return cls(path, hashlib.sha256(content).hexdigest(), *_parsed(path, text))

    def seeds(self, candidate: Candidate) -> tuple[int, ...]:
        """The recorded seeds of a candidate, ascending."""
        return tuple(self._curves[candidate.identity])

    def epoch(self, candidate: Candidate, seed: int, epoch: int) -> Epoch:
        """What a run's epoch, counted from 1, found out."""
        return self.curve(candidate, seed)[epoch - 1]

    def curve(self, candidate: Candidate, seed: int) -> tuple[Epoch, ...]:
        """What the epochs of a run found out.

        Args:
            candidate: one of ``candidates``, or of a space that names it in another way.
            seed: of the run; where there are fewer recorded ones, they serve in turn.
        """
        curves = self._curves[candidate.identity]
        return curves[list(curves)[seed % len(curves)]]

    def costs(self, candidate: Candidate) -> dict[str, float]:
        """The recorded costs of a candidate, by the names of ``cost_names``."""
        return dict(self._costs[candidate.identity])

    def true_accuracy(self, candidate: Candidate) -> float | None:
        """What a benchmark takes for the truth, as a fraction; None where the file has none."""
        return self._true[candidate.identity]

    def check_keys(self, space: Space) -> None:
        """Raises UserError where the space varies a key of a recipe, of which no table tells."""
        for key in space.distributions:
            if "." in key:
                raise UserError(
                    f"search.space.{key}: trial=table: {self.path} records no such key; "
                    "valid: radix, cardinality, width, cardinality_width, variant"
                )

    def costings(self, space: Space) -> dict[str, Costing]:
        """The costs of each network of a space, by ``Candidate.network``.

        Raises:
            UserError: the space has a candidate or varies a key that the table lacks.
        """
        self.check_keys(space)
        return {
            candidate.network: Costing(self._known(candidate), "recorded", "table")
            for candidate in space.networks
        }

    def check(self, search: SearchConfig) -> None:
        """Raises UserError where a search wants what no row of the table tells."""
        if search.epochs > self.epochs:
            raise UserError(
                f"search.epochs={search.epochs}: {self.path} records {self.epochs}; "
                f"valid: 1 to {self.epochs}"
            )
        fewest = min(len(curves) for curves in self._curves.values())
        if search.repeats >= fewest:
            raise UserError(
                f"search.repeats={search.repeats}: {self.path} records {fewest} seeds of a "
                f"variant, and a seed repeated tells nothing new; valid: 0 to {fewest - 1}"
            )
        for key, names in (("objectives", search.objectives), ("limits", given(search.limits))):
            for name in names:
                self._check_metric(key, name)

    def _check_metric(self, key: str, name: str) -> None:
        valid = [*(known for known in TRAINED if known in self.columns), *self.cost_names]
        if key == "limits":
            valid = [known for known in vars(LimitsConfig()) if known in self.cost_names]
        if name not in valid:
            raise UserError(
                f"search.{key}: {name}: {self.path} has no such column; "
                f"valid: {', '.join(valid) or 'none'}"
            )
        for candidate in self.candidates:
            if not self._has(candidate, name):
                raise UserError(
                    f"search.{key}: {name}: {self.path} leaves it empty for {candidate.name}; "
                    "valid: what every row has"
                )

    def _has(self, candidate: Candidate, name: str) -> bool:
        if name not in TRAINED:
            return name in self._costs[candidate.identity]
        curves = self._curves[candidate.identity].values()
        return all(getattr(epoch, name) is not None for curve in curves for epoch in curve)

    def _known(self, candidate: Candidate) -> dict[str, float]:
        if candidate.identity not in self._costs:
            shown = ", ".join(c.name for c in self.candidates[:_SHOWN])
            more = ", …" if len(self.candidates) > _SHOWN else ""
            raise UserError(
                f"search.space: {candidate.name} is not in trial.path={self.path}; "
                f"valid: {shown}{more}"
            )
        return self.costs(candidate)


@lru_cache(maxsize=1)  # a command reads its table more than once
def _parsed(path: Path, text: str) -> tuple[_Columns, list[_Row]]:
    """What a file holds, row by row."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        columns = _known_columns(path, header)
        rows = list(_rows(path, lines, header, columns))
    except csv.Error as error:
        raise UserError(f"trial.path={path}: line {lines.line_num}: {error}") from None
    if not rows:
        raise UserError(f"trial.path={path}: line 2: no rows; valid: one for each epoch")
    return columns, rows


def _known_columns(path: Path, header: Sequence[str]) -> _Columns:
    """The columns that the header names and that mean something here."""
    where = f"trial.path={path}: line 1"
    parameters = [name.removeprefix(PARAMETER) for name in header if name.startswith(PARAMETER)]
    plain = {*_VARIANT, *_NEEDED, *_FURTHER, *COSTS}
    numbers = {
        name: name.removeprefix(COST)
        for name in header
        if name in plain or (name.startswith(COST) and name.removeprefix(COST) not in plain)
    }
    known = [*parameters, *(numbers[name] for name in header if name in numbers)]
    for name in known:
        if known.count(name) > 1:
            raise UserError(f"{where}: column {name} stands there twice")
    for name in header:
        _check_name(where, name, plain)
    varied = any(name in numbers for name in _VARIANT) or not parameters
    costs = tuple(
        name for column, name in numbers.items() if name in COSTS or column.startswith(COST)
    )
    for name in (*(_VARIANT if varied else ()), *_NEEDED):
        if name not in numbers:
            raise UserError(f"{where}: no column {name}; needed: {_needed()}")
    if not costs:
        raise UserError(f"{where}: no cost; needed: {_needed()}")
    return _Columns(tuple(parameters), costs, numbers, varied)


def _check_name(where: str, column: str, plain: Collection[str]) -> None:
    """Raises UserError where a column of the table's own has a name that means something else."""
    for mark in (PARAMETER, COST):
        name = column.removeprefix(mark)
        if name != column and (name in plain or name in _TAKEN or not _NAME.fullmatch(name)):
            raise UserError(
                f"{where}: column {column}: valid: {mark}NAME of letters, digits and _, "
                "which is no name that a trial has already"
            )


def _needed() -> str:
    return (
        f"{', '.join(_VARIANT)} or {PARAMETER}NAME, {', '.join(_NEEDED)}, and a cost such as "
        f"latency_ms or {COST}NAME"
    )


def _rows(path: Path, lines: Any, header: Sequence[str], columns: _Columns) -> Iterator[_Row]:
    own = [(name, header.index(PARAMETER + name)) for name in columns.parameters]
    numbers = [(name, column, header.index(column)) for column, name in columns.numbers.items()]
    for cells in lines:
        if not cells:
            continue
        where = f"trial.path={path}: line {lines.line_num}"
        cells += [""] * (len(header) - len(cells))
        words = tuple(cells[place].strip() for _, place in own)
        for (name, _), word in zip(own, words, strict=True):
            if not word:
                raise UserError(f"{where}: {PARAMETER}{name}='': valid: a number or a word")
        read = ((name, _number(where, column, cells[at].strip())) for name, column, at in numbers)
        found = {name: value for name, value in read if value is not None}
        yield _Row(lines.line_num, words, found)


def _number(where: str, column: str, cell: str) -> float | None:
    """The value of a cell; None for an empty one of a column that may be missing."""
    if not cell and column not in _NEVER_EMPTY:
        return None
    try:
        value = float(cell)
    except ValueError:
        raise UserError(f"{where}: {column}={cell!r}: is no number") from None
    if column in _LOSSES:
        return value
    least, most = _LEAST.get(column, 0), 1.0 if column in _SHARES else math.inf
    fits = math.isfinite(value) and least <= value <= most
    if not fits or (column in _WHOLE and not value.is_integer()):
        kind = "whole number" if column in _WHOLE else "number"
        span = f"from {least} to 1" if column in _SHARES else f"of at least {least}"
        raise UserError(f"{where}: {column}={cell}: valid: a {kind} {span}")
    return value


def _by_candidate(columns: _Columns, rows: Sequence[_Row]) -> dict[Candidate, list[_Row]]:
    """The rows of each candidate, in the order of the file."""
    kinds = [_kind(column) for column in zip(*(row.words for row in rows), strict=True)]
    found: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        words = zip(kinds, row.words, strict=True)
        variant = _VARIANT if columns.varied else ()
        values = (*(int(row.numbers[n]) for n in variant), *(kind(word) for kind, word in words))
        found.setdefault(values, []).append(row)
    return {
        candidate_of(dict(zip(columns.varying, values, strict=True))): those
        for values, those in found.items()
    }


def _kind(words: Sequence[str]) -> Callable[[str], Any]:
    """What all cells of a column are: whole numbers, numbers or words."""
    try:
        if all(math.isfinite(float(int(word))) for word in set(words)):
            return int
    except ValueError:
        pass
    except OverflowError:  # a number to look at, not to reckon with
        return str
    try:
        finite = all(math.isfinite(float(word)) for word in set(words))
    except ValueError:
        return str
    return float if finite else str


def _check_alike(path: Path, name: str, rows: Sequence[_Row], columns: Sequence[str]) -> None:
    """Raises UserError where the rows of a candidate differ in one of the columns."""
    first = rows[0].numbers
    for row in rows:
        for column in columns:
            here, there = row.numbers.get(column), first.get(column)
            if here != there:
                raise UserError(
                    f"trial.path={path}: line {row.line}: {column}={_shown(here)}: {name} has "
                    f"{_shown(there)} in line {rows[0].line}; "
                    "valid: the same in every row of a candidate"
                )


def _curves(
    path: Path, name: str, rows: Iterable[_Row], epochs: int
) -> dict[int, tuple[Epoch, ...]]:
    """The whole curves of a candidate by their seeds, ascending."""
    found: dict[int, dict[int, _Row]] = {}
    for row in rows:
        known = found.setdefault(row.seed, {}).setdefault(row.number, row)
        if known is not row:
            raise UserError(
                f"trial.path={path}: line {row.line}: epoch={row.number}: {name} "
                f"with seed {row.seed} has it in line {known.line}; valid: one row an epoch"
            )
    return {seed: _whole(path, name, found[seed], epochs) for seed in sorted(found)}


def _whole(path: Path, name: str, curve: Mapping[int, _Row], epochs: int) -> tuple[Epoch, ...]:
    """A curve in its order, of full length unless it diverged."""
    last = curve[max(curve)]
    wanted = last.number if last.diverged() else epochs
    for epoch in range(1, wanted + 1):
        if epoch not in curve:
            raise UserError(
                f"trial.path={path}: line {last.line}: epoch: {name} with seed "
                f"{last.seed} lacks epoch {epoch}; valid: every epoch from 1 to {epochs}"
            )
    return tuple(curve[epoch].epoch() for epoch in sorted(curve))


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:g}"
