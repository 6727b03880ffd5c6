"""What the images are, and that each is read before anything is measured."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build, digest, resolve
from resnest_search.data.digest import ImageSet, difference
from resnest_search.data.reading import current_set, read_images
from resnest_search.errors import UserError


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered lies in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Told:
    """Counts how often files were read, by what a progress line is told."""

    def __init__(self) -> None:
        self.files = 0

    def __call__(self, done: int, total: int) -> None:
        assert done <= total
        self.files += total if done == total else 0


def config_of(root: Path, **values: object) -> DataConfig:
    return resolve(DataConfig(name="image_folder", root=str(root), image_size=8, **values))


def taken(root: Path) -> ImageSet:
    return current_set(config_of(root))


def test_a_copied_moved_or_touched_folder_is_the_same_set(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=4, val=2)
    shutil.rmtree(root / "val")  # which holds images of train/
    first = taken(root)
    shutil.copytree(root, tmp_path / "copy")
    os.utime(root / "train" / "cat" / "0.JPEG", (1, 1))
    assert taken(tmp_path / "copy") == taken(root) == first
    root.rename(tmp_path / "moved")
    assert taken(tmp_path / "moved") == first
    assert first.doubts == ()


@pytest.mark.parametrize("whole", [True, False])
def test_any_change_is_another_set_and_is_told(
    write_folders, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    if not whole:
        monkeypatch.setattr(digest, "WHOLE_FILES", 1)
    root = write_folders(train=4, val=2)
    first = taken(root)
    cat, new = root / "val" / "cat" / "0.JPEG", root / "val" / "cat" / "new.png"

    def differs() -> str:
        found = taken(root)
        assert found.digest != first.digest
        return difference(first.groups, found.groups)

    Image.new("RGB", (3, 3)).save(new)
    assert differs() == "1 more: val/cat 2 -> 3"
    new.unlink()
    content = bytearray(cat.read_bytes())
    status = cat.stat()
    content[-1] ^= 1  # of the same size, and the time put back
    cat.write_bytes(bytes(content))
    os.utime(cat, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert differs() == "1 folders changed: val/cat has other content"
    cat.unlink()
    assert differs() == "1 fewer: val/cat 2 -> 1"
    for old, now in (("cat", "x"), ("owl", "cat"), ("x", "owl")):
        (root / "train" / old).rename(root / "train" / now)
    assert "train/cat has other content" in differs()


def test_it_is_remembered_until_a_file_changes(write_folders) -> None:
    root = write_folders(train=4)
    for expected in (24, 0):  # each of 12 files for the digest and, all being used, for the pass
        told = Told()
        read_images(config_of(root), told)
        assert told.files == expected
    os.utime(root / "train" / "cat" / "0.JPEG", (1, 1))
    told = Told()
    read_images(config_of(root), told)
    assert told.files == 12  # of the same content, which was read


def test_a_memory_that_cannot_be_written_or_is_damaged_costs_time_alone(
    write_folders, memory: Path
) -> None:
    root = write_folders(train=4)
    first = taken(root)
    for path in memory.rglob("*.json"):
        path.write_text("{")
    assert taken(root) == first
    shutil.rmtree(memory)
    memory.write_text("no folder")
    assert read_images(config_of(root, val_images=3), Told())[1] == first


def spoil(root: Path) -> list[str]:
    """A truncated, an empty and a lost file; returns their paths below the root."""
    cat = root / "train" / "cat"
    (cat / "1.png").write_bytes((cat / "1.png").read_bytes()[:100])
    (root / "val" / "dog" / "0.JPEG").write_bytes(b"")
    (cat / "9.png").symlink_to("nowhere.png")
    return ["train/cat/1.png", "train/cat/9.png", "val/dog/0.JPEG"]


def test_unreadable_images_are_refused_by_name(write_folders) -> None:
    root = write_folders(train=4, val=2)
    names = spoil(root)
    with pytest.raises(UserError) as caught:
        read_images(config_of(root), Told())
    message = str(caught.value)
    assert message.startswith("data.root: 3 images, ")
    assert all(repr(str(root / name)) in message for name in names)
    assert "(the file is empty)" in message
    assert "(No such file or directory)" in message
    assert "data.unreadable=skip" in message
    assert "\n" not in message


def test_or_they_are_skipped_counted_and_left_out_of_training(write_folders) -> None:
    root = write_folders(train=4, val=2)
    names = spoil(root)
    config, found = read_images(config_of(root, unreadable="skip"), Told())
    assert sorted(config.skip) == names
    assert found.digest == taken(root).digest
    assert found.doubts[-1].startswith("data.skip: 3 images left out, such as train/cat/1.png")
    data = build(config, 4, 0)
    assert (data.train_count, data.validation_count) == (11, 5)
    assert sum(len(labels) for _, labels in data.train_dataloader()) >= 8
    for path in (root / "val" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no image in val/dog"):
        read_images(config_of(root, unreadable="skip"), Told())


def test_without_the_pass_and_outside_the_split_nothing_is_read(write_folders) -> None:
    root = write_folders(train=4, val=2)
    spoil(root)
    read_images(config_of(root, check=False), Told())
    (root / "val" / "dog" / "0.JPEG").unlink()
    config = config_of(root, train_images=3, val_images=3)  # of train/, 6 of 13
    data = build(config, 4, 0)
    chosen = {*data.train_indices, *data.validation_indices}
    if not chosen & {1, 4}:  # in the order of the files
        read_images(config, Told())


def test_images_that_come_or_go_while_a_sweep_trains_end_its_trials(write_folders) -> None:
    """Listed anew they would be split in another way: what was trained on would be validated on."""
    root = write_folders(train=4)
    spoil_one = root / "train" / "cat" / "1.png"
    spoil_one.write_bytes(b"")
    config, found = read_images(config_of(root, unreadable="skip", val_images=3), Told())
    begun = build(config, 4, 0, found.digest, (), found.names)
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    again = build(config, 4, 0, found.digest, (), found.names)
    assert list(again.validation_indices) == list(begun.validation_indices)
    new = root / "train" / "cat" / "00.png"
    shutil.copy(root / "train" / "cat" / "0.JPEG", new)
    with pytest.raises(UserError, match=r"^data\.root: .* come or gone since the sweep began"):
        build(config, 4, 0, found.digest, (), found.names)
    build(config, 4, 0)  # whoever names no sweep has what lies there
    new.unlink()
    build(config, 4, 0, found.digest, (), found.names)


@pytest.mark.parametrize("name", ["valid", "Val", "testing"])
def test_a_folder_of_the_same_classes_under_another_name_is_told(write_folders, name: str) -> None:
    root = write_folders(train=4)
    (root / "masks").mkdir()
    assert read_images(config_of(root, val_images=3), Told())[1].doubts == ()
    shutil.copytree(root / "train" / "cat", root / name / "cat")
    (line,) = read_images(config_of(root, val_images=3), Told())[1].doubts
    assert line == f"data.root: {name}/ is not used; validation images are those of val/"


def test_copies_between_parts_and_classes_are_told(write_folders) -> None:
    root = write_folders(train=4)
    (root / "val" / "cat").mkdir(parents=True)
    shutil.copy(root / "train" / "cat" / "1.png", root / "val" / "cat" / "copy.png")
    shutil.copy(root / "train" / "cat" / "3.png", root / "train" / "dog" / "copy.png")
    assert sorted(taken(root).doubts) == [
        "data.root: 1 image of train/ in two classes, such as train/dog/copy.png, "
        "which is train/cat/3.png",
        "data.root: 1 image of val/ in train/, too, such as val/cat/copy.png, "
        "which is train/cat/1.png",
    ]


def test_what_is_passed_over_and_what_is_absent_is_told(write_folders) -> None:
    root = write_folders(train=4)
    (root / "train" / "cat" / "1.png").rename(root / "train" / "cat" / "1.gif")
    (root / "train" / "cat" / "notes.txt").write_text("no image to anybody")
    for name, colour in (("dog", "red"), ("owl", "blue")):
        (root / "val" / name).mkdir(parents=True)
        Image.new("RGB", (3, 3), colour).save(root / "val" / name / "1.png")
    assert read_images(config_of(root), Told())[1].doubts == (
        "data.root: 1 file of .gif in train/ left out",
        "data.root: val/ lacks 1 of 3 classes: cat",
    )


def test_fixed_sets_stand_on_their_content(
    cifar_folder: Path, cifar_tar: Path, write_fashion
) -> None:
    def of(name: str, root: Path) -> str:
        return current_set(DataConfig(name=name, root=str(root))).digest

    assert of("cifar10", cifar_folder) == of("cifar10", cifar_tar)
    before = of("cifar10", cifar_folder)
    batch = cifar_folder / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:-1] + b"\0")
    assert of("cifar10", cifar_folder) != before
    plain, packed = write_fashion("plain", False), write_fashion("packed", True)
    assert of("fashion_mnist", plain) == of("fashion_mnist", packed)
    labels = packed / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(gzip.decompress(labels.read_bytes())[:-1]))
    assert of("fashion_mnist", plain) != of("fashion_mnist", packed)
    config = DataConfig(name="fashion_mnist", root=str(packed), channels=1, image_size=28)
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz' cannot be read"):
        read_images(config, Told())
    assert of("digits", Path()) == of("digits", Path("elsewhere"))


def test_the_description_stands_on_the_digest(write_folders) -> None:
    config = replace(config_of(write_folders(train=4)), check=False)
    without, one, two = (
        build(config, 4, 0, images).describe()["sha256"] for images in (None, "00" * 32, "11" * 32)
    )
    assert len({part["validation"] for part in (without, one, two)}) == 3


def test_reading_needs_neither_torch_nor_torchvision(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=4)
    program = (
        "import sys; from resnest_search.data.reading import read_images; "
        "from resnest_search.configuration.schema import DataConfig; "
        f"read_images(DataConfig(name='image_folder', root={str(root)!r}), lambda *_: None); "
        "print([m for m in ('torch', 'torchvision', 'sklearn') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr
