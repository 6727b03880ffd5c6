"""Write the chosen trial into ``best/``, checked against the trained network."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from resnest_search import __version__
from resnest_search.configuration.schema import ModelConfig
from resnest_search.cost.runtime import Session
from resnest_search.data import ImageData
from resnest_search.data import build as build_data
from resnest_search.errors import UserError
from resnest_search.export.check import BATCH, FILES, Reference, Score, check, evaluate, line
from resnest_search.export.formats import (
    Format,
    Winner,
    named_formats,
    refuse_where_none_is_left,
)
from resnest_search.export.formats.onnx_int8 import CALIBRATED
from resnest_search.export.looks import Look, take_look
from resnest_search.export.readme import readme
from resnest_search.export.standalone import facts_digest
from resnest_search.files import write_atomically, writing
from resnest_search.models.build import build as build_network
from resnest_search.models.build import network_arguments
from resnest_search.redact import public_config, public_text
from resnest_search.study.read import rivals_of
from resnest_search.study.record import Sweep, TrialRecord
from resnest_search.study.select import configured_as, described, select_trial
from resnest_search.study.study import SweepStudy
from resnest_search.training import load_weights
from resnest_search.variant import Variant

__all__ = ["Export", "export_best", "trained_network"]

_KILLED_S = 24 * 3600.0  # after which nobody is at work on an export any more


@dataclass(frozen=True)
class Export:
    """What an export wrote, for the screen; and why it could not write which formats."""

    lines: tuple[str, ...]
    refused: dict[str, str]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def export_best(
    sweep: Sweep,
    select: str,
    formats: Sequence[str] = ("source",),
    study: SweepStudy | None = None,
) -> Export:
    """Export a trial of a sweep into its ``best/``.

    The new files are written and checked beside the old ones, which go only when all is
    well: each file, loaded in a process that has nothing of this package, answers as the
    trained network does on the validation images, and that network has the accuracy that
    the study recorded.

    Args:
        sweep: with a complete trial.
        select: which, see `select_trial`.
        formats: names of formats; source is always written. Those that are possible are
            written, if any of them is.
        study: of the sweep, which counts looks at the test images; None: the folder's.

    Raises:
        UserError: nothing is to be exported, no format is possible, the checkpoint is gone or
            damaged, or model.py is not the trained network.
    """
    trial = select_trial(sweep, select)
    model, data_config, _ = configured_as(sweep, trial)
    arguments = {"variant": trial.variant, **network_arguments(model)}
    chosen, refused = named_formats(formats, arguments)
    target = Path(sweep.folder) / "best"
    with _replacing(target) as work:
        data = build_data(data_config, BATCH, trial.seed, sweep.images, names=sweep.names)
        winner = _winner(sweep, trial, model, data, chosen)
        given = work / "given"
        given.mkdir()
        validation, reference = _validated(winner, trial, data, given)
        checked, failed = _write(chosen, winner, work, reference)
        refused |= failed
        refuse_where_none_is_left(formats, refused)
        shutil.rmtree(given)
        for format in chosen:
            if format.name in checked and not format.exact:
                checked[format.name]["validation"] = _own_score(work / format.file, data)
        written = [format for format in chosen if format.name in checked]
        test, look = _tested(study or SweepStudy.open(target.parent), trial, winner, data)
        found = {"validation": validation, "test": test, "test_look": look}
        facts = _facts(sweep, trial, select, model, data) | {
            name: dataclasses.asdict(value) if value else None for name, value in found.items()
        }
        facts |= {"formats": checked, "sha256": _digests(work, written)}
        with writing("run", sweep.folder):
            _write_facts(work, facts, written)
    tested = f", test {test}, {look}" if test else ""
    what = f"{trial.name}, {described(sweep, select)},"
    first = f"Exported {what} to {target}: validation {validation}{tested}"
    lines = (
        first,
        *(line(name, facts) for name, facts in checked.items()),
        *_in_sweep(sweep, trial),
    )
    return Export(lines, refused)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A folder that takes the place of another once all is well, and is gone otherwise."""
    _forget_killed(target.parent)
    with writing("run", target.parent):
        work = Path(tempfile.mkdtemp(prefix=".best-", dir=target.parent))
    try:
        yield work
        with writing("run", target.parent):
            work.chmod(0o755)
            _put_in_place(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _put_in_place(work: Path, target: Path) -> None:
    """Rename a folder over one that may be there, whatever it is, and is gone afterwards.

    Where that fails the old one is there again.
    """
    aside = work.with_name(f"{work.name}-old")
    try:
        if os.path.lexists(target):
            target.rename(aside)
        work.rename(target)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(target):
            aside.rename(target)
        raise
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)  # what somebody holds is left to them
    else:
        aside.unlink(missing_ok=True)


def _forget_killed(folder: Path) -> None:
    """Remove what exports that were killed have left; others may be at work."""
    for left in folder.glob(".best-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _KILLED_S:
                shutil.rmtree(left, ignore_errors=True)


def _own_score(file: Path, data: ImageData) -> dict[str, Any]:
    """Of a file of ONNX on all validation images."""
    return dataclasses.asdict(evaluate(Session(file, 1), data.val_dataloader()))


def _calibration(data: ImageData) -> Iterator[Tensor]:
    """Training images, as they are trained on, up to `CALIBRATED` of them."""
    left = CALIBRATED
    for images, _ in data.train_dataloader():
        yield images[:left].contiguous()
        left -= len(images)
        if left <= 0:
            return


def trained_network(sweep: Sweep, trial: TrialRecord) -> nn.Module:
    """The network of a complete trial with its trained weights, on the CPU and in eval mode.

    It takes images (batch, channels, height, width), as validation prepares them, and gives logits
    (batch, classes). No image is read for it.

    Raises:
        UserError: the checkpoint is gone or damaged.
    """
    model, data, _ = configured_as(sweep, trial)
    return _trained(sweep, trial, model, data.channels, data.classes or 0)


def _in_sweep(sweep: Sweep, trial: TrialRecord) -> list[str]:
    """The latency that it was chosen by, beside those of the check."""
    if "latency_ms" not in trial.costs:
        return []
    p95 = trial.costs.get("latency_p95_ms")
    tail = "" if p95 is None else f" (p95 {p95:.3g})"
    median = f"{trial.costs['latency_ms']:.3g} ms{tail}"
    whose = f"by {sweep.costs_of.partition(' (')[0]}" if sweep.costs_of else "measured by the sweep"
    return [f"  {whose}: {median} on {trial.device}: {trial.mode}"]


def _tested(
    study: SweepStudy, trial: TrialRecord, winner: Winner, data: ImageData
) -> tuple[Score | None, Look | None]:
    """The score on the test images, which is counted; None where there are none."""
    if not data.test_count:
        return None, None
    score = evaluate(winner.network, data.test_dataloader())
    return score, take_look(study, trial, winner.network)


def _winner(
    sweep: Sweep, trial: TrialRecord, model: ModelConfig, data: ImageData, formats: Sequence[Format]
) -> Winner:
    arguments = {
        "variant": trial.variant,
        **network_arguments(model),
        "in_channels": data.channels,
        "num_classes": data.classes,
    }
    return Winner(
        title=f"ResNeSt {trial.variant}, exported by resnest-search {__version__}.",
        arguments=arguments,
        network=_trained(sweep, trial, model, data.channels, data.classes),
        preprocessing=data.preprocessing,
        class_names=tuple(data.class_names),
        formats=tuple(format.name for format in formats),
        calibration=partial(_calibration, data),
    )


def _trained(
    sweep: Sweep, trial: TrialRecord, model: ModelConfig, channels: int, classes: int
) -> nn.Module:
    folder = Path(sweep.folder) / "trials" / str(trial.number)
    network = build_network(
        Variant.parse(trial.variant), model, in_channels=channels, num_classes=classes
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


def _validated(
    winner: Winner, trial: TrialRecord, data: ImageData, folder: Path
) -> tuple[Score, Reference]:
    """The trained network's score, which must be the recorded one, and its answers."""
    seen: list[tuple[Tensor, Tensor]] = []
    score = evaluate(winner.network, data.val_dataloader(), keep=seen)
    recorded = trial.accuracy or 0.0
    # On another device or in half precision, single images near a tie may fall the other way.
    if abs(score.accuracy - recorded) > max(0.005, 1.5 / score.images):
        raise UserError(
            f"select={trial.variant}: the checkpoint gives {score.accuracy:.4f} on the validation "
            f"images, the study recorded {recorded:.4f}"
        )
    files = data.validation_files(FILES, folder)
    return score, Reference.of(seen, folder / "images.npy", files, winner)


def _write(
    formats: Sequence[Format], winner: Winner, folder: Path, reference: Reference
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Write and check every format; facts of each by name, and why others are not left there.

    Raises:
        UserError: without the source the others are nothing.
    """
    facts, failed = {}, {}
    for format in formats:
        try:
            _write_one(format, winner, folder)
            facts[format.name] = check(format, folder, reference)
        except UserError as error:
            if format.name == "source":
                raise
            failed[format.name] = str(error)
            _remove(folder / format.file)
    return facts, failed


def _write_one(format: Format, winner: Winner, folder: Path) -> None:
    try:
        format.write(winner, folder)
    except Exception as error:  # exporters of other packages raise their own kinds
        text = " ".join(str(error).split())[:300]
        raise UserError(
            f"format={format.name}: not written: {type(error).__name__}: {text}"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _facts(
    sweep: Sweep, trial: TrialRecord, select: str, model: ModelConfig, data: ImageData
) -> dict[str, Any]:
    return {
        "variant": trial.variant,
        "parameters": public_config(trial.parameters),
        "model": public_config(dataclasses.asdict(model)),
        "selected_as": select,
        "chosen_as": described(sweep, select),
        "sweep": sweep.name,
        "trial": trial.number,
        "candidate": trial.candidate,
        "epochs": trial.epochs,
        "seed": trial.seed,
        "uncertainty": _uncertainty(sweep, trial),
        "costs": {**trial.costs, "device": trial.device, "mode": trial.mode},
        "data": data.describe(),
        "versions": {**trial.versions, **sweep.versions},
        "command": public_text(sweep.command),
    }


def _uncertainty(sweep: Sweep, trial: TrialRecord) -> dict[str, Any] | None:
    """What noise leaves open of the choice; None where that is not known."""
    if trial.membership is None:
        return None
    numbers = rivals_of(sweep, trial)
    rivals = (other for other in sweep.trials if other.number in numbers)
    return {
        "noise_of": list(sweep.noise),
        "sought_costs": sweep.sought_costs,
        "front_membership": trial.membership,
        "knee_share": trial.knee_share,
        "seeds": trial.seeds,
        "mean_accuracy": trial.mean_accuracy,
        "mean_error": trial.mean_error,
        "means": trial.means,
        "errors": trial.errors,
        "rivals": [
            {"variant": other.variant, "trial": other.number, "candidate": other.candidate}
            for other in rivals
        ],
    }


def _digests(folder: Path, formats: Sequence[Format]) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for format in formats
        for name in format.files
    }


def _write_facts(folder: Path, facts: dict[str, Any], formats: Sequence[Format]) -> None:
    facts = json.loads(json.dumps(facts))  # as somebody reads them who compares the digest
    facts["digest"] = facts_digest(facts)
    write_atomically(folder / "model.json", json.dumps(facts, indent=2) + "\n")
    write_atomically(folder / "model.yaml", _group_file(facts))
    write_atomically(folder / "README.md", readme(facts, formats))


def _group_file(facts: dict[str, Any]) -> str:
    """The network around the variant as a file of the group ``model``.

    Without a name it is called as the file is; which weights it began with is no part of it.
    """
    keys = {name: value for name, value in facts["model"].items() if name != "name"}
    keys["pretrained"] = None
    first = (
        f"# The network around {facts['variant']}: copied to ./model/NAME.yaml it is "
        f"model=NAME, beside variant={facts['variant']}."
    )
    return f"{first}\n{yaml.safe_dump(keys, sort_keys=False, default_flow_style=None)}"
