"""What holds for every test."""

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that does other work beside.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# Files that take a minute or more: begun last, one process would run them while others rest.
_LONG = (
    "test_sweep.py",
    "test_sweep_commands.py",
    "test_parity.py",
    "test_formats.py",
    "test_heads.py",
    "test_workers.py",
    "test_pretrained.py",
    "test_fused.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the others stay in their order."""
    items.sort(key=lambda item: item.path.name not in _LONG)
