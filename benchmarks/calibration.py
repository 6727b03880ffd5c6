"""Whether forecasts of final accuracies hold: coverage of their intervals, and probabilities.

    python benchmarks/calibration.py --table benchmarks/tables/noise.csv
    python benchmarks/calibration.py --table FILE --table FILE --out FILE.md

Two ways, on recorded curves. *Held out*: the first k trials of a random search are known, and
the others are forecast, from their features alone and from their curves up to some epochs. *In
searches*: at every epoch of simulated searches that prune by ``front_probability``, without a
budget, the trial's own final accuracy is forecast from what had finished by then, and compared
with what the table has for it; whether or not the search went on to train it. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from resnest_search.configuration.schema import MethodConfig, SearchConfig, SweepConfig
from resnest_search.search.forecast.improvement import beats
from resnest_search.search.forecast.outlook import Finished, Outlook, Prospect
from resnest_search.search.pruners.front_probability import front_probabilities
from resnest_search.search.situation import Goal
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated
from resnest_search.simulation.table import Table
from resnest_search.study.study import SweepStudy
from resnest_search.variant import Variant

HERE = Path(__file__).parent
OBJECTIVES = ("accuracy", "latency_ms", "memory_mib")
KNOWN = (6, 12, 24)
EPOCHS = (0, 1, 3, 5, 7)  # that held-out trials are forecast at; 0: from the features alone
SAMPLERS = ("random", "known_cost")
STARTUP = 4  # finished trials before a forecast in a search counts: the pruner's own
WIDE = 1.2816  # deviations to each side of the mean that hold 80 % of a normal distribution
LOW, HIGH = 0.70, 0.90  # where the coverage of an 80 % interval should lie
BINS = (0.0, 0.02, 0.1, 0.3, 0.7, 0.9, 1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """A forecast, and what it was of.

    Attributes:
        known: finished trials that it was made from.
        epoch: of the trial that was forecast.
        score: deviations by which the truth lies above the mean.
        probability: of ending on the front of the finished trials.
        front: whether it does.
    """

    known: int
    epoch: int
    score: float
    probability: float
    front: bool


@dataclass(frozen=True)
class Search:
    """A simulated search that is over, and the true final accuracy of each of its trials."""

    trials: list[FrozenTrial]
    truth: Floats
    goal: Goal


def main() -> None:
    """Forecast, compare, print."""
    asked = arguments()
    lines = [*head(), ""]
    held: dict[str, list[Told]] = {}
    searched: dict[str, list[Told]] = {}
    pauses: list[str] = []
    for path in asked.table:
        table = Table.read(path)
        held[path.stem] = list(held_out(table, asked.seeds))
        searches = {
            sampler: [run(table, sampler, "front_probability", s) for s in range(asked.searches)]
            for sampler in SAMPLERS
        }
        searched[path.stem] = [
            told for found in searches.values() for search in found for told in followed(search)
        ]
        pauses += [pause_row(path.stem, sampler, found) for sampler, found in searches.items()]
    lines += held_out_section(held, asked.seeds) + searched_section(searched, asked.searches)
    lines += reliability_section(searched) + pauses_section(pauses)
    text = "\n".join(lines) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    print(text, end="")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, action="append", required=True, metavar="FILE")
    parser.add_argument("--seeds", type=int, default=20, help="splits of each table")
    parser.add_argument("--searches", type=int, default=3, help="seeds of each sampler")
    parser.add_argument("--out", type=Path, help="also write the Markdown there")
    return parser.parse_args()


# Forecasts


def run(table: Table, sampler: str, pruner: str, seed: int) -> Search:
    """A search over all of a table, without a budget."""
    variants = [candidate.in_words for candidate in table.candidates]
    config = SweepConfig(
        search=SearchConfig(
            space={"variant": variants},
            objectives=list(OBJECTIVES),
            epochs=table.epochs,
            budget=None,
            seed=seed,
            sampler=MethodConfig(sampler),
            pruner=MethodConfig(pruner),
        )
    )
    clock = VirtualClock()
    study, strategy = simulated(config, table, clock)
    simulate(strategy, table, clock)
    return of_study(study, table)


def of_study(study: SweepStudy, table: Table) -> Search:
    """A study's trials, with what the table says that each ends at."""
    trials = list(study.trials())
    truth = [
        table.epoch(
            Variant.parse(trial.user_attrs["variant"]), trial.user_attrs["seed"], table.epochs
        )
        for trial in trials
    ]
    goal = Goal(OBJECTIVES, "accuracy", table.epochs)
    return Search(trials, np.array([epoch.accuracy for epoch in truth]), goal)


def held_out(table: Table, seeds: int) -> Iterator[Told]:
    """Forecasts of those that come after the first few in random orders."""
    for seed in range(seeds):
        search = run(table, "random", "none", seed)
        for known in KNOWN:
            finished, others = search.trials[:known], search.trials[known:]
            outlook = Outlook(search.goal)
            for epoch in (e for e in EPOCHS if e < table.epochs):
                prospects = [at_epoch(outlook, trial, epoch) for trial in others]
                yield from compared(
                    outlook, prospects, outlook.finished(finished), search.truth[known:]
                )


def followed(search: Search) -> Iterator[Told]:
    """Forecasts of every trial at each of its epochs, as the search itself could have made."""
    outlook = Outlook(search.goal)
    ended: set[int] = set()
    for _, number, epoch in moments(search.trials):
        if epoch == search.goal.epochs:
            ended.add(number)
            continue
        finished = outlook.finished(trial for trial in search.trials if trial.number in ended)
        if len(finished) >= STARTUP:
            prospect = at_epoch(outlook, search.trials[number], epoch)
            yield from compared(outlook, [prospect], finished, search.truth[[number]])


def moments(trials: Iterable[FrozenTrial]) -> list[tuple[float, int, int]]:
    """When which trial ended which epoch, in that order."""
    return sorted(
        (entry["at"], trial.number, entry["epoch"])
        for trial in trials
        for entry in trial.user_attrs.get("curve", ())
    )


def at_epoch(outlook: Outlook, trial: FrozenTrial, epoch: int) -> Prospect:
    """A trial as it was after an epoch; as a candidate that has not begun at epoch 0."""
    value = trial.intermediate_values[epoch] if epoch else math.nan
    return replace(outlook.prospect(trial), epoch=epoch, value=value)


def compared(
    outlook: Outlook, prospects: Sequence[Prospect], finished: Finished, truth: Floats
) -> Iterator[Told]:
    """Forecasts beside what came true."""
    found = outlook.forecast(prospects, finished)
    probability = front_probabilities(found, prospects, finished)
    level = beats(np.array([p.costs for p in prospects]), finished.finals, finished.costs)
    score = (truth - found.mean) / np.maximum(found.deviation, 1e-12)
    for i, prospect in enumerate(prospects):
        front = bool(truth[i] > level[i])
        told = float(score[i]), float(probability[i]), front
        yield Told(len(finished), prospect.epoch, *told)


# Markdown


def head() -> list[str]:
    """Title, command, versions, and how to read the rest."""
    packages = ("numpy", "scipy", "scikit-learn", "optuna")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return [
        "# Do the forecasts hold?",
        "",
        f"- command: `python {shlex.join(['benchmarks/calibration.py', *words()])}`",
        f"- versions: Python {platform.python_version()}, {versions}",
        "- coverage: share of final accuracies within the 80 % interval, mean ± 1.28 deviations, "
        f"of their forecast; it should lie between {LOW:.0%} and {HIGH:.0%}",
        "- n: forecasts; those of a table share its curves, so that they tell less than as many "
        "independent ones",
        "- the model's priors were set with a view to fashion_mnist, noise and telling; any other "
        "table is the fairer test",
    ]


def words() -> list[str]:
    """The command line, without folders outside the repository."""
    shown = []
    for word in sys.argv[1:]:
        path, root = Path(word).resolve(), HERE.parent
        inside = path.is_relative_to(root) and path.suffix
        shown.append(str(path.relative_to(root)) if inside else Path(word).name)
    return shown


def held_out_section(held: dict[str, list[Told]], seeds: int) -> list[str]:
    """Coverage by table, finished trials and epoch."""
    names = ["features alone" if not e else f"epoch {e}" for e in EPOCHS]
    lines = [
        "## Held out",
        "",
        f"{seeds} random orders; *known*: finished trials that the forecasts are made from.",
        "",
        row(["table", "known", *names, "all", "n"]),
        row(["---", "---:", *["---:" for _ in [*names, "all", "n"]]]),
    ]
    for table, told in held.items():
        for known in (*KNOWN, None):
            part = [t for t in told if known in (t.known, None)]
            cells = [coverage([t for t in part if t.epoch == epoch]) for epoch in EPOCHS]
            label = "all" if known is None else str(known)
            lines.append(row([table, label, *cells, coverage(part), str(len(part))]))
    return [*lines, "", verdict(held), ""]


def searched_section(searched: dict[str, list[Told]], searches: int) -> list[str]:
    """Coverage by table and finished trials."""
    spans = ((STARTUP, 5), (6, 11), (12, 23), (24, 10**9))
    names = [f"{low}-{high}" if high < 10**9 else f"{low} or more" for low, high in spans]
    lines = [
        "## In searches",
        "",
        f"{searches} seeds of each sampler ({', '.join(SAMPLERS)}), pruner `front_probability`, no "
        "budget; columns: finished trials at the time.",
        "",
        row(["table", *names, "all from 6", "n"]),
        row(["---", *["---:" for _ in [*names, "all", "n"]]]),
    ]
    for table, told in searched.items():
        cells = [coverage([t for t in told if low <= t.known <= high]) for low, high in spans]
        late = [t for t in told if t.known >= KNOWN[0]]
        lines.append(row([table, *cells, coverage(late), str(len(late))]))
    late = {name: [t for t in told if t.known >= KNOWN[0]] for name, told in searched.items()}
    return [*lines, "", verdict(late), ""]


def reliability_section(searched: dict[str, list[Told]]) -> list[str]:
    """How often what was to end on the front with some probability did."""
    edges = list(itertools.pairwise(BINS))
    lines = [
        "## Probability of the front",
        "",
        "The forecasts in searches, by the probability of ending above every finished trial that "
        "is no dearer: how many of them did (n). *Brier*: mean square of what is between; beside "
        "it that of always saying the mean.",
        "",
        row(["table", *(f"{low:g}-{high:g}" for low, high in edges), "Brier", "of the mean"]),
        row(["---", *["---:" for _ in edges], "---:", "---:"]),
    ]
    for table, told in searched.items():
        cells = []
        for low, high in edges:
            part = [t.front for t in told if low <= t.probability < high or t.probability == high]
            cells.append(f"{np.mean(part):.2f} ({len(part)})" if part else "-")
        front = np.array([t.front for t in told], dtype=float)
        brier = float(np.mean((np.array([t.probability for t in told]) - front) ** 2))
        lines.append(row([table, *cells, f"{brier:.3f}", f"{front.var():.3f}"]))
    return [*lines, ""]


def pauses_section(rows: Sequence[str]) -> list[str]:
    """What the pruner did in those searches."""
    return [
        "## What was paused",
        "",
        "The same searches, all seeds together. *Pauses*: trials count each time; *never "
        "finished*: were still paused when nothing was worth training any more.",
        "",
        row(["table", "sampler", "trials", "pauses", "never finished", "epochs trained", "of"]),
        row(["---", "---", *["---:"] * 5]),
        *rows,
    ]


def pause_row(table: str, sampler: str, searches: Sequence[Search]) -> str:
    """Pauses and what they saved."""
    trials = [trial for search in searches for trial in search.trials]
    pauses = sum(
        not entry["decision"]["kept"]
        for trial in trials
        for entry in trial.user_attrs.get("curve", ())
        if entry.get("decision")
    )
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    trained = sum(len(trial.intermediate_values) for trial in trials)
    whole = len(trials) * searches[0].goal.epochs
    return row([table, sampler, *map(str, (len(trials), pauses, pruned, trained, whole))])


def coverage(told: Sequence[Told]) -> str:
    """Share within the interval, as a percentage."""
    return f"{covered(told):.0%}" if told else "-"


def covered(told: Sequence[Told]) -> float:
    """Share within the interval."""
    return float(np.mean([abs(t.score) <= WIDE for t in told]))


def verdict(told: dict[str, list[Told]]) -> str:
    """PASS, or MISS with the tables that are outside."""
    outside = [
        f"{name} {covered(t):.1%}"
        for name, t in told.items()
        if t and not LOW <= covered(t) <= HIGH
    ]
    goal = f"Each table between {LOW:.0%} and {HIGH:.0%}"
    return f"{goal}: **MISS** ({', '.join(outside)})." if outside else f"{goal}: **PASS**."


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
