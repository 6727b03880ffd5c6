"""Recorded learning curves with their costs: what trials would find out, without training them."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from resnest_search.configuration.schema import SearchConfig
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS, TRAINED
from resnest_search.space import Space
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.variant import Variant

__all__ = ["COLUMNS", "OPTIONAL", "Table"]

COLUMNS = (
    *("radix", "cardinality", "width", "seed", "epoch"),
    *("accuracy", "latency_ms", "memory_mib", "seconds"),
)
OPTIONAL = ("images", "loss", "train_loss", *(name for name in COSTS if name not in COLUMNS))
_LEAST = {"cardinality": 1, "width": 1, "epoch": 1}  # of all others 0
_WHOLE = ("radix", "cardinality", "width", "seed", "epoch", "images")
_LOSSES = ("loss", "train_loss")  # which may be any number, and infinite where a run diverged
_SHOWN = 12  # variants that a message lists


@dataclass(frozen=True)
class _Row:
    line: int  # in the file, from 1
    variant: Variant
    seed: int
    epoch: Epoch
    costs: dict[str, float]


class Table:
    """Recorded curves of some variants, several seeds each, all of one length.

    Attributes:
        path: the file.
        digest: SHA-256 of the file.
        variants: in the order of the file.
        epochs: length of every curve; only one that diverged is shorter.
        columns: of the file, as far as they are known.
    """

    def __init__(self, path: Path, digest: str, columns: Sequence[str], rows: Sequence[_Row]):
        self.path = path
        self.digest = digest
        self.columns = tuple(columns)
        self.epochs = max(row.epoch.epoch for row in rows)
        self._costs = _costs_of(path, rows)
        self._curves = _curves_of(path, rows, self.epochs)
        self.variants = tuple(self._costs)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The table of a CSV file with one row an epoch, see ``COLUMNS`` and ``OPTIONAL``.

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
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
        try:
            columns = _known_columns(path, reader.fieldnames or ())
            rows = list(_rows(path, reader, columns))
        except csv.Error as error:
            raise UserError(f"trial.path={path}: line {reader.line_num}: {error}") from None
        if not rows:
            raise UserError(f"trial.path={path}: line 2: no rows; valid: one for each epoch")
        return cls(path, hashlib.sha256(content).hexdigest(), columns, rows)

    def seeds(self, variant: Variant) -> tuple[int, ...]:
        """The recorded seeds of a variant, ascending."""
        return tuple(self._curves[variant])

    def epoch(self, variant: Variant, seed: int, epoch: int) -> Epoch:
        """What a run's epoch, counted from 1, found out."""
        return self.curve(variant, seed)[epoch - 1]

    def curve(self, variant: Variant, seed: int) -> tuple[Epoch, ...]:
        """What the epochs of a run found out.

        Args:
            variant: one of ``variants``.
            seed: of the run; where there are fewer recorded ones, they serve in turn.
        """
        curves = self._curves[variant]
        return curves[self.seeds(variant)[seed % len(curves)]]

    def costs(self, variant: Variant) -> dict[str, float]:
        """The recorded costs of a variant, by the names of ``metrics.COSTS``."""
        return dict(self._costs[variant])

    def costings(self, space: Space) -> dict[str, Costing]:
        """The costs of each network of a space, by ``Candidate.network``.

        Raises:
            UserError: the space has a variant or varies a key that the table lacks.
        """
        for key in space.distributions:
            if "." in key:
                raise UserError(
                    f"search.space.{key}: trial=table: {self.path} records no such key; "
                    "valid: radix, cardinality, width, cardinality_width, variant"
                )
        return {
            candidate.network: Costing(self._known(candidate.variant), "recorded", "table")
            for candidate in space.networks
        }

    def check(self, search: SearchConfig) -> None:
        """Raises UserError where a search wants what no row of the table tells."""
        if search.epochs > self.epochs:
            raise UserError(
                f"search.epochs={search.epochs}: {self.path} records {self.epochs}; "
                f"valid: 1 to {self.epochs}"
            )
        fewest = min(len(self.seeds(variant)) for variant in self.variants)
        if search.repeats >= fewest:
            raise UserError(
                f"search.repeats={search.repeats}: {self.path} records {fewest} seeds of a "
                f"variant, and a seed repeated tells nothing new; valid: 0 to {fewest - 1}"
            )
        bounds = [name for name, bound in vars(search.limits).items() if bound is not None]
        for key, names in (("objectives", search.objectives), ("limits", bounds)):
            for name in names:
                self._check_metric(key, name)

    def _check_metric(self, key: str, name: str) -> None:
        valid = [known for known in (*TRAINED, *COSTS) if known in self.columns]
        if name not in valid:
            raise UserError(
                f"search.{key}: {name}: {self.path} has no such column; valid: {', '.join(valid)}"
            )
        for variant in self.variants:
            if not self._has(variant, name):
                raise UserError(
                    f"search.{key}: {name}: {self.path} leaves it empty for {variant}; "
                    "valid: what every row has"
                )

    def _has(self, variant: Variant, name: str) -> bool:
        if name in COSTS:
            return name in self._costs[variant]
        curves = self._curves[variant].values()
        return all(getattr(epoch, name) is not None for curve in curves for epoch in curve)

    def _known(self, variant: Variant) -> dict[str, float]:
        if variant not in self._costs:
            shown = ", ".join(map(str, self.variants[:_SHOWN]))
            more = ", …" if len(self.variants) > _SHOWN else ""
            raise UserError(
                f"search.space: {variant} is not in trial.path={self.path}; valid: {shown}{more}"
            )
        return self.costs(variant)


def _known_columns(path: Path, header: Iterable[str]) -> list[str]:
    """The columns that the header names and that mean something here."""
    names = [name.strip() for name in header]
    for name in (*COLUMNS, *OPTIONAL):
        if names.count(name) > 1:
            raise UserError(f"trial.path={path}: line 1: column {name} stands there twice")
    for name in COLUMNS:
        if name not in names:
            raise UserError(
                f"trial.path={path}: line 1: no column {name}; needed: {', '.join(COLUMNS)}"
            )
    return [name for name in (*COLUMNS, *OPTIONAL) if name in names]


def _rows(path: Path, reader: csv.DictReader[str], columns: Sequence[str]) -> Iterator[_Row]:
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    for cells in reader:
        where = f"trial.path={path}: line {reader.line_num}"
        yield _row(where, reader.line_num, cells, columns)


def _row(where: str, line: int, cells: Mapping[str, str | None], columns: Sequence[str]) -> _Row:
    found: dict[str, float] = {}
    for name in columns:
        value = _number(where, name, (cells.get(name) or "").strip())
        if value is not None:
            found[name] = value
    whole = {name: int(found[name]) for name in _WHOLE if name in found}
    epoch = Epoch(
        epoch=whole["epoch"],
        accuracy=found["accuracy"],
        loss=found.get("loss"),
        train_loss=found.get("train_loss"),
        seconds=found["seconds"],
        images=whole.get("images", 0),
    )
    variant = Variant(whole["radix"], whole["cardinality"], whole["width"])
    costs = {name: found[name] for name in COSTS if name in found}
    return _Row(line, variant, whole["seed"], epoch, costs)


def _number(where: str, column: str, cell: str) -> float | None:
    """The value of a cell; None for an empty one of a column that may be missing."""
    if not cell and column in OPTIONAL:
        return None
    try:
        value = float(cell)
    except ValueError:
        raise UserError(f"{where}: {column}={cell!r}: is no number") from None
    if column in _LOSSES:
        return value
    least, most = _LEAST.get(column, 0), 1.0 if column == "accuracy" else math.inf
    kind = "whole number" if column in _WHOLE else "number"
    fits = math.isfinite(value) and least <= value <= most
    if not fits or (column in _WHOLE and not value.is_integer()):
        span = f"from {least} to 1" if column == "accuracy" else f"of at least {least}"
        raise UserError(f"{where}: {column}={cell}: valid: a {kind} {span}")
    return value


def _costs_of(path: Path, rows: Iterable[_Row]) -> dict[Variant, dict[str, float]]:
    """The costs of each variant, which all of its rows agree on."""
    first: dict[Variant, _Row] = {}
    for row in rows:
        known = first.setdefault(row.variant, row)
        for name in COSTS:
            if row.costs.get(name) != known.costs.get(name):
                raise UserError(
                    f"trial.path={path}: line {row.line}: {name}={_shown(row.costs.get(name))}: "
                    f"{row.variant} has {_shown(known.costs.get(name))} in line {known.line}; "
                    "valid: the same in every row of a variant"
                )
    return {variant: row.costs for variant, row in first.items()}


def _curves_of(
    path: Path, rows: Iterable[_Row], epochs: int
) -> dict[Variant, dict[int, tuple[Epoch, ...]]]:
    """The whole curves of each variant by their seeds, ascending."""
    found: dict[Variant, dict[int, dict[int, _Row]]] = {}
    for row in rows:
        curve = found.setdefault(row.variant, {}).setdefault(row.seed, {})
        known = curve.setdefault(row.epoch.epoch, row)
        if known is not row:
            raise UserError(
                f"trial.path={path}: line {row.line}: epoch={row.epoch.epoch}: {row.variant} "
                f"with seed {row.seed} has it in line {known.line}; valid: one row an epoch"
            )
    return {
        variant: {seed: _whole(path, curves[seed], epochs) for seed in sorted(curves)}
        for variant, curves in found.items()
    }


def _whole(path: Path, curve: Mapping[int, _Row], epochs: int) -> tuple[Epoch, ...]:
    """A curve in its order, of full length unless it diverged."""
    last = curve[max(curve)]
    wanted = last.epoch.epoch if _diverged(last.epoch) else epochs
    for epoch in range(1, wanted + 1):
        if epoch not in curve:
            raise UserError(
                f"trial.path={path}: line {last.line}: epoch: {last.variant} with seed "
                f"{last.seed} lacks epoch {epoch}; valid: every epoch from 1 to {epochs}"
            )
    return tuple(curve[epoch].epoch for epoch in sorted(curve))


def _diverged(epoch: Epoch) -> bool:
    losses = (epoch.loss, epoch.train_loss)
    return any(loss is not None and not math.isfinite(loss) for loss in losses)


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:g}"
