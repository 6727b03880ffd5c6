"""Pruners: when a trial is not worth its next epochs."""

from resnest_search.search.pruners.factory import build_pruner, rungs_of
from resnest_search.search.pruners.pareto_halving import ParetoHalvingPruner, RungDecision

__all__ = ["ParetoHalvingPruner", "RungDecision", "build_pruner", "rungs_of"]
