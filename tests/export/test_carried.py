"""Classes and preprocessing in every format, compared where the package cannot be imported."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from image_files import data_of, image_folder
from test_classify import validation
from test_source import SMALL, randomised

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import ImageData, build, decode
from resnest_search.errors import UserError
from resnest_search.export.check import BATCH, FILES, Reference, check, doubt, evaluate
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.models.build import build as build_network
from resnest_search.models.build import network_arguments
from resnest_search.variant import Variant

VARIANT = "2s1x64d"
# The smallest network that timm can express: a deep stem and four stages.
DEEP = dataclasses.replace(SMALL, stem="deep", depths=[1] * 4, planes=[16] * 4)
EXACT = [name for name, format in FORMATS.items() if format.exact]
NAMES = ('it\'s "a"', "back\\slash", "two\nlines", "naïve 🐈")


def winner_of(data: ImageData) -> Winner:
    torch.manual_seed(0)
    sizes = {"in_channels": data.channels, "num_classes": data.classes}
    network = randomised(build_network(Variant.parse(VARIANT), DEEP, **sizes))
    arguments = {"variant": VARIANT, **network_arguments(DEEP), **sizes}
    names = tuple(data.class_names)
    return Winner("A network.", arguments, network, data.preprocessing, names, tuple(FORMATS))


def reference_of(data: ImageData, winner: Winner, folder: Path) -> Reference:
    given = folder / "given"
    given.mkdir()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    evaluate(winner.network, data.val_dataloader(), keep=seen)
    return Reference.of(seen, given / "images.npy", data.validation_files(FILES, given), winner)


@dataclasses.dataclass
class Made:
    data: ImageData
    winner: Winner
    reference: Reference
    folder: Path

    def check(self, name: str, **changes: Any) -> dict[str, Any]:
        """Write a format, of another winner where there are changes, and check it."""
        FORMATS["source"].write(self.winner, self.folder)
        shutil.rmtree(self.folder / "timm", ignore_errors=True)
        FORMATS[name].write(dataclasses.replace(self.winner, **changes), self.folder)
        return check(FORMATS[name], self.folder, self.reference)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of image files at 96 pixels, where validation cuts a rim off."""
    folder = tmp_path_factory.mktemp("made")
    data = data_of(image_folder(folder / "images", NAMES), 96)
    winner = winner_of(data)
    return Made(data, winner, reference_of(data, winner, folder), folder)


@pytest.fixture(scope="module")
def checked(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with all formats, and what their checks found."""
    folder = tmp_path_factory.mktemp("checked")
    whole = dataclasses.replace(made, folder=folder)
    return folder, {name: whole.check(name) for name in EXACT}


@pytest.mark.parametrize("name", EXACT)
def test_every_format_carries_what_validation_did(
    checked: tuple[Path, dict[str, Any]], name: str
) -> None:
    facts = checked[1][name]
    assert facts["top1_agreement"] == 1.0
    reads = name in ("source", "timm")
    assert facts.get("files", 0) == (FILES if reads else 0)
    assert facts.get("max_pixel_difference", 0) <= (0 if name == "source" else 1e-3)
    assert facts["busy_percent"] is None or 0 <= facts["busy_percent"] <= 100


@pytest.mark.parametrize("threads", [1, 5])
def test_passes_are_repeated_as_they_were_made(made: Made, tmp_path: Path, threads: int) -> None:
    # Sums are added in another order with other threads or batches: the last bit falls otherwise.
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        reference = reference_of(made.data, made.winner, tmp_path)
    finally:
        torch.set_num_threads(before)
    assert dataclasses.replace(made, reference=reference).check("source")["max_difference"] == 0


READ = {
    "torch_export": """
import torch
extra = {"class_names.json": "", "preprocessing.json": ""}
torch.export.load("model.pt2", extra_files=extra)
names, preprocessing = (json.loads(text) for text in extra.values())
""",
    "onnx": """
import onnx
metadata = {entry.key: entry.value for entry in onnx.load("model.onnx").metadata_props}
names, preprocessing = json.loads(metadata["class_names"]), json.loads(metadata["preprocessing"])
""",
    "timm": """
import timm
names = list(timm.create_model("local-dir:timm", pretrained=True).pretrained_cfg["label_names"])
preprocessing = json.load(open("timm/config.json"))["preprocessing"]
""",
}


@pytest.mark.parametrize("name", READ)
def test_classes_and_preprocessing_are_read_with_the_formats_own_library(
    checked: tuple[Path, dict[str, Any]], name: str
) -> None:
    code = f"import json\n{READ[name]}\nprint(json.dumps([names, preprocessing]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=checked[0],
        capture_output=True,
        text=True,
        check=True,
    )
    names, preprocessing = json.loads(done.stdout)
    assert names == sorted(NAMES)
    assert preprocessing["resized"] == "shorter side"
    assert (preprocessing["resize"], preprocessing["crop"]) == (110, 96)
    assert (preprocessing["interpolation"], preprocessing["antialias"]) == ("bilinear", True)
    assert (preprocessing["mean"], preprocessing["std"]) == ([0.4] * 3, [0.3] * 3)
    assert (preprocessing["colour"], preprocessing["background"]) == ("RGB", [200])


@pytest.mark.parametrize("name", EXACT)
def test_other_class_names_are_noticed(made: Made, name: str) -> None:
    with pytest.raises(UserError, match="has other class_names than the training") as caught:
        made.check(name, class_names=tuple(reversed(made.winner.class_names)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("source", {"resize": 111}, "reads image files otherwise than validation"),
        ("timm", {"resize": 96}, "reads image files otherwise than validation"),
        ("timm", {"resized": "both sides"}, "reads image files otherwise than validation"),
        ("timm", {"crop": 90}, r"makes \(16, 3, 90, 90\) of image files, where validation saw"),
        ("onnx", {"resize": 96}, "has other preprocessing than the training"),
    ],
)
def test_another_preprocessing_is_noticed(
    made: Made, name: str, change: dict[str, Any], said: str
) -> None:
    wrong = dataclasses.replace(made.winner.preprocessing, **change)
    with pytest.raises(UserError, match=said) as caught:
        made.check(name, preprocessing=wrong)
    assert str(caught.value).startswith(f"format={name}: {FORMATS[name].file} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (40, 1)])
@pytest.mark.parametrize("name", ["source", "timm"])
def test_arrays_are_read_from_files_too(
    tmp_path: Path, name: str, size: int, channels: int
) -> None:
    data = build(DataConfig("digits", image_size=size, channels=channels, val_images=40), BATCH, 0)
    winner = winner_of(data)
    reference = reference_of(data, winner, tmp_path)
    FORMATS["source"].write(winner, tmp_path)
    if name != "source":
        FORMATS[name].write(winner, tmp_path)
    facts = check(FORMATS[name], tmp_path, reference)
    resizes = size != 8 and name == "timm"
    assert facts["max_pixel_difference"] <= (3.01 if resizes else 0.0 if name == "source" else 1e-3)


@pytest.mark.parametrize("size", [64, 65, 100])
def test_timm_predicts_on_files_what_the_trained_network_does(
    made: Made, tmp_path: Path, size: int
) -> None:
    data = data_of(made.folder / "images", size)
    winner = winner_of(data)
    FORMATS["timm"].write(winner, tmp_path)
    network = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    files = data.validation_files(data.validation_count, tmp_path)
    images = torch.stack([transform(decode(str(path), 3, (200,))) for path in files])
    with torch.inference_mode():
        found, expected = network(images), winner.network(validation(data))
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_latency_on_a_busy_device_is_doubted() -> None:
    assert doubt({"busy_percent": None}) == doubt({"busy_percent": 9.0}) == ""
    assert "kept the device 42 % busy meanwhile" in doubt({"busy_percent": 41.7})
