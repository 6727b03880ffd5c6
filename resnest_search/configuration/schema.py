"""What a run may be told: the typed schema of conf/ as plain dataclasses.

Standard library alone. Everything that crosses to a worker process is made of these.
Each key is written once, with one line of help and what is valid: the command line's help,
docs/configuration.md and the checks all read it here. Units stand in the names.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from resnest_search.metrics import METRICS, SHARES

__all__ = [
    "AUGMENTS",
    "DATA_SETS",
    "POLICIES",
    "VARIED",
    "DashboardConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "Key",
    "LaterTrackingConfig",
    "LimitsConfig",
    "ListCommandConfig",
    "MeasureConfig",
    "MethodConfig",
    "ModelConfig",
    "ProfileConfig",
    "ReportConfig",
    "ResourcesConfig",
    "ResumeConfig",
    "RetrainedConfig",
    "SearchConfig",
    "SweepConfig",
    "TrackingConfig",
    "TrainCommandConfig",
    "TrainConfig",
    "TrialConfig",
    "Valid",
    "dotted",
    "keys",
    "sections",
]

DATA_SETS = ("digits", "fashion_mnist", "cifar10", "image_folder", "imagenet")
AUGMENTS = ("none", "shift", "crop_flip", "resized_crop", "autoaugment")
POLICIES = ("none", "autoaugment", "randaugment", "trivialaugment")
_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True)
class Valid:
    """What a value, or each entry of a list, must be: in words, and as a test of it."""

    words: str
    holds: Callable[[Any], bool] = lambda value: True


@dataclass(frozen=True)
class Key:
    """One key of the schema, by its dotted name."""

    name: str
    kind: Any  # its type
    help: str
    valid: Valid | None


def keys(section: type[Any], prefix: str = "") -> Iterator[Key]:
    """Every key of a section and of those within it; a mapping or a list is one key.

    Raises:
        KeyError: a field has no line of help.
    """
    for name, kind, entry in _fields(section, prefix):
        if dataclasses.is_dataclass(kind):
            yield from keys(typing.cast("type[Any]", kind), f"{name}.")
        else:
            yield Key(name, kind, entry.metadata["help"], entry.metadata["valid"])


def sections(kind: type[Any], prefix: str = "") -> Iterator[tuple[str, type[Any]]]:
    """A command's schema and the sections within it, each after its prefix, such as ``data.``."""
    yield prefix, kind
    for name, inner, _ in _fields(kind, prefix):
        if dataclasses.is_dataclass(inner):
            yield from sections(typing.cast("type[Any]", inner), f"{name}.")


def _fields(section: type[Any], prefix: str) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    kinds = typing.get_type_hints(section)
    for entry in dataclasses.fields(section):
        yield f"{prefix}{entry.name}", kinds[entry.name], entry


def _key(default: Any, help: str, valid: Valid | str | None = None) -> Any:
    """A field of the schema. Words alone, where what is valid is decided elsewhere."""
    rule = Valid(valid) if isinstance(valid, str) else valid
    metadata = {"help": help, "valid": rule}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _one_of(*names: Any) -> Valid:
    return Valid(", ".join(str(name) for name in names), lambda value: value in names)


def _at_least(least: float) -> Valid:
    return Valid(f"a number of at least {least}", lambda value: least <= value < inf)


def _share() -> Valid:
    return Valid("at least 0, below 1", lambda value: 0 <= value < 1)


def _above(least: float) -> Valid:
    return Valid(f"above {least}", lambda value: least < value < inf)


def _whole(least: int) -> Valid:
    def holds(value: Any) -> bool:
        return type(value) is int and value >= least

    return Valid(f"whole numbers of at least {least}", holds)


@dataclass
class ModelConfig:
    """The network around the variant."""

    name: str = _key("small", "What the network is called, in tables and messages.")
    stem: str = _key(
        "small",
        "Before the stages: small is one 3x3 at stride 1; deep three 3x3 at stride 2, then a pool.",
        _one_of("small", "deep"),
    )
    stem_width: int = _key(
        32, "Channels of the deep stem's first two 3x3; it ends at twice that.", _at_least(1)
    )
    depths: list[int] = _key([1, 1], "Blocks of each stage.", _whole(1))
    planes: list[int] = _key([32, 64], "Width of each stage, which ends at 4 x planes.", _whole(1))
    avg_down: bool = _key(True, "Shortcuts shrink by an average pool, then a 1x1 at stride 1.")
    avd: bool = _key(True, "A 3x3 average pool does the down-sampling of a block.")
    avd_first: bool = _key(
        True, "That pool stands before the 3x3 (ResNeSt-fast) instead of after it."
    )
    radix0: str = _key(
        "resnet_d",
        "What radix 0 means: resnet_d is a strided 3x3; avd pools like the other radices.",
        _one_of("resnet_d", "avd"),
    )
    zero_init_last_gamma: bool = _key(True, "The last batch norm of each block starts at zero.")
    dropout: float = _key(0.0, "Dropout before the classifier.", _share())
    dropblock: float = _key(0.0, "DropBlock in the last two stages.", _share())
    pretrained: str | None = _key(
        None,
        "Weights to start from.",
        "a file of the authors, of timm or of this project; source: those of train source=FOLDER; "
        "null: none",
    )


@dataclass
class DataConfig:
    """Images, their split into training, validation and test, and what is done to them."""

    name: str = _key("digits", "The data set, or how its files lie.", _one_of(*DATA_SETS))
    root: str | None = _key(
        None, "Folder of the images.", "a folder; null: none is needed, or ~/.cache/resnest-search"
    )
    download: bool = _key(False, "Fetch CIFAR-10 or Fashion-MNIST where the root lacks it.")
    image_size: int = _key(8, "Side in pixels of the square that the network sees.", _at_least(1))
    channels: int = _key(3, "Of the images: 1 is grey, 3 is RGB.", _one_of(1, 3))
    classes: int | None = _key(
        None, "How many classes there must be.", "null: counted from the folders"
    )
    mean: list[float] = _key(
        [], "Subtracted from images in 0 to 1.", "one value, one per channel, or [] beside std=[]"
    )
    std: list[float] = _key(
        [], "Images are divided by it.", "above 0: one value, one per channel, or [] beside mean=[]"
    )
    background: list[int] = _key(
        [255], "Put behind transparent pixels.", "0 to 255: one grey, or one value per channel"
    )
    augment: str = _key(
        "none",
        "How training images are cut; autoaugment is resized_crop with that policy.",
        _one_of(*AUGMENTS),
    )
    policy: str = _key(
        "none", "How their colours and shapes are varied besides.", _one_of(*POLICIES)
    )
    randaugment_magnitude: int = _key(
        9,
        "Strength of policy=randaugment.",
        Valid("0 to 30", lambda value: 0 <= value <= 30),
    )
    erasing: float = _key(
        0.0,
        "Probability that a rectangle of a training image is erased (random erasing).",
        Valid("0 to 1", lambda value: 0 <= value <= 1),
    )
    train_images: int | None = _key(
        None, "Images to train on.", "at most what there are; null: all that validation leaves"
    )
    val_images: int | None = _key(
        None,
        "Images to validate on, held out of training, by class.",
        "null: the data set's own, or a tenth of the training images",
    )
    test_images: int | None = _key(
        None, "Images of the one test of an exported network.", "null: the data set's own, if any"
    )
    split_seed: int = _key(0, "Decides which images are held out.", _at_least(0))
    workers: int = _key(0, "Loader processes of each training process.", _at_least(0))
    cache: str = _key(
        "none",
        "Keep decoded images of folders in shared memory or in a file: crops of large JPEGs are "
        "then cut from all pixels.",
        _one_of("none", "ram", "disk"),
    )
    shrink: int | None = _key(
        None,
        "Shorter side to which larger images are resized before training crops them.",
        "pixels, at least image_size; null: they stay as they are",
    )
    check: bool = _key(True, "Read every image once before anything is measured.")
    unreadable: str = _key(
        "refuse",
        "What becomes of images that this cannot read: skip leaves them out and counts them.",
        _one_of("refuse", "skip"),
    )
    skip: list[str] = _key(
        [], "Files that are left out; filled by unreadable=skip.", "paths below root"
    )


@dataclass
class TrainConfig:
    """The recipe."""

    name: str = _key("quick", "What the recipe is called.")
    epochs: int = _key(9, "Length of a training, unless search.epochs says other.", _at_least(1))
    batch_size: int = _key(
        64,
        "Images of an optimizer step, over all workers of a trial.",
        _at_least(2),  # one image has no batch statistics
    )
    accumulate: int = _key(
        1,
        "Parts that the batch comes in, whose gradients are summed; norms see one part at a time.",
        _at_least(1),
    )
    optimizer: str = _key("sgd", "SGD with Nesterov momentum, or AdamW.", _one_of("sgd", "adamw"))
    learning_rate: float = _key(
        0.1,
        "Peak for 256 images of batch, with either optimizer; it is scaled by batch_size / 256.",
        _at_least(0),
    )
    momentum: float = _key(0.9, "Nesterov momentum of SGD; the first beta of AdamW.", _share())
    beta2: float = _key(0.999, "The second beta of AdamW.", _share())
    weight_decay: float = _key(1e-4, "Of weights; biases and norms have none.", _at_least(0))
    warmup_epochs: float = _key(
        1.0,
        "Epochs in which the rate rises linearly; then it falls to zero as a cosine.",
        _at_least(0),
    )
    layer_decay: float = _key(
        1.0,
        "The rate is multiplied by it with each block from the classifier down to the stem.",
        Valid("above 0, at most 1", lambda value: 0 < value <= 1),
    )
    frozen_epochs: int = _key(
        0, "First epochs, in which the classifier alone is trained.", _at_least(0)
    )
    clip_gradients: float = _key(
        0.0,
        "Longer gradients are shortened to this norm, over all weights; 0 is off.",
        _at_least(0),
    )
    ema: float = _key(
        0.0,
        "Decay of a running average of weights and statistics, which is validated and exported; "
        "it begins shorter, see docs/recipes.md; 0 is off.",
        _share(),
    )
    patience: int = _key(
        0,
        "A single training ends after so many epochs without a new best accuracy, with the "
        "weights of its last epoch; 0 is off.",
        _at_least(0),
    )
    label_smoothing: float = _key(0.0, "Share of a label spread over all classes.", _share())
    mixup: float = _key(0.0, "Alpha of mixup's Beta distribution; 0 is off.", _at_least(0))
    cutmix: float = _key(
        0.0,
        "Alpha of CutMix's; 0 is off. Beside mixup each batch has one of the two, by a coin.",
        _at_least(0),
    )
    progressive_resizing: float = _key(
        1.0,
        "Side of training images in the first epoch, of data.image_size, which it grows to over "
        "four fifths of the epochs; 1 is off.",
        Valid("above 0, at most 1", lambda value: 0 < value <= 1),
    )
    precision: str = _key(
        "fp32",
        "Of training; tf32 is fp32 with shorter products, on a GPU; bf16 and fp16 are mixed; auto "
        "is bf16, fp16 or fp32, what the device has, and is recorded as that.",
        _one_of(*_PRECISIONS, "auto"),
    )
    channels_last: bool = _key(False, "Train in the memory format NHWC.")
    compile: bool = _key(False, "Train the network as torch.compile makes it.")
    sync_norm: bool = _key(
        True, "Of several workers: batch norm sees the images of all, not each worker's own."
    )


@dataclass
class MeasureConfig:
    """The mode in which cost is measured: latency is a property of the variant and of this."""

    name: str = _key("eager", "What the mode is called.")
    batch: int = _key(1, "Images of a forward pass.", _at_least(1))
    image_size: int | None = _key(None, "Side in pixels; null: the data's.", _at_least(1))
    precision: str = _key(
        "fp32",
        "Of the forward pass; tf32 is fp32 with shorter products, on a GPU.",
        _one_of(*_PRECISIONS),
    )
    channels_last: bool = _key(False, "Measure in the memory format NHWC.")
    compile: bool = _key(False, "Measure the network as torch.compile makes it.")
    form: str = _key(
        "plain",
        "Plain is the network as exported; fast, on a GPU, has norms folded and the fastest form "
        "of each 3x3; onnxruntime is ONNX Runtime on a CPU.",
        _one_of("plain", "fast", "onnxruntime"),
    )
    cuda_graph: bool = _key(False, "Launch the kernels of a pass at once, on a GPU.")
    cold_l2: bool = _key(False, "Empty the L2 cache before each timed pass, on a GPU.")
    warmup: int = _key(10, "Passes before the first timed one.", _at_least(0))
    repeats: int = _key(150, "Timed passes of the first five rounds.", _at_least(1))
    processes: int = _key(
        5,
        "Processes that take turns in the rounds on a CPU; on a GPU, and compiled, it is one.",
        _at_least(1),
    )
    half_width: float | None = _key(
        3.0,
        "Rounds go on until the latency's interval of 95 % is ± so many percent; null: five.",
        _above(0),
    )
    time_limit_s: float | None = _key(
        None,
        "Most seconds of further rounds, of all networks; null: as long as the first five took.",
        _at_least(0),
    )
    threads: int = _key(1, "Threads of a CPU.", _at_least(1))
    cache: str = _key(
        "auto",
        "Where costs are kept for later sweeps of this machine.",
        "auto: the user's cache folder; none: measure anew, and keep nothing; or a folder",
    )
    device: str | None = _key(
        None, "Where; null: cuda where a trial has a GPU, else cpu.", _one_of("cpu", "cuda")
    )
    doubtful: str = _key(
        "auto",
        "Latencies that others' work or heat made doubtful: mark says so wherever they are "
        "shown; refuse begins no sweep; auto refuses on a GPU, and marks on a CPU.",
        _one_of("auto", "mark", "refuse"),
    )
    also: list[str] = _key(
        [],
        "Modes that are measured beside this one and recorded; the front is of this one alone.",
        "names of files of measure/, each once, and not this one",
    )
    profile: str | None = _key(
        None,
        "Costs as they were measured elsewhere, in place of measuring.",
        "a file that profile sweep=NAME out=FILE wrote; null: measured here",
    )


@dataclass
class MethodConfig:
    """A sampler or pruner: its name and its own parameters."""

    name: str = _key("", "Which one; chosen with its parameters by the group of that name.")
    args: dict[str, Any] = _key({}, "Its own parameters.", "those of the group's files; Optuna's")


@dataclass
class LimitsConfig:
    """Bounds on measured costs; what breaks one is infeasible and never trained."""

    latency_ms: float | None = _key(None, "Most of the median latency, in ms.", _above(0))
    latency_p95_ms: float | None = _key(
        None, "Most of the 95th percentile of latency, in ms.", _above(0)
    )
    images_per_s: float | None = _key(None, "Least images per second.", _above(0))
    memory_mib: float | None = _key(None, "Most memory of inference, in MiB.", _above(0))
    train_memory_mib: float | None = _key(
        None, "Most memory of a training step, in MiB.", _above(0)
    )
    parameters_m: float | None = _key(None, "Most parameters, in millions.", _above(0))
    gmacs: float | None = _key(
        None, "Most multiply-accumulates of an image, in billions.", _above(0)
    )


@dataclass
class WithinConfig(LimitsConfig):
    """Bounds on recorded costs: the front is that of the trials that hold them."""


def _weight(of: str) -> Any:
    return _key(None, f"Weight of {of} at the knee; null: 1.", _at_least(0))


@dataclass
class WeightsConfig:
    """What multiplies the logarithms of error and costs of which the knee has the least sum."""

    accuracy: float | None = _weight("the error")
    balanced_accuracy: float | None = _weight("the error of balanced accuracy")
    macro_f1: float | None = _weight("the error of macro F1")
    loss: float | None = _weight("the loss")
    latency_ms: float | None = _weight("the median latency")
    latency_p95_ms: float | None = _weight("the 95th percentile of latency")
    images_per_s: float | None = _weight("the time of an image")
    memory_mib: float | None = _weight("the memory of inference")
    train_memory_mib: float | None = _weight("the memory of a training step")
    parameters_m: float | None = _weight("the parameters")
    gmacs: float | None = _weight("the multiply-accumulates")


@dataclass
class SearchConfig:
    """What varies, what is sought, and how much may be spent on it."""

    space: dict[str, Any] = _key(
        {},
        "What varies: for each key a list of values, or {low, high, log, step}; {choices, when, "
        "else} where it exists only beside values of others; {…} replaces all.",
        "variant; radix and cardinality_width; radix, cardinality and width; keys of model, data, "
        "train",
    )
    objectives: list[str] = _key(
        ["accuracy", "latency_ms", "memory_mib"],
        "What the front is of, what matters most first; of a table its own costs, too.",
        _one_of(*METRICS),
    )
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    trials: int | None = _key(
        None, "Most candidates; null: every one of a finite space.", _at_least(1)
    )
    epochs: int = _key(
        9,
        "Full length of a trial; that of train.epochs.",
        Valid("at least 1; 0: all that a table records", lambda value: value >= 0),
    )
    budget: int | None = _key(
        None, "Most training epochs of the whole sweep; null: no bound.", _at_least(1)
    )
    hours: float | None = _key(None, "Most wall-clock time; null: no bound.", _above(0))
    seed: int = _key(0, "Of order, weights and batches.", _at_least(0))
    repeats: int = _key(
        0,
        "Most further seeds of a candidate that noise leaves in doubt on the front.",
        _at_least(0),
    )
    tolerance: float | None = _key(
        None,
        "End when all that is left promises less than this share of the hypervolume; null: never.",
        Valid("above 0 and below 1, or null", lambda value: value is None or 0 < value < 1),
    )
    warm_start: list[str] = _key([], "Earlier runs to learn from.", "folders of runs")
    first: list[Any] = _key(
        [],
        "Candidates that are trained first, in this order.",
        "of each a variant, a hash, 'key=value key=value' or {KEY: value}, so much as tells it "
        "from all others; []: those of rows",
    )
    sampler: MethodConfig = field(default_factory=MethodConfig)
    pruner: MethodConfig = field(default_factory=MethodConfig)


@dataclass
class TrialConfig:
    """How a trial comes by its epochs."""

    name: str = _key(
        "train", "It trains, or replays recorded curves (table).", _one_of("train", "table")
    )
    path: str | None = _key(None, "The recorded curves; a table needs them.", "a CSV file")
    engine: str = _key(
        "simulator",
        "How a table is replayed: in virtual time, or through Ray Tune.",
        _one_of("simulator", "ray"),
    )
    workers: int = _key(1, "Virtual workers of the simulator.", _at_least(1))


@dataclass
class ResourcesConfig:
    """What a trial gets, and on which machines."""

    address: str | None = _key(
        None, "Of a running Ray cluster.", "auto, or HOST:PORT; null: this machine"
    )
    gpus_per_trial: int | float | str | None = _key(
        None,
        "GPUs of a trial, over all its workers.",
        "a fraction of one, or a whole number; auto: as many trials share one as the measured "
        "memory of training lets; null: 1 where there is one",
    )
    trials_per_gpu: int = _key(
        4, "Most trials that share a GPU with gpus_per_trial=auto.", _at_least(1)
    )
    workers_per_trial: int | None = _key(
        None,
        "Processes that train a trial together.",
        "at least 1; null: gpus_per_trial, rounded up, at least 1",
    )
    cpus_per_worker: int = _key(1, "CPU cores of each of them.", "at least 1")


def _of_wandb(longest: int, forbidden: str) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return 0 < len(value) <= longest and not set(value) & set(forbidden)

    return holds


@dataclass
class TrackingConfig:
    """What is told to Weights & Biases."""

    name: str = _key(
        "offline",
        "W&B: runs to upload later, an upload as the sweep goes, or nothing; or TensorBoard.",
        _one_of("offline", "online", "none", "tensorboard"),
    )
    project: str | None = _key(
        None,
        "Project of the runs.",
        Valid(
            "up to 128 characters without / \\ # ? % :; null: WANDB_PROJECT, else resnest-search",
            _of_wandb(128, "/\\#?%:"),
        ),
    )
    entity: str | None = _key(
        None,
        "Team or user that they belong to.",
        Valid(
            "a name without /; null: WANDB_ENTITY, else that of the account", _of_wandb(128, "/")
        ),
    )
    tags: list[str] = _key(
        [],
        "Tags of each run.",
        Valid("1 to 64 characters each; []: those of WANDB_TAGS", _of_wandb(64, "")),
    )
    listeners: list[str] = _key(
        [],
        "Who else is told of each epoch, each trial and the sweep.",
        "tensorboard, or module:Class of a tracking.listeners.Listener",
    )


_LATER = ("", "offline", "online", "none", "tensorboard")


@dataclass
class LaterTrackingConfig(TrackingConfig):
    """Another tracking than the run was begun with."""

    name: str = _key(
        "",
        "Runs to upload later, an upload as the sweep goes, or nothing; empty: as recorded.",
        Valid("offline, online, none, tensorboard", lambda value: value in _LATER),
    )


def _dashboard(default: str | None, otherwise: str = "") -> Any:
    valid = "a file of dashboards/, the package's or ./dashboards/NAME.yaml"
    return _key(default, "What is shown of it.", valid + otherwise)


def _storage() -> Any:
    return _key(
        None, "Where the study's database is now.", "a URL of a database; null: as recorded"
    )


def _run() -> Any:
    return _key(None, "The run that is meant.", "its folder, with its study.db")


def _plan() -> Any:
    return _key(False, "Print what it would cost, and end before anything begins.")


def _verbose() -> Any:
    return _key(
        False, "Show each epoch, and let Ray, Lightning and the others say what they have to say."
    )


@dataclass
class SweepConfig:
    """The sweep command."""

    sweep: str = _key("", "The question, which names what varies.", "a file of sweeps/")
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    rows: list[Any] = _key(
        [],
        "Candidates that the report compares one after the other, with figures published of them.",
        "{name: TEXT, of: as in search.first, METRIC: number as tables print it}; names a paper's "
        "rows",
    )
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    dashboard: str = _dashboard("sweep")
    storage: str | None = _key(
        None, "Database of the study.", "a URL of Optuna's; null: study.db in the run's folder"
    )
    run: str | None = _key(
        None, "Where the results go.", "a new folder; null: runs/<sweep>/<start time>"
    )
    plan: bool = _plan()
    verbose: bool = _verbose()


@dataclass
class RetrainedConfig(SweepConfig):
    """What is recorded of train source=FOLDER."""

    source: dict[str, Any] = _key({}, "The network that it trains again: sweep, run, trial.")


# Sections whose keys a space may vary.
VARIED: dict[str, type[Any]] = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}


def dotted(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Nested sections of a space as dotted keys: Hydra splits ``train.mixup`` at its dot."""
    flat: dict[str, Any] = {}
    for key, values in choices.items():
        if key in VARIED and isinstance(values, Mapping):
            flat |= {f"{key}.{name}": value for name, value in values.items()}
        else:
            flat[key] = values
    return flat


def _select() -> Any:
    return _key(
        "knee",
        "Which network: the knee, or the best by one objective, or a variant.",
        f"knee, {', '.join(SHARES)}, latency, memory, a variant, or a candidate's hash",
    )


@dataclass
class TrainCommandConfig:
    """The train command: one variant, or a network of another run, to its full length."""

    variant: str = _key("2s1x64d", "What is trained.", "RsKxWd: radix, cardinality, width")
    source: str | None = _key(
        None,
        "A run whose network is trained again, with its model, data, train and measure.",
        "the folder of a run; null: variant, on a configuration of its own",
    )
    select: str = _select()
    limits: WithinConfig = field(default_factory=WithinConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    seed: int = _key(0, "Of weights and batches.", _at_least(0))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    storage: str | None = _key(
        None, "Where the database of the source's study is now.", "a URL; null: as recorded"
    )
    run: str | None = _key(
        None, "Where the results go.", "a new folder; null: runs/train/<start time>"
    )
    plan: bool = _plan()
    verbose: bool = _verbose()


@dataclass
class ProfileConfig:
    """The profile command: costs of one variant, without training."""

    variant: str = _key("2s1x64d", "What is measured.", "RsKxWd: radix, cardinality, width")
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    verbose: bool = _verbose()


@dataclass
class SpaceProfileConfig(SweepConfig):
    """The profile command of a sweep: costs of all its networks, without training."""

    out: str | None = _key(
        None, "Where the profile is written, for other machines.", "a file of JSON; null: nowhere"
    )


@dataclass
class ElsewhereConfig(MeasureConfig):
    """Another mode or device than the run's own."""

    name: str = _key("", "What the mode is called; empty: as the run was measured.")


@dataclass
class ResumeConfig:
    """The resume command: the run's own configuration, with larger bounds where given."""

    run: str | None = _run()
    trials: int | None = _key(None, "Most candidates now; null: as recorded.", _at_least(1))
    budget: int | None = _key(
        None, "Most training epochs of the whole sweep now; null: as recorded.", _at_least(1)
    )
    hours: float | None = _key(
        None, "Most wall-clock time of the whole sweep now; null: as recorded.", _above(0)
    )
    tracking: LaterTrackingConfig = field(default_factory=LaterTrackingConfig)
    dashboard: str | None = _dashboard(None, "; null: as recorded")
    storage: str | None = _storage()
    verbose: bool = _verbose()


@dataclass
class ReportConfig:
    """The report command."""

    run: str | None = _run()
    measure: ElsewhereConfig = field(default_factory=ElsewhereConfig)
    dashboard: str | None = _dashboard(None, "; null: as recorded")
    storage: str | None = _storage()
    verbose: bool = _verbose()


@dataclass
class ExportConfig:
    """The export command."""

    run: str | None = _run()
    select: str = _select()
    limits: WithinConfig = field(default_factory=WithinConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    format: list[str] = _key(
        ["source"],
        "What is written; source always is.",
        "source, torch_export, onnx, onnx_int8, timm",
    )
    measure: ElsewhereConfig = field(default_factory=ElsewhereConfig)
    storage: str | None = _storage()
    verbose: bool = _verbose()


@dataclass
class FilesConfig:
    """Images that a trained network is tried on."""

    root: str | None = _key(
        None,
        "Folder of class folders, which are matched by name, or with val/ or test/ of these.",
        "a folder; null: the run's own images",
    )
    workers: int = _key(0, "Loader processes.", _at_least(0))


@dataclass
class EvaluateConfig:
    """The evaluate command: a trained network on images, class by class."""

    run: str | None = _key(None, "The run that is meant.", "its folder, or an exported best/")
    select: str = _select()
    limits: WithinConfig = field(default_factory=WithinConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    data: FilesConfig = field(default_factory=FilesConfig)
    split: str = _key(
        "validation",
        "Which images; test counts as a look at the test images.",
        _one_of("validation", "test"),
    )
    device: str | None = _key(
        None, "What it runs on; null: cuda where there is a GPU.", _one_of("cpu", "cuda")
    )
    out: str | None = _key(
        None, "Where evaluate.json and confusion.csv are written.", "a folder; null: nowhere"
    )
    storage: str | None = _storage()
    verbose: bool = _verbose()


@dataclass
class CompareConfig:
    """The compare command: several runs side by side."""

    run: list[str] = _key([], "The runs that are meant.", "two or more folders of runs")
    measure: ElsewhereConfig = field(default_factory=ElsewhereConfig)
    out: str | None = _key(
        None, "Where a picture and a table of all are written.", "a folder; null: nowhere"
    )
    verbose: bool = _verbose()


@dataclass
class DashboardConfig:
    """The dashboard command: the panels of runs as a saved workspace of W&B's."""

    run: str | None = _run()
    beside: list[str] = _key([], "Runs that are shown beside it.", "folders of runs")
    tracking: LaterTrackingConfig = field(default_factory=LaterTrackingConfig)
    dashboard: str | None = _dashboard(None, "; null: as recorded")
    storage: str | None = _storage()
    verbose: bool = _verbose()


@dataclass
class ListCommandConfig:
    """The list command: the runs below a folder, and how they stand."""

    runs: str | None = _key(None, "Where to look for runs.", "a folder; null: runs")
