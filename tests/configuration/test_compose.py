"""The command line: everything shipped composes, and every mistake is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import resnest_search
from resnest_search.configuration.compose import (
    COMMANDS,
    from_record,
    run_command,
    to_record,
)
from resnest_search.configuration.options import option_files, question
from resnest_search.configuration.schema import (
    LimitsConfig,
    MethodConfig,
    ModelConfig,
    ResourcesConfig,
    SweepConfig,
    TrackingConfig,
    dotted,
)
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.space import Space

SWEEPS = sorted(path.stem for path in shipped_folder("sweeps").glob("*.yaml"))
OPTIONS = {
    str(folder.relative_to(shipped_folder("conf"))): sorted(p.stem for p in folder.glob("*.yaml"))
    for folder in sorted({path.parent for path in shipped_folder("conf").rglob("*/*.yaml")})
}


def compose(command: str, *words: str) -> Any:
    composed: list[Any] = []
    run_command(command, words, composed.append)
    (config,) = composed
    return config


def refusal(command: str, *words: str) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(UserError) as caught:
        compose(command, *words)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and the argv and environment that Hydra is given put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return tmp_path


# What is shipped


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_composes_states_its_question_and_spans_a_space(sweep: str) -> None:
    config = compose("sweep", f"sweep={sweep}")
    assert isinstance(config, SweepConfig)
    assert config.sweep == sweep
    assert question("sweep", sweep).endswith("?")
    if config.trial.name == "table":  # whose space is that of the file
        assert (config.search.space, config.search.objectives, config.search.epochs) == ({}, [], 0)
        return
    space = Space(config.search.space, config.model)
    assert space.candidates


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_into_its_schema(command: str) -> None:
    words = ["sweep=radix_card"] if command == "sweep" else []
    assert type(compose(command, *words)) is COMMANDS[command]


@pytest.mark.parametrize("turn", range(max(map(len, OPTIONS.values()))))
def test_every_option_of_every_group_composes(turn: int) -> None:
    chosen = {group: options[turn % len(options)] for group, options in OPTIONS.items()}
    words = [f"{group}={option}" for group, option in chosen.items()]
    config = compose("sweep", "sweep=radix_card", *words)
    assert isinstance(config, SweepConfig)
    for group, option in chosen.items():
        assert "/" in group or getattr(config, group).name == option


@pytest.mark.parametrize("command", ["train", "profile"])
def test_the_other_commands_take_the_same_groups(command: str) -> None:
    chosen = {"model": "resnest101", "data": "cifar10", "train": "paper", "measure": "compiled"}
    config = compose(command, *(f"{group}={option}" for group, option in chosen.items()))
    assert {group: getattr(config, group).name for group in chosen} == chosen


def test_a_trial_is_as_long_as_the_recipe_unless_said_otherwise() -> None:
    assert compose("sweep", "sweep=radix_card", "train.epochs=4").search.epochs == 4
    config = compose("sweep", "sweep=radix_card", "search.epochs=5")
    assert (config.search.epochs, config.train.epochs) == (5, 27)


def test_a_sweep_overrides_a_group_and_a_word_overrides_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    text = "# Mine?\ndefaults:\n  - override /search/sampler: tpe\nsearch:\n  trials: 24\n"
    (tmp_path / "sweeps" / "mine.yaml").write_text(text)
    assert compose("sweep", "sweep=mine").search.sampler.name == "tpe"
    words = ("sweep=mine", "search/sampler=random", "search.trials=3")
    config = compose("sweep", *words)
    assert (config.search.sampler.name, config.search.trials) == ("random", 3)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("search.space.radix=[1,2]", "radix", [1, 2]),
        ("search.space.train.learning_rate=[0.1,0.2]", "train", {"learning_rate": [0.1, 0.2]}),
        ("search.space.model.depths=[[1,1],[2,2]]", "model", {"depths": [[1, 1], [2, 2]]}),
        ("+search.space.train.momentum=[0.9]", "train", {"momentum": [0.9]}),
    ],
)
def test_a_space_takes_values_from_the_command_line(word: str, key: str, value: Any) -> None:
    space = compose("sweep", "sweep=radix_card", word).search.space
    assert space[key] == value
    assert space["cardinality_width"] == ["1x64d", "2x40d", "4x24d"]


def test_a_key_of_a_space_can_be_taken_away() -> None:
    words = ("sweep=radix_card", "~search.space.radix", "~search.space.cardinality_width")
    assert compose("sweep", *words, "search.space.variant=[2s1x64d]").search.space == {
        "variant": ["2s1x64d"]
    }


def test_so_can_one_with_a_dot_in_it_whichever_way_the_file_writes_it(own: Path) -> None:
    nested = "search:\n  space: {radix: [1], cardinality_width: [1x64d], train: {mixup: [0.1]}}\n"
    (own / "sweeps" / "nested.yaml").write_text(nested)
    twice = "search:\n  space: {radix: [1], train.mixup: [0.1], train: [0.1]}\n"
    (own / "sweeps" / "twice.yaml").write_text(twice)  # which nobody asks for
    for sweep in ("breakdown", "nested"):
        for word in ("~search.space.train.mixup", "~search.space.train.mixup=[0.1]"):
            if sweep == "breakdown" and "=" in word:
                continue  # it has other values there
            space = compose("sweep", f"sweep={sweep}", word).search.space
            assert {"radix", "cardinality_width"} <= dotted(space).keys()
            assert "train.mixup" not in dotted(space)
    space = compose("sweep", "sweep=breakdown", "~search.space.data.policy.else").search.space
    assert dotted(space)["data.policy"].keys() == {"choices", "when"}


@pytest.mark.parametrize(
    ("word", "space"),
    [
        ("search.space={variant: [2s2x40d]}", {"variant": ["2s2x40d"]}),
        (
            "search.space={variant: [2s2x40d], train.learning_rate: {low: 0.1, high: 0.4}}",
            {"variant": ["2s2x40d"], "train.learning_rate": {"low": 0.1, "high": 0.4}},
        ),
        (
            "++search.space={model.radix0: [avd]}",
            {
                "radix": [0, 1, 2, 4],
                "cardinality_width": ["1x64d", "2x40d", "4x24d"],
                "model.radix0": ["avd"],
            },
        ),
    ],
)
def test_braces_replace_the_space_unless_they_are_added(word: str, space: dict[str, Any]) -> None:
    assert compose("sweep", "sweep=radix_card", word).search.space == space
    assert compose("sweep", "sweep=radix_card").search.space["radix"] == [0, 1, 2, 4]


def test_braces_give_arguments_and_limits() -> None:
    words = ("search.sampler.args={price: seconds}", "search.limits={latency_ms: 3}")
    search = compose("sweep", "sweep=radix_card", *words).search
    assert (search.sampler.args, search.limits.latency_ms) == (
        {"price": "seconds", "pausing": True},
        3.0,
    )


def test_arguments_of_a_method_are_its_own() -> None:
    words = ("sweep=radix_card", "search.pruner.args.first_rung=1")
    assert compose("sweep", *words).search.pruner.args["first_rung"] == 1


def test_a_recipe_brings_what_it_asks_of_images_and_typed_words_go_before_it() -> None:
    words = ("sweep=width", "train=paper", "data=image_folder", "data.root=/x")
    config = compose("sweep", *words)
    assert (config.train.name, config.train.mixup, config.search.epochs) == ("paper", 0.2, 270)
    assert (config.data.augment, config.data.policy) == ("resized_crop", "autoaugment")
    assert compose("sweep", *words, "data.policy=none").data.policy == "none"
    assert compose("train", "train=modern").data.erasing == 0.1
    assert question("train", "paper").startswith("The ResNeSt paper's recipe")


# A user's own sweeps


def test_a_sweep_of_the_working_directory_is_found(elsewhere: Path) -> None:
    (elsewhere / "sweeps").mkdir()
    (elsewhere / "sweeps" / "mine.yaml").write_text(
        "# Is mine better?\n"
        "defaults:\n  - override /train: small_images\n"
        "search:\n  space:\n    variant: [2s1x64d]\n  trials: 1\n"
    )
    config = compose("sweep", "sweep=mine")
    assert (config.sweep, config.train.name, config.search.trials) == ("mine", "small_images", 1)
    assert question("sweep", "mine") == "Is mine better?"
    assert set(option_files("sweep")) == {*SWEEPS, "mine"}
    assert "mine" in refusal("sweep", "sweep=min")


def test_it_goes_before_a_shipped_one_of_the_same_name(elsewhere: Path) -> None:
    (elsewhere / "sweeps").mkdir()
    own = "search: {space: {variant: [1s1x64d]}}\n"
    (elsewhere / "sweeps" / "radix_card.yaml").write_text(own)
    assert compose("sweep", "sweep=radix_card").search.space == {"variant": ["1s1x64d"]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("search: [", "mine"),
        ("- a\n- list\n", "mine"),
        ("just words\n", "just words"),
        ("serch:\n  trials: 3\n", "serch"),
        ("search:\n  trails: 3\n", "trails"),
        ("search:\n  trials: many\n", "search.trials"),
        ("defaults:\n  - override /train: nope\n", "nope"),
        ("\xff\xfe".encode("latin-1"), "mine"),
    ],
)
def test_a_broken_one_is_refused_in_one_line(elsewhere: Path, text: str | bytes, word: str) -> None:
    (elsewhere / "sweeps").mkdir()
    raw = text if isinstance(text, bytes) else text.encode()
    (elsewhere / "sweeps" / "mine.yaml").write_bytes(raw)
    assert word in refusal("sweep", "sweep=mine")


OWN = {
    "model/mine": "stem: small\ndepths: [1]\nplanes: [32]\n",
    "model/small": "depths: [1]\nplanes: [32]\n",
    "model/longer": "defaults: [resnest50]\ndepths: [3, 4, 23, 4]\n",
    "data/pets": "name: image_folder\nroot: /pets\n",
    "data/nameless": "root: /pets\n",
    "train/mine": "epochs: 3\n",
    "measure/mine": "batch: 2\n",
    "trial/mine": "name: table\npath: mine.csv\n",
    "search/sampler/mine": "name: tpe\nargs: {n_startup_trials: 3}\n",
    "search/pruner/mine": "name: none\n",
    "sweeps/mine": "defaults:\n  - override /model: mine\nsearch: {space: {variant: [1s1x64d]}}\n",
    "model/misspelt": "dephts: [1]\n",
    "model/broken": "depths: [1\n",
    "model/list": "- 1\n",
}


@pytest.fixture
def own(elsewhere: Path) -> Path:
    """A working directory with files of every group."""
    for name, text in OWN.items():
        path = elsewhere / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return elsewhere


def test_files_of_every_group_are_found_in_the_working_directory(own: Path) -> None:
    words = ("data=pets", "train=mine", "measure=mine", "trial=mine", "search/sampler=mine")
    config = compose("sweep", "sweep=mine", *words, "search/pruner=mine")
    assert (config.model.name, config.model.planes) == ("mine", [32])
    assert (config.data.name, config.data.root) == ("image_folder", "/pets")
    assert (config.train.name, config.train.epochs, config.search.epochs) == ("mine", 3, 3)
    assert (config.measure.name, config.measure.batch) == ("mine", 2)
    assert (config.trial.name, config.trial.path) == ("table", "mine.csv")
    assert config.search.sampler == MethodConfig("tpe", {"n_startup_trials": 3})
    assert config.search.pruner.name == "none"


def test_one_of_them_may_begin_with_a_shipped_one(own: Path) -> None:
    model = compose("train", "model=longer").model
    assert (model.name, model.stem, model.depths) == ("longer", "deep", [3, 4, 23, 4])


def test_what_a_file_has_wrong_is_said_with_its_name_and_key(own: Path) -> None:
    (own / "sweeps" / "bad.yaml").write_text("# Well?\nsearch:\n  epochs: many\n")
    assert refusal("sweep", "sweep=bad") == "sweep/bad: search.epochs: 'many' is not a whole number"
    assert refusal("sweep", "sweep=width", "train.epochs=null").startswith("train.epochs: null is")
    for package in ("search.spcae", "serach"):
        said = refusal("sweep", "sweep=width", "--cfg", "job", "-p", package)
        assert said.startswith(f"--package={package}: no such key or group (did you mean search")


@pytest.mark.parametrize("name", ["2024", "1e3", "a=b", "ü", "null", "true", "-x", "two words"])
def test_a_file_may_have_any_name(name: str, own: Path) -> None:
    (own / "model" / f"{name}.yaml").write_text("depths: [7]\n")
    assert compose("train", f"model={name}").model.depths == [7]


def test_one_that_stands_before_a_shipped_one_is_told(
    own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compose("train", "model=small").model.planes == [32]
    told = capfd.readouterr()
    assert told.out == "model=small: ./model/small.yaml is taken, not the shipped one\n"
    assert told.err == "", "where a refusal may follow, which is one line"
    compose("train", "model=mine")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("data=nameless", ["data=nameless: ", "nameless.yaml: says no name"]),
        ("model=misspelt", ["'model/misspelt': model.dephts", "did you mean model.depths"]),
        ("model=broken", ["model=broken: ", "broken.yaml is no YAML: line 2: "]),
        ("model=list", ["model=list: ", "list.yaml: holds no key: value"]),
        ("model=min", ["model=min: ", "did you mean mine"]),
    ],
)
def test_a_broken_file_of_a_group_is_refused_when_it_is_chosen(
    own: Path, word: str, parts: list[str]
) -> None:
    message = refusal("train", word)
    for part in parts:
        assert part in message


def test_the_configuration_says_which_sweep_it_is(own: Path) -> None:
    command = [sys.executable, "-m", "resnest_search", "sweep=mine", "--cfg", "job"]
    root = str(Path(resnest_search.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=own, env=env, check=True)
    assert ran.stdout.startswith("sweep: mine\n")


# Several runs


def runs(*words: str) -> list[Any]:
    composed: list[Any] = []
    run_command("sweep", ["sweep=radix_card", *words], composed.append)
    return composed


def test_several_values_make_a_run_each(elsewhere: Path) -> None:
    found = runs(
        "-m", "search.seed=0,1", "model=small,resnest50", "run=a,b/${search.seed}${model.name}"
    )
    assert [(config.search.seed, config.model.name, config.run) for config in found] == [
        (seed, name, f"a,b/{seed}{name}") for seed in (0, 1) for name in ("small", "resnest50")
    ]
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            ["--multirun", "search.objectives=[accuracy,gmacs],[loss]"],
            [["accuracy", "gmacs"], ["loss"]],
        ),
        (["--run", "search.objectives=[loss]"], [["loss"]]),
    ],
)
def test_a_list_is_one_value(words: list[str], found: list[list[str]]) -> None:
    assert [config.search.objectives for config in runs(*words)] == found


def test_several_runs_are_of_several_sweeps_too() -> None:
    found = runs("-m", "sweep=width,radix_card")
    assert [config.sweep for config in found] == ["width", "radix_card"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["search.seed=0,1", "run=here"], "run=here: one folder for 2 runs"),
        (["model=small,smal"], "model=smal: no such option"),
        (["search.seed=0,-1"], "search.seed=-1: valid: a number of at least 0"),
        (["search.seed=0,${nope}"], "nope"),
        (["search.seed=interval(0,1)"], "does not support sweep type"),
    ],
)
def test_what_is_wrong_with_one_of_them_is_one_line(
    words: list[str], part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert part in refusal("sweep", "sweep=width", "--multirun", *words)
    assert capfd.readouterr() == ("", "")


# Mistakes


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["sweep", "radix_card, radix_card_width, table, width"]),
        (["model=small"], ["sweep: none named", "radix_card"]),
        (
            ["sweep=radix_crad"],
            ["sweep=radix_crad", "mean radix_card", "valid: breakdown, radix_card, "],
        ),
        (["sweep=width", "model=smal"], ["model=smal", "mean small", "resnest50_fast"]),
        (["sweep=width", "search/pruner=nun"], ["search/pruner=nun", "median, none, optuna"]),
        (["sweep=width", "modle=small"], ["modle:", "did you mean model", "measure"]),
        (["sweep=width", "search.epoch=3"], ["search.epoch:", "search.epochs", "search.trials"]),
        (["sweep=width", "search.limits.latency=3"], ["search.limits.latency:", "latency_ms"]),
        (["sweep=width", "latency_ms=3"], ["latency_ms:", "search.limits.latency_ms"]),
        (["sweep=width", "search.pruner.arg=1"], ["search.pruner.arg:", "search.pruner.args"]),
        (["sweep=width", "search.epochs=three"], ["search.epochs: 'three' is not a whole number"]),
        (["sweep=width", "search.epochs=3.5"], ["search.epochs: '3.5' is not a whole number"]),
        (["sweep=width", "search.epochs=null"], ["search.epochs", "null"]),
        (["sweep=width", "search.hours=long"], ["search.hours: 'long' is not a number"]),
        (["sweep=width", "train.learning_rate=x"], ["train.learning_rate: 'x' is not a number"]),
        (["sweep=width", "verbose=maybe"], ["verbose: 'maybe' is not true or false"]),
        (["sweep=width", "model.depths=3"], ["model.depths: not a list; write model.depths=["]),
        (["sweep=width", "model.depths=[a]"], ["model.depths[0]: 'a' is not a whole number"]),
        (["sweep=width", "model.name=[1]"], ["model.name", "[1]"]),
        (["sweep=width", "model.depths=[1,2"], ["'model.depths=[1,2' does not parse"]),
        (["sweep=width", "nonsense"], ["'nonsense' is no key=value"]),
        (["sweep=width", "search=3"], ["search", "3"]),
        (["sweep=width", "search.limits=3"], ["search.limits", "3"]),
        (["sweep=width", "search.sampler=tpe"], ["search.sampler", "tpe"]),
        (["sweep=width", "search.epochs=1,2"], ["search.epochs=1,2"]),
        (["sweep=width,radix_card"], ["sweep=width,radix_card"]),
        (
            ["sweep=width", "~search.space.widht"],
            ["~search.space.widht: ", "mean ~search.space.width", "valid: ~search.space.radix"],
        ),
        (
            ["sweep=breakdown", "~search.space.train.mixpu"],
            ["did you mean ~search.space.train.mixup", "~search.space.data.policy"],
        ),
        (
            ["sweep=width,breakdown", "~search.space.train.mixup", "--multirun"],
            ["~search.space.train.mixup: there is no such key", "valid: ~search.space.radix"],
        ),
        (
            ["sweep=width", "~search.space.radix", "~search.space.radix"],
            ["~search.space.radix: taken away or given by another word"],
        ),
        (["sweep=width", "~search.pruner.args.x"], ["~search.pruner.args.x: ", "valid: none"]),
        (
            ["sweep=radix_card", "~search.space.radix=[1]"],
            ["'search.space.radix' is [0, 1, 2, 4] and not [1]"],
        ),
        (["sweep=width", "model.stem_width=${nope}"], ["model.stem_width", "nope"]),
        (
            ["sweep=width", "hydra.run.dir=/tmp"],
            ["hydra.run.dir: Hydra's own", "run=FOLDER"],
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_a_mistake_is_one_line_with_key_value_and_what_is_valid(
    words: list[str], parts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal("sweep", *words)
    for part in parts:
        assert part in message
    # The command line prints the message; whatever Hydra prints besides is a second line.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "word", "part"),
    [
        ("train", "sweep=radix_card", "sweep: no such key or group"),
        ("train", "search.trials=3", "search.trials"),
        ("train", "~search.space.radix", "search.space.radix: no such key or group"),
        ("profile", "tracking=none", "tracking: no such key or group"),
        (
            "resume",
            "tracking=wandb",
            "tracking=wandb: no such option; valid: none, offline, online",
        ),
        ("resume", "tracking.name=on", "tracking.name=on: valid: offline, online, none"),
        ("resume", "rnu=x", "did you mean run?"),
        ("report", "select=knee", "valid here: measure, run, dashboard, storage, verbose"),
        ("export", "selct=knee", "did you mean select?"),
    ],
)
def test_each_command_knows_its_own_keys(command: str, word: str, part: str) -> None:
    assert part in refusal(command, word)


def test_nothing_is_left_in_the_working_directory(elsewhere: Path) -> None:
    compose("sweep", "sweep=radix_card")
    refusal("sweep", "sweep=radix_crad")
    assert not list(elsewhere.iterdir())


# Records


def test_a_config_comes_back_from_its_record() -> None:
    config = compose(
        *("sweep", "sweep=radix_card_width", "model=resnest50_fast", "search.hours=2"),
        *("search.space.train.learning_rate=[0.1,0.2]", "search.space.model.depths=[[1,1]]"),
        *("search.limits.latency_ms=3", "search.objectives=[accuracy,gmacs]", "run=runs/a"),
        *("resources.gpus_per_trial=0.5", "search/pruner=median"),
    )
    assert from_record(json.loads(json.dumps(to_record(config)))) == config


def test_a_config_made_without_hydra_comes_back_too() -> None:
    config = SweepConfig(model=ModelConfig(depths=[2, 2]), sweep="mine")
    config.search.limits = LimitsConfig(gmacs=0.5)
    config.search.sampler = MethodConfig("tpe", {"n_startup_trials": 3})
    assert from_record(json.loads(json.dumps(to_record(config)))) == config


@pytest.mark.parametrize(
    "change",
    [{"modell": {}}, {"model": {"depth": [1]}}, {"search": {"epochs": "many"}}, {"search": 3}],
)
def test_a_record_that_does_not_fit_is_refused_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="recorded configuration") as caught:
        from_record({**to_record(SweepConfig()), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["offline", "online", "none"])
def test_tracking_of_runs_up_to_0_2_0_was_a_text(name: str) -> None:
    record = {**to_record(SweepConfig(sweep="x")), "tracking": name}
    assert from_record(record) == SweepConfig(sweep="x", tracking=TrackingConfig(name))


def test_a_tracking_file_is_chosen_and_its_keys_are_set_beside_it() -> None:
    config = compose(
        "sweep", "sweep=radix_card", "tracking=online", "tracking.entity=lab", "tracking.tags=[a,b]"
    )
    assert config.tracking == TrackingConfig("online", None, "lab", ["a", "b"])
    assert compose("train", "tracking=none").tracking == TrackingConfig("none")
    assert compose("resume", "tracking=online").tracking.name == "online"
    assert compose("resume").tracking.name == "", "as recorded"


# Hydra's own flags


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sweep=radix_card", "--cfg", "job"], "cardinality_width"),
        (["train", "--cfg", "job"], "variant: 2s1x64d"),
        (["--help"], "usage: python -m resnest_search"),
        (["sweep", "--help"], "sampler"),
        (["resume", "--help"], "budget"),
        (["train", "model=resnest50", "-h"], "model.stem=deep"),
        (["--hydra-help"], "== Flags =="),
        (["sweep=width", "--info"], "Defaults List"),
        (["sweep=width", "-i", "defaults-tree"], "search/pruner"),
        (["train", "-c", "job", "-p", "data"], "name: digits"),
        (["sweep=radix_card", "--cfg=job", "--resolve", "--package=search"], "epochs: 27"),
        (["-sc", "install=bash"], "-F hydra_bash_completion resnest-search"),
        (["-sc", "install=fish"], "resnest-search"),
    ],
)
def test_help_and_cfg_print_and_end_well(words: list[str], part: str, elsewhere: Path) -> None:
    root = str(Path(resnest_search.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_search", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        cwd=elsewhere,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert part in ran.stdout
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("line", "found", "absent"),
    [
        ("", {"train", "profile", "model=", "sweep="}, set()),
        ("tr", {"train", "train=", "trial=", "tracking="}, {"profile"}),
        ("sweep=", {"sweep=radix_card", "sweep=mine"}, {"sweep"}),
        ("sweep=radix_card search.s", {"search.space.", "search.seed="}, {"search.trials="}),
        ("train model=resnest2", {"model=resnest200", "model=resnest26"}, {"model=small"}),
        ("resume b", {"budget="}, {"model="}),
        ("profile s", {"sweep=", "storage="}, {"select="}),
        ("profile sweep=", {"sweep=radix_card", "sweep=mine"}, {"sweep"}),
        ("profile sweep=width meas", {"measure=", "measure."}, {"model="}),
        ("profile measure=int8 sweep=wi", {"sweep=width"}, {"sweep=radix_card"}),
        ("profile mod", {"model=", "model."}, set()),
        ("train --c", {"--cfg"}, {"--config-dir"}),
    ],
)
def test_a_shell_completes_commands_groups_options_keys_and_flags(
    line: str, found: set[str], absent: set[str], own: Path
) -> None:
    root = str(Path(resnest_search.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_search", "-sc", "query=bash"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "COMP_LINE": f"resnest-search {line}"},
        cwd=own,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert found <= set(ran.stdout.split())
    assert not absent & set(ran.stdout.split())


def test_runs_of_several_workers_before_sync_norm_go_on_without_it() -> None:
    for resources, synced in (
        (ResourcesConfig(workers_per_trial=2), False),
        (ResourcesConfig(gpus_per_trial=4), False),
        (ResourcesConfig(gpus_per_trial=0.5), True),  # of one worker it says nothing
        (ResourcesConfig(), True),
    ):
        record = to_record(SweepConfig(resources=resources))
        assert from_record(record).train.sync_norm
        del record["train"]["sync_norm"]
        assert from_record(record).train.sync_norm is synced
