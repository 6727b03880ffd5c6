"""Which files of a folder are images, and of which class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import resolve
from resnest_search.data.scan import scan
from resnest_search.errors import UserError


def names(root: Path, part: str = "train") -> list[str]:
    return scan(str(root), ["train", "val", "test"]).parts[part].paths


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        resolve(DataConfig(name="image_folder", root=str(root)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_systems_and_tools_leave_is_neither_class_nor_image(write_folders) -> None:
    root = write_folders(train=3, val=1)
    before = names(root)
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden"):
        for folder in (root / "train" / name, root / "train" / "cat" / name):
            folder.mkdir()
            (folder / "1.png").write_bytes(b"")
    for name in ("._1.png", ".1.png"):
        (root / "train" / "cat" / name).write_bytes(b"")
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    (root / "train" / "notes.txt").write_text("no class")
    assert names(root) == before
    assert scan(str(root), ["train", "val"]).classes == ["cat", "dog", "owl"]


def test_each_real_folder_counts_once_and_where_it_lies(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=3, val=2)
    for name in ("cat", "dog"):
        (root / "train" / name / "sub").mkdir()
        (root / "train" / name / "0.JPEG").rename(root / "train" / name / "sub" / "0.JPEG")
    before = names(root), names(root, "val")
    store = tmp_path / "store"
    (store / "more").mkdir(parents=True)
    (store / "outside.png").write_bytes(b"")
    for number, target in enumerate(
        ("..", "../..", "../../..", "/", ".", "../dog", "../dog/sub", "../../val", "../../val/cat")
    ):
        (root / "train" / "cat" / f"link{number}").symlink_to(target)
    (root / "train" / "up").symlink_to("..")
    (root / "train" / "self").symlink_to("self")
    assert (names(root), names(root, "val")) == before
    (store / "more" / "1.png").write_bytes(b"")
    (store / "more" / "back").symlink_to("..")
    for name in ("a", "b"):  # one folder elsewhere, linked twice
        (root / "train" / "owl" / name).symlink_to(store / "more")
    assert sorted(set(names(root)) - set(before[0])) == ["train/owl/a/1.png"]


def test_linked_classes_and_files_are_images_and_two_names_of_one_folder_are_refused(
    write_folders, tmp_path: Path
) -> None:
    root = write_folders(train=3)
    (root / "train" / "owl").rename(tmp_path / "owl")
    (root / "train" / "owl").symlink_to(tmp_path / "owl")
    (root / "train" / "cat" / "link.png").symlink_to("1.png")
    (root / "train" / "cat" / "lost.png").symlink_to("nowhere.png")  # reading will name it
    assert "train/owl/1.png" in names(root)
    assert {"train/cat/link.png", "train/cat/lost.png"} <= set(names(root))
    (root / "train" / "yak").symlink_to("dog")
    assert "train/dog and train/yak are one folder" in refusal(root)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_without_an_image_is_refused_with_what_it_holds(write_folders, part: str) -> None:
    root = write_folders(train=3, val=2)
    for number, path in enumerate((root / part / "dog").iterdir()):
        path.rename(path.with_suffix(".GIF" if number else ".txt"))
    counts = "2 of .gif, 1 of .txt" if part == "train" else "1 of .txt, 1 of .gif"
    message = refusal(root)
    assert f"no image in {part}/dog, which holds {counts}; valid: .jpg, .jpeg" in message or (
        part == "val" and f"no image in {part}/dog, which holds " in message
    )
    for path in (root / part / "dog").iterdir():
        path.unlink()
    assert f"no image in {part}/dog, which holds no file; valid: .jpg" in refusal(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_listed_is_named(write_folders) -> None:
    folder = write_folders(train=3) / "train" / "cat"
    folder.chmod(0)
    try:
        assert f"{str(folder)!r} cannot be listed (Permission denied)" in refusal(folder.parents[1])
    finally:
        folder.chmod(0o755)


def test_each_folder_is_listed_once_and_no_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for number in range(1_000):
            os.close(os.open(folder / f"{number}.png", os.O_CREAT))
    touched: Counter[str] = Counter()
    for function in ("scandir", "stat", "lstat", "open"):
        monkeypatch.setattr(os, function, counting(touched, getattr(os, function)))
    assert len(names(tmp_path)) == 2_000
    assert not [path for path in touched if path.endswith(".png")]
    listed = [path for path in touched if path.startswith("scandir ")]
    assert len(listed) == 3  # train and its classes
    assert all(touched[path] == 1 for path in listed)


def counting(touched: Counter[str], function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(path: Any, *more: Any, **options: Any) -> Any:
        touched[f"{function.__name__} {path}"] += 1
        return function(path, *more, **options)

    return counted
