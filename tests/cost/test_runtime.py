"""ONNX Runtime as a mode: the same function, timed as others are; refused where it cannot be."""

import dataclasses

import pytest
import torch

from resnest_search.configuration import checks
from resnest_search.configuration.checks import check_measure, check_measured_on
from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost import CostRequest, Costs, measure_all
from resnest_search.cost.latency import deploy
from resnest_search.errors import UserError

MODE = MeasureConfig(
    form="onnxruntime", device="cpu", repeats=10, warmup=1, processes=2, half_width=None
)
SMALL = ModelConfig(depths=[1, 1], planes=[16, 32], stem="small", stem_width=8)


def request(variant: str, mode: MeasureConfig = MODE) -> CostRequest:
    return CostRequest(variant, SMALL, 3, 7, 16, mode, train_batch=2)


@pytest.fixture(autouse=True)
def runtime():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")


@pytest.mark.parametrize("variant", ["0s1x64d", "1s4x24d", "2s2x40d"])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_torch_does(variant, batch):
    mode = dataclasses.replace(MODE, batch=batch)
    asked = request(variant, mode)
    network, images = asked.make().eval(), torch.randn(asked.inference_shape)
    with torch.inference_mode():
        expected = network(images)
        session, taken = deploy(network, images, mode)
        torch.testing.assert_close(session(taken), expected, rtol=1e-4, atol=1e-5)


def test_a_space_is_measured_with_it_and_says_so():
    found = measure_all([request("0s1x64d"), request("2s2x40d")])
    for costs in found:
        assert isinstance(costs, Costs), costs
        assert costs.mode == "batch 1, 16x16, fp32, contiguous, ONNX Runtime, 1 thread"
        assert costs.versions["onnxruntime"]
        assert costs.values["latency_ms"] > 0
        assert costs.passes == 10
        assert costs.form == ""
    plain = measure_all([request("0s1x64d", dataclasses.replace(MODE, form="plain"))])[0]
    for name in ("memory_mib", "parameters_m", "gmacs"):
        assert plain.values[name] == found[0].values[name]


def test_it_is_another_measurement_than_eager():
    plain = dataclasses.replace(MODE, form="plain")
    assert request("0s1x64d").timed != request("0s1x64d", plain).timed
    assert request("0s1x64d").timed != request("0s1x64d", plain).timed


@pytest.mark.parametrize(
    ("change", "named", "valid"),
    [
        ({"precision": "bf16"}, "measure.precision=bf16", "fp32"),
        ({"compile": True}, "measure.compile=true", "false"),
        ({"channels_last": True}, "measure.channels_last=true", "false"),
    ],
)
def test_what_it_has_not_is_refused(change, named, valid):
    with pytest.raises(UserError) as caught:
        check_measure(dataclasses.replace(MODE, **change))
    message = str(caught.value)
    assert message.startswith(named)
    assert message.endswith(f"valid: {valid}")
    assert "\n" not in message


def test_without_the_extra_it_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^measure\.form=onnxruntime: onnx, onnxruntime not inst"):
        check_measure(MODE)


@pytest.mark.parametrize(("device", "has_gpu"), [("cuda", True), (None, True), ("cuda", False)])
def test_a_gpu_is_refused(device, has_gpu):
    with pytest.raises(UserError, match=r"^measure\.device=.*valid: cpu$"):
        check_measured_on(dataclasses.replace(MODE, device=device), has_gpu)
    check_measured_on(MODE, has_gpu)
