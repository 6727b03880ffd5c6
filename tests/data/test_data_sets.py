"""Each data set from small local files in its real format."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build
from resnest_search.data.module import ImageData
from resnest_search.data.scan import scan
from resnest_search.errors import UserError


def counts(data: ImageData) -> tuple[int, int, int]:
    return data.train_count, data.validation_count, data.test_count


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = build(DataConfig(channels=1, val_images=360, test_images=360), 64, 0)
    assert counts(data) == (1077, 360, 360)
    assert data.class_names == [str(k) for k in range(10)]
    images, labels = map(torch.cat, zip(*data.val_dataloader(), strict=True))
    digits = load_digits()
    assert (labels.numpy() == digits.target[data.validation_indices]).all()
    expected = digits.images[data.validation_indices] / 16
    assert np.abs(images[:, 0].numpy() - expected).max() < 0.5 / 255 + 1e-6


def test_cifar10_reads_folder_tar_and_the_folder_itself_alike(cifar_folder, cifar_tar) -> None:
    roots = (cifar_folder, cifar_folder / "cifar-10-batches-py", cifar_tar)
    built = [
        build(DataConfig(name="cifar10", root=str(root), image_size=32, val_images=20), 16, 0)
        for root in roots
    ]
    assert [counts(data) for data in built] == [(80, 20, 20)] * 3
    first, *others = ([*next(iter(data.test_dataloader()))] for data in built)
    raw = pickle.loads((roots[1] / "test_batch").read_bytes(), encoding="latin1")
    pixels = first[0].flatten(1).mul(255).round().byte().numpy()
    assert (pixels == raw["data"][:16]).all()
    for other in others:
        assert torch.equal(first[0], other[0])
        assert torch.equal(first[1], other[1])


def test_cifar10_reads_jpeg_streams(cifar_npz) -> None:
    config = DataConfig(name="cifar10", root=str(cifar_npz), image_size=32, val_images=10)
    data = build(config, 20, 0)
    assert counts(data) == (90, 10, 20)
    images, labels = next(iter(data.test_dataloader()))
    assert labels.tolist() == [k % 10 for k in range(100, 120)]
    values = torch.arange(200, 240, 2) / 255  # each stream is of one grey
    assert torch.allclose(images.mean((1, 2, 3)), values, atol=2 / 255)


def test_a_pickle_that_is_no_array_is_not_run(cifar_folder, tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    (cifar_folder / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"data\.root: .* cannot be read as CIFAR-10"):
        build(DataConfig(name="cifar10", root=str(cifar_folder), image_size=32), 8, 0)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("under", "gzipped"), [("f/FashionMNIST/raw", False), ("f", True), ("f", False)]
)
def test_fashion_mnist_reads_idx_files(write_fashion, tmp_path, under, gzipped) -> None:
    write_fashion(under, gzipped)
    config = DataConfig(
        name="fashion_mnist", root=str(tmp_path / "f"), channels=1, image_size=28, val_images=10
    )
    data = build(config, 20, 0)
    assert counts(data) == (50, 10, 20)
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (20, 1, 28, 28)
    assert labels.tolist() == [k % 10 for k in range(20)]
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    assert (images[:, 0].mul(255).round().byte().numpy() == pixels).all()


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", b"no idx file at all", b"\0\0\x08\x01\0\0\0\x09"]
)
def test_a_broken_idx_file_is_refused(write_fashion, content) -> None:
    root = write_fashion("f", False)
    (root / "train-labels-idx1-ubyte").write_bytes(content)
    config = DataConfig(name="fashion_mnist", root=str(root), channels=1, image_size=28)
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte' cannot be read"):
        build(config, 8, 0)


def test_image_folder_with_and_without_parts_of_its_own(write_folders) -> None:
    root = write_folders(train=10, val=4, test=3)
    config = DataConfig(name="image_folder", root=str(root), image_size=16)
    data = build(config, 8, 0)
    assert counts(data) == (30, 12, 9)
    assert data.class_names == ["cat", "dog", "owl"]
    assert data.describe()["sources"]["validation"] == "validation"
    held_out = build(DataConfig(**{**vars(config), "val_images": 6, "test_images": 3}), 8, 0)
    assert counts(held_out) == (24, 6, 3)
    assert held_out.describe()["sources"]["validation"] == "train"


def test_imagenets_own_validation_images_are_the_test_set(write_folders) -> None:
    root = write_folders(train=10, val=4)
    data = build(DataConfig(name="imagenet", root=str(root), image_size=16, val_images=3), 8, 0)
    assert counts(data) == (27, 3, 12)
    assert data.describe()["sources"] == {"train": "train", "validation": "train", "test": "test"}


def test_folders_are_listed_in_torchvisions_order(write_folders) -> None:
    root = write_folders(train=11)
    (root / "train" / "cat" / "more").mkdir()
    (root / "train" / "cat" / "1.png").rename(root / "train" / "cat" / "more" / "1.PNG")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    reference = ImageFolder(str(root / "train"))
    listing = scan(str(root), ["train"])
    assert listing.classes == reference.classes
    train = listing.parts["train"]
    paths = [str(root / path) for path in train.paths]
    assert list(zip(paths, train.labels, strict=True)) == reference.samples


@pytest.mark.parametrize("size", [16, 80])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", ["none", "shift", "crop_flip", "resized_crop", "autoaugment"])
def test_folders_of_odd_shapes_become_squares(write_folders, size, channels, augment) -> None:
    config = DataConfig(
        name="image_folder",
        root=str(write_folders(train=5)),
        image_size=size,
        channels=channels,
        augment=augment,
    )
    data = build(config, 4, 0)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        images, labels = next(iter(loader))
        assert images.shape[1:] == (channels, size, size)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_no_image_is_named_in_one_line(write_folders, workers) -> None:
    root = write_folders(train=5)
    (root / "train" / "owl" / "0.JPEG").write_text("no image")
    config = DataConfig(name="image_folder", root=str(root), image_size=8, workers=workers)
    data = build(config, 14, 0)
    with pytest.raises(UserError, match=r"^data\.root: .*0\.JPEG' cannot be read .*\)$"):
        list(data.train_dataloader())


def test_memory_images_are_resized_and_recoloured(cifar_folder) -> None:
    digits = build(DataConfig(channels=3, image_size=16), 8, 0)
    images, _ = next(iter(digits.val_dataloader()))
    assert images.shape == (8, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])
    cifar = DataConfig(name="cifar10", root=str(cifar_folder), channels=1, image_size=24)
    assert next(iter(build(cifar, 8, 0).val_dataloader()))[0].shape == (8, 1, 24, 24)


def test_normalisation_is_per_channel() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    plain = next(iter(build(DataConfig(), 8, 0).val_dataloader()))[0]
    scaled = next(iter(build(DataConfig(mean=mean, std=std), 8, 0).val_dataloader()))[0]
    expected = (plain - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(scaled, expected, atol=1e-6)


def test_the_description_is_plain_and_free_of_paths(write_folders) -> None:
    root = write_folders(train=10, test=2)
    data = build(DataConfig(name="image_folder", root=str(root), image_size=8), 8, 0)
    text = json.dumps(data.describe())
    assert str(root) not in text
    assert data.describe()["counts"] == {"train": 27, "validation": 3, "test": 6}
    again = build(DataConfig(name="image_folder", root=str(root), image_size=8), 4, 1)
    assert again.describe() == data.describe()  # neither batch size nor seed moves the split
    other = build(DataConfig(name="image_folder", root=str(root), image_size=8, split_seed=1), 8, 0)
    assert other.describe()["sha256"]["validation"] != data.describe()["sha256"]["validation"]
