"""The exported ``model.py`` on files: the very pixels, classes and answers of the validation."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import data_of, image_folder
from PIL import Image
from test_source import SMALL, imported, randomised
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import ImageData, build
from resnest_search.data.images import centred
from resnest_search.data.pixels import recoloured, squashed, tensor_of
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.models.build import build as build_network
from resnest_search.models.build import network_arguments
from resnest_search.variant import Variant

VARIANT = "2s1x64d"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images"))


def winner_of(data: ImageData) -> Winner:
    """An untrained network for these images."""
    torch.manual_seed(0)
    sizes = {"in_channels": data.channels, "num_classes": data.classes}
    network = randomised(build_network(Variant.parse(VARIANT), SMALL, **sizes))
    arguments = {"variant": VARIANT, **network_arguments(SMALL), **sizes}
    return Winner("A network.", arguments, network, data.preprocessing, tuple(data.class_names))


def written(data: ImageData, folder: Path) -> Winner:
    winner = winner_of(data)
    folder.mkdir(exist_ok=True)
    FORMATS["source"].write(winner, folder)
    return winner


def validation(data: ImageData) -> torch.Tensor:
    """All validation images as the network sees them."""
    return torch.cat([images for images, _ in data.val_dataloader()])


@pytest.mark.parametrize("size", [32, 64, 65, 96, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_become_what_validation_sees_to_the_last_bit(
    folder: Path, tmp_path: Path, size: int, channels: int
) -> None:
    data = data_of(folder, size, channels)
    winner = written(data, tmp_path)
    seen = validation(data)
    files = data.validation_files(len(seen), tmp_path)
    assert len({path.name for path in files}) == len(seen) / 2
    with imported(tmp_path / "model.py") as module, torch.inference_mode():
        assert torch.equal(module.load_images(*files), seen)
        answers = winner.network(seen).softmax(1)
        for path, expected in zip(files[::7], answers[::7], strict=True):
            found = module.classify(str(path))
            assert [name for name, _ in found] == [
                data.class_names[k] for k in expected.argsort(descending=True)
            ]
            assert dict(found)[data.class_names[0]] == pytest.approx(float(expected[0]), abs=1e-5)


@pytest.mark.parametrize("background", [[255], [0], [10, 200, 30]])
def test_transparency_lies_on_the_background_of_training(
    folder: Path, tmp_path: Path, background: list[int]
) -> None:
    data = data_of(folder, 96, background=background, mean=[], std=[])
    written(data, tmp_path)
    seen = validation(data)
    files = data.validation_files(len(seen), tmp_path)
    with imported(tmp_path / "model.py") as module:
        assert torch.equal(module.load_images(*files), seen)


@pytest.mark.parametrize("size", [8, 12, 70])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_digits_become_what_validation_sees(
    tmp_path: Path, size: int, channels: int
) -> None:
    data = build(DataConfig("digits", image_size=size, channels=channels, val_images=40), 16, 0)
    written(data, tmp_path)
    files = data.validation_files(40, tmp_path)
    with imported(tmp_path / "model.py") as module:
        assert torch.equal(module.load_images(*files), validation(data))
        assert tuple("0123456789") == module.CLASS_NAMES


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_cifar_become_what_validation_sees(
    tmp_path: Path, size: int, channels: int
) -> None:
    for seed, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        images = np.random.default_rng(seed).integers(0, 256, (20, 3072), np.uint8)
        batch = {"data": images, "labels": [k % 10 for k in range(20)]}
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    data = build(DataConfig("cifar10", str(tmp_path), image_size=size, channels=channels), 16, 0)
    written(data, tmp_path)
    files = data.validation_files(data.validation_count, tmp_path)
    with imported(tmp_path / "model.py") as module:
        assert torch.equal(module.load_images(*files), validation(data))
        assert module.classify(files[0], top=1)[0][0] in data.class_names


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 80), st.integers(0, 14))
def test_resize_and_crop_are_those_of_torchvision(
    width: int, height: int, crop: int, more: int
) -> None:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(values)
    resize = v2.Resize(crop + more, InterpolationMode.BILINEAR, antialias=True)
    expected = v2.CenterCrop(crop)(resize(image))
    assert np.array_equal(np.asarray(centred(image, crop + more, crop)), np.asarray(expected))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 60), st.sampled_from([1, 3]))
def test_squashing_and_colours_are_those_of_torchvision(
    width: int, height: int, size: int, channels: int
) -> None:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    images = tensor_of(Image.fromarray(values))[None]
    assert torch.equal(images[0], F.pil_to_tensor(Image.fromarray(values)))
    expected = F.rgb_to_grayscale(images) if channels == 1 else images
    expected = F.resize(expected, [size, size], InterpolationMode.BILINEAR, antialias=True)
    assert torch.equal(squashed(recoloured(images, channels), size), expected)


NAMES = (
    "it's",
    'say "a"',
    "back\\slash",
    "two\nlines",
    "naïve ☃ 🐈",
    "'''\"\"\"",
    "$(rm x) `y`",
    " ",
    b"\xff".decode("utf-8", "surrogateescape"),
    "\u2028",
    "{braces}",
)


def test_class_names_are_kept_whatever_they_have(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "images", tuple(name for name in NAMES if name != " "))
    found = data_of(data, 16)
    written(found, tmp_path)
    assert set(found.class_names) == set(NAMES) - {" "}
    assert json.loads(json.dumps(found.describe()))["class_names"] == found.class_names
    with imported(tmp_path / "model.py") as module:
        assert tuple(found.class_names) == module.CLASS_NAMES
        path = found.validation_files(1, tmp_path)[0]
        assert {name for name, _ in module.classify(path, top=100)} == set(found.class_names)


def test_what_cannot_be_read_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    written(data_of(folder, 16), tmp_path)
    (tmp_path / "no.jpg").write_text("no image")
    with imported(tmp_path / "model.py") as module:
        for path, said in (("no.jpg", "of no format that is known"), ("gone.jpg", "No such file")):
            with pytest.raises(ValueError, match=said) as caught:
                module.classify(tmp_path / path)
            assert str(tmp_path / path) in str(caught.value)
            assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match="at least one"):
            module.load_images()


def test_only_files_need_pillow(folder: Path, tmp_path: Path) -> None:
    written(data_of(folder, 16), tmp_path)
    code = f"""
import sys
sys.modules["PIL"] = None
import model, torch
print(model.build(pretrained=True)(model.preprocess(torch.rand(2, 3, 16, 16))).shape)
try:
    model.classify({str(folder / "val" / "cat" / "grey.png")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shape, said = done.stdout.splitlines()
    assert shape == "torch.Size([2, 2])"
    assert said == "image files need Pillow: pip install pillow"
