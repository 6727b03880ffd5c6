"""The examples as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def modules(monkeypatch):
    """The examples as modules, by name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    names = {path.stem for path in EXAMPLES.glob("*.py")} | {"exported_model"}
    for name in (set(sys.modules) - before) & names:
        del sys.modules[name]
