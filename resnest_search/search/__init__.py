"""Samplers, pruners, and the strategy that joins them. No torch, no Ray.

``resnest_search.search(…)`` of `resnest_search.notebook` has this package's name, and is found here
once the package has been imported: it can be called.
"""

import importlib
import sys
import types
from typing import Any

from resnest_search.search.named import first_candidates, rows_of, with_rows_first
from resnest_search.search.strategy import Assignment, Strategy
from resnest_search.search.warm_start import Earlier, enter_earlier, find_earlier

__all__ = [
    "Assignment",
    "Earlier",
    "Strategy",
    "enter_earlier",
    "find_earlier",
    "first_candidates",
    "rows_of",
    "with_rows_first",
]


class _Callable(types.ModuleType):
    def __call__(self, *words: str, **keys: Any) -> Any:
        return importlib.import_module("resnest_search.notebook").search(*words, **keys)


sys.modules[__name__].__class__ = _Callable
