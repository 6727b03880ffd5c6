"""The network in 8 bits: another one, with an accuracy of its own."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from resnest_search.configuration.schema import DataConfig, ModelConfig
from resnest_search.data import build
from resnest_search.errors import UserError
from resnest_search.export.best import _calibration, _own_score
from resnest_search.export.check import BATCH, FILES, Reference, check, evaluate, line
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.export.formats.onnx_int8 import CALIBRATED
from resnest_search.models.build import build as build_network
from resnest_search.models.build import network_arguments
from resnest_search.variant import Variant

MODEL = ModelConfig(depths=[1, 1], planes=[16, 16], stem_width=8)


def test_it_has_an_accuracy_of_its_own(tmp_path: Path) -> None:
    data = build(DataConfig("digits", val_images=100), BATCH, 0)
    assert sum(map(len, _calibration(data))) == CALIBRATED
    sizes = {"in_channels": data.channels, "num_classes": data.classes}
    torch.manual_seed(0)
    network = build_network(Variant.parse("2s1x64d"), MODEL, **sizes)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network.train()
    for images, labels in data.train_dataloader():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images.contiguous()), labels).backward()
        optimizer.step()
    network.eval()
    arguments = {"variant": "2s1x64d", **network_arguments(MODEL), **sizes}
    names = tuple(data.class_names)
    calibration = partial(_calibration, data)
    winner = Winner("A.", arguments, network, data.preprocessing, names, calibration=calibration)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    evaluate(network, data.val_dataloader(), keep=seen)
    (tmp_path / "given").mkdir()
    files = data.validation_files(FILES, tmp_path / "given")
    reference = Reference.of(seen, tmp_path / "given" / "images.npy", files, winner)
    FORMATS["source"].write(winner, tmp_path)
    FORMATS["onnx_int8"].write(winner, tmp_path)
    facts = check(FORMATS["onnx_int8"], tmp_path, reference)
    file = tmp_path / "model.int8.onnx"
    facts["validation"] = _own_score(file, data)
    assert "DequantizeLinear" in {node.op_type for node in onnx.load(file).graph.node}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    right = 0
    for images, labels in data.val_dataloader():
        logits = session.run(None, {"images": images.numpy()})[0]
        right += int((logits.argmax(1) == labels.numpy()).sum())
    assert facts["validation"]["accuracy"] == pytest.approx(right / 100)
    assert facts["max_difference"] > 0
    assert facts["top1_agreement"] >= 0.5
    assert "int8" in facts["mode"]
    assert "fp32" not in facts["mode"]
    assert f"validation {right / 100:.2%}" in line("onnx_int8", facts)
    # What answers otherwise for most images is refused.
    other = dataclasses.replace(reference, logits=-reference.logits)
    with pytest.raises(UserError, match="is not the trained network: it names another class"):
        check(FORMATS["onnx_int8"], tmp_path, other)
