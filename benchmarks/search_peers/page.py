"""The results as Markdown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from search_peers.results import (
    GOAL_LEVELS,
    LEVELS,
    MEASURES,
    OTHERS,
    SECONDS,
    SIGNIFICANT,
    At,
    Results,
    Spread,
    workers_named,
)
from search_peers.rows import PUBLISHED, Row
from search_peers.table import Table
from search_peers.truth import Truth

__all__ = ["goals_section", "page", "ratios_section", "table_section"]


def page(
    results: Results,
    tables: Sequence[tuple[Table, Truth]],
    facts: Sequence[str],
    left_out: Sequence[Row],
    plots: Sequence[str],
) -> str:
    """The whole page.

    Args:
        results: of the race.
        tables: with their truths.
        facts: command, machine and versions, a line each.
        left_out: rows that could not run, with their reasons.
        plots: file names, one a table.
    """
    lines = ["# Searches for the front on recorded curves", ""]
    lines += [f"- {fact}" for fact in facts]
    lines += [f"- {note}" for note in _NOTES] + [""]
    lines += [*goals_section(results), *ratios_section(results)]
    for (table, truth), plot in zip(tables, plots, strict=True):
        lines += [f"## {table.name}", "", _described(table, truth), ""]
        lines += [f"![Hypervolume against epochs on {table.name}]({plot})", ""]
        for workers in results.workers:
            lines += table_section(results, table.name, workers)
    lines += ["## The searches", "", "| search | kind | settings |", "| --- | --- | --- |"]
    lines += [f"| {row.title} | {row.kind} | {row.settings} |" for row in results.rows]
    lines += ["", *(f"Left out: {row.title}: {row.missing}." for row in left_out)]
    return "\n".join(lines).rstrip() + "\n"


def goals_section(results: Results) -> list[str]:
    """PASS or MISS for each goal."""
    if results.judged is None:
        return []
    lines = ["## Goals", "", f"Ours is here {results.judged.title.removeprefix('ours: ')}.", ""]
    return [*lines, *(f"- {goal}" for goal in results.goals()), ""]


def ratios_section(results: Results) -> list[str]:
    """Ours over the best of the others, real tables joined, then table by table."""
    heads = [f"{name}, {measure}" for name in OTHERS for measure in MEASURES]
    lines = [
        "## Ours over the best of the others",
        "",
        "Until 90 / 95%; the best one is chosen for each table, number of workers, level and unit.",
        "",
        f"| tables | workers | {' | '.join(heads)} |",
        "| --- | ---: |" + " ---: |" * len(heads),
    ]
    joined = f"**{', '.join(results.real)}: geometric mean**"
    names: dict[str, str | None] = {joined: None} if len(results.real) > 1 else {}
    names |= {f"{n}, made up" if t.made_up else n: n for n, t in results.tables.items()}
    for (name, table), workers in itertools.product(names.items(), results.workers):
        cells = _ratios(results, table, workers)
        lines.append(f"| {name} | {workers} | {' | '.join(cells)} |")
    return [*lines, ""]


def _ratios(results: Results, table: str | None, workers: int) -> Iterator[str]:
    """Of one table, or of the real ones joined."""
    for (kinds, _), measure in itertools.product(OTHERS.values(), MEASURES):
        rows = results.rows_of(kinds)
        found = (
            results.joined(workers, level, measure, rows)
            if table is None
            else results.ratio(At(table, workers, level, measure), rows)
            for level in GOAL_LEVELS
        )
        yield " / ".join("–" if ratio is None else _number(ratio) for ratio in found)


def table_section(results: Results, table: str, workers: int) -> list[str]:
    """Every row on one table with so many workers."""
    heads = [f"epochs until {level:.0%} | p" for level in LEVELS]
    levels = " / ".join(f"{level:.0%}" for level in LEVELS)
    lines = [
        f"### {table}, {workers_named(workers)}",
        "",
        f"| search | {' | '.join(heads)} | seconds until {levels} | seeds that reached them |",
        "| --- |" + " ---: | ---: |" * len(LEVELS) + " ---: | ---: |",
    ]
    cells = (_cells(results, table, workers, row) for row in results.rows)
    lines += [f"| {' | '.join(row)} |" for row in cells]
    peers = results.rows_of([PUBLISHED])
    bests = [results.best(At(table, workers, level), peers) for level in LEVELS]
    if all(bests):
        names = [best.title for best in bests if best]
        against = names[0] if len(set(names)) == 1 else ", ".join(names)
        lines += ["", f"p against the best published peer: {against}."]
    return [*lines, ""]


def _cells(results: Results, table: str, workers: int, row: Row) -> Iterator[str]:
    yield f"**{row.title}**" if row is results.judged else row.title
    places = [At(table, workers, level) for level in LEVELS]
    spreads = [Spread.of(results.until(at, row)) for at in places]
    for at, spread in zip(places, spreads, strict=True):
        yield _spread(spread)
        p = results.p_value(at, row, results.rows_of([PUBLISHED]))
        yield "–" if p is None else _p(p)
    seconds = (Spread.of(results.until(at._replace(measure=SECONDS), row)) for at in places)
    yield " / ".join(_number(spread.median, 0) for spread in seconds)
    yield " / ".join(f"{spread.reached / spread.seeds:.0%}" for spread in spreads)


def _described(table: Table, truth: Truth) -> str:
    seeds = "1 seed" if len(table.seeds) == 1 else f"{len(table.seeds)} seeds"
    low, high = 100 * truth.accuracy.min(), 100 * truth.accuracy.max()
    text = "Made up: a stress test, joined with no other table. " if table.made_up else ""
    text += (
        f"{len(table.settings)} candidates, {seeds}, {table.epochs} epochs; {len(truth.front())} "
        f"candidates on the front; true accuracies from {low:.1f} to {high:.1f} %, standard error "
        f"{100 * truth.error:.2f} points."
    )
    return text + "".join(f" {lack}: left out." for lack in table.left_out)


def _spread(spread: Spread) -> str:
    if spread.reached == 0:
        return "never"
    return f"{_number(spread.median, 0)} ({_number(spread.low, 0)}–{_number(spread.high, 0)})"


def _number(value: float, digits: int = 2) -> str:
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def _p(p: float) -> str:
    shown = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return f"**{shown}**" if p < SIGNIFICANT else shown


_NOTES = (
    "epochs and virtual seconds until a share of the true front's hypervolume is trained to full "
    "length: median (quartiles) over seeds, ∞ where a seed never reached it",
    "ratios: ours over the smallest median of the others, where a seed that never reached the "
    "level counts with the whole table: all its epochs, or the seconds that the workers take for "
    "it at most, whatever the order; real tables are joined by the geometric mean",
    "p: one-sided Mann-Whitney over seeds, fewer epochs than the best published peer of the same "
    "table, workers and level; significant, and bold, below 0.05 after Holm's correction for the "
    "tables (real ones, or made-up ones), not for rows, workers and levels",
    "true accuracy: final one, averaged over the recorded seeds; a shortfall of up to one pooled "
    "standard error is forgiven, costs are not; objectives scaled to [0, 1], reference 1.1",
    "an epoch lasts the table's seconds; search and stopping take no time; epochs in flight when a "
    "level is reached are not counted; a race ends at 99 %",
    "w workers that are all busy spend about w times the full length before any candidate is "
    "whole, which bounds every ratio from below",
    "search seed s trains on recorded seed s modulo their number; no search sees an accuracy "
    "before its epoch is paid for, and no candidate is trained twice",
)
