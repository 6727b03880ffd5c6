"""What is said of each key: nothing is missing, and the page in docs/ is what the schema says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resnest_search.configuration.compose import COMMANDS
from resnest_search.configuration.flags import FLAGS
from resnest_search.configuration.page import help_text, page
from resnest_search.configuration.schema import keys
from resnest_search.export.formats import FORMATS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without files of its own, and argv and environment put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_key_lacks_its_line(command: str) -> None:
    lines = help_text(command, []).splitlines()
    for key in keys(COMMANDS[command]):
        assert len(key.help) > 10, key.name
        assert key.help.endswith("."), key.name
        assert key.valid is None or key.valid.words, key.name
        (place,) = [n for n, line in enumerate(lines) if line.startswith(f"  {key.name}=")]
        assert lines[place + 1].strip().startswith(key.help[:60])
    for flag in FLAGS:
        assert any(line.strip().partition("=")[0].endswith(flag) for line in lines)
    assert max(map(len, lines)) <= 110


def test_values_are_those_of_the_composition() -> None:
    shown = help_text("sweep", ["sweep=width", "model=resnest101", "train.epochs=4"])
    for line in ("  sweep=width", "  model.depths=[3, 4, 23, 3]", "  search.epochs=4"):
        assert f"{line}\n" in shown


def test_valid_values_are_those_that_the_checks_have() -> None:
    shown = " ".join(help_text("sweep", []).split())
    assert "Text (none, shift, crop_flip, resized_crop, autoaugment)." in shown
    assert "Number (at least 0, below 1)." in shown


def test_the_formats_are_those_of_the_export() -> None:
    (key,) = [key for key in keys(COMMANDS["export"]) if key.name == "format"]
    assert key.valid is not None
    assert key.valid.words.split(", ") == list(FORMATS)


def test_the_page_in_docs_is_made_from_the_schema() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == page()


def test_the_program_prints_it() -> None:
    program = [sys.executable, "-m", "resnest_search.configuration.page"]
    ran = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout == page()
