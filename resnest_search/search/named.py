"""Candidates that a person names: those that are trained first, and the rows of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.errors import UserError
from resnest_search.metrics import METRICS, metric_of
from resnest_search.space import Candidate, Space
from resnest_search.study.record import Row, value_text
from resnest_search.variant import Variant
from resnest_search.words import flat

__all__ = ["first_candidates", "rows_of", "with_rows_first"]

_NAME, _OF = "name", "of"  # of a row; what else it has are published figures
_SHOWN = 12


def first_candidates(space: Space, entries: Sequence[Any]) -> list[Candidate]:
    """The candidates of ``search.first``, in its order.

    Args:
        space: what varies.
        entries: of each a variant, an identity or a name, ``key=value`` words, or a mapping; it
            names just what tells the candidate from all others.

    Raises:
        UserError: one is no candidate of the space, or several, or is named twice.
    """
    found: dict[str, Candidate] = {}
    for number, entry in enumerate(entries):
        where = f"search.first[{number}]"
        candidate = _named(space, entry, where)
        if candidate.identity in found:
            raise UserError(f"{where}={_words(entry)}: {candidate.name} is named twice")
        found[candidate.identity] = candidate
    return list(found.values())


def rows_of(space: Space, entries: Sequence[Any]) -> list[Row]:
    """The rows of a sweep's ``rows``, checked.

    Args:
        space: what varies.
        entries: each with ``name``, ``of`` as in ``search.first``, and published figures by the
            names of metrics, as tables print them.

    Raises:
        UserError: one lacks its name or candidate, or has what is no number of a metric.
    """
    found: list[Row] = []
    for number, entry in enumerate(entries):
        where = f"rows[{number}]"
        if not (isinstance(entry, Mapping) and isinstance(entry.get(_NAME), str) and _OF in entry):
            raise UserError(f"{where}={_words(entry)}: valid: {{name: TEXT, of: CANDIDATE, …}}")
        figures = {key: value for key, value in entry.items() if key not in (_NAME, _OF)}
        for key, value in figures.items():
            if key not in METRICS:
                raise UserError(f"{where}.{key}: is no metric; valid: {', '.join(METRICS)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{where}.{key}={value}: valid: a number, as tables print it")
        candidate = _named(space, entry[_OF], f"{where}.of")
        published = {key: value / metric_of(key).scale for key, value in figures.items()}
        row = Row(entry[_NAME], candidate.identity, published)
        if any(row.name == other.name or row.candidate == other.candidate for other in found):
            raise UserError(f"{where}: {row.name} or its candidate is there twice")
        found.append(row)
    return found


def with_rows_first(first: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What is trained first: what is asked for, else the rows in their order."""
    return list(first) or [row[_OF] for row in rows]


def _named(space: Space, entry: Any, where: str) -> Candidate:
    where = f"{where}={_words(entry)}"
    if isinstance(entry, str):
        for candidate in space.candidates or ():
            if entry in (candidate.identity, candidate.name):
                return candidate
    wanted = _wanted(entry, where)
    if space.candidates is None:
        return _of_range(space, wanted, where)
    facts = [(candidate, _facts(candidate)) for candidate in space.candidates]
    fitting = [candidate for candidate, known in facts if _fits(known, wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        differing = ", ".join(_differing(fitting))
        raise UserError(
            f"{where}: fits {len(fitting)} candidates, which differ in {differing}; "
            "valid: what tells one from all others"
        )
    raise UserError(f"{where}: {_why_none([known for _, known in facts], wanted)}")


def _wanted(entry: Any, where: str) -> dict[str, Any]:
    """What an entry says, by key."""
    if isinstance(entry, Mapping) and entry:
        return flat(entry)
    if isinstance(entry, str) and "=" in entry:
        pairs = [word.partition("=") for word in re.split(r"[,\s]+(?=[\w.]+=)", entry.strip())]
        return {key: _value(key, value, where) for key, _, value in pairs}
    if isinstance(entry, str):
        return {"variant": entry}
    raise UserError(f"{where}: valid: a variant, key=value words, or {{KEY: value}}")


def _value(key: str, text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        wrong = f"{key}={text}: does not parse; valid: a number or a word"
        raise UserError(f"{where}: {wrong}") from None


def _facts(candidate: Candidate) -> dict[str, Any]:
    """What can be said of a candidate: its parameters, and all parts of its variant."""
    known = dict(candidate.parameters)
    return known if candidate.variant is None else _parts(candidate.variant) | known


def _parts(variant: Variant) -> dict[str, Any]:
    return {
        "variant": str(variant),
        "radix": variant.radix,
        "cardinality": variant.cardinality,
        "width": variant.width,
        "cardinality_width": f"{variant.cardinality}x{variant.width}d",
    }


def _fits(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in known and _same(known[key], value) for key, value in wanted.items())


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _differing(candidates: Sequence[Candidate]) -> list[str]:
    values: dict[str, set[str]] = {}
    for candidate in candidates:
        for key, value in candidate.parameters:
            values.setdefault(key, set()).add(value_text(value))
    counts = {key: sum(key in dict(c.parameters) for c in candidates) for key in values}
    return [key for key in values if len(values[key]) > 1 or counts[key] < len(candidates)]


def _why_none(facts: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> str:
    for key, value in wanted.items():
        listed = list(dict.fromkeys(value_text(known[key]) for known in facts if key in known))
        if not listed:
            valid = ", ".join(dict.fromkeys(key for known in facts for key in known))
            return f"{key} is no key of the space; valid: {valid}"
        if not any(key in known and _same(known[key], value) for known in facts):
            more = ", …" if len(listed) > _SHOWN else ""
            return (
                f"{key}={value_text(value)} is not in it; valid: {', '.join(listed[:_SHOWN])}{more}"
            )
    return "no candidate has them together"


def _of_range(space: Space, wanted: Mapping[str, Any], where: str) -> Candidate:
    """The candidate with these values of a space that cannot be listed: all of them are needed."""
    given = dict(wanted)
    if "variant" in given and "variant" not in space.distributions:
        try:
            parts = _parts(Variant.parse(str(given.pop("variant"))))
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
        given |= {key: parts[key] for key in space.distributions if key in parts}
    for key, value in given.items():
        if key not in space.distributions:
            valid = ", ".join(space.distributions)
            raise UserError(f"{where}: {key} is no key of the space; valid: {valid}")
        kind = space.distributions[key]
        _check_within(kind, key, value, where)
        if isinstance(kind, FloatDistribution):
            given[key] = float(value)  # as it comes back from a study, and is known by
    alone = {
        key: kind.choices[0]
        for key, kind in space.distributions.items()
        if isinstance(kind, CategoricalDistribution) and len(kind.choices) == 1
    }
    try:
        found = space.proposed(alone | space.labels(given))
    except KeyError as error:
        raise UserError(f"{where}: does not say {error.args[0]}") from None
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    known = dict(found.parameters)
    if idle := [key for key in given if key not in known]:
        raise UserError(f"{where}: {idle[0]} does not exist beside the others")
    return found


def _check_within(kind: BaseDistribution, key: str, value: Any, where: str) -> None:
    if not isinstance(kind, IntDistribution | FloatDistribution):
        return
    whole = isinstance(kind, IntDistribution)
    fits = type(value) is int if whole else type(value) in (int, float)
    if not fits or not kind.low <= value <= kind.high or not kind._contains(value):
        steps = f" in steps of {kind.step}" if kind.step not in (None, 1) else ""
        raise UserError(f"{where}: {key}={value}: valid: {kind.low} to {kind.high}{steps}")


def _words(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return f"{{{', '.join(f'{key}: {value_text(v)}' for key, v in entry.items())}}}"
    return value_text(entry)
