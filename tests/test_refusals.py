"""What a refusal costs: a moment, and none of the libraries that train."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from refusals import REFUSED, refused


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:60])
def test_a_refusal_is_one_line_and_imports_nothing_heavy(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    found = refused(words, tmp_path)
    assert found.code == 2, found
    assert len(found.said.splitlines()) == 1, found
    assert found.imported == ()
    assert {path.name for path in tmp_path.iterdir()} == {"imported"}
