"""Every image as its viewers show it, in 8 bits, or refused with its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build, decode
from resnest_search.errors import UserError

SHAPE = (6, 8)


def pixels(path: Path, channels: int = 3, background: tuple[int, ...] = (255,)) -> np.ndarray:
    image = decode(str(path), channels, background)
    assert image.mode == ("L" if channels == 1 else "RGB")
    return np.asarray(image)


def ramp(most: int, kind: str = "uint16") -> np.ndarray:
    return np.linspace(0, most, SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(kind)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_every_viewer(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Against a corner of the upright image: where row 0 and column 0 lie, of the standard."""
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :16] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],  # row 0 is the right side
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).convert("RGB").save(path, exif=exif)
    assert np.abs(pixels(path, 1).astype(int) - upright).max() < 16


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bits_are_scaled_by_257(tmp_path: Path, name: str) -> None:
    values = ramp(65535)
    Image.fromarray(values).save(tmp_path / name)
    assert (pixels(tmp_path / name, 1) == np.rint(values / 257)).all()
    assert (pixels(tmp_path / name)[..., 2] == np.rint(values / 257)).all()


def test_big_endian_and_transparent_16_bits(tmp_path: Path) -> None:
    values = ramp(65535)
    Image.frombytes("I;16B", SHAPE[::-1], values.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    assert (pixels(tmp_path / "a.tif", 1) == np.rint(values / 257)).all()
    Image.fromarray(values).save(tmp_path / "a.png", transparency=0)
    found = pixels(tmp_path / "a.png", 1)
    assert found[0, 0] == 255
    assert (found.ravel()[1:] == np.rint(values / 257).ravel()[1:]).all()


def test_12_bits_that_a_file_calls_16_are_dark_but_whole(tmp_path: Path) -> None:
    Image.fromarray(ramp(4095)).save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png", 1) == np.rint(ramp(4095) / 257)).all()


def test_floats_are_taken_for_0_to_1_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = ramp(1, "float32")
    Image.fromarray(values).save(path)
    assert (pixels(path, 1) == np.rint(values * 255)).all()
    for bad in (values * 2, values - 0.1, values * np.nan):
        Image.fromarray(bad.astype("float32")).save(path)
        with pytest.raises(UserError, match=r"^data\.root: .*a\.tif' cannot .*from 0 to 1\)$"):
            decode(str(path))


def test_32_bit_integers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(ramp(70_000, "int32")).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif' cannot be read .*range is not known"):
        decode(str(tmp_path / "a.tif"))


def saved_transparent(path: Path, mode: str) -> None:
    """Black on the left half, nothing on the right."""
    alpha = np.zeros(SHAPE, np.uint8)
    alpha[:, :4] = 255
    black = np.zeros((*SHAPE, 3), np.uint8)
    if mode in ("RGBA", "LA"):
        grey = [np.zeros_like(alpha)] * (len(mode) - 1)
        Image.fromarray(np.dstack([*grey, alpha])).save(path)
    elif mode.startswith("P"):
        image = Image.fromarray((alpha == 0).astype(np.uint8)).convert("P")
        image.putpalette([0] * 6)
        image.save(path, transparency=1 if mode == "P" else bytes([255, 0]))
    else:
        black[:, 4:] = 7
        colour = 7 if mode == "L" else (7, 7, 7)
        Image.fromarray(black).convert(mode).save(path, transparency=colour)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P with bytes", "RGB", "L"])
def test_transparency_lies_on_the_background(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    saved_transparent(path, mode)
    for channels, background in ((3, (255,)), (1, (255,)), (1, (9,)), (3, (1, 2, 3))):
        found = pixels(path, channels, background)
        assert (found[:, :4] == 0).all()
        assert (found[:, 4:] == (background if len(background) > 1 else background[0])).all()


def test_half_transparent_is_half_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 100, 200, 128)).save(tmp_path / "a.png")
    assert (np.abs(pixels(tmp_path / "a.png") - np.array([127, 177, 227.0])) <= 1).all()


@pytest.mark.parametrize(("mode", "suffix"), [("1", "png"), ("CMYK", "jpg"), ("YCbCr", "tif")])
def test_other_modes_are_converted(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (16, 16), "white").convert(mode).save(path)
    try:
        Image.open(path).load()
    except OSError:
        pytest.skip("Pillow before 13 cannot read the YCbCr TIFF that it wrote")
    assert (pixels(path) > 250).all()


def test_lab_is_refused_whatever_pillow_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("LAB", (16, 16), (120, 200, 60)).save(path)
    with pytest.raises(UserError, match="of mode LAB, whose colours have no one conversion"):
        decode(str(path))


def test_damaged_files_are_named_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2], whole[:40], whole[:200]):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            decode(str(path))
        assert str(caught.value).startswith(f"data.root: '{path}' cannot be read as an image (")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("augment", ["none", "resized_crop"])
def test_training_and_validation_see_the_background(tmp_path: Path, augment: str) -> None:
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / part / name / "1.png")
    config = DataConfig(
        name="image_folder", root=str(tmp_path), image_size=8, augment=augment, background=[51]
    )
    data = build(config, 2, 0)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert (next(iter(loader))[0] - 0.2).abs().max() < 1e-6
