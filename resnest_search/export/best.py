"""Write the chosen trial into ``best/``, checked against the trained network."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from resnest_search import __version__
from resnest_search.config import from_record
from resnest_search.data import ImageData
from resnest_search.data import build as build_data
from resnest_search.errors import UserError
from resnest_search.export.select import select_trial
from resnest_search.export.source import model_source
from resnest_search.files import write_atomically
from resnest_search.models.build import build as build_network
from resnest_search.models.build import network_arguments
from resnest_search.record import Sweep, TrialRecord
from resnest_search.redact import public_text
from resnest_search.schema import DataConfig, ModelConfig
from resnest_search.search import Space, configured
from resnest_search.training import load_weights
from resnest_search.variant import Variant

__all__ = ["export_best"]


@dataclasses.dataclass(frozen=True)
class _Score:
    """Accuracy on a set of images; a fraction, its binomial standard error, and their number."""

    accuracy: float
    standard_error: float
    images: int


def export_best(sweep: Sweep, select: str) -> str:
    """Export a trial of a sweep into its ``best/``; returns one line that says what and where.

    The new files are written and checked beside the old ones, which go only when all is
    well: the exported definition with the exported weights gives the very outputs of the
    trained network on every validation image, and the accuracy that the study recorded.

    Raises:
        UserError: nothing is to be exported, the checkpoint is gone or damaged, or the
            exported network is not the trained one.
    """
    trial = select_trial(sweep, select)
    model, data_config = _configs(sweep, trial)
    data = build_data(data_config, 256, trial.seed)
    trained = _trained(sweep, trial, model, data)
    target = Path(sweep.folder) / "best"
    work = Path(tempfile.mkdtemp(prefix=".best-", dir=sweep.folder))
    try:
        _write_model(work, trial, model, data, trained)
        exported = _load_exported(work)
        validation = _check(exported, trained, trial, data)
        test = _score(exported, data.test_dataloader()) if data.test_count else None
        facts = _facts(sweep, trial, select, model, data, validation, test, work)
        write_atomically(work / "model.json", json.dumps(facts, indent=2) + "\n")
        write_atomically(work / "README.md", _readme(trial, facts))
        work.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        work.replace(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    tested = f", test {_percent(test)}" if test else ""
    return f"Exported {trial.variant} to {target}: validation {_percent(validation)}{tested}"


def _configs(sweep: Sweep, trial: TrialRecord) -> tuple[ModelConfig, DataConfig]:
    config = from_record(sweep.config)
    space = Space(config.search.space, config.model)
    candidate = space.candidate(space.labels(trial.parameters))
    model, data, _ = configured(config, candidate)
    return model, data


def _trained(sweep: Sweep, trial: TrialRecord, model: ModelConfig, data: ImageData) -> nn.Module:
    folder = Path(sweep.folder) / "trials" / str(trial.number)
    network = build_network(
        Variant.parse(trial.variant), model, in_channels=data.channels, num_classes=data.classes
    )
    try:
        network.load_state_dict(load_weights(folder))
    except FileNotFoundError:
        raise UserError(
            f"select={trial.variant}: its checkpoint is gone from trials/{trial.number}"
        ) from None
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        raise UserError(
            f"select={trial.variant}: the checkpoint in trials/{trial.number} is damaged "
            f"({type(error).__name__})"
        ) from error
    return network.eval()


def _write_model(
    folder: Path, trial: TrialRecord, model: ModelConfig, data: ImageData, trained: nn.Module
) -> None:
    arguments = {
        "variant": trial.variant,
        **network_arguments(model),
        "in_channels": data.channels,
        "num_classes": data.classes,
    }
    title = f"ResNeSt {trial.variant}, exported by resnest-search {__version__}."
    text = model_source(title, arguments, list(data.config.mean), list(data.config.std))
    (folder / "model.py").write_text(text, encoding="utf-8")
    torch.save(trained.state_dict(), folder / "weights.pt")


def _load_exported(folder: Path) -> nn.Module:
    """The network of an exported folder, as somebody without this package gets it."""
    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    if spec is None or spec.loader is None:
        raise UserError(f"{folder / 'model.py'} cannot be imported")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        network: nn.Module = module.build(pretrained=True)
    finally:
        del sys.modules[spec.name]
    return network.eval()


@torch.inference_mode()
def _check(exported: nn.Module, trained: nn.Module, trial: TrialRecord, data: ImageData) -> _Score:
    """Outputs equal on every validation image, and the accuracy that was recorded."""
    for images, _ in data.val_dataloader():
        if not torch.equal(exported(images), trained(images)):
            raise UserError(
                f"select={trial.variant}: the exported outputs are not the trained ones"
            )
    score = _score(exported, data.val_dataloader())
    recorded = trial.accuracy or 0.0
    # On another device or in half precision, single images near a tie may fall the other way.
    if abs(score.accuracy - recorded) > max(0.005, 1.5 / score.images):
        raise UserError(
            f"select={trial.variant}: the checkpoint gives {score.accuracy:.4f} on the validation "
            f"images, the study recorded {recorded:.4f}"
        )
    return score


@torch.inference_mode()
def _score(network: nn.Module, batches: Any) -> _Score:
    correct = total = 0
    for images, labels in batches:
        correct += int((network(images).argmax(1) == labels).sum())
        total += len(labels)
    p = correct / total
    return _Score(p, (p * (1 - p) / total) ** 0.5, total)


def _facts(
    sweep: Sweep,
    trial: TrialRecord,
    select: str,
    model: ModelConfig,
    data: ImageData,
    validation: _Score,
    test: _Score | None,
    folder: Path,
) -> dict[str, Any]:
    return {
        "variant": trial.variant,
        "parameters": trial.parameters,
        "model": dataclasses.asdict(model),
        "selected_as": select,
        "sweep": sweep.name,
        "trial": trial.number,
        "candidate": trial.candidate,
        "epochs": trial.epochs,
        "seed": trial.seed,
        "validation": dataclasses.asdict(validation),
        "test": dataclasses.asdict(test) if test else None,
        "costs": {**trial.costs, "device": trial.device, "mode": trial.mode},
        "data": data.describe(),
        "versions": {**trial.versions, **sweep.versions},
        "command": public_text(sweep.command),
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.py", "weights.pt")
        },
    }


def _readme(trial: TrialRecord, facts: dict[str, Any]) -> str:
    data = facts["data"]
    shape = f"({data['channels']}, {data['image_size']}, {data['image_size']})"
    costs = "\n".join(f"| {name} | {value:.6g} |" for name, value in trial.costs.items())
    test = facts["test"]
    tested = (
        f"Test accuracy {_percent(_Score(**test))}, taken once, on images that neither "
        "training nor the search saw.\n\n"
        if test
        else "There is no test set; expect less than the validation accuracy, which the search "
        "chose by.\n\n"
    )
    return f"""\
# ResNeSt {trial.variant}

Trained on {data["name"]} for {trial.epochs} epochs, exported by resnest-search {__version__}.
Validation accuracy {_percent(_Score(**facts["validation"]))}.
{tested}\
`model.py` needs torch alone; `weights.pt` loads with `weights_only=True`; `model.json` holds
every figure with its device and mode.

```python
import torch
from model import build, preprocess

network = build(pretrained=True).eval()
images = torch.rand(1, *{shape})  # in [0, 1]
classes = network(preprocess(images)).argmax(1)
```

| cost | on {trial.device}: {trial.mode} |
| --- | --- |
{costs}
"""


def _percent(score: _Score) -> str:
    return f"{score.accuracy:.2%} ± {score.standard_error:.2%} (n = {score.images})"
