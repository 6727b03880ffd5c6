"""benchmarks/gpu.py in its small form, where most of what the package needs is missing."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="of what a CPU cannot do")
ROOT = Path(__file__).resolve().parents[2]
MISSING = ("ray", "optuna", "hydra", "omegaconf", "wandb", "moocore", "platformdirs", "resnest")
# Imported by every Python process that has its folder on the path, the parts' own too.
SITE = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def ran(folder, *options, **environment):
    """A run in a folder of its own; what it wrote."""
    (folder / "sitecustomize.py").write_text(SITE)
    for name in MISSING:  # they are missing indeed
        lost = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "ModuleNotFoundError" in lost.stderr
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(folder), *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    (file,) = folder.glob("gpu-*.json")
    (page,) = folder.glob("gpu-*.md")
    assert page.read_text() == done.stdout
    return done, json.loads(file.read_text())


@pytest.mark.slow
def test_the_small_form_without_what_is_missing(tmp_path):
    done, found = ran(tmp_path, "--seconds", "560")
    parts = found["parts"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: part["status"] for name, part in parts.items()} == {
        "fused": "passed",
        "training": "passed",
        "allocator": "skipped",
        "events": "skipped",
        "compiled": "passed",
        "ratios": "passed",
        "costs": "passed",
        "compiled_costs": "skipped",
    }
    for name in ("allocator", "events", "compiled_costs"):
        assert parts[name]["skipped"] == ["needs CUDA"]
        assert not parts[name].get("figures")
    modes = {(row["variant"], row["mode"]) for row in parts["costs"]["figures"]}
    assert len(modes) == 12 * 3
    assert all(row["latency_ms"] > 0 for row in parts["costs"]["figures"])
    assert {row["owner"] for row in parts["ratios"]["figures"]} == {"ours", "timm"}
    names = " ".join(check["what"] for check in parts["fused"]["checks"])
    for word in ("fp32", "bf16", "autocast", "contiguous", "channels_last", "training", "eval"):
        assert word in names


@pytest.mark.parametrize(
    ("lightning", "seconds", "reason"),
    [
        ("raise RuntimeError('no Lightning today')", "300", "RuntimeError: no Lightning today"),
        ("import time; time.sleep(600)", "1", "TimeoutError: its time was over"),
        ("import os; os._exit(7)", "300", "its process ended with 7: "),
    ],
    ids=["raises", "hangs", "dies"],
)
def test_a_part_that_fails_leaves_the_others_to_go_on(tmp_path, lightning, seconds, reason):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "pytorch_lightning.py").write_text(lightning)
    path = os.pathsep.join((str(tmp_path), str(broken)))
    options = ("--only", "training", "events", "--seconds", seconds)
    done, found = ran(tmp_path, *options, PYTHONPATH=path)
    assert done.returncode == 1
    assert found["parts"]["training"]["status"] == "failed"
    assert found["parts"]["training"]["failed"] == [reason]
    assert f"- failed: {reason}" in done.stdout
    assert found["parts"]["events"]["skipped"] == ["needs CUDA"]


def test_a_part_that_has_no_time_left_is_skipped(tmp_path):
    done, found = ran(tmp_path, "--only", "costs", "--seconds", "0")
    assert done.returncode == 0
    assert found["parts"]["costs"]["skipped"] == ["out of time"]


@pytest.fixture
def gpu_parts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return lambda name: importlib.import_module(f"gpu_parts.{name}")


def test_the_twelve_variants_are_those_of_the_sweep(gpu_parts):
    text = (ROOT / "sweeps" / "radix_card.yaml").read_text()
    space = yaml.safe_load(text)["search"]["space"]
    asked = {f"{radix}s{rest}" for radix in space["radix"] for rest in space["cardinality_width"]}
    assert set(gpu_parts("costs").VARIANTS) == asked


@pytest.mark.parametrize(("value", "passed"), [(0.5, True), (1.5, False), (float("nan"), False)])
def test_a_check_holds_below_its_limit_alone(gpu_parts, value, passed):
    found = gpu_parts("found").Found()
    found.check("error", value, 1.0)
    assert [check["passed"] for check in found.checks] == [passed]


def test_a_case_that_has_no_time_left_is_skipped_and_one_that_fails_is_told(gpu_parts):
    module = gpu_parts("found")
    found, setting = module.Found(), module.Setting(True, torch.device("cpu"), time.monotonic() + 9)
    for what, seconds in (("long", 60), ("short", 1)):
        with found.case(what, setting, seconds) as go:
            assert go == (what == "short")
            if go:
                raise ValueError("no\nnumber")
    assert found.skipped == ["long: out of time"]
    assert found.failed == ["short: ValueError: no"]


def test_a_wrong_form_is_found(gpu_parts):
    forms, found = gpu_parts("forms"), gpu_parts("found").Found()
    forms.judged(found, "case", "fp32", {"output": (1e-7, 1e-7), "input gradient": (0.9, 1e-6)})
    assert [check["passed"] for check in found.checks] == [True, False]
