"""The shipped configurations of conf/data."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

from resnest_search.configuration.schema import DATA_SETS, DataConfig
from resnest_search.data import build

FOLDER = Path(__file__).parents[2] / "conf" / "data"


def load(name: str) -> DataConfig:
    return DataConfig(**yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


def test_every_data_set_ships_one() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(DATA_SETS)


@pytest.mark.parametrize("name", DATA_SETS)
def test_it_says_what_it_is_and_spells_keys_right(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert f"data={name}" in text.splitlines()[0]
    assert set(yaml.safe_load(text)) <= {field.name for field in fields(DataConfig)}
    config = load(name)
    assert config.name == name
    assert len(config.mean) == len(config.std) == config.channels


@pytest.mark.parametrize("name", ["image_folder", "imagenet"])
def test_folders_build_and_give_batches(name: str, write_folders) -> None:
    config = load(name)
    config.root, config.workers, config.classes = str(write_folders(train=6, val=3)), 0, None
    if name == "imagenet":
        config.val_images = 6
    data = build(config, 4, 0)
    assert data.classes == 3
    assert next(iter(data.train_dataloader()))[0].shape == (4, 3, 224, 224)


def test_digits_are_normalised_with_their_own_statistics() -> None:
    config = load("digits")
    config.augment = "none"
    data = build(config, 1077, 0)
    ((images, _),) = data.train_dataloader()
    assert torch.allclose(images.mean(), torch.tensor(0.0), atol=1e-3)
    assert torch.allclose(images.std(), torch.tensor(1.0), atol=1e-3)
