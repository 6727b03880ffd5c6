"""Images that are kept are those of the files, to the bit; what goes wrong costs time alone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import ImageData, build, keeping, resolve, sharing
from resnest_search.data.folders import FolderImages
from resnest_search.errors import UserError


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Shared memory and caches of this test alone."""
    monkeypatch.setattr(sharing, "SHARED", tmp_path / "shm")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    sharing.release()


def images(root: Path, cache: str, **values) -> ImageData:
    values = {"augment": "resized_crop", "image_size": 16, **values}
    config = DataConfig(name="image_folder", root=str(root), cache=cache, **values)
    return build(config, 6, 0)


def batches(data: ImageData) -> list[torch.Tensor]:
    """Of the second epoch, and of validation."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)
    return [tensor for source in (loader, data.val_dataloader()) for tensor, _ in source]


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def kept_files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if len(path.name) == 32 and path.is_file()]


def refuse_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FolderImages, position: int) -> torch.Tensor:
        raise AssertionError("it decodes")

    monkeypatch.setattr(FolderImages, "_pixels", refuse)
    monkeypatch.setattr(FolderImages, "_centred", refuse)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("values", [{}, {"channels": 1, "shrink": 18}, {"augment": "shift"}])
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_batches_are_those_of_the_files(
    write_folders, monkeypatch, cache: str, values: dict, workers: int
) -> None:
    root = write_folders(train=8, val=2)
    expected = batches(images(root, "none", **values))
    assert same(batches(images(root, cache, **values, workers=workers)), expected)
    refuse_decoding(monkeypatch)
    again = images(root, cache, **values, workers=workers)
    assert same(batches(again), expected)
    assert again.uncached == ""


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_written_image_is_decoded_again(write_folders, cache: str) -> None:
    root = write_folders(train=4, val=2)
    before = batches(images(root, cache))
    path = root / "train" / "cat" / "1.png"
    size, times = path.stat().st_size, path.stat()
    pixels = 255 - np.asarray(Image.open(path))
    Image.fromarray(pixels).save(path)
    os.truncate(path, max(size, path.stat().st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    data = images(root, cache)
    assert same(batches(data), batches(images(root, "none")))
    assert not same(batches(data), before)
    assert data.uncached == "data.cache: what was kept is made anew: it is of other images"


@pytest.mark.parametrize("damage", ["cut", "emptied", "table"])
def test_a_damaged_file_is_made_anew(write_folders, tmp_path: Path, damage: str) -> None:
    root = write_folders(train=4, val=2)
    expected = batches(images(root, "disk"))
    for path in kept_files(tmp_path):
        content = path.read_bytes()
        bad = {"cut": content[:-9], "emptied": b"", "table": content[:-1] + b"\7"}[damage]
        path.write_bytes(bad)
    data = images(root, "disk")
    assert same(batches(data), expected)
    assert data.uncached.startswith("data.cache: what was kept is made anew: ")
    assert images(root, "disk").uncached == ""


def test_damaged_pixels_are_decoded_again(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=4, val=2)
    expected = batches(images(root, "disk"))
    for path in kept_files(tmp_path):
        content = bytearray(path.read_bytes())
        content[300] ^= 1
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"^data\.cache: '.*' is damaged"):
        assert same(batches(images(root, "disk")), expected)
    assert same(batches(images(root, "disk")), expected)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_without_room_images_are_decoded(write_folders, tmp_path, monkeypatch, cache) -> None:
    root = write_folders(train=4, val=2)
    monkeypatch.setattr(keeping, "_LEFT", 1.0)
    data = images(root, cache)
    assert same(batches(data), batches(images(root, "none")))
    assert data.uncached.startswith(f"data.cache: {cache} keeps no images (they take 0 MiB, more")
    assert not kept_files(tmp_path)
    assert not list(tmp_path.rglob(".*.*"))


def test_a_folder_that_cannot_be_made_is_done_without(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=4, val=2)
    (tmp_path / "cache").write_text("a file")
    data = images(root, "disk")
    assert same(batches(data), batches(images(root, "none")))
    assert "disk keeps no images (Not a directory)" in data.uncached


def test_bad_images_are_named(write_folders) -> None:
    root = write_folders(train=4, val=2)
    (root / "train" / "cat" / "0.JPEG").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^data\.root: .*0\.JPEG' cannot be read as an image"):
        batches(images(root, "disk"))


def kept_by(where: str, files: list[str], log: Path, ready: Callable[[], object]) -> None:
    """In a process of its own: keep the files, noting each that is decoded."""

    def read(position: int) -> torch.Tensor:
        with log.open("a") as file:
            file.write(f"{position}\n")
        return torch.full((3, 4, 5), position, dtype=torch.uint8)

    kept, line = keeping.keep(where, ["a test"], files, read)
    assert kept is not None, line
    assert [int(kept[place].max()) for place in range(len(files))] == list(range(len(files)))
    ready()


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_several_processes_write_once_and_the_last_clears_memory(tmp_path: Path, where) -> None:
    files = [str(tmp_path / str(number)) for number in range(50)]
    log, context = tmp_path / "log", multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [
        context.Process(target=kept_by, args=(where, files, log, barrier.wait)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    barrier.wait(30)  # all have opened it
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert sorted(map(int, log.read_text().split())) == list(range(50))
    assert len(kept_files(tmp_path)) == 1
    sharing.release()
    assert len(kept_files(tmp_path)) == (1 if where == "disk" else 0)


def test_memory_in_use_is_not_given_back(tmp_path: Path) -> None:
    files = [str(tmp_path / "a")]
    context = multiprocessing.get_context("fork")
    opened, done = context.Event(), context.Event()

    def hold() -> None:
        opened.set()
        done.wait(30)

    process = context.Process(target=kept_by, args=("ram", files, tmp_path / "log", hold))
    process.start()
    assert opened.wait(30)
    sharing.release()
    assert len(kept_files(tmp_path)) == 1
    done.set()
    process.join(30)
    process.kill()
    sharing.release()
    assert not kept_files(tmp_path)


def test_shrinking_below_the_networks_size_is_refused(write_folders) -> None:
    root = str(write_folders(train=4))
    config = DataConfig(name="image_folder", root=root, image_size=16, shrink=15)
    with pytest.raises(UserError, match=r"^data\.shrink: 15 is less than data\.image_size=16; "):
        resolve(config)


def test_shrunk_images_keep_their_shape(write_folders, tmp_path: Path) -> None:
    from resnest_search.data.cropping import FileImage

    path = tmp_path / "a.jpg"
    Image.new("RGB", (400, 300), (10, 200, 30)).save(path)
    for shrink, expected in ((None, (400, 300)), (300, (400, 300)), (30, (40, 30))):
        image = FileImage(str(path), 3, (255,), shrink)
        assert image.size == expected
        assert image.pixels.shape == (3, expected[1], expected[0])
        assert (image.pixels.float().mean((1, 2)) - torch.tensor([10, 200, 30])).abs().max() < 2
