"""What holds for every test."""

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that does other work beside.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# The tests run in three processes, one more than there are cores on a small machine, since a sweep
# waits a third of its time. Threads of OpenMP and OpenBLAS that wait for one another by spinning,
# as is their way, then keep each other from the cores: small matrices take two and a half times
# the CPU time. So there is one where a test or what it starts sets no number itself, and who has
# more spins little. Read when numpy and torch are loaded, here and in all that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# What the tests measure is nobody else's, and what others measured is not the tests'.
_CACHE = tempfile.mkdtemp(prefix="resnest-search-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

# Files that take a minute or more, most of them with whole sweeps: begun last, they would keep one
# process waiting. `-m "not slow"` leaves them out.
_LONG = (
    "test_sweep_kills",
    "test_storage",
    "test_sweep",
    "test_sweep_commands",
    "test_notebook",
    "test_plain_optuna",
    "test_earlier_runs",
    "test_outcome",
    "test_measuring",
    "test_cluster",
    "test_carried",
    "test_formats",
    "test_workers",
    "test_best",
    "test_parity",
    "test_heads",
    "test_plan",
    "test_wheel",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first and marked as slow; the order within a file stays."""
    place = {name: number for number, name in enumerate(_LONG)}
    for item in items:
        if item.path.stem in place:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
