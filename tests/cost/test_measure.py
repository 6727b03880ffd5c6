"""Requests, their keys, their costs and the ways in which they fail."""

import dataclasses
import importlib
import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml

from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost import CostRequest, Costs, OutOfMemory, measure, measure_all
from resnest_search.cost.machine import device_name, resolve_device
from resnest_search.cost.measure import training_bytes
from resnest_search.cost.memory import mapped_to_out_of_memory
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS

measuring = importlib.import_module("resnest_search.cost.measure")  # a function has its name
MODES = sorted((Path(__file__).parents[2] / "conf" / "measure").glob("*.yaml"))
QUICK = MeasureConfig(warmup=1, repeats=6, device="cpu", half_width=None, processes=1)


def request(variant="2s1x64d", mode=QUICK, **changes):
    values = {"channels": 3, "classes": 10, "image_size": 8, "train_batch": 4}
    values["model"] = ModelConfig(stem_width=4, planes=[16, 16])
    return CostRequest(variant, measure=mode, **{**values, **changes})


def test_every_cost_has_a_number():
    costs = measure(request())
    assert tuple(costs.values)
    assert set(costs.values) == set(COSTS)
    assert all(value > 0 for value in costs.values.values())
    assert costs.mode == "batch 1, 8x8, fp32, contiguous, eager, 1 thread"
    assert costs.device == device_name(torch.device("cpu"))
    assert costs.passes == 6
    assert costs.versions["torch"] == torch.__version__
    assert pickle.loads(pickle.dumps(costs)) == costs
    assert json.loads(json.dumps(dataclasses.asdict(costs)))["passes"] == 6


def test_what_is_accounted_is_the_same_again():
    exact = ("memory_mib", "train_memory_mib", "parameters_m", "gmacs")
    first, second = (measure(request()) for _ in range(2))
    assert [first.values[name] for name in exact] == [second.values[name] for name in exact]


def test_torchs_generator_is_left_alone():
    before = torch.get_rng_state()
    measure(request())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("path", MODES, ids=lambda path: path.stem)
def test_shipped_modes_are_modes(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    mode = MeasureConfig(**yaml.safe_load(text))
    assert mode.name == path.stem
    quick = dataclasses.replace(mode, warmup=1, repeats=2, device="cpu")
    if mode.form == "fast":
        with pytest.raises(UserError, match=r"measure\.form=fast is of GPUs"):
            measure(request(mode=quick))
    elif mode.cuda_graph:
        with pytest.raises(UserError, match=r"measure\.cuda_graph=true: a CPU has none"):
            measure(request(mode=quick))
    elif not mode.compile:
        assert measure(request(mode=quick)).mode.startswith(f"batch {mode.batch}, 8x8")


def test_the_modes_own_image_size_counts():
    larger = dataclasses.replace(QUICK, image_size=16)
    small, large = measure(request()), measure(request(mode=larger))
    assert large.mode.startswith("batch 1, 16x16")
    assert small.values["gmacs"] < large.values["gmacs"]
    assert small.values["train_memory_mib"] == large.values["train_memory_mib"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"variant": "nonsense"}, "'nonsense'"),
        ({"variant": "3s1x64d"}, "3s1x64d is impossible"),
        ({"train_batch": 0}, "train batch 0"),
        ({"train_batch": 1}, "more than 1 value"),
        ({"image_size": 0}, "0 pixels"),
        ({"mode": MeasureConfig(device="tpu")}, "'tpu'"),
        ({"mode": MeasureConfig(device="cuda:99")}, "'cuda:99'"),
        ({"train_precision": "fp8"}, "'fp8'"),
    ],
)
def test_bad_requests_are_refused(change, named):
    with pytest.raises(ValueError, match=named):
        measure(request(**change))


def test_tebibytes_are_refused_before_anything_is_allocated():
    huge = dataclasses.replace(QUICK, batch=2**24)
    with pytest.raises(OutOfMemory) as caught:
        measure(request(mode=huge, image_size=64))
    assert caught.value.needed_mib > 2**20 > 0
    assert caught.value.needed_mib > caught.value.have_mib
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.needed_mib) == (str(caught.value), caught.value.needed_mib)
    with pytest.raises(OutOfMemory):
        measure(request(train_batch=2**28))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_refusals_by_the_allocator_are_out_of_memory(error):
    with pytest.raises(OutOfMemory, match="7 MiB"), mapped_to_out_of_memory(7.0, 5.0):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="a fault"), mapped_to_out_of_memory(7.0, 5.0):
        raise RuntimeError("a fault")


def test_one_failure_leaves_the_others():
    huge = dataclasses.replace(QUICK, batch=2**24)
    calls = []
    requests = [request("0s1x64d"), request("3s1x64d"), request(mode=huge), request("1s1x64d")]
    first, impossible, large, last = measure_all(
        requests, rounds=2, progress=lambda done, total: calls.append((done, total))
    )
    assert isinstance(first, Costs)
    assert isinstance(last, Costs)
    assert first.passes == last.passes == 6
    assert impossible.startswith("variant 3s1x64d is impossible")
    assert large.startswith("out of memory")
    # Two are never timed, which is known when the steps are.
    assert calls == [(i, 4 + 8) for i in range(1, 5)] + [(i, 4 + 4) for i in range(5, 9)]


@pytest.mark.parametrize(("repeats", "rounds"), [(1, 3), (5, 3), (6, 1)])
def test_rounds_share_the_passes(repeats, rounds):
    mode = dataclasses.replace(QUICK, repeats=repeats)
    (costs,) = measure_all([request(mode=mode)], rounds=rounds)
    assert costs.passes == repeats


def test_what_only_training_tells_apart_is_timed_once():
    """Half the networks would be faster than the other half by nothing but noise."""
    sizes, precisions = (4, 8, 2**28, 1), ("fp32", "bf16")
    requests = [
        *(request(train_batch=size) for size in sizes),
        *(request(train_precision=precision) for precision in precisions),
        request(model=ModelConfig(stem_width=4, planes=[16, 16], dropblock=0.1, pretrained="a.pt")),
        request("1s1x64d"),
    ]
    calls = []
    *found, other = measure_all(requests, rounds=2, progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(requests) + 2 * 2,) * 2
    huge, single = found[2], found[3]
    assert huge.startswith("out of memory")
    assert "more than 1 value" in single
    same = [costs for costs in found if isinstance(costs, Costs)]
    assert len(same) == 5
    for name in set(COSTS) - {"train_memory_mib"}:
        assert len({costs.values[name] for costs in same}) == 1, name
    assert other.values["latency_ms"] != same[0].values["latency_ms"]
    small, large, *_ = same
    assert small.values["train_memory_mib"] < large.values["train_memory_mib"]
    assert (small.train_mode, large.train_mode) == (
        "4 images of 8x8, fp32",
        "8 images of 8x8, fp32",
    )
    for costs, asked in zip(found, requests, strict=False):
        if isinstance(costs, Costs):
            alone = measure(asked).values["train_memory_mib"]
            assert costs.values["train_memory_mib"] == alone


@pytest.mark.parametrize("change", [{"variant": "1s1x64d"}, {"channels": 1}, {"classes": 11}])
def test_another_network_is_timed_apart(change):
    assert request().timed == request(train_batch=8, train_channels_last=True).timed
    assert request().timed != request(**change).timed
    assert request().timed != request(mode=dataclasses.replace(QUICK, batch=2)).timed
    sized = dataclasses.replace(QUICK, image_size=8)
    assert request(mode=sized, image_size=16).timed == request().timed


def test_repeats_of_zero_are_a_reason():
    mode = dataclasses.replace(QUICK, repeats=0)
    (reason,) = measure_all([request(mode=mode)])
    assert "repeats" in reason


def test_no_requests_and_no_rounds():
    assert measure_all([]) == []
    with pytest.raises(ValueError, match="rounds"):
        measure_all([], rounds=0)


def test_devices_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_what_is_kept_from_step_to_step_beside_sgds_own_counts():
    """Gradients a second time, which DDP sums in buckets; AdamW's second state; an average."""
    one, two = (training_bytes(request(train_workers=workers)) for workers in (1, 2))
    parameters = sum(parameter.numel() for parameter in request().make().parameters())
    assert two - one == 4 * parameters
    adamw, average = (
        training_bytes(request(**change))
        for change in ({"train_optimizer": "adamw"}, {"train_ema": True})
    )
    assert adamw - one == 4 * parameters
    state = request().make().state_dict().values()
    assert average - one == sum(tensor.numel() * tensor.element_size() for tensor in state)


@pytest.mark.parametrize(
    ("needs", "share", "fits"), [(90, 1.0, True), (110, 1.0, False), (60, 0.5, False)]
)
def test_on_a_gpu_the_allocator_decides_of_the_share_of_a_trial(monkeypatch, needs, share, fits):
    """Of the plain form the account says more than the fused form needs."""
    monkeypatch.setattr(measuring, "resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(measuring, "memory_mib", lambda device: 100.0)
    monkeypatch.setattr(measuring, "account_training", lambda *_: 120 * 2**20)
    monkeypatch.setattr(measuring, "cuda_training", lambda *_: needs * 2**20)
    asked = request(gpu_share=share)
    if fits:
        assert training_bytes(asked) == needs * 2**20
        return
    with pytest.raises(OutOfMemory, match=f"{needs} MiB.*{100 * share:.0f} MiB"):
        training_bytes(asked)


def test_a_device_that_has_no_such_mode_says_so():
    """A cluster's device is known there alone, after what is checked before any work."""
    mode = dataclasses.replace(QUICK, precision="tf32")
    (reason,) = measure_all([request(mode=mode)])
    assert reason == "measure.precision=tf32: a CPU has none; valid: fp32, bf16, fp16"
