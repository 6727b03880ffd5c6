"""Keys of a space that exist only beside certain values of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnest_search.errors import UserError

__all__ = [
    "Choice",
    "ancestors",
    "check_conditions",
    "combinations",
    "mapped",
    "parse",
    "topological",
]

_PARTS = ("choices", "when", "else")


@dataclass(frozen=True)
class Choice:
    """What a key of a space may be.

    Attributes:
        values: a list, or a range ``{low, high, log, step}``.
        when: for other keys of the space the values beside which this holds, all of them together;
            empty for always.
        otherwise: a list of values beside any others; empty where the key does not exist there.
    """

    values: Any
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    otherwise: Sequence[Any] = ()

    @property
    def is_list(self) -> bool:
        """Whether its values can be listed."""
        return isinstance(self.values, list)

    @property
    def every(self) -> list[Any]:
        """All that it lists, beside whatever."""
        return [*self.values, *(value for value in self.otherwise if value not in self.values)]

    def beside(self, others: Mapping[str, Any]) -> Any:
        """What it may be beside the values of other keys: a list, a range, or nothing."""
        holds = all(key in others and others[key] in wanted for key, wanted in self.when.items())
        return self.values if holds else self.otherwise


def parse(key: str, given: Any) -> Choice:
    """What a sweep's file says of a key: a list, a range, or ``{choices, when, else}``.

    Values are as given; a single one of ``else``, or of a key in ``when``, becomes a list of it.

    Raises:
        UserError: it has parts that do not go together.
    """
    if not isinstance(given, Mapping) or not given.keys() & {*_PARTS}:
        return Choice(given)
    name, rest = f"search.space.{key}", {k: v for k, v in given.items() if k not in _PARTS}
    if "choices" in given and rest:
        raise UserError(f"{name}: {next(iter(rest))} beside choices; valid: {', '.join(_PARTS)}")
    if "else" in given and not isinstance(given.get("choices"), list):
        raise UserError(f"{name}: else is of choices: [values]; a range has none")
    if "else" in given and "when" not in given:
        raise UserError(f"{name}: else without when: {{KEY: value}}, so that it never counts")
    when = given.get("when", {})
    if "when" in given and not (isinstance(when, Mapping) and when):
        raise UserError(f"{name}.when: {when!r}; valid: {{KEY: value}}, {{KEY: [values]}}")
    otherwise = _listed(given["else"]) if "else" in given else []
    return Choice(given.get("choices", rest), dict(when), otherwise)


def mapped(held: Mapping[str, Any], key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """A space, or an entry that names a candidate, with the values of a key changed.

    They may stand in a list, under ``choices`` and ``else``, in a section of its own, and in the
    conditions of other keys.
    """

    def walked(prefix: str, held: Mapping[str, Any]) -> dict[str, Any]:
        return {name: one(f"{prefix}{name}", given) for name, given in held.items()}

    def one(full: str, given: Any) -> Any:
        if full == key:
            given = values(given)
        elif isinstance(given, Mapping):
            given = walked(f"{full}.", given)
        if isinstance(given, Mapping) and isinstance(given.get("when"), Mapping):
            when = {k: values(v) if k == key else v for k, v in given["when"].items()}
            given = {**given, "when": when}
        return given

    def values(given: Any) -> Any:
        if isinstance(given, list):
            return [change(value) for value in given]
        if isinstance(given, Mapping):
            return {k: values(v) if k in ("choices", "else") else v for k, v in given.items()}
        return change(given)

    return walked("", held)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_conditions(choices: Mapping[str, Choice]) -> None:
    """Raises UserError where a condition is on what the space does not vary, or never has."""
    for key, choice in choices.items():
        for other, wanted in choice.when.items():
            name = f"search.space.{key}.when.{other}"
            if other not in choices or other == key:
                valid = ", ".join(name for name in choices if name != key)
                raise UserError(f"{name}: is no other key of the space; valid: {valid}")
            if not choices[other].is_list:
                raise UserError(f"{name}: {other} has a range; valid: a key with a list of values")
            every = choices[other].every
            for value in wanted:
                if not any(type(value) is type(one) and value == one for one in every):
                    shown = ", ".join(map(str, every))
                    raise UserError(f"{name}={value}: is none of its choices; valid: {shown}")
    topological(choices)


def topological(choices: Mapping[str, Choice]) -> list[str]:
    """The keys, each after those that it depends on, else in their order.

    Raises:
        UserError: they depend on one another in a circle.
    """
    found: list[str] = []

    def visit(key: str, path: tuple[str, ...]) -> None:
        if key in path:
            circle = " when ".join([*path[path.index(key) :], key])
            raise UserError(f"search.space: {circle}: a circle, so that none of them can exist")
        if key not in found:
            for other in choices[key].when:
                visit(other, (*path, key))
            found.append(key)

    for key in choices:
        visit(key, ())
    return found


def ancestors(choices: Mapping[str, Choice], keys: Sequence[str]) -> set[str]:
    """All keys on which these depend, directly or through others."""
    found: set[str] = set()
    open_ = list(keys)
    while open_:
        further = [other for other in choices[open_.pop()].when if other not in found]
        found.update(further)
        open_ += further
    return found


def combinations(
    choices: Mapping[str, Choice], keys: Sequence[str], given: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Every combination of values of some keys, the last key's varying first.

    Args:
        choices: of each key a list.
        keys: each after those that it depends on, which are among them or given.
        given: values of others.
    """
    found = dict(given or {})
    if not keys:
        yield found
        return
    key, *rest = keys
    values = choices[key].beside(found)
    if not values:  # it does not exist here
        yield from combinations(choices, rest, found)
    for value in values:
        yield from combinations(choices, rest, {**found, key: value})
