"""State dicts and files of other programs: what is loaded of them, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from reference_networks import DEPTHS, draw, of_timm, ours, unpublished
from torch import nn

from resnest_search.models import ResNeSt
from resnest_search.models.weights import (
    load_authors,
    load_pretrained,
    load_timm,
    pretrained_state,
    read_weights,
)
from resnest_search.variant import Variant

TINY: dict[str, Any] = {"depths": [1, 1], "planes": [16, 16], "stem": "deep", "stem_width": 4}


@pytest.fixture(autouse=True)
def one_thread():
    """On small maps more threads only wait for each other, four times as long on a busy box."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# What fits


@pytest.mark.parametrize("load", [load_authors, load_timm])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depths": [1, 2]}, r"missing: layer2\.1\.conv1\.weight and \d+ more"),
        ({"depths": [2, 1]}, r"missing: layer1\.1\."),
        ({"stem": "small"}, r"missing: conv1\.weight; unexpected: conv1\.0\.weight and \d+ more"),
        ({"num_classes": 7}, r"fc\.weight \[5, 64\] for \[7, 64\] and 1 more$"),
        ({"planes": [16, 32]}, r"of another shape: layer2\.0\.conv1\.weight \[16, .*\] for \[32,"),
        ({"in_channels": 1}, "for images of 3 channels, not of 1$"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(load, change, said):
    given = ResNeSt(Variant.parse("2s1x64d"), **{**TINY, "num_classes": 5})
    network = ResNeSt(Variant.parse("2s1x64d"), **{**TINY, "num_classes": 5, **change})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=said) as caught:
        load(network, given.state_dict())
    assert "\n" not in str(caught.value)
    assert "multiple of 8" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_counters_of_batches_may_be_missing():
    given, network = (ResNeSt(Variant.parse("2s1x64d"), **TINY) for _ in range(2))
    draw(given)
    state = {k: v for k, v in given.state_dict().items() if not k.endswith("tracked")}
    load_authors(network, state)
    assert_equal_states(network, given.state_dict())


def test_what_fits_is_known_without_weights():
    with torch.device("meta"):
        network = ours("2s1x64d", 14, num_classes=7)
        state = of_timm("resnest14d").state_dict()
    fitting = pretrained_state(network, {name: tensor.to("meta") for name, tensor in state.items()})
    assert fitting["fc.weight"].shape == (7, 2048)
    with torch.device("meta"), pytest.raises(ValueError, match="do not fit"):
        pretrained_state(ours("2s1x64d", 26), state)


# Files


def assert_equal_states(network, state, but=()):
    """Every tensor is the state's, but for some, which differ."""
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]) == (name not in but), name


@pytest.fixture(scope="module")
def given() -> ResNeSt:
    """A network of five classes whose weights the files hold."""
    torch.manual_seed(1)
    network = ResNeSt(Variant.parse("2s2x32d"), **TINY, num_classes=5)
    draw(network)
    return network


def like(given: ResNeSt, **options: Any) -> ResNeSt:
    """A fresh network of the same form."""
    return ResNeSt(given.arguments["variant"], **{**TINY, "num_classes": 5, **options})


@pytest.mark.parametrize("reference", ["authors", "timm"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_both_references_load_the_same_way(tmp_path, reference, suffix):
    from safetensors.torch import save_file

    authors = reference == "authors"
    theirs = unpublished("2s1x64d", 14) if authors else of_timm("resnest14d")
    draw(theirs)
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs.state_dict(), path)
    found = ours("2s1x64d", 14, num_classes=3)
    draw(found)
    fresh = found.fc.weight.clone()
    note = load_pretrained(found, path)
    assert note == f"starts from {path.name}; the classifier is fresh (10 classes there, 3 here)"
    assert torch.equal(found.fc.weight, fresh)
    x = torch.randn(2, 3, 64, 64)
    theirs.fc, found.fc = nn.Identity(), nn.Identity()
    with torch.no_grad():
        expected = theirs.eval()(x)
        torch.testing.assert_close(
            found.eval()(x), expected, rtol=0, atol=1e-5 * expected.std().item()
        )


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "network."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, given, suffix, wrapper, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in given.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    network = like(given)
    classes = f"its classifier of {network.fc.out_features} classes by their order"
    assert load_pretrained(network, path) == f"starts from {path.name}, {classes}"
    assert_equal_states(network, given.state_dict())


def test_a_file_without_classifier_leaves_a_fresh_one(tmp_path, given):
    path = tmp_path / "backbone.pt"
    torch.save({k: v for k, v in given.state_dict().items() if not k.startswith("fc.")}, path)
    network = like(given)
    note = load_pretrained(network, path)
    assert note == "starts from backbone.pt; the classifier is fresh (none there, 5 here)"
    assert_equal_states(network, given.state_dict(), but=("fc.weight", "fc.bias"))


def test_half_precision_is_widened(tmp_path, given):
    path = tmp_path / "half.pt"
    torch.save({k: v.half() for k, v in given.state_dict().items()}, path)
    network = like(given)
    load_pretrained(network, path)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network.fc.weight, given.fc.weight, rtol=1e-3, atol=1e-3)


def test_layout_in_memory_stays_the_networks(tmp_path, given):
    path = tmp_path / "weights.pt"
    torch.save(given.state_dict(), path)
    network = like(given).to(memory_format=torch.channels_last)
    load_pretrained(network, path)
    weight = network.layer1[0].conv2.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert_equal_states(network, given.state_dict())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pt", None, "is no file"),
        ("weights.bin", b"1", r"is no weights file; valid: \.pt, \.pth, \.ckpt, \.safetensors"),
        (
            "text.pt",
            b"hello",
            r"cannot be read \(\w+Error\); a state dict alone can, as torch",
        ),
        ("empty.pth", b"", r"cannot be read \(EOFError\)"),
        ("text.safetensors", b"hello", r"cannot be read \(SafetensorError\)"),
        ("list.pt", [1, 2], "holds no state dict"),
        ("nothing.pt", {}, "holds no state dict"),
        ("numbers.pt", {"fc.weight": 1.0}, "holds no state dict"),
        ("object.pt", Path("x"), "cannot be read"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path, given, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=said) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(tmp_path, given):
    path = tmp_path / "cut.pt"
    torch.save(given.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(path)


def test_a_file_runs_no_code(tmp_path):
    class Shell:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"fc.weight": Shell()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_safetensors_without_its_package_says_so(tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ValueError, match="pip install safetensors"):
        read_weights(tmp_path / "weights.safetensors")


def test_depths_here_are_those_of_the_shipped_configs():
    for layers, depths in DEPTHS.items():
        path = Path(__file__).parents[2] / "conf" / "model" / f"resnest{layers}.yaml"
        assert yaml.safe_load(path.read_text())["depths"] == depths
