"""Databases that forget what a power cut would lose: a test that fsyncs waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@pytest.fixture(autouse=True)
def quick_sqlite() -> Iterator[None]:
    """Let SQLite leave its writes to the kernel, which is enough to outlive a killed process."""

    def relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)
