"""The searches of the race, with their settings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

from resnest_search.errors import UserError
from search_peers.botorch_peers import SAMPLES, QLogNehvi
from search_peers.neps_peers import Neps
from search_peers.optuna_peers import HubStopper, OptunaSampler, hub_pruner, multi_metric_pruner
from search_peers.orders import cheapest_first, random_order
from search_peers.own import OwnSearch, method, shipped
from search_peers.race import Clock, Problem, Search
from search_peers.ray_peers import Asha, RandomSampler, RaySearcher
from search_peers.sampled import PROPOSALS, TRIES, NoStopper, Sampled
from search_peers.syne_peers import MoAsha

__all__ = [
    *("BASELINE", "COSTS", "DEFAULT", "ORACLE", "OWN", "PUBLISHED", "UNPAUSED"),
    *("Row", "rows_named"),
]

ORACLE, BASELINE, PUBLISHED, COSTS, OWN = "oracle", "baseline", "published", "with costs", "ours"
DEFAULT = "+".join(shipped().values())
UNPAUSED = "known_cost:pausing=false+none"  # the default, but what is begun is trained to its end
_OWN = (DEFAULT, UNPAUSED, "random+pareto_halving")
_NSGA2_POPULATION = 12

Make = Callable[[Problem], Search]


@dataclass(frozen=True)
class Row:
    """A search of the race.

    Attributes:
        key: as ``--methods`` names it.
        title: as tables and plots name it.
        kind: one of the words above; `COSTS` is a peer that is given the costs beforehand.
        settings: in words.
        make: the search; None for the oracle, which is made of the truth.
        knows_costs: whether the problem has the costs.
        missing: why it cannot run here; empty where it can.
        with_costs: how it uses costs that it is given, where not by the choice among proposals.
        slow: whether a search takes so long that it races only where it is named.
    """

    key: str
    title: str
    kind: str
    settings: str
    make: Make | None
    knows_costs: bool = False
    missing: str = ""
    with_costs: str = (
        f"the same; of {PROPOSALS} proposals the one whose costs are farthest from those begun"
    )
    slow: bool = False


def rows_named(
    names: list[str] | None, registry: Path | None, neps: Path | None = None
) -> list[Row]:
    """The rows of these keys in their order, or all that are quick.

    Args:
        names: keys, or ``SAMPLER+PRUNER`` of this project, arguments after a colon:
            ``known_cost+front_probability:least=0.1``.
        registry: a clone of OptunaHub's registry, None where there is none.
        neps: an interpreter that has NePS, None where there is none.

    Raises:
        ValueError: a name is unknown.
    """
    peers = [*_peers(registry), *_neps_peers(neps)]
    listed = [*_BASELINES, *peers, *map(_with_costs, peers)]
    known = {row.key: row for row in listed}
    if names is None:
        return [*(row for row in listed if not row.slow), *map(_own, _OWN)]
    unknown = [name for name in names if name not in known and "+" not in name]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: valid: {', '.join(known)}, or SAMPLER+PRUNER")
    return [known.get(name) or _own(name) for name in names]


_BASELINES = (
    Row(
        "oracle",
        "oracle",
        ORACLE,
        "knows the truth: each time the candidate that adds most hypervolume, to its full length; "
        "no bound where several workers train, since it stops nothing",
        None,
    ),
    Row(
        "random",
        "full grid, random order",
        BASELINE,
        "every candidate once, to its full length",
        random_order,
    ),
    Row(
        "cheapest",
        "cheapest first",
        BASELINE,
        "by the first cost, to the full length; knows the costs",
        cheapest_first,
        knows_costs=True,
    ),
)


def _peers(registry: Path | None) -> list[Row]:
    asha = "AsyncHyperBandScheduler(max_t=epochs, grace_period=1, reduction_factor=3) on accuracy"
    again = f"a repeat is asked again up to {TRIES} times, then a random unused candidate"
    hub = "" if registry else "no --optunahub FOLDER, a clone of OptunaHub's registry"
    syne = "" if importlib.util.find_spec("syne_tune") else "Syne Tune is not installed"
    botorch = "" if importlib.util.find_spec("botorch") else "BoTorch is not installed"
    return [
        Row("ray_asha", "Ray: random + ASHA", PUBLISHED, f"random order; {asha}", _ray_asha),
        Row(
            "ray_optuna_asha",
            "Ray: OptunaSearch + ASHA",
            PUBLISHED,
            f"OptunaSearch on all objectives with its default sampler; {asha}; Tune tells a "
            f"stopped trial as complete with its last accuracy; {again}",
            _ray_optuna_asha,
        ),
        Row(
            "optuna_tpe",
            "Optuna: TPE",
            PUBLISHED,
            "TPESampler() on all objectives, its first 10 trials random; no pruning, which "
            f"Optuna refuses for several objectives; {again}",
            _optuna_tpe,
        ),
        Row(
            "optuna_nsga2",
            "Optuna: NSGA-II",
            PUBLISHED,
            f"NSGAIISampler(population_size={_NSGA2_POPULATION}), since the default of 50 is "
            f"random search up to the 50th trial; no pruning; {again}",
            _optuna_nsga2,
        ),
        Row(
            "optuna_gp",
            "Optuna: GP",
            PUBLISHED,
            "GPSampler() on all objectives (logEHVI, with trials under way qLogEHVI), its first 10 "
            f"trials random; no pruning; {again}",
            _optuna_gp,
            slow=True,
        ),
        Row(
            "optunahub_pruner",
            "OptunaHub: TPE + multi-metric pruner",
            PUBLISHED,
            "TPESampler(); MultiMetricPruner(MedianPruner(), joint=True) on the Pareto ranks of "
            f"accuracy and costs; {again}",
            lambda problem: _optunahub(problem, registry),
            missing=hub,
        ),
        Row(
            "syne_moasha",
            "Syne Tune: MO-ASHA",
            PUBLISHED,
            "MOASHA(max_t=epochs, grace_period=1, reduction_factor=3) on accuracy and "
            f"costs, non-dominated sorting; random proposals; {again}",
            _syne_moasha,
            missing=syne,
        ),
        Row(
            "botorch_qlognehvi",
            "BoTorch: qLogNEHVI",
            PUBLISHED,
            "SingleTaskGP for each objective, qLogNoisyExpectedHypervolumeImprovement("
            "prune_baseline=True) over all unused candidates, those under way as X_pending, "
            "reference point 0.1 of the range beyond the worst; of the posterior "
            f"{SAMPLES} samples, since the default of 128 takes several times as long; the first "
            "2 (d + 1) random; no pruning",
            QLogNehvi,
            missing=botorch,
            slow=True,
            with_costs="the same; costs as GenericDeterministicModel, a GP for accuracy alone",
        ),
    ]


def _neps_peers(python: Path | None) -> list[Row]:
    lack = "" if python else "no --neps PYTHON, an interpreter that has NePS"
    again = f"a repeat is asked again up to {TRIES} times, then a random open candidate"
    return [
        Row(
            "neps_moasha",
            "NePS: MO-ASHA",
            PUBLISHED,
            f"moasha() on accuracy and costs, epochs from 1 as its fidelity; {again}",
            lambda problem: _neps(problem, python, "moasha"),
            missing=lack,
        ),
        Row(
            "neps_primo",
            "NePS: PriMO",
            PUBLISHED,
            "primo(prior_centers={}): MO-ASHA, then a Gaussian process of full trainings, whose "
            "proposal stands for the nearest open candidate; initial_design_size raised where "
            "there was no full training",
            lambda problem: _neps(problem, python, "primo"),
            missing=lack,
            slow=True,
            with_costs=f"the same; of the {PROPOSALS} nearest the one whose costs are farthest "
            "from those begun",
        ),
    ]


def _neps(problem: Problem, python: Path | None, algorithm: str) -> Search:
    assert python is not None
    return Neps(problem, python, algorithm)


def _with_costs(row: Row) -> Row:
    return Row(
        f"{row.key}_costs",
        f"{row.title}, costs known",
        COSTS,
        row.with_costs,
        row.make,
        knows_costs=True,
        missing=row.missing,
        slow=row.slow,
    )


def _own(name: str) -> Row:
    sampler, _, pruner = name.partition("+")
    used = method("sampler", sampler), method("pruner", pruner)
    words = (f"{m.name}({', '.join(f'{k}={v}' for k, v in m.args.items())})" for m in used)

    def make(problem: Problem) -> Search:
        return OwnSearch(problem, *used)

    return Row(
        name,
        f"ours: {name.replace('+', ' + ')}",
        OWN,
        f"sampler {'; pruner '.join(words)}",
        make,
        knows_costs=True,
        missing=_refusal(make),
    )


def _refusal(make: Make) -> str:
    """Why this project refuses a sampler or pruner, tried on two candidates."""
    problem = Problem(
        parameters=("width",),
        settings=((32,), (64,)),
        epochs=9,
        seed=0,
        workers=1,
        cost_names=("latency_ms", "memory_mib"),
        costs=((1.0, 1.0), (2.0, 2.0)),
        clock=Clock(),
    )
    try:
        make(problem)
    except UserError as error:
        return str(error)
    return ""


def _ray_asha(problem: Problem) -> Search:
    return Sampled(problem, RandomSampler(problem), Asha(problem))


def _ray_optuna_asha(problem: Problem) -> Search:
    return Sampled(problem, RaySearcher(problem), Asha(problem))


def _optuna_tpe(problem: Problem) -> Search:
    sampler = OptunaSampler(problem, lambda seed: TPESampler(seed=seed))
    return Sampled(problem, sampler, NoStopper())


def _optuna_gp(problem: Problem) -> Search:
    sampler = OptunaSampler(problem, lambda seed: GPSampler(seed=seed))
    return Sampled(problem, sampler, NoStopper())


def _optuna_nsga2(problem: Problem) -> Search:
    def make(seed: int) -> NSGAIISampler:
        return NSGAIISampler(population_size=_NSGA2_POPULATION, seed=seed)

    return Sampled(problem, OptunaSampler(problem, make), NoStopper())


def _optunahub(problem: Problem, registry: Path | None) -> Search:
    assert registry is not None
    module = multi_metric_pruner(registry)
    sampler = OptunaSampler(
        problem, lambda seed: TPESampler(seed=seed), hub_pruner(problem, module)
    )
    return Sampled(problem, sampler, HubStopper(problem, sampler, module))


def _syne_moasha(problem: Problem) -> Search:
    scheduler = MoAsha(problem)
    return Sampled(problem, scheduler, scheduler)
