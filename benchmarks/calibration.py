"""Whether the forecasts of final accuracies hold: coverage, width and CRPS of their intervals.

    python benchmarks/calibration.py --table benchmarks/tables/cifar10.csv
    python benchmarks/calibration.py --table FILE FILE --out FILE.md

Three forecasts, on recorded curves. *Ladder*: what the default sampler decides by, from the last
rung that a trial has reached. *Features*: the same processes, from costs and features alone, as if
the trial had not begun. *Surrogate*: the Gaussian process of the pruner ``front_probability``,
which learns from finished trials alone.

Two ways. *Half finished*: a random half of the candidates is finished, the others are forecast as
they stand at each rung. *In searches*: at ten moments of searches by the default, everything that
has begun and is not finished is forecast, from what the study held then, and compared with what
the table has for it, whether or not the search went on to train it. Prints Markdown.
"""

from __future__ import annotations

import argparse
import copy
import math
import platform
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import norm
from search_peers.own import method

from resnest_search.configuration.schema import SearchConfig, SweepConfig
from resnest_search.errors import UserError
from resnest_search.search.forecast.climbs import Climb, Climbs
from resnest_search.search.forecast.ladder import Chain, Ladder
from resnest_search.search.forecast.outlook import Outlook, Prospect
from resnest_search.search.situation import Goal
from resnest_search.simulation.simulator import VirtualClock, simulate, simulated, space_of
from resnest_search.simulation.table import Table
from resnest_search.space import Candidate, Space

HERE = Path(__file__).parent
FORECASTS = ("ladder", "features", "surrogate")
WIDE = 1.2816  # deviations to each side of the mean that hold 80 % of a normal distribution
LOW, HIGH = 0.70, 0.90  # where the coverage of an 80 % interval should lie
MOMENTS = 10  # of a search, at which everything is forecast
STARTUP = 4  # finished trials before the surrogate says anything
SHOWN = (3, 9, 27)  # epochs that a verdict is given on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """Forecasts that were made at one epoch, and what came true, (n,) each.

    Attributes:
        epoch: of the rung.
        trials: that were forecast, by seed and number.
        truth: final accuracies.
        forecasts: means and deviations by name.
    """

    epoch: int
    trials: tuple[tuple[int, int], ...]
    truth: Floats
    forecasts: dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True)
class Setting:
    """A table with what reads its trials."""

    table: Table
    space: Space
    goal: Goal
    outlook: Outlook
    ladder: Ladder

    def truth(self, candidate: Candidate, seed: int) -> float:
        """The recorded final accuracy of a candidate."""
        return self.table.epoch(candidate, seed, self.table.epochs).accuracy


def main() -> None:
    """Forecast, compare, print."""
    warnings.filterwarnings("ignore", module="sklearn")  # of fits that end at a bound
    asked = arguments()
    try:
        tables = {path.stem: Table.read(path) for path in asked.table}
    except UserError as error:
        sys.exit(f"calibration.py: {error}")
    if len(tables) < len(asked.table):
        sys.exit("calibration.py: --table: two files have the same name")
    few = [name for name, table in tables.items() if len(table.candidates) < 2 * STARTUP]
    if few:
        sys.exit(f"calibration.py: --table: {few[0]} has fewer than {2 * STARTUP} candidates")
    half: dict[str, list[Told]] = {}
    searched: dict[str, list[Told]] = {}
    for name, table in tables.items():
        half[name] = [told for seed in range(asked.seeds) for told in half_finished(table, seed)]
        searched[name] = [
            told for seed in range(asked.searches) for told in in_search(table, seed, asked)
        ]
        print(f"{name} is done", file=sys.stderr)
    lines = head(asked)
    lines += section(
        "Half finished",
        f"{asked.seeds} random halves of each table.",
        half,
    )
    lines += section(
        "In searches",
        f"{asked.searches} seeds, one worker, a budget of {asked.trainings} full trainings or "
        f"half of the table; of a table of one seed a random two thirds; {MOMENTS} moments; "
        f"whatever has begun and is not finished, by its last rung, from the {STARTUP}th finished "
        "trial on.",
        searched,
    )
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--seeds", type=int, default=5, help="random halves of each table")
    parser.add_argument("--searches", type=int, default=3, help="searches of each table")
    parser.add_argument("--trainings", type=int, default=40, help="budget of a search")
    parser.add_argument("--out", type=Path, help="also write the Markdown there")
    return parser.parse_args()


# Forecasts


def setting(table: Table) -> Setting:
    """What the sampler would read the table's trials with."""
    space = space_of(SweepConfig(), table)
    goal = Goal(("accuracy", *table.cost_names), "accuracy", table.epochs)
    outlook = Outlook(goal)
    reference = [
        outlook.candidate(space.optuna_parameters(c), space.distributions, table.costs(c))
        for c in table.candidates
    ]
    return Setting(table, space, goal, outlook, Ladder(goal, outlook, reference))


def half_finished(table: Table, seed: int) -> Iterator[Told]:
    """Forecasts of one half of the candidates, from the whole curves of the other."""
    of = setting(table)
    order = np.random.default_rng(seed).permutation(len(table.candidates))
    # What diverged has no final accuracy to forecast.
    whole = [c for c in (table.candidates[i] for i in order) if _is_whole(table, c, seed)]
    trials = [trial_of(of, candidate, seed, place) for place, candidate in enumerate(whole)]
    known, others = trials[: len(trials) // 2], trials[len(trials) // 2 :]
    truth = np.array([trial.values[0] for trial in others])
    for rung, epoch in enumerate(of.ladder.rungs[:-1], start=1):
        yield compared(of, known, others, rung, epoch, truth)


def trial_of(of: Setting, candidate: Candidate, seed: int, place: int) -> FrozenTrial:
    """A candidate that was trained to its end, as a study would have it."""
    curve = of.table.curve(candidate, seed)
    costs = of.table.costs(candidate)
    entries = [
        {"epoch": e.epoch, "at": float(place * len(curve) + e.epoch), "train_loss": e.train_loss}
        for e in curve
    ]
    trial = create_trial(
        state=TrialState.COMPLETE,
        values=[curve[-1].accuracy, *costs.values()],
        params=of.space.optuna_parameters(candidate),
        distributions=of.space.distributions,
        intermediate_values={e.epoch: e.accuracy for e in curve},
        user_attrs={**costs, "candidate": candidate.identity, "seed": seed, "curve": entries},
    )
    trial.number = place
    return trial


def in_search(table: Table, seed: int, asked: argparse.Namespace) -> Iterator[Told]:
    """Forecasts at some moments of a search by the default."""
    if any(len(table.seeds(candidate)) == 1 for candidate in table.candidates):
        table = part_of(table, seed)
    trainings = min(asked.trainings, len(table.candidates) // 2)
    config = SweepConfig(
        search=SearchConfig(
            objectives=["accuracy", *table.cost_names],
            epochs=table.epochs,
            budget=trainings * table.epochs,
            seed=seed,
            sampler=method("sampler", "known_cost"),
            pruner=method("pruner", "none"),
        )
    )
    clock = VirtualClock()
    study, strategy = simulated(config, table, clock)
    simulate(strategy, table, clock)
    trials = study.trials()
    of = setting(table)
    places = {candidate.identity: candidate for candidate in table.candidates}
    ends = sorted(entry["at"] for trial in trials for entry in trial.user_attrs.get("curve", ()))
    for share in np.arange(1, MOMENTS + 1) / MOMENTS:
        moment = ends[math.ceil(share * len(ends)) - 1]
        then = [as_at(trial, moment, table.epochs) for trial in trials]
        begun = [trial for trial in then if trial.intermediate_values]
        known = [trial for trial in begun if trial.state == TrialState.COMPLETE]
        if len(known) < STARTUP:
            continue
        open_ones = [trial for trial in begun if trial.state != TrialState.COMPLETE]
        for rung, epoch in enumerate(of.ladder.rungs[:-1], start=1):
            others = [t for t in open_ones if of.ladder.climb(t).rungs == rung]
            candidates = [places[trial.user_attrs["candidate"]] for trial in others]
            alive = [_is_whole(table, candidate, seed) for candidate in candidates]
            others = [trial for trial, is_alive in zip(others, alive, strict=True) if is_alive]
            candidates = [c for c, is_alive in zip(candidates, alive, strict=True) if is_alive]
            if others:
                truth = np.array([of.truth(candidate, seed) for candidate in candidates])
                yield compared(of, begun, others, rung, epoch, truth)


def part_of(table: Table, seed: int) -> Table:
    """Two thirds of a table of one seed, without which all searches of it would be the same."""
    count = len(table.candidates)
    chosen = np.random.default_rng(seed).choice(count, 2 * count // 3, replace=False)
    part = copy.copy(table)
    part.candidates = tuple(table.candidates[i] for i in np.sort(chosen))
    return part


def as_at(trial: FrozenTrial, moment: float, epochs: int) -> FrozenTrial:
    """A trial as it was at a moment."""
    curve = [e for e in trial.user_attrs.get("curve", ()) if e["at"] <= moment]
    reached = {entry["epoch"] for entry in curve}
    then = copy.copy(trial)
    then.intermediate_values = {e: v for e, v in trial.intermediate_values.items() if e in reached}
    then.user_attrs = {**trial.user_attrs, "curve": curve}
    then.state = TrialState.COMPLETE if epochs in reached else TrialState.RUNNING
    return then


def compared(
    of: Setting,
    known: Sequence[FrozenTrial],
    others: Sequence[FrozenTrial],
    rung: int,
    epoch: int,
    truth: Floats,
) -> Told:
    """Three forecasts of trials that have reached so many rungs."""
    ladder, outlook = of.ladder, of.outlook
    climbs = [ladder.climb(trial).until(rung) for trial in others]
    bare = [Climb(replace(climb.prospect, epoch=0, value=math.nan)) for climb in climbs]
    looks = ladder.climbs(known)
    chain = ladder.chain(looks)
    forecasts = {"ladder": chain.forecast(climbs)}
    numbers = {look.number for look in looks}
    if numbers.isdisjoint(climb.number for climb in climbs):
        forecasts["features"] = chain.forecast(bare)
    else:
        # The process from features alone learns from a trial's own look: each is left out in turn.
        each = []
        for climb, one in zip(climbs, bare, strict=True):
            rest = [look for look in looks if look.number != climb.number]
            others_know = Climbs(rest, len(ladder.rungs))
            each.append(Chain(ladder, others_know, chain.hyperparameters).forecast([one]))
        mean, deviation = np.concatenate(each, axis=1)
        forecasts["features"] = mean, deviation
    prospects: list[Prospect] = [
        replace(outlook.prospect(trial), epoch=epoch, value=trial.intermediate_values[epoch])
        for trial in others
    ]
    old = outlook.forecast(prospects, outlook.finished(known))
    asked = tuple((trial.user_attrs["seed"], trial.number) for trial in others)
    return Told(epoch, asked, truth, {**forecasts, "surrogate": (old.mean, old.deviation)})


def _is_whole(table: Table, candidate: Candidate, seed: int) -> bool:
    curve = table.curve(candidate, seed)
    return len(curve) == table.epochs and math.isfinite(curve[-1].accuracy)


# Markdown


def head(asked: argparse.Namespace) -> list[str]:
    """Title, command, versions, and how to read the rest."""
    packages = ("numpy", "scipy", "scikit-learn", "optuna")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return [
        "# Do the forecasts hold?",
        "",
        f"- command: `python {shlex.join(['benchmarks/calibration.py', *words()])}`",
        f"- versions: Python {platform.python_version()}, {versions}",
        "- *ladder*: the default's forecast from the last rung; *features*: the same from costs "
        "and features alone; *surrogate*: that of `front_probability`, from finished trials alone",
        "- coverage: share of final accuracies within the 80 % interval, mean ± 1.28 deviations; "
        f"it should lie between {LOW:.0%} and {HIGH:.0%}",
        "- width of that interval and CRPS (the mean distance of forecast and truth, less is "
        "better) in points of accuracy; *above*: by how much the truth is, on average, above the "
        "forecast",
        "- n: forecasts, and of how many trials; those of a table share its curves, and those of a "
        "search its trials, so that they tell less than as many independent ones",
        "",
    ]


def words() -> list[str]:
    """The command line, without folders outside the repository."""
    shown = []
    for word in sys.argv[1:]:
        path, root = Path(word).resolve(), HERE.parent
        inside = path.is_relative_to(root) and path.suffix
        shown.append(str(path.relative_to(root)) if inside else Path(word).name)
    return shown


def section(title: str, text: str, found: dict[str, list[Told]]) -> list[str]:
    """Coverage, width and CRPS by table and epoch."""
    heads = ["table", "epoch", *(f"coverage, {name}" for name in FORECASTS)]
    heads += [f"{what}, {name}" for what in ("width", "CRPS") for name in FORECASTS]
    heads += ["above, ladder", "n", "trials"]
    lines = [f"## {title}", "", text, "", row(heads)]
    lines.append(row(["---", *["---:"] * (len(heads) - 1)]))
    outside, worse = [], []
    for table, told in found.items():
        for epoch in sorted({t.epoch for t in told}):
            part = [t for t in told if t.epoch == epoch]
            measures = {name: measured(part, name) for name in FORECASTS}
            covered = measures["ladder"][0]
            cells = [f"{measures[name][0]:.0%}" for name in FORECASTS]
            cells += [f"{100 * measures[name][i]:.2f}" for i in (1, 2) for name in FORECASTS]
            apart = np.concatenate([t.truth - t.forecasts["ladder"][0] for t in part])
            trials = {trial for t in part for trial in t.trials}
            cells += [f"{100 * apart.mean():+.2f}", str(len(apart)), str(len(trials))]
            lines.append(row([table, str(epoch), *cells]))
            where = f"{table} at epoch {epoch}"
            if epoch in SHOWN and not LOW <= covered <= HIGH:
                outside.append(f"{where} {covered:.1%}")
            rivals = [name for name in FORECASTS[1:] if measures[name][2] < measures["ladder"][2]]
            if epoch in SHOWN and rivals:
                worse.append(f"{where}: {' and '.join(rivals)}")
    goals = (
        (f"Coverage of the ladder between {LOW:.0%} and {HIGH:.0%}", outside),
        ("No CRPS less than the ladder's", worse),
    )
    epochs = ", ".join(map(str, SHOWN))
    verdicts = [
        f"- {goal} at epochs {epochs}: "
        + (f"**MISS** ({'; '.join(missed)})." if missed else "**PASS**.")
        for goal, missed in goals
    ]
    return [*lines, "", *verdicts, ""]


def measured(told: Sequence[Told], name: str) -> tuple[float, float, float]:
    """Coverage, mean width and mean CRPS of a forecast."""
    truth = np.concatenate([t.truth for t in told])
    mean = np.concatenate([t.forecasts[name][0] for t in told])
    deviation = np.maximum(np.concatenate([t.forecasts[name][1] for t in told]), 1e-12)
    score = (truth - mean) / deviation
    # Of a normal forecast, in closed form: Gneiting and Raftery, 2007.
    crps = deviation * (
        score * (2 * norm.cdf(score) - 1) + 2 * norm.pdf(score) - 1 / math.sqrt(math.pi)
    )
    covered = float(np.mean(np.abs(score) <= WIDE))
    return covered, float(np.mean(2 * WIDE * deviation)), float(crps.mean())


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
