"""A path in a word of the command line is that path, and a command that is printed pastes."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import ResumeConfig, SweepConfig
from resnest_search.words import command

# What a file system takes as a name: anything but "/" and the null character.
NAMES = st.text(
    st.one_of(
        st.sampled_from(" ?=%#&,;:'\"\\$!(){}[]<>|*~`^@+-.\t\nwxé★"),
        st.characters(exclude_characters="/\0", exclude_categories=("Cs",)),
    ),
    min_size=1,
    max_size=30,
)
AWKWARD = (
    *("a?x=1", "a%20b", "a b", "a'b", 'a"b', "a,b", "a#b", "a=b", "-a", "null", "???", "é★"),
    *("${x}", "\\${x}", "\\\\${oc.env:HOME}", "a\\", "a\\'", "[a]", "{a: 1}"),
    *("~", "a::b", "1", "true"),
)


def taken(words: list[str]) -> ResumeConfig:
    found: list[ResumeConfig] = []
    run_command(words[0], words[1:], found.append)
    return found[0]


@settings(max_examples=25)  # Hydra takes a quarter of a second for each
@given(NAMES)
@example("a?x=1")
@example("${x}")
@example("\\\\${x}\\")
@example("it's\\'\\")
def test_a_printed_command_names_the_folder_again(name: str) -> None:
    folder = f"/runs/{name}"
    words = shlex.split(command("resume", run=folder, storage=f"sqlite:///{folder}/x.db"))
    assert words[:3] == ["python", "-m", "resnest_search"]
    found = taken(words[3:])
    assert found.run == folder
    assert found.storage == f"sqlite:///{folder}/x.db"


@pytest.mark.parametrize("name", AWKWARD)
def test_a_shell_hands_over_what_was_printed(name: str) -> None:
    printed = command("resume", run=f"/runs/{name}")
    line = printed.replace("python -m resnest_search", "printf '%s\\0'")
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert taken(said.stdout.split("\0")[:-1]).run == f"/runs/{name}"


@pytest.mark.parametrize("name", [n for n in AWKWARD if "${" not in n and n not in ("null", "???")])
def test_a_typed_path_is_taken_literally(name: str) -> None:
    assert taken(["resume", f"run={name}"]).run == name


def test_what_hydra_means_by_a_word_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/scratch/7")
    assert taken(["resume", "run=${oc.env:WHERE}/a"]).run == "/scratch/7/a"
    assert taken(["resume", "run=null"]).run is None
    assert taken(["resume", "run='a b'"]).run == "a b"
    assert taken(["resume", 'run="a, b"']).run == "a, b"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("search.warm_start=[runs/a,runs/b]", ["runs/a", "runs/b"]),
        ("search.warm_start=runs/a?x=1, b", ["runs/a?x=1, b"]),
        ("search.warm_start=['runs/a, b']", ["runs/a, b"]),
    ],
)
def test_earlier_runs_are_named_one_or_many(word: str, found: list[str]) -> None:
    configs: list[SweepConfig] = []
    run_command("sweep", ["sweep=radix_card", word], configs.append)
    assert configs[0].search.warm_start == found
