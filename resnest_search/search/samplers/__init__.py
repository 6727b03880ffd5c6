"""Samplers: which candidate to try next."""

from resnest_search.search.samplers.factory import build_sampler
from resnest_search.search.samplers.ordered import OrderedSampler
from resnest_search.search.samplers.stock import StockSampler

__all__ = ["OrderedSampler", "StockSampler", "build_sampler"]
