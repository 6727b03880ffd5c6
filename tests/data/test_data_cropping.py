"""Random crops of files against torchvision's of the decoded image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build, decode
from resnest_search.data.cropping import FileImage, cutting
from resnest_search.data.sources import seeded
from resnest_search.errors import UserError

WHITE = (255,)


def transform(side: int, policy: bool) -> v2.Compose:
    """Torchvision's own."""
    crop = [v2.RandomResizedCrop(side, antialias=True), v2.RandomHorizontalFlip()]
    return v2.Compose([*crop, v2.AutoAugment()] if policy else crop)


def photo(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Clouds of all sizes, as photographs have: amplitude falls with frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = 1
    bands = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / frequency) for _ in "RGB"]
    values = np.stack([band.real for band in bands], -1)
    scaled = 127 + 50 * (values - values.mean()) / values.std()
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert(mode)


def cropped(path: Path, side: int, draws: np.ndarray, channels: int = 3, policy: bool = False):
    """(B, C, S, S) of one file, as training has them."""
    files = [FileImage(str(path), channels, WHITE) for _ in draws]
    return torch.stack(seeded(cutting(transform(side, policy)), files, draws))


def reference(path: Path, side: int, draws: np.ndarray, channels: int = 3, policy: bool = False):
    images = [decode(str(path), channels) for _ in draws]
    results = seeded(transform(side, policy), images, draws)
    return torch.stack([F.pil_to_tensor(image) for image in results])


def differences(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    assert found.shape == expected.shape
    assert found.dtype == torch.uint8
    return (found.int() - expected.int()).abs()


KINDS = ["RGB.jpg", "L.jpg", "CMYK.jpg", "RGB.png", "RGBA.png", "I;16.png"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_crops_are_torchvisions_up_to_rounding(tmp_path: Path, kind: str, channels: int) -> None:
    mode, suffix = kind.split(".")
    image = photo(75, 50, mode) if mode != "I;16" else photo(75, 50, "L").convert("I;16")
    image.save(tmp_path / f"a.{suffix}")
    draws = np.arange(20)
    path = tmp_path / f"a.{suffix}"
    found = cropped(path, 32, draws, channels)
    apart = differences(found, reference(path, 32, draws, channels))
    assert apart.max() <= 1
    assert apart.float().mean() < 0.1
    pixels = FileImage(str(path), channels, WHITE).pixels
    assert torch.equal(pixels, F.pil_to_tensor(decode(str(path), channels)))


@given(
    st.integers(3, 90), st.integers(3, 90), st.integers(1, 40), st.integers(0, 9), st.integers(1, 8)
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_and_orientation(tmp_path: Path, width, height, side, draw, turn) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "a.jpg"
    photo(width, height, seed=draw).save(path, exif=exif)
    draws = np.array([draw])
    found = cropped(path, side, draws)
    shorter = min(width, height)
    apart = differences(found, reference(path, side, draws))
    if shorter < 4 * side:  # of others a crop may be decoded reduced
        assert apart.max() <= 1


@pytest.mark.parametrize("turn", [1, 6])
def test_large_images_are_decoded_reduced_and_differ_by_less_than_one(tmp_path, turn) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "a.jpg"
    photo(903, 604).save(path, quality=90, exif=exif)
    draws = np.arange(12)
    found = cropped(path, 48, draws)
    apart = differences(found, reference(path, 48, draws)).float()
    assert (apart.flatten(1).max(1).values > 1).any(), "none was reduced"
    assert apart.mean() <= 1


def test_policies_follow_the_crop(tmp_path: Path) -> None:
    photo(75, 50).save(tmp_path / "a.jpg")
    draws = np.arange(30)
    found = cropped(tmp_path / "a.jpg", 32, draws, policy=True)
    apart = differences(found, reference(tmp_path / "a.jpg", 32, draws, policy=True)).float()
    assert apart.mean() <= 1


def test_what_does_not_begin_with_a_crop_is_left_to_whole_images() -> None:
    assert cutting(lambda image: image) is None


@pytest.mark.parametrize("kept", [0, 30, 700])
def test_damaged_files_are_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.jpg"
    photo(75, 50).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    for box in ((0, 0, 40, 40), (0, 0, 8, 8)):  # the first would be decoded reduced
        with pytest.raises(UserError, match=r"^data\.root: .*a\.jpg' cannot be read as an image"):
            FileImage(str(path), 3, WHITE).cut(box, 8)


def test_validation_is_pillows_to_the_bit(write_folders) -> None:
    root = write_folders(train=3, val=3)
    config = DataConfig(name="image_folder", root=str(root), image_size=80, augment="resized_crop")
    (batch,) = build(config, 9, 0).val_dataloader()
    paths = sorted((root / "val").glob("*/*"))
    for found, path in zip(batch[0], paths, strict=True):
        image = Image.open(path).convert("RGB")
        image = F.center_crop(F.resize(image, [91], F.InterpolationMode.BILINEAR), [80])
        assert torch.equal((found * 255).round().byte(), F.pil_to_tensor(image))
