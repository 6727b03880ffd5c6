"""Which network is evaluated, and on which images."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resnest_search.configuration.checks import check_export, given
from resnest_search.configuration.schema import EvaluateConfig, ModelConfig
from resnest_search.data import ImageData
from resnest_search.data import build as build_data
from resnest_search.data.files import file_batches
from resnest_search.data.preprocessing import Preprocessing
from resnest_search.data.scan import class_folders, scan_known
from resnest_search.errors import UserError
from resnest_search.evaluation.confusion import Confusion
from resnest_search.evaluation.origin import parts_of, trained_on
from resnest_search.execution.recorded import recorded_sweep
from resnest_search.export import trained_network
from resnest_search.export.looks import Look, take_look
from resnest_search.export.standalone import verified
from resnest_search.models.build import build as build_network
from resnest_search.models.float32 import float32_products
from resnest_search.redact import public_text
from resnest_search.study.narrow import narrowed
from resnest_search.study.record import Sweep, TrialRecord
from resnest_search.study.select import check_trained, configured_as, select_trial
from resnest_search.study.study import SweepStudy
from resnest_search.variant import Variant

__all__ = ["Evaluation", "evaluated"]

_BATCH = {"cpu": 64, "cuda": 256}  # images of a pass over files
_PARTS = {"validation": "val", "test": "test"}  # folders of each
_TEST_FOLDER = {"image_folder": "test", "imagenet": "val"}  # of a run's own data
_SHOWN = 5  # names that a line lists
_FIELDS = ("channels", "decoded", "background", "resized", "resize", "crop", "mean", "std")


@dataclass(frozen=True)
class Evaluation:
    """What was found out, on which images, and what is to be said of these."""

    network: str
    images: str
    confusion: Confusion
    remarks: tuple[str, ...]
    recorded: float | None  # the accuracy that training found on the same images
    look: Look | None


@dataclass(frozen=True)
class _Subject:
    network: nn.Module
    title: str
    names: tuple[str, ...]
    preprocessing: Preprocessing
    folder: Path | None  # of its run; None for an export that lies elsewhere
    trial: TrialRecord | None
    data: ImageData | None
    test_folder: str | None  # where the run's test images lie as files
    storage: str | None = None  # URL of the database of its study now


def evaluated(config: EvaluateConfig) -> Evaluation:
    """Evaluate the network that is meant on the images that are meant.

    Raises:
        UserError: there is no such network, or there are no such images.
    """
    check_export(config)
    device = _device(config.device)
    place = Path(config.run or "")
    exported = config.run and (place / "model.json").is_file() and not (place / "study.db").exists()
    subject = _exported(place, config) if exported else _of_run(config)
    if config.data.root is None:
        return _on_its_own(subject, config, device)
    return _on_files(subject, config, device)


def _device(asked: str | None) -> str:
    """Where it runs.

    Raises:
        UserError: that is a GPU, and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no GPU here; valid: cpu, or null")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _of_run(config: EvaluateConfig) -> _Subject:
    sweep = recorded_sweep(config.run, config.storage)
    check_trained(sweep)
    folder = Path(sweep.folder)
    sweep = narrowed(sweep, given(config.limits), given(config.weights))
    trial = select_trial(sweep, config.select)
    data = _data_of(sweep, trial, config.data.root is None)
    return _Subject(
        trained_network(sweep, trial),
        f"{trial.name} (trial {trial.number} of {folder.name})",
        tuple(data.class_names),
        data.preprocessing,
        folder,
        trial,
        data,
        _test_folder(sweep),
        config.storage,
    )


def _data_of(sweep: Sweep, trial: TrialRecord, asked: bool) -> ImageData:
    """The images of a trial, in the batches of its validation; the same ones where these are asked
    for, rather than how they were prepared.
    """
    _, data, train = configured_as(sweep, trial)
    names = sweep.names if asked else None
    return build_data(data, train.batch_size, trial.seed, sweep.images, names=names)


def _test_folder(sweep: Sweep) -> str | None:
    """Where a run's test images lie as files."""
    data = sweep.config["data"]
    part = _TEST_FOLDER.get(data["name"])
    return os.path.join(data["root"], part) if part and data.get("root") else None


def _exported(place: Path, config: EvaluateConfig) -> _Subject:
    sections = {"limits": config.limits, "weights": config.weights}
    words = [f"{part}.{key}={v:g}" for part, s in sections.items() for key, v in given(s).items()]
    words += [f"select={config.select}"] if config.select != EvaluateConfig.select else []
    if words:
        raise UserError(
            f"{words[0]}: run={place} is one exported network; valid: the folder of a run"
        )
    facts, network = _loaded(place)
    if "preprocessing" not in facts["data"]:  # of 0.1.0
        raise UserError(
            f"run={place}: model.json does not say how images were prepared; valid: the folder of "
            "its run, or another export of it"
        )
    known = {field: facts["data"]["preprocessing"][field] for field in _FIELDS}
    above = place.resolve().parent
    folder, trial, data, test_folder = None, None, None, None
    if (above / "study.db").exists() or (above / "storage.json").exists():
        sweep, folder = recorded_sweep(above, config.storage, uncertainty=False), above
        trial = next((t for t in sweep.trials if _is_meant(sweep, t, facts, network)), None)
        test_folder = _test_folder(sweep)
        missing = contextlib.suppress(UserError) if config.data.root else contextlib.nullcontext()
        if trial is not None:
            with missing:  # other images need none of the run's
                data = _data_of(sweep, trial, config.data.root is None)
    return _Subject(
        network,
        f"{facts['variant']} (exported from trial {facts['trial']} of {facts['sweep']})",
        tuple(facts["data"]["class_names"]),
        Preprocessing(**known),
        folder,
        trial,
        data,
        test_folder,
        config.storage,
    )


def _is_meant(sweep: Sweep, trial: TrialRecord, facts: dict[str, Any], network: nn.Module) -> bool:
    """Whether an export is of this trial: another run may have one of that number and candidate."""
    named = (facts["sweep"], facts["trial"], facts["candidate"])
    if named != (sweep.name, trial.number, trial.candidate):
        return False
    try:
        own = trained_network(sweep, trial).state_dict()
    except UserError:  # its checkpoint is gone
        return bool(facts.get("command") == public_text(sweep.command))
    exported = network.state_dict()
    return own.keys() == exported.keys() and all(
        value.equal(exported[name]) for name, value in own.items()
    )


def _loaded(place: Path) -> tuple[dict[str, Any], nn.Module]:
    """The facts and the network of an export, both intact."""
    try:
        weights = verified(place / "weights.pt")
        facts = json.loads((place / "model.json").read_text(encoding="utf-8"))
        network = build_network(
            Variant.parse(facts["variant"]),
            ModelConfig(**facts["model"]),
            in_channels=facts["data"]["channels"],
            num_classes=facts["data"]["classes"],
        )
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"run={place}: {' '.join(str(error).split())[:300]}") from error
    return facts, network.eval()


def _on_its_own(subject: _Subject, config: EvaluateConfig, device: str) -> Evaluation:
    """On the validation or test images of the run."""
    data = subject.data
    if data is None:
        raise UserError(
            f"run={config.run}: an export without its run has no images; valid: data.root=FOLDER"
        )
    if config.split == "test" and not data.test_count:
        raise UserError("split=test: the run has no test images; valid: validation")
    on_test = config.split == "test"
    loader = data.test_dataloader() if on_test else data.val_dataloader()
    confusion = _confusion(subject, loader, device)
    recorded = subject.trial.accuracy if subject.trial and not on_test else None
    look = _look(subject) if on_test else None
    what = f"the {config.split} images of the run"
    return Evaluation(subject.title, what, confusion, (), recorded, look)


def _on_files(subject: _Subject, config: EvaluateConfig, device: str) -> Evaluation:
    """On a folder of class folders, of which those count that the network knows."""
    folder = _class_folder(Path(config.data.root or ""), config.split, subject.names)
    part, unknown = scan_known(str(folder), subject.names)
    if not part.paths:
        raise UserError(
            f"data.root: {str(folder)!r} has no images of the network's classes; "
            f"valid: folders named {_listed(subject.names)}"
        )
    known = {subject.names[label] for label in part.labels}
    missing = [name for name in subject.names if name not in known]
    remarks = []
    if unknown:
        remarks.append(f"left out, since the network has no such class: {_listed(unknown)}")
    if missing:
        remarks.append(f"classes of the network without an image: {_listed(missing)}")
    paths = [str(folder / path) for path in part.paths]
    labels = np.array(part.labels, dtype=np.int64)
    own = parts_of(paths, subject.data)
    lines = (trained_on(own, len(paths), subject.data), _moved(subject))
    remarks += [line for line in lines if line]
    size, workers = _BATCH[device], config.data.workers
    loader = file_batches(paths, labels, subject.preprocessing, size, workers)
    confusion = _confusion(subject, loader, device)
    look = None
    is_test = own["test"] or _is_within(folder, subject.test_folder)
    if config.split == "test" or is_test:
        look = _look(subject)
        if look is None:
            remarks.append("this look at test images is counted nowhere: the export has no run")
    return Evaluation(
        subject.title, f"the images of {folder}", confusion, tuple(remarks), None, look
    )


def _moved(subject: _Subject) -> str:
    """That the images of the run are other ones by now, where that is to be seen; or nothing."""
    trial, data = subject.trial, subject.data
    answered = (trial.curve[-1].correct or "").partition(":")[0] if trial and trial.curve else ""
    if not answered or data is None:
        return ""
    if data.describe()["sha256"]["validation"].startswith(answered):
        return ""
    return "the images of the run have changed since: what was trained on is not known for sure"


def _class_folder(root: Path, split: str, names: Iterable[str]) -> Path:
    """The folder itself where it has one of the classes, else that of the split within it."""
    if not root.is_dir():
        raise UserError(f"data.root: {str(root)!r} is no folder; valid: one with CLASS/*.jpg")
    there = class_folders(root)
    if set(there) & set(names):
        return root
    if _PARTS[split] in there:
        return root / _PARTS[split]
    raise UserError(
        f"data.root: {str(root)!r} has none of the network's classes and no {_PARTS[split]}/; "
        f"valid: folders named {_listed(names)}"
    )


def _is_within(folder: Path, other: str | None) -> bool:
    return other is not None and Path(os.path.realpath(folder)).is_relative_to(
        os.path.realpath(other)
    )


def _look(subject: _Subject) -> Look | None:
    """Count a look at test images, where there is a study that counts them."""
    if subject.folder is None or subject.trial is None:
        return None
    with contextlib.closing(SweepStudy.open(subject.folder, subject.storage)) as study:
        return take_look(study, subject.trial, subject.network)


@torch.inference_mode()
def _confusion(subject: _Subject, batches: Iterable[Any], device: str) -> Confusion:
    answers, truth = [], []
    network = subject.network.to(device)
    with float32_products("fp32"):  # the figures of a GPU are those of a CPU, but for rounding
        for images, labels in batches:
            answers.append(network(images.contiguous().to(device)).argmax(1).cpu())
            truth.append(labels)
    network.cpu()
    return Confusion.of(torch.cat(truth).numpy(), torch.cat(answers).numpy(), subject.names)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f", … ({len(names)})" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
