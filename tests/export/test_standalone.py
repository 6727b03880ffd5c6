"""What a generated ``model.py`` refuses: damaged weights, changed facts, archives with pickles."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_source import SMALL, imported, preprocessing, randomised

from resnest_search.export.archive import load_exported
from resnest_search.export.formats import FORMATS, Winner
from resnest_search.export.standalone import facts_digest
from resnest_search.models.build import build, network_arguments
from resnest_search.variant import Variant

VARIANT = "2s2x40d"


@pytest.fixture(scope="module")
def winner() -> Winner:
    torch.manual_seed(0)
    network = randomised(build(Variant.parse(VARIANT), SMALL, in_channels=1, num_classes=10))
    arguments = {"variant": VARIANT, **network_arguments(SMALL)}
    arguments |= {"in_channels": 1, "num_classes": 10}
    names, formats = tuple("0123456789"), ("source", "torch_export")
    return Winner("A network.", arguments, network, preprocessing(1), names, formats)


def facts_of(folder: Path) -> dict[str, Any]:
    from resnest_search.export.best import _digests

    formats = [format for format in FORMATS.values() if (folder / format.files[0]).exists()]
    return {"accuracy": 0.5, "sha256": _digests(folder, formats)}


def write_facts(folder: Path, facts: dict[str, Any], digest: str = "") -> None:
    text = json.dumps(facts | {"digest": digest or facts_digest(facts)})
    (folder / "model.json").write_text(text)


@pytest.fixture
def folder(winner: Winner, tmp_path: Path) -> Path:
    """An export of source alone."""
    folder = tmp_path / "best"
    folder.mkdir()
    FORMATS["source"].write(winner, folder)
    write_facts(folder, facts_of(folder))
    return folder


def refused(folder: Path, said: str) -> None:
    with imported(folder / "model.py") as module, pytest.raises(RuntimeError) as caught:
        module.build(pretrained=True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_exported_weights_are_loaded(folder: Path, winner: Winner) -> None:
    images = torch.randn(3, 1, 8, 8)
    for _ in range(2):
        with imported(folder / "model.py") as module, torch.inference_mode():
            network = module.build(pretrained=True).eval()
            assert torch.equal(network(images), winner.network(images))
        (folder / "model.json").unlink(missing_ok=True)  # model.py and weights.pt suffice


def test_another_number_of_classes_keeps_all_but_the_classifier(
    folder: Path, winner: Winner
) -> None:
    with imported(folder / "model.py") as module:
        network = module.build(pretrained=True, num_classes=7)
    state, trained = network.state_dict(), winner.network.state_dict()
    assert state["fc.weight"].shape[0] == 7
    assert state["fc.weight"].abs().sum() > 0
    for name in trained.keys() - {"fc.weight", "fc.bias"}:
        assert torch.equal(state[name], trained[name]), name


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _other(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["fc.bias"] += 1
    torch.save(state, path)


@pytest.mark.parametrize("damage", [_flip, _cut, _other])
@pytest.mark.parametrize("alone", [False, True])
def test_corrupted_weights_are_refused(
    folder: Path, damage: Callable[[Path], None], alone: bool
) -> None:
    damage(folder / "weights.pt")
    if alone:
        (folder / "model.json").unlink()
    refused(folder, "weights.pt is not the exported file")


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "weights.pt").unlink()
    refused(folder, "weights.pt cannot be read: No such file")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"text"', '{"digest": 1, "sha256": 2}', "\xff"])
def test_model_json_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    refused(folder, "model.json")


def test_tampered_model_json_is_refused(folder: Path) -> None:
    facts = facts_of(folder)
    write_facts(folder, facts | {"accuracy": 0.99}, facts_digest(facts))
    refused(folder, "model.json was changed after the export")


def test_weights_that_another_model_json_describes_are_refused(folder: Path) -> None:
    _other(folder / "weights.pt")
    write_facts(folder, facts_of(folder))  # consistent, but not this model.py's
    refused(folder, "weights.pt is not the exported file: model.py has another SHA-256")
    facts = facts_of(folder)
    facts["sha256"]["weights.pt"] = "0" * 64
    write_facts(folder, facts)
    refused(folder, "weights.pt is not the exported file")


@pytest.fixture(scope="module")
def archive(winner: Winner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    FORMATS["torch_export"].write(winner, folder)
    return folder / "model.pt2"


def records_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_records(path: Path, records: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in records.items():
            opened.writestr(name, content)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = str(made)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.made,)


def saved(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save((payload,), buffer)
    return buffer.getvalue()


def _sample_inputs(records: dict[str, bytes], made: Path) -> None:
    records["model/data/sample_inputs/model.pt"] = saved(Payload(made))


def _pickled_weight(records: dict[str, bytes], made: Path) -> None:
    name = "model/data/weights/model_weights_config.json"
    config = json.loads(records[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    records[name] = json.dumps(config).encode()
    records[f"model/data/weights/{first['path_name']}"] = saved(Payload(made))


def _legacy_constants(records: dict[str, bytes], made: Path) -> None:
    records["model/data/constants/model.pt"] = saved(Payload(made))


def _opaque_object(records: dict[str, bytes], made: Path) -> None:
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    records["model/data/constants/model_constants_config.json"] = json.dumps(
        {"config": {"thing": meta}}
    ).encode()
    records["model/data/constants/opaque_obj_0"] = pickle.dumps(Payload(made))


def changed_graph(records: dict[str, bytes], old: str, new: str) -> None:
    name = "model/models/model.json"
    text = records[name].decode()
    assert old in text
    records[name] = text.replace(old, new).encode()


def _evaluated_size(records: dict[str, bytes], made: Path) -> None:
    graph = json.loads(records["model/models/model.json"])
    size = next(iter(graph["range_constraints"]))
    symbol = f"Symbol('{size}', positive=True, integer=True)"
    code = f"__import__('os').mkdir('{made}') or {symbol}"
    changed_graph(records, json.dumps(symbol), json.dumps(code))


def _guard(records: dict[str, bytes], made: Path) -> None:
    code = f"__import__('os').mkdir('{made}') is None"
    changed_graph(records, '"guards_code": []', f'"guards_code": [{json.dumps(code)}]')


def _operator(records: dict[str, bytes], made: Path) -> None:
    changed_graph(records, "torch.ops.aten.linear.default", "torch.os.mkdir")


CRAFTED = [_sample_inputs, _pickled_weight, _legacy_constants, _opaque_object]


@pytest.mark.parametrize("craft", [*CRAFTED, _evaluated_size, _guard, _operator])
def test_archive_that_would_run_code_is_refused_and_runs_none(
    archive: Path, tmp_path: Path, craft: Callable[[dict[str, bytes], Path], None]
) -> None:
    made, path = tmp_path / "made", tmp_path / "model.pt2"
    records = records_of(archive)
    craft(records, made)
    write_records(path, records)
    with pytest.raises(RuntimeError, match="is refused") as caught:
        load_exported(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)
    assert not made.exists()


OPAQUE = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10),
    reason="this torch knows no opaque objects",
)


@pytest.mark.parametrize(
    "craft", [_sample_inputs, _pickled_weight, pytest.param(_opaque_object, marks=OPAQUE)]
)
def test_torch_alone_would_have_run_it(
    archive: Path, tmp_path: Path, craft: Callable[[dict[str, bytes], Path], None]
) -> None:
    made, path = tmp_path / "made", tmp_path / "model.pt2"
    records = records_of(archive)
    craft(records, made)
    write_records(path, records)
    with contextlib.suppress(Exception):  # what the payload leaves is no network
        torch.export.load(path)
    assert made.exists()


def test_damaged_archive_is_refused_with_one_line(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    twice = io.BytesIO(archive.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as opened:
        opened.writestr("model/archive_format", "pt2")
    flipped = bytearray(archive.read_bytes())
    flipped[len(flipped) // 3] ^= 1
    for content in (b"", b"nonsense", archive.read_bytes()[:-100], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match="is refused: it is damaged") as caught:
            load_exported(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(twice.getvalue())
    with pytest.raises(RuntimeError, match="is refused: it is damaged"):
        load_exported(path)


def test_archive_takes_any_batch_and_has_a_digest_in_model_json(
    archive: Path, tmp_path: Path, winner: Winner
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(archive.read_bytes())
    write_facts(tmp_path, facts_of(tmp_path))
    network = load_exported(path)
    for batch in (1, 2, 7):
        images = torch.randn(batch, 1, 8, 8)
        with torch.inference_mode():
            assert torch.allclose(network(images), winner.network(images), atol=1e-5)
    _flip(path)
    with pytest.raises(RuntimeError, match=r"model\.pt2 is not the exported file"):
        load_exported(path)
