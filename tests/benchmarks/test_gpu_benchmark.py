"""benchmarks/gpu.py in its small form, where most of what the package needs is missing."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch
import yaml

from resnest_search.cost.account import MIB
from resnest_search.cost.latency import Timing, time_network

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
        "graphs": "skipped",
        "compiled": "passed",
        "ratios": "passed",
        "costs": "passed",
        "compiled_costs": "skipped",
    }
    for name in ("allocator", "events", "graphs", "compiled_costs"):
        assert parts[name]["skipped"] == ["needs CUDA"]
        assert not parts[name].get("figures")
    modes = {(row["variant"], row["mode"]) for row in parts["costs"]["figures"]}
    assert len(modes) == 12 * 2  # the fast form is of GPUs
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
    (said,) = found["parts"]["training"]["failed"]
    assert said in (reason, "killed after 21 s")  # where it had not even begun by then
    assert f"- failed: {said}" in done.stdout
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


def on_gpu(gpu_parts):
    """A setting that takes the way of a GPU, on the CPU: what only a GPU has must be replaced."""

    class OnGpu(gpu_parts("found").Setting):
        cuda = True

    return gpu_parts("found").Found(), OnGpu(True, torch.device("cpu"), time.monotonic() + 600)


def test_the_allocator_is_asked_for_what_the_account_is_of(gpu_parts, monkeypatch):
    costs, (found, setting) = gpu_parts("costs"), on_gpu(gpu_parts)
    steps = []

    def peak(device, precision, prepare):
        steps.append(prepare())
        steps[-1]()
        return 4 * MIB

    for name, given in (("cuda_inference", 2 * MIB), ("cuda_training", 3 * MIB)):
        real = getattr(costs, name)  # its signature is kept
        monkeypatch.setattr(costs, name, create_autospec(real, return_value=given))
    monkeypatch.setattr(costs, "cuda_peak", create_autospec(costs.cuda_peak, side_effect=peak))
    costs.allocator(setting, found)
    assert not found.failed
    assert len(steps) == 6
    assert len(found.figures) == 12
    passes, trainings = found.figures[::2], found.figures[1::2]
    assert {row["allocator, MiB"] for row in passes} == {2.0}
    assert {(row["allocator, MiB"], row["fused, MiB"]) for row in trainings} == {(4.0, 3.0)}
    low = [check for check in found.checks if "account / allocator" in check["what"]]
    for check, row in zip(low, found.figures, strict=True):  # it gave less than was alive
        assert check["passed"] == (0.95 * row["account, MiB"] <= row["allocator, MiB"])
    assert not all(check["passed"] for check in low)


@pytest.mark.parametrize(("factor", "agree"), [(1.01, True), (1.2, False)])
def test_two_clocks_that_differ_are_found(gpu_parts, monkeypatch, factor, agree):
    testing = pytest.importorskip("triton.testing")
    costs, (found, setting) = gpu_parts("costs"), on_gpu(gpu_parts)
    timed = []

    def own(network, images, mode):
        timed.append(network)
        return Timing((2.0,) * mode.repeats, len(images))

    def theirs(run, **rest):
        assert run().shape[1] == 10
        return 2.0 * factor

    monkeypatch.setattr(costs, "time_network", create_autospec(time_network, side_effect=own))
    bench = create_autospec(testing.do_bench, side_effect=theirs)
    monkeypatch.setattr(testing, "do_bench", bench)
    costs.events(setting, found)
    assert not found.failed
    assert [check["passed"] for check in found.checks] == [agree] * 2  # batches of 1 are told alone
    assert [row["batch"] for row in found.figures] == [128, 1, 128, 1]


def test_compiled_networks_are_measured_while_there_is_time(gpu_parts, monkeypatch):
    costs, (found, setting) = gpu_parts("costs"), on_gpu(gpu_parts)
    plain = costs.section(costs.MeasureConfig, "eager", device="cpu", repeats=2, warmup=0)
    monkeypatch.setattr(costs, "section", lambda kind, name, **changes: plain)
    clock = iter(range(0, 10_000, 100))  # seconds: each look at it is 100 later
    monkeypatch.setattr(costs.time, "monotonic", lambda: setting.end - 1000 + next(clock))
    costs.compiled_costs(setting, found)
    measured = [row["variant"] for row in found.figures]
    assert 0 < len(measured) < 12
    assert measured == costs.VARIANTS[: len(measured)]
    left = ", ".join(costs.VARIANTS[len(measured) :])
    assert found.skipped == [f"compiled, {left}: out of time"]
    assert not found.failed


def test_of_large_maps_the_last_images_are_the_truth(gpu_parts, monkeypatch):
    forms, (found, setting) = gpu_parts("forms"), on_gpu(gpu_parts)
    monkeypatch.setattr(forms, "LARGE", forms.Case(2, 1, 8, 16, 8, (6, 6)))
    monkeypatch.setattr(forms, "LARGE_ELEMENTS", 1000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**37))
    forms.large("channels_last", setting, found)
    assert [check["what"].rpartition(": ")[2] for check in found.checks] == [
        *("bn0.running_var", "bn0.running_mean", "output", "input gradient")
    ]
    assert all(check["passed"] for check in found.checks)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**33, 2**37))
    forms.large("channels_last", setting, found)
    assert found.skipped == ["large tensors, channels_last: 8 of 40 GiB are free"]


def test_a_wrong_form_is_found(gpu_parts):
    forms, found = gpu_parts("forms"), gpu_parts("found").Found()
    forms.judged(found, "case", "fp32", {"output": (1e-7, 1e-7), "input gradient": (0.9, 1e-6)})
    assert [check["passed"] for check in found.checks] == [True, False]
