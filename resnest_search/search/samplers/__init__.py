"""Samplers: which candidate to try next."""

from resnest_search.search.samplers.factory import build_forecaster, build_sampler
from resnest_search.search.samplers.known_cost import KnownCostSampler, nothing_left
from resnest_search.search.samplers.ordered import OrderedSampler
from resnest_search.search.samplers.quasi_random import QuasiRandomSampler
from resnest_search.search.samplers.stock import StockSampler

__all__ = [
    "KnownCostSampler",
    "OrderedSampler",
    "QuasiRandomSampler",
    "StockSampler",
    "build_forecaster",
    "build_sampler",
    "nothing_left",
]
