"""Values of the right type that make no sense: refused with their key, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from resnest_search.configuration.schema import (
    DataConfig,
    ElsewhereConfig,
    EvaluateConfig,
    ExportConfig,
    MeasureConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
    TrainCommandConfig,
    TrainConfig,
    TrialConfig,
    Valid,
)
from resnest_search.errors import UserError
from resnest_search.metrics import METRICS, SHARES, TRAINED, sought_share
from resnest_search.redact import without_password
from resnest_search.variant import Variant
from resnest_search.words import counted

__all__ = [
    "OWN_WEIGHTS",
    "check_export",
    "check_images",
    "check_keys",
    "check_measure",
    "check_model",
    "check_search",
    "check_source",
    "check_train",
    "check_trained_on",
    "check_trial",
    "in_todays_words",
    "parse_variant",
]

OWN_WEIGHTS = "source"  # as model.pretrained: those of train source=FOLDER


_OF_GPUS = {"fp16": "a CPU would train in bf16", "tf32": "a CPU would train in fp32"}
_OF_TABLES = ("search.objectives",)


def parse_variant(text: str, model: ModelConfig) -> Variant:
    """The variant of a command, possible on the model's stages.

    Raises:
        UserError: it is malformed or impossible; names the rule.
    """
    try:
        return Variant.parse(text).check(model.planes)
    except ValueError as error:
        raise UserError(f"variant={text}: model={model.name}: {error}") from None


def check_keys(section: Any, prefix: str = "", spared: Collection[str] = ()) -> None:
    """Each key of a section, and of those within it, by what the schema says of it alone.

    Where a table is replayed the objectives may be costs of its own: `Table.check` knows them.

    Raises:
        UserError: a value, or an entry of a list, is none of the valid ones.
    """
    if isinstance(section, SweepConfig) and section.trial.name == "table":
        spared = _OF_TABLES
    for entry in dataclasses.fields(section):
        name, value = f"{prefix}{entry.name}", getattr(section, entry.name)
        if dataclasses.is_dataclass(value):
            check_keys(value, f"{name}.", spared)
        elif name not in spared and (valid := entry.metadata["valid"]):
            _check(name, value, valid)


def _check(name: str, value: Any, valid: Valid) -> None:
    for one in value if isinstance(value, list) else [value]:
        if one is not None and not valid.holds(one):
            raise UserError(f"{name}={one}: valid: {valid.words}")


def check_model(model: ModelConfig) -> None:
    """Raises UserError where the network cannot be built with any variant."""
    check_keys(model, "model.")
    if not model.depths or len(model.depths) != len(model.planes):
        raise UserError(
            f"model.depths={model.depths}: valid: one number for each of "
            f"model.planes={model.planes}"
        )


def check_train(train: TrainConfig) -> None:
    """Raises UserError where the recipe cannot be followed."""
    check_keys(train, "train.")
    if train.batch_size % train.accumulate or train.batch_size < 2 * train.accumulate:
        batch = train.batch_size
        valid = [str(n) for n in range(1, batch // 2 + 1) if batch % n == 0]
        shown = ", ".join(valid[:8]) + (", …" if len(valid) > 8 else "")
        raise UserError(
            f"train.accumulate={train.accumulate}: train.batch_size={batch} does not come in so "
            f"many equal parts of two images or more; valid: {shown}"
        )


def check_measure(measure: MeasureConfig) -> None:
    """Raises UserError where nothing can be measured so."""
    check_keys(measure, "measure.")
    if measure.cuda_graph and measure.compile:
        raise UserError("measure.cuda_graph=true: measure.compile=true has none; valid: false")
    if measure.form != "onnxruntime":
        return
    lacking = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise UserError(
            f"measure.form=onnxruntime: {', '.join(lacking)} not installed; "
            "valid: plain, or pip install -c constraints.txt '.[export]'"
        )
    if measure.precision != "fp32":
        raise UserError(
            f"measure.precision={measure.precision}: measure.form=onnxruntime is of fp32; "
            "valid: fp32"
        )
    for key in ("channels_last", "compile", "cuda_graph", "cold_l2"):
        if getattr(measure, key):
            raise UserError(f"measure.{key}=true: measure.form=onnxruntime has none; valid: false")


def check_measured_on(measure: MeasureConfig, has_gpu: bool) -> None:
    """Raises UserError where the device that is measured on has no such precision or form.

    Args:
        measure: the mode.
        has_gpu: whether ``measure.device=null`` is a GPU.
    """
    device = measure.device or ("cuda" if has_gpu else "cpu")
    if device == "cpu" and measure.precision == "tf32":
        raise UserError("measure.precision=tf32: a CPU has none; valid: fp32, bf16, fp16")
    if device == "cpu" and measure.form == "fast":
        raise UserError(
            "measure.form=fast is of GPUs: ONNX Runtime is faster on a CPU; "
            "valid there: plain, onnxruntime"
        )
    for key in ("cuda_graph", "cold_l2"):
        if device == "cpu" and getattr(measure, key):
            raise UserError(f"measure.{key}=true: a CPU has none; valid there: false")
    if device != "cpu" and measure.form == "onnxruntime":
        raise UserError(
            f"measure.device={measure.device or 'null'}: measure.form=onnxruntime is of CPUs; "
            "valid: cpu"
        )


def check_trained_on(train: TrainConfig, has_gpu: bool, workers: int = 1) -> None:
    """Raises UserError where what trains would do so in another precision, or cannot share a batch.

    Args:
        train: the recipe.
        has_gpu: whether each worker of a trial has one.
        workers: of a trial.
    """
    if not has_gpu and train.precision in _OF_GPUS:
        why = _OF_GPUS[train.precision]
        raise UserError(f"train.precision={train.precision}: {why}; valid: fp32, bf16")
    parts, least = _shares(train, workers)
    share, left = divmod(train.batch_size, parts)
    if workers > 1 and (left or share < least):
        valid = f"{least * parts}, {(least + 1) * parts}, …"
        each = f", each in {train.accumulate} parts," if train.accumulate > 1 else ""
        raise UserError(
            f"train.batch_size={train.batch_size}: {workers} workers of a trial{each} want equal "
            f"shares of at least {counted(least, 'image')}; valid: {valid}"
        )


def check_images(train: TrainConfig, images: int, workers: int) -> None:
    """Raises UserError where there are too few to train on for the parts that a batch comes in."""
    parts, least = _shares(train, workers)
    if parts > 1 and images // parts < least:
        raise UserError(
            f"train.accumulate={train.accumulate}: {images} training images are too few for "
            f"{parts} parts of a batch; valid: at most {max(1, images // least // workers)}"
        )


def _shares(train: TrainConfig, workers: int) -> tuple[int, int]:
    """Parts of a batch, over all workers, and the fewest images of each."""
    is_synced = workers > 1 and train.sync_norm
    return workers * train.accumulate, 1 if is_synced else 2  # one image has no batch statistics


def in_todays_words(data: DataConfig) -> DataConfig:
    """What earlier versions called an augmentation is a crop and a policy now."""
    if data.augment != "autoaugment":
        return data
    return dataclasses.replace(data, augment="resized_crop", policy="autoaugment")


def check_elsewhere(measure: ElsewhereConfig) -> None:
    """Raises UserError where a key of another mode or device has no effect, or names no folder."""
    if measure.name and measure.profile:
        raise UserError(
            f"measure.profile={measure.profile}: has its own mode; valid: without measure="
            f"{measure.name}"
        )
    if measure.name in (".", "..") or "/" in measure.name:
        raise UserError(f"measure.name={measure.name}: names a folder of its own; valid: no /")
    if measure.also:
        words = ",".join(measure.also)
        raise UserError(f"measure.also=[{words}]: a run is seen in one mode; valid: []")
    if measure.doubtful != "auto":
        raise UserError(f"measure.doubtful={measure.doubtful}: of a sweep to come; valid: auto")
    apart = {"name", "profile"}
    plain = vars(ElsewhereConfig())
    given = [k for k, v in vars(measure).items() if k not in apart and v != plain[k]]
    if given and (measure.profile or not measure.name):
        what = "a profile has its own" if measure.profile else "nothing is measured"
        raise UserError(
            f"measure.{given[0]}={getattr(measure, given[0])}: {what}; valid: beside measure=NAME"
        )


def check_source(train: TrainCommandConfig) -> None:
    """Raises UserError where a network is chosen and no run is named to choose from."""
    check_export(train)
    if train.source is not None:
        return
    if train.model.pretrained == OWN_WEIGHTS:
        raise UserError(f"model.pretrained={OWN_WEIGHTS}: valid: beside source=FOLDER, or a file")
    if train.storage is not None:
        shown = without_password(train.storage)
        raise UserError(f"storage={shown}: is of a source's study; valid: beside source=FOLDER")
    typed = {"select": train.select} if train.select != TrainCommandConfig.select else {}
    typed |= {f"limits.{name}": f"{bound:g}" for name, bound in given(train.limits).items()}
    typed |= {f"weights.{name}": f"{weight:g}" for name, weight in given(train.weights).items()}
    for name, value in typed.items():
        raise UserError(f"{name}={value}: chooses from a run; valid: beside source=FOLDER")


def given(section: Any) -> dict[str, float]:
    """The keys of a section of limits or weights that have a value, with it."""
    return {name: value for name, value in vars(section).items() if value is not None}


def check_export(export: ExportConfig | EvaluateConfig | TrainCommandConfig) -> None:
    """Raises UserError where weights are given and nothing is weighed."""
    for name, weight in given(export.weights).items():
        if export.select != "knee":
            raise UserError(
                f"weights.{name}={weight:g}: weighs what makes the knee, not "
                f"select={export.select}; valid: select=knee"
            )


def check_search(search: SearchConfig, replayed: bool = False) -> None:
    """Raises UserError where objectives or bounds make no sense.

    Args:
        search: what is sought.
        replayed: whether a table says what may be an objective.
    """
    check_keys(search, "search.", _OF_TABLES if replayed else ())
    if search.epochs < 1:
        raise UserError(f"search.epochs={search.epochs}: valid: at least 1")
    if not search.objectives:
        raise UserError(f"search.objectives=[]: valid: one or more of {', '.join(METRICS)}")
    if len(set(search.objectives)) < len(search.objectives):
        raise UserError(f"search.objectives={search.objectives}: names one twice")
    trained = [name for name in search.objectives if name in TRAINED]
    # known_cost wants as much itself, and says so.
    if search.tolerance and len(trained) != 1 and search.sampler.name != "known_cost":
        raise UserError(
            f"search.tolerance={search.tolerance:g}: what is left is forecast where one trained "
            f"objective is sought, not with search.objectives={search.objectives}; valid: null, or "
            f"objectives with one of {', '.join(TRAINED)}"
        )
    if search.repeats and sought_share(search.objectives) is None:
        raise UserError(
            f"search.repeats={search.repeats}: needs one of {', '.join(SHARES)} as the one trained "
            f"objective, not search.objectives={search.objectives}; valid: 0, or such objectives"
        )


def check_trial(trial: TrialConfig) -> None:
    """Raises UserError where no trial can come by its epochs so."""
    check_keys(trial, "trial.")
    if trial.name == "table" and trial.path is None:
        raise UserError("trial.path=null: valid: a CSV of recorded curves")
