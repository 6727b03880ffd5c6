"""The generated ``model.py``: the package's network, word for word."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from resnest_search.configuration.schema import ModelConfig
from resnest_search.data.augment import Augment
from resnest_search.data.loading import BatchLoader, ImageBatches
from resnest_search.data.preprocessing import SHORTER, Preprocessing, shorter_side
from resnest_search.data.sampling import EvaluationSampler
from resnest_search.data.sources import MemoryImages
from resnest_search.export.formats.source import model_source
from resnest_search.models.build import build, network_arguments
from resnest_search.variant import Variant

ROOT = Path(__file__).parents[2]
SMALL = ModelConfig(stem_width=8, depths=[1, 1], planes=[16, 32])
RESNEST50 = ModelConfig(**yaml.safe_load((ROOT / "conf" / "model" / "resnest50.yaml").read_text()))


def source(
    variant: str, model: ModelConfig, channels: int, classes: int, with_archive: bool = False
) -> str:
    arguments = {"variant": variant, **network_arguments(model)}
    arguments |= {"in_channels": channels, "num_classes": classes}
    names = [str(label) for label in range(classes)]
    seen = preprocessing(channels, [0.5] * channels, [0.25] * channels)
    return model_source("A network.", arguments, seen, names, with_archive=with_archive)


def preprocessing(
    channels: int = 3, mean: Sequence[float] = (), std: Sequence[float] = (), size: int = 8
) -> Preprocessing:
    """Of an image folder."""
    return Preprocessing(
        channels, channels, (255,), SHORTER, shorter_side(size), size, tuple(mean), tuple(std)
    )


@contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("exported_for_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def randomised(network: nn.Module) -> nn.Module:
    """Norms as after a training: fresh ones would hide whole branches behind a zero gamma."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(
    ("variant", "model", "channels", "classes", "size"),
    [
        ("0s1x64d", SMALL, 1, 10, 8),
        ("0s1x64d", dataclasses.replace(SMALL, radix0="avd"), 1, 10, 8),
        ("1s2x40d", SMALL, 3, 7, 16),
        ("4s1x64d", dataclasses.replace(SMALL, avd_first=False, dropout=0.2), 3, 7, 16),
        ("2s1x64d", RESNEST50, 3, 1000, 64),
    ],
)
def test_generated_network_is_the_packages(
    tmp_path: Path, variant: str, model: ModelConfig, channels: int, classes: int, size: int
) -> None:
    path = tmp_path / "model.py"
    path.write_text(source(variant, model, channels, classes))
    torch.manual_seed(0)
    ours = randomised(
        build(Variant.parse(variant), model, in_channels=channels, num_classes=classes)
    )
    torch.save(ours.state_dict(), tmp_path / "weights.pt")
    images = torch.randn(2, channels, size, size)
    with imported(path) as module:
        theirs = module.build(pretrained=True).eval()
        fresh = module.build()
        changed = module.build(num_classes=3)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert str(theirs) == str(ours)
    with torch.inference_mode():
        assert torch.equal(theirs(images), ours(images))
        assert not torch.equal(fresh.eval()(images), ours(images))
        assert changed.eval()(images).shape == (2, 3)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*TorchScript")
@pytest.mark.parametrize("variant", ["0s1x64d", "1s1x64d", "2s2x40d"])
@pytest.mark.parametrize("dropblock", [0.0, 0.1])
def test_generated_network_is_scripted_and_traced(
    tmp_path: Path, variant: str, dropblock: float
) -> None:
    path = tmp_path / "model.py"
    path.write_text(source(variant, dataclasses.replace(SMALL, dropblock=dropblock), 3, 10))
    images = torch.randn(4, 3, 16, 16)
    with imported(path) as module, torch.inference_mode():
        network = randomised(module.build())
        maps = network.features()
        torch.jit.save(torch.jit.script(network), tmp_path / "scripted.pt")
        scripted = torch.jit.load(tmp_path / "scripted.pt")
        assert torch.equal(scripted(images), network(images))
        assert scripted.train()(images).shape == (4, 10)
        assert torch.equal(torch.jit.trace(network, images[:2])(images), network(images))
        found, expected = torch.jit.script(maps)(images), maps(images)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_generated_file_names_no_package_but_torch_and_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(source("2s2x40d", SMALL, 3, 10, with_archive=True))
    imports = {
        line.split()[1].split(".")[0]
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imports - set(sys.stdlib_module_names) == {"torch"}
    rules = str(ROOT / "pyproject.toml")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", "--config", rules, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_generated_file_passes_a_strict_type_checker(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "model.py").write_text(source("2s2x40d", SMALL, 3, 10, with_archive=True))
    cache = pytestconfig.cache.mkdir("mypy_of_exported")  # torch's types take a while to read
    words = ["--strict", "--config-file=", "--cache-dir", str(cache), "model.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_preprocessing_is_that_of_training(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(source("2s1x64d", SMALL, 3, 10))
    images = torch.rand(2, 3, 8, 8)
    with imported(path) as module:
        assert torch.allclose(module.preprocess(images), (images - 0.5) / 0.25, atol=1e-6)
    path.write_text(model_source("Raw.", {"variant": "2s1x64d"}, preprocessing(), ["a"]))
    with imported(path) as module:
        assert torch.allclose(module.preprocess(images), images)


@pytest.mark.parametrize("mean", [[], [0.4], [0.5, 0.4, 0.3]])
@pytest.mark.parametrize("std", [[], [0.2], [0.3, 0.2, 0.1]])
def test_preprocessing_is_that_of_training_to_the_last_bit(
    tmp_path: Path, mean: list[float], std: list[float]
) -> None:
    """Of bytes and of the floats that they make, also where one of mean and std is given."""
    seen = preprocessing(3, mean, std)
    (tmp_path / "model.py").write_text(model_source("A.", {"variant": "2s1x64d"}, seen, ["a"]))
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    batches = ImageBatches(MemoryImages(images), np.zeros(2, np.int64), mean, std, Augment())
    ((trained, _),) = BatchLoader(batches, EvaluationSampler(2, 2), workers=0)
    with imported(tmp_path / "model.py") as module:
        assert torch.equal(module.preprocess(images), trained)
        assert torch.equal(module.preprocess(images.float() / 255), trained)
        assert torch.equal(module.preprocess(images[0]), trained[:1])


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), TypeError, "not torch.int64"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), TypeError, "not torch.bool"),
        ([[1.0]], TypeError, "not list"),
        (torch.full((1, 3, 4, 4), 255.0), ValueError, "not of 255 to 255"),
        (torch.full((1, 3, 4, 4), -0.5), ValueError, "not of -0.5 to -0.5"),
        (torch.full((1, 3, 4, 4), torch.nan), ValueError, "not of nan"),
        (torch.zeros(1, 1, 4, 4), ValueError, "3 channels (RGB), not (1, 1, 4, 4)"),
        (torch.zeros(4, 4), ValueError, "not (4, 4)"),
    ],
)
def test_what_is_no_image_is_not_normalised(
    tmp_path: Path, images: torch.Tensor, error: type[Exception], said: str
) -> None:
    path = tmp_path / "model.py"
    path.write_text(source("2s1x64d", SMALL, 3, 10))
    with imported(path) as module, pytest.raises(error) as caught:
        module.preprocess(images)
    assert said in str(caught.value)
