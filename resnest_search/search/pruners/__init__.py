"""Pruners: when a trial is not worth its next epochs."""

from resnest_search.search.pruners.base import Decision, PausingPruner, Verdict
from resnest_search.search.pruners.factory import build_pruner
from resnest_search.search.pruners.front_probability import FrontProbabilityPruner
from resnest_search.search.pruners.keep_all import KeepAllPruner
from resnest_search.search.pruners.pareto_halving import ParetoHalvingPruner, RungDecision
from resnest_search.search.pruners.single_objective import SingleObjectivePruner

__all__ = [
    "Decision",
    "FrontProbabilityPruner",
    "KeepAllPruner",
    "ParetoHalvingPruner",
    "PausingPruner",
    "RungDecision",
    "SingleObjectivePruner",
    "Verdict",
    "build_pruner",
]
