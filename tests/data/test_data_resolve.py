"""Bad input is refused with one line before anything starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build, resolve
from resnest_search.errors import UserError


def refusal(**values: object) -> str:
    with pytest.raises(UserError) as caught:
        resolve(DataConfig(**values))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": "mnist"}, "data.name=mnist: valid: digits, fashion_mnist"),
        ({"augment": "mirror"}, "data.augment=mirror: valid: none, shift"),
        ({"policy": "auto"}, "data.policy=auto: valid: none, autoaugment, randaugment, trivial"),
        (
            {"augment": "autoaugment", "policy": "randaugment"},
            "data.policy=randaugment: data.augment=autoaugment has its own; valid: autoaugment",
        ),
        ({"randaugment_magnitude": 31}, "data.randaugment_magnitude=31: valid: 0 to 30"),
        ({"erasing": 1.5}, "data.erasing=1.5: valid: 0 to 1"),
        ({"channels": 2}, "data.channels=2: valid: 1, 3"),
        ({"image_size": 0}, "data.image_size=0: valid: a number of at least 1"),
        ({"workers": -1}, "data.workers=-1: valid: a number of at least 0"),
        ({"split_seed": -1}, "data.split_seed=-1: valid: a number of at least 0"),
        ({"mean": [0.1, 0.2], "std": [1.0]}, "data.mean: [0.1, 0.2] has not one value per channel"),
        ({"mean": [0.1]}, "data.std: [] beside data.mean=[0.1]; valid: both or neither"),
        ({"std": [0.1]}, "data.mean: [] beside data.std=[0.1]; valid: both or neither"),
        ({"background": [256]}, "data.background: [256]; valid: one grey from 0 to 255"),
        ({"background": [0, 0]}, "data.background: [0, 0]; valid: one grey from 0 to 255"),
        ({"unreadable": "drop"}, "data.unreadable=drop: valid: refuse, skip"),
        ({"train_images": 9}, "data.train_images: 9 is not possible; digits leaves 10 to"),
        ({"mean": [0.5], "std": [0.0]}, "data.std: [0.0] holds a value that is not above 0"),
        ({"classes": 7}, "data.classes: 7, but digits has 10 classes"),
        ({"train_images": 5000}, "data.train_images: 5000 is not possible; digits leaves 10 to"),
        ({"download": True}, "data.download: true, but digits cannot be downloaded"),
        ({"name": "imagenet"}, "data.root: null; data=imagenet needs a folder with train/"),
    ],
)
def test_bad_values(values: dict[str, object], expected: str) -> None:
    assert refusal(**values).startswith(expected)


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "image_folder", "imagenet"])
def test_bad_roots(name: str, tmp_path: Path) -> None:
    missing, empty = str(tmp_path / "nope"), str(tmp_path)
    assert refusal(name=name, root=missing).startswith(f"data.root: '{missing}' is no folder; ")
    message = refusal(name=name, root=empty)
    assert message.startswith(f"data.root: '{empty}' has no ")
    assert f"data={name} needs" in message


def test_folders_that_do_not_fit(write_folders, tmp_path: Path) -> None:
    root = write_folders(train=4)
    assert "has no val/" in refusal(name="imagenet", root=str(root))
    (root / "val").mkdir()
    assert "has no class folder under val/" in refusal(name="image_folder", root=str(root))
    (root / "val" / "yak").mkdir()
    assert "has val/yak but no train/yak;" in refusal(name="image_folder", root=str(root)) + ";"
    (root / "train" / "cat").rename(root / "train" / "caf\u00e9")
    (root / "val" / "yak").rename(root / "val" / "cafe\u0301")  # as a Mac writes it
    message = refusal(name="image_folder", root=str(root))
    assert message.endswith(" in the same form of Unicode; rename one of them")


def test_nothing_to_learn_is_refused(write_folders) -> None:
    root = write_folders(train=1)
    assert "3 training images of 3 classes" in refusal(name="image_folder", root=str(root))
    for name in ("cat", "dog"):
        shutil.rmtree(root / "train" / name)
    assert "has one class alone, 'owl'" in refusal(name="image_folder", root=str(root))


def test_folders_fill_in_the_classes(write_folders, monkeypatch) -> None:
    root = write_folders(train=4)
    monkeypatch.chdir(root.parent)
    resolved = resolve(DataConfig(name="image_folder", root=root.name))
    assert resolved.classes == 3
    assert resolved.root == str(root)  # absolute: a worker may start elsewhere
    assert "data.classes: 1000, but" in refusal(name="image_folder", root=str(root), classes=1000)


def test_what_is_to_be_downloaded_passes(tmp_path: Path) -> None:
    resolved = resolve(DataConfig(name="cifar10", root=str(tmp_path / "new"), download=True))
    assert resolved.classes == 10
    assert not (tmp_path / "new").exists()


def test_a_download_that_fails_is_a_users_error(tmp_path: Path, monkeypatch) -> None:
    from resnest_search.data import download

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setitem(download._FETCH, "cifar10", (fail, lambda root: None))
    config = DataConfig(name="cifar10", root=str(tmp_path / "new"), download=True)
    with pytest.raises(UserError, match=r"data\.download: cifar10 .* \(no route to host\)"):
        build(config, 8, 0)


def test_resolving_imports_nothing_heavy() -> None:
    program = (
        "import sys; from resnest_search.data import resolve; "
        "from resnest_search.configuration.schema import DataConfig; resolve(DataConfig()); "
        "print([m for m in ('torch', 'numpy', 'sklearn', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
