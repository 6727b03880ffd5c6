"""The results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from search_peers.results import LEVELS, SIGNIFICANT, Results, Spread
from search_peers.rows import PUBLISHED, Row
from search_peers.table import Table
from search_peers.truth import Truth

__all__ = ["goals_section", "page", "table_section"]


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
    lines += goals_section(results)
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
    """PASS or MISS for each goal, and what stands beside them."""
    if results.judged is None:
        return []
    lines = ["## Goals", "", f"Ours is here {results.judged.title.removeprefix('ours: ')}.", ""]
    lines += [f"- {goal}" for goal in results.goals()]
    for workers in results.workers:
        ratios = [(level, results.beside_the_rest(workers, level)) for level in LEVELS[:2]]
        words = [f"{_number(ratio)} until {level:.0%}" for level, ratio in ratios if ratio]
        if words:
            lines.append(
                f"- {_workers(workers)}, beside the best of all rows that are not ours, those "
                f"with costs and the baselines included: {', '.join(words)}"
            )
    return [*lines, ""]


def table_section(results: Results, table: str, workers: int) -> list[str]:
    """Every row on one table with so many workers."""
    heads = [f"epochs until {level:.0%} | p" for level in LEVELS]
    lines = [
        f"### {table}, {_workers(workers)}",
        "",
        f"| search | {' | '.join(heads)} | seeds that reached | seconds until |",
        "| --- |" + " ---: | ---: |" * len(LEVELS) + " ---: | ---: |",
    ]
    cells = (_cells(results, table, workers, row) for row in results.rows)
    lines += [f"| {' | '.join(row)} |" for row in cells]
    bests = [results.best(table, workers, level, [PUBLISHED]) for level in LEVELS]
    if all(bests):
        names = [best.title for best in bests if best]
        against = names[0] if len(set(names)) == 1 else ", ".join(names)
        lines += ["", f"p against the best published peer: {against}."]
    return [*lines, ""]


def _cells(results: Results, table: str, workers: int, row: Row) -> Iterator[str]:
    yield f"**{row.title}**" if row is results.judged else row.title
    spreads = [Spread.of(results.epochs(table, workers, row.key, level)) for level in LEVELS]
    for level, spread in zip(LEVELS, spreads, strict=True):
        yield _spread(spread)
        p = results.p_value(table, workers, row.key, level)
        yield "–" if p is None else _p(p)
    yield " / ".join(f"{spread.reached / spread.seeds:.0%}" for spread in spreads)
    seconds = (Spread.of(results.seconds(table, workers, row.key, level)) for level in LEVELS)
    yield " / ".join(_number(spread.median, 0) for spread in seconds)


def _described(table: Table, truth: Truth) -> str:
    shape = f"{len(table.settings)} candidates, {len(table.seeds)} seeds, {table.epochs} epochs"
    text = (
        f"{shape}; {len(truth.front())} candidates on the front; true accuracies from "
        f"{100 * truth.accuracy.min():.1f} to {100 * truth.accuracy.max():.1f} %, standard error "
        f"{100 * truth.error:.2f} points."
    )
    return text + "".join(f" {lack}: left out." for lack in table.left_out)


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


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
    "p: one-sided Mann-Whitney, fewer epochs than the best published peer of the same table, "
    "workers and level (smallest median); bold below 0.05, uncorrected for the number of tests",
    "true accuracy: final one, averaged over the recorded seeds; a shortfall of up to one pooled "
    "standard error is forgiven, costs are not; objectives scaled to [0, 1], reference 1.1",
    "an epoch lasts the table's seconds; search and stopping take no time; epochs in flight when a "
    "level is reached are not counted; a race ends at 99 %",
    "w workers that are all busy spend about w times the full length before any candidate is "
    "whole, which bounds every ratio from below",
    "search seed s trains on recorded seed s modulo their number; no search sees an accuracy "
    "before its epoch is paid for, and no candidate is trained twice",
)
