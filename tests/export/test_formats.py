"""Every format of the export, used from an empty directory by a process without the package."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run as run_command
from finished_run import COMPLETE
from PIL import Image
from test_best import contents
from test_source import imported, randomised
from torch import nn

from resnest_search.configuration.schema import DataConfig, ModelConfig
from resnest_search.data import build as build_data
from resnest_search.errors import UserError
from resnest_search.export import export_best
from resnest_search.export.check import evaluate
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.export.formats.source import SOURCE
from resnest_search.export.formats.torch_export import TORCH_EXPORT
from resnest_search.models.build import build
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Sweep
from resnest_search.study.select import select_trial
from resnest_search.study.study import SweepStudy
from resnest_search.training import CHECKPOINT, load_weights
from resnest_search.variant import Variant

ROOT = Path(__file__).parents[2]
VARIANT = "2s1x64d"
BESIDE = {"README.md", "model.json", "model.py", "model.yaml", "weights.pt"}
# The smallest network that timm can express too: a deep stem and four stages.
DEEP = {"stem": "deep", "stem_width": 8, "depths": [1] * 4, "planes": [16] * 4}

WITHOUT_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("resnest_search", "pytorch_lightning", "ray", "optuna", "hydra"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocker())
"""
COMPARED = """
import json
from model import classify

best = classify("photo.jpg", top=1)[0][0]
facts = json.load(open("model.json"))
assert best in facts["data"]["class_names"]
given = torch.load("../given.pt", weights_only=True)
with torch.inference_mode():
    found = network(given["images"])
assert torch.allclose(found, given["logits"], atol=1e-4), (found - given["logits"]).abs().max()
"""
ASSERTED = {
    "model.py": f"{COMPARED}\nassert list(maps)[-1] == 'layer4' and trainable.fc.out_features == 7"
    "\nassert inputs.shape == (1, 1, 8, 8)",
    "model.pt2": COMPARED,
    "model.onnx": "import torch\nnetwork = lambda images: torch.from_numpy(session.run(None, "
    f"{{'images': images.numpy()}})[0])\n{COMPARED}",
    "timm": COMPARED,
}


def network_of(sweep: Sweep) -> nn.Module:
    """The trained network of the variant that these tests export."""
    trial = select_trial(sweep, VARIANT)
    model = ModelConfig(**sweep.config["model"])
    network = build(Variant.parse(VARIANT), model, in_channels=1, num_classes=10)
    network.load_state_dict(load_weights(Path(sweep.folder) / "trials" / str(trial.number)))
    return network.eval()


def deepened(folder: Path) -> Sweep:
    """The run, as if it had trained a deep network; fresh, so that no training is waited for."""
    sweep = read_sweep(SweepStudy.open(folder), folder)
    config = copy.deepcopy(sweep.config)
    config["model"] |= DEEP
    trial = select_trial(sweep, VARIANT)
    torch.manual_seed(0)
    network = randomised(
        build(Variant.parse(VARIANT), ModelConfig(**config["model"]), in_channels=1, num_classes=10)
    )
    path = folder / "trials" / str(trial.number) / CHECKPOINT
    checkpoint = torch.load(path, weights_only=True)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save(checkpoint | {"state_dict": state}, path)
    batches = build_data(DataConfig(**config["data"]), 64, 0).val_dataloader()
    accuracy = evaluate(network, batches).accuracy
    last = dataclasses.replace(trial.curve[-1], accuracy=accuracy)
    better = dataclasses.replace(trial, curve=(*trial.curve[:-1], last))
    trials = tuple(better if t.number == trial.number else t for t in sweep.trials)
    return dataclasses.replace(sweep, config=config, trials=trials)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A run with all formats in its best/, which nobody changes."""

    sweep: Sweep
    best: Path
    said: str
    facts: dict[str, Any]


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("deep") / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("wandb"))
    sweep = deepened(folder)
    said = export_best(sweep, VARIANT, ["timm", "onnx", "torch_export"])
    facts = json.loads((folder / "best" / "model.json").read_text())
    assert said.refused == {}
    return Exported(sweep, folder / "best", str(said), facts)


def test_every_file_is_there_with_its_digest_and_nothing_else(exported: Exported) -> None:
    exact = [format for format in FORMATS.values() if format.exact]
    names = {name for format in exact for name in format.files}
    found = contents(exported.best)
    assert found.keys() == names | {"model.json", "model.yaml", "README.md"}
    assert exported.facts["sha256"] == {name: found[name] for name in names}


def test_comparison_and_latency_stand_in_model_json_and_on_the_screen(exported: Exported) -> None:
    assert list(exported.facts["formats"]) == ["source", "timm", "onnx", "torch_export"]
    first, *lines, searched = exported.said.splitlines()
    assert VARIANT in first
    trial = select_trial(exported.sweep, VARIANT)
    assert searched.startswith(f"  measured by the sweep: {trial.costs['latency_ms']:.3g} ms")
    assert trial.mode in searched
    for line, (name, facts) in zip(lines, exported.facts["formats"].items(), strict=True):
        assert facts["max_difference"] <= (0 if name == "source" else 1e-4)
        assert facts["top1_agreement"] == 1.0
        assert facts["images"] == 100
        assert 0 < facts["latency_ms"] <= facts["latency_p95_ms"]
        assert "1 thread" in facts["mode"]
        assert facts["mode"] in line
        assert facts["device"] in line
        assert f"{facts['latency_ms']:.3g} ms" in line
        assert line.strip().startswith(f"{name}: {facts['file']}")
    assert facts["largest_logit"] > 0.01, "else the differences say nothing"


def test_no_file_names_a_folder_of_this_machine(exported: Exported) -> None:
    for name in contents(exported.best):
        content = (exported.best / name).read_bytes()
        for folder in (str(ROOT), sys.prefix, exported.sweep.folder):
            assert folder.encode() not in content, f"{name} has {folder}"


@pytest.mark.parametrize("file", ASSERTED)
def test_usage_of_the_readme_works_from_an_empty_directory(
    exported: Exported, tmp_path: Path, file: str
) -> None:
    data = DataConfig(**exported.sweep.config["data"])
    images, _ = next(iter(build_data(data, 33, 0).val_dataloader()))
    with torch.inference_mode():
        logits = network_of(exported.sweep)(images)
    torch.save({"images": images, "logits": logits}, tmp_path / "given.pt")
    shutil.copytree(exported.best, tmp_path / "given")
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 41, 3), np.uint8))
    image.save(tmp_path / "given" / "photo.jpg")
    text = (tmp_path / "given" / "README.md").read_text()
    usage = dict(re.findall(r"^## (\S+)\n.*?```python\n(.*?)```", text, re.DOTALL | re.MULTILINE))
    assert usage.keys() == ASSERTED.keys()
    script = tmp_path / "given" / "script.py"
    script.write_text("\n".join([WITHOUT_PACKAGE, usage[file], ASSERTED[file]]))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with imported(tmp_path / "given" / "model.py") as module:
        ranked = module.classify(tmp_path / "given" / "photo.jpg")
    assert done.stdout.strip() == (str(ranked) if file == "model.py" else ranked[0][0])


@pytest.mark.parametrize("names", [["nonsense"], ["onnx", "torchscript"]])
def test_unknown_format_is_refused(copied: Sweep, names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        export_best(copied, VARIANT, names)
    said = str(caught.value)
    valid = "source, torch_export, onnx, onnx_int8, timm"
    assert said == f"format={names[-1]}: no such format; valid: {valid}"


@pytest.mark.parametrize(
    ("format", "package"),
    [("onnx", "onnx"), ("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("timm", "timm")],
)
def test_missing_package_names_the_extra_before_anything_is_written(
    copied: Sweep, monkeypatch: pytest.MonkeyPatch, format: str, package: str
) -> None:
    before = contents(Path(copied.folder))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as caught:
        export_best(copied, VARIANT, [format])
    said = str(caught.value)
    assert said == f"format={format}: needs {package}; pip install 'resnest-search[export]'"
    assert contents(Path(copied.folder)) == before


def test_what_timm_cannot_express_leaves_the_earlier_best(copied: Sweep) -> None:
    before = contents(Path(copied.folder))
    with pytest.raises(UserError) as caught:
        export_best(copied, VARIANT, ["timm"])
    said = str(caught.value)
    assert said.startswith(f"format=timm: timm cannot express {VARIANT}")
    assert "small stem" in said
    assert "\n" not in said
    assert contents(Path(copied.folder)) == before


def _other_bias(winner: Winner, folder: Path) -> None:
    network = copy.deepcopy(winner.network)
    with torch.no_grad():
        network.get_parameter("fc.bias")[3] += 1e-6
    SOURCE.write(dataclasses.replace(winner, network=network), folder)


def _other_network(winner: Winner, folder: Path) -> None:
    network = copy.deepcopy(winner.network)
    with torch.no_grad():
        network.get_parameter("fc.bias")[3] += 10
    TORCH_EXPORT.write(dataclasses.replace(winner, network=network), folder)


def _needs_the_package(winner: Winner, folder: Path) -> None:
    SOURCE.write(winner, folder)
    path = folder / "model.py"
    path.write_text(path.read_text() + "\nimport resnest_search\n")


def _fails(winner: Winner, folder: Path) -> None:
    raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("source", _other_bias, "is not the trained network: its outputs differ by"),
        ("source", _needs_the_package, "cannot be used: .*No module named 'resnest_search'"),
        ("torch_export", _other_network, "is not the trained network: its outputs differ by"),
        ("torch_export", _fails, "not written: RuntimeError: first line second line"),
    ],
)
def test_file_that_fails_its_check_is_not_left_behind(
    copied: Sweep, monkeypatch: pytest.MonkeyPatch, name: str, write: Any, why: str
) -> None:
    before = contents(Path(copied.folder))
    monkeypatch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], write=write))
    with pytest.raises(UserError, match=why) as caught:
        export_best(copied, VARIANT, [name])
    assert str(caught.value).startswith(f"format={name}: ")
    assert "\n" not in str(caught.value)
    assert contents(Path(copied.folder)) == before


def test_command_line_takes_a_list_of_formats(copied: Sweep, tmp_path: Path) -> None:
    words = ("export", "run=run", f"select={COMPLETE[-1]}")
    assert "no such format" in run_command(tmp_path, *words, "format=[nonsense]").one_line
    assert "format=[value,value]" in run_command(tmp_path, *words, "format=onnx").one_line
    assert run_command(tmp_path, *words, "format=[timm]").one_line.startswith(
        "resnest-search: format=timm: timm cannot express"
    )


def test_formats_that_are_possible_are_written_and_the_others_said(
    copied: Sweep, tmp_path: Path
) -> None:
    """Of a run at a path that the shell and Hydra would take for something else."""
    odd = tmp_path / "r" / "a?x=1, b"
    odd.parent.mkdir()
    Path(copied.folder).rename(odd)
    words = ("export", "run=r/a?x=1, b", f"select={COMPLETE[-1]}")
    done = run_command(tmp_path, *words, "format=[timm,torch_export]")
    assert done.code == 1, done
    (said,) = done.err.splitlines()
    assert said.startswith(f"resnest-search: format=timm: timm cannot express {COMPLETE[-1]}")
    names = [line.split(":")[0].strip() for line in done.out.splitlines()[1:]]
    assert names == ["source", "torch_export", "measured by the sweep"]
    found = contents(odd / "best")
    assert set(found) == {*BESIDE, "model.pt2"}
    facts = json.loads((odd / "best" / "model.json").read_text())
    assert facts["sha256"] == {name: found[name] for name in facts["sha256"]}
    assert list(facts["formats"]) == ["source", "torch_export"]
    text = (odd / "best" / "README.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE) == ["model.py", "model.pt2"]


def test_format_that_fails_its_check_leaves_the_others(
    copied: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(TORCH_EXPORT, write=_other_network)
    monkeypatch.setitem(FORMATS, "torch_export", other)
    done = export_best(copied, VARIANT, ["torch_export", "source"])
    assert list(done.refused) == ["torch_export"]
    assert "is not the trained network" in done.refused["torch_export"]
    best = set(contents(Path(copied.folder) / "best"))
    assert best == BESIDE
