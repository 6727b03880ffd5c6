"""What a sweep takes over from earlier ones: identical trials as finished, similar as prior."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from optuna.trial import TrialState
from synthetic import OBJECTIVES, SIX, Workers, learns, make_config, make_costings, make_strategy

from resnest_search.configuration.compose import to_record
from resnest_search.configuration.schema import (
    DataConfig,
    MethodConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
    TrainConfig,
    TrialConfig,
)
from resnest_search.errors import UserError
from resnest_search.search import enter_earlier, find_earlier
from resnest_search.space import Candidate, Space
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy

MODEL = ModelConfig(depths=[1, 1], planes=[32, 64])


def config_of(search: SearchConfig, **train: float) -> SweepConfig:
    return SweepConfig(model=MODEL, train=TrainConfig(**train), search=search)  # type: ignore


def earlier_run(folder: Path, variants: list[str], seed: int = 0, **train: float) -> Path:
    """A finished sweep of these variants, without a pruner."""
    folder.mkdir()
    search = make_config(space={"variant": variants}, pruner=MethodConfig("none"), seed=seed)
    study = SweepStudy.create(f"sqlite:///{folder / 'study.db'}", OBJECTIVES)
    study.note("config", to_record(config_of(search, **train)))
    Workers(make_strategy(study, Space(search.space, MODEL), search)).run()
    study.close()
    return folder


def started(folders: list[Path], search: SearchConfig) -> tuple[SweepStudy, list[str]]:
    space = Space(search.space, MODEL)
    search = dataclasses.replace(search, warm_start=[str(folder) for folder in folders])
    study = SweepStudy.create(None, OBJECTIVES)
    earlier, lines = find_earlier(config_of(search), space)
    enter_earlier(study, space, earlier, OBJECTIVES, make_costings(space))
    return study, lines


def test_identical_trials_are_finished_and_trained_no_more(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a", SIX[:4])
    search = make_config(space={"variant": SIX[1:]}, pruner=MethodConfig("none"))
    study, lines = started([run], search)
    assert lines == [f"warm start from {run}: 3 reused as finished, 1 left aside"]
    strategy = make_strategy(study, Space(search.space, MODEL), search)
    ran = Workers(strategy).run()
    assert sorted(str(c.variant) for c in ran.order) == sorted(SIX[4:])
    assert len(ran.trained) == 8
    sweep = read_sweep(study, Path())
    assert sweep.epochs == 8, "what was trained elsewhere is not counted"
    assert sorted(trial.variant for trial in sweep.trials) == sorted(SIX[1:])
    assert {trial.state for trial in sweep.trials} == {"complete"}
    assert sweep.trials[0].reason == f"reused from {run}, trial 1"
    accuracy = learns(Space(search.space, MODEL).candidates[0], 4).accuracy  # type: ignore[index]
    assert sweep.trials[0].accuracy == accuracy


def test_they_count_neither_as_trials_nor_against_the_budget(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a", SIX[:2])
    search = make_config(space={"variant": SIX}, pruner=MethodConfig("none"), trials=3, budget=12)
    study, _ = started([run], search)
    Workers(make_strategy(study, Space(search.space, MODEL), search)).run()
    assert [t.state for t in study.trials()].count(TrialState.COMPLETE) == 5


def test_another_recipe_is_prior_only_and_says_why(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a", SIX[:4], learning_rate=0.3)
    search = make_config(space={"variant": SIX}, sampler=MethodConfig("known_cost"))
    study, lines = started([run], search)
    why = "train.learning_rate=0.3, not 0.1"
    assert lines == [f"warm start from {run}: 0 reused as finished, 4 as prior only ({why})"]
    assert study.trials() == []
    assert len(study.notes["prior"]) == 4
    strategy = make_strategy(study, Space(search.space, MODEL), search)
    Workers(strategy).run()
    assert strategy.finished
    assert len({t.user_attrs["variant"] for t in study.trials()}) == 6


def test_a_prior_leads_to_what_did_well_before(tmp_path: Path) -> None:
    """What another recipe found best is tried first, from either end of the space."""

    def first(folder: Path) -> str:
        search = make_config(
            space={"variant": SIX}, sampler=MethodConfig("known_cost"), objectives=["accuracy"]
        )
        study, _ = started([folder], search)
        single = SweepStudy.create(None, ["accuracy"])
        single.note("prior", study.notes["prior"])
        strategy = make_strategy(single, Space(search.space, MODEL), search)
        assignment = strategy.next()
        assert assignment is not None
        return str(assignment.candidate.variant)

    for direction in (1, -1):

        def curve(candidate: Candidate, epoch: int, direction: int = direction) -> Epoch:
            accuracy = 0.6 + direction * 0.05 * SIX.index(str(candidate.variant))
            return Epoch(epoch, accuracy, 0.1, 0.1, 0.5, 360)

        folder = tmp_path / str(direction)
        folder.mkdir()
        search = make_config(space={"variant": SIX}, pruner=MethodConfig("none"))
        study = SweepStudy.create(f"sqlite:///{folder / 'study.db'}", OBJECTIVES)
        study.note("config", to_record(config_of(search, learning_rate=0.3)))
        Workers(make_strategy(study, Space(search.space, MODEL), search), curve).run()
        study.close()
        assert first(folder) in (SIX[:3] if direction < 0 else SIX[3:])


def test_the_same_trial_of_two_folders_is_reused_once(tmp_path: Path) -> None:
    runs = [earlier_run(tmp_path / name, SIX[:2]) for name in ("a", "b")]
    study, lines = started(runs, make_config(space={"variant": SIX}))
    assert len(study.trials()) == 2
    assert lines[1].endswith("0 reused as finished, 2 left aside")


def test_of_two_seeds_of_a_candidate_the_later_is_a_further_one(tmp_path: Path) -> None:
    """As if this sweep had repeated it: samplers and pruners see the candidate once."""
    runs = [earlier_run(tmp_path / str(seed), SIX[:2], seed) for seed in (0, 1)]
    study, lines = started(runs, make_config(space={"variant": SIX}))
    assert [line.rpartition(": ")[2] for line in lines] == ["2 reused as finished"] * 2
    assert ["repeat" in trial.user_attrs for trial in study.trials()] == [False, False, True, True]
    sweep = read_sweep(study, Path())
    assert [(t.seeds, t.repeat_of) for t in sweep.trials] == [(2, None)] * 2 + [(2, 0), (2, 1)]


def test_other_images_of_the_same_shape_are_left_aside(tmp_path: Path) -> None:
    """Two folders of images are two sets, whatever their classes; a built-in set is one."""
    run = earlier_run(tmp_path / "a", SIX[:2])
    search = make_config(space={"variant": SIX}, warm_start=[str(run)])
    space = Space(search.space, MODEL)
    for name, reused in (("image_folder", 0), ("digits", 2)):
        study = SweepStudy.open(run)
        old = dataclasses.replace(config_of(search), data=DataConfig(name=name, root="/birds"))
        study.note("config", to_record(old))
        study.close()
        for root, count in (("/cars", reused), ("/birds", 2)):
            new = dataclasses.replace(config_of(search), data=DataConfig(name=name, root=root))
            found, lines = find_earlier(new, space)
            assert len(found) == count
            assert f"{count} reused as finished" in lines[0]


def test_the_digest_of_the_images_decides_not_their_place(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a", SIX[:2])
    search = make_config(space={"variant": SIX}, warm_start=[str(run)])
    space = Space(search.space, MODEL)
    study = SweepStudy.open(run)
    here, there = (DataConfig(name="image_folder", root=root) for root in ("/birds", "/copy"))
    study.note("config", to_record(dataclasses.replace(config_of(search), data=here)))
    unknown, lines = find_earlier(
        dataclasses.replace(config_of(search), data=here), space, images="one"
    )
    assert [trial.differs for trial in unknown] == ["its images are not on record"] * 2
    assert "0 reused as finished, 2 as prior only (its images are not on record)" in lines[0]
    study.note("images", {"digest": "one", "groups": {}})
    study.close()
    for data in (here, there):
        for images, count in (("one", 2), ("swapped", 0)):
            new = dataclasses.replace(config_of(search), data=data)
            found, lines = find_earlier(new, space, images=images)
            assert len(found) == count
            assert f"{count} reused as finished" in lines[0]


def test_another_table_is_left_aside_and_more_workers_are_the_same(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a", SIX[:2])
    search = make_config(space={"variant": SIX}, warm_start=[str(run)])
    space = Space(search.space, MODEL)
    study = SweepStudy.open(run)
    trial = TrialConfig(name="table", path="curves.csv", workers=1)
    study.note("config", to_record(dataclasses.replace(config_of(search), trial=trial)))
    study.note("table", "a digest")
    study.close()
    new = dataclasses.replace(
        config_of(search), trial=dataclasses.replace(trial, path="elsewhere.csv", workers=4)
    )
    assert len(find_earlier(new, space, "a digest")[0]) == 2
    assert find_earlier(new, space, "another")[0] == []


def test_a_run_that_was_stopped_before_it_began_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    SweepStudy.create(f"sqlite:///{folder / 'study.db'}", OBJECTIVES).close()
    with pytest.raises(UserError, match=r"search\.warm_start=.*before its first trial"):
        started([folder], make_config(space={"variant": SIX}))


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search\.warm_start=.*no folder of a run") as caught:
        started([tmp_path], make_config(space={"variant": SIX}))
    assert "\n" not in str(caught.value)


def test_a_key_that_does_not_exist_here_is_the_value_that_the_configuration_has(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    keys = {"variant": SIX[:1], "train.mixup": [0.0, 0.2], "data.augment": ["none", "shift"]}
    search = make_config(space=keys, pruner=MethodConfig("none"))
    study = SweepStudy.create(f"sqlite:///{folder / 'study.db'}", OBJECTIVES)
    study.note("config", to_record(config_of(search)))
    Workers(make_strategy(study, Space(keys, MODEL), search)).run()
    study.close()
    when = {"choices": ["none", "shift"], "when": {"train.mixup": 0.2}}
    now, _ = started([folder], make_config(space=keys | {"data.augment": when}))
    found = [trial.user_attrs["parameters"] for trial in now.trials()]
    without = {"variant": SIX[0], "train.mixup": 0.0}
    mixed = without | {"train.mixup": 0.2}
    assert found == [without, *(mixed | {"data.augment": name} for name in ("none", "shift"))]
