"""What a run may be told: the typed schema of conf/ as plain dataclasses.

Standard library alone. Everything that crosses to a worker process is made of these.
Units stand in the names; a field that may be null says what null means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DataConfig",
    "ExportConfig",
    "LimitsConfig",
    "MeasureConfig",
    "MethodConfig",
    "ModelConfig",
    "ProfileConfig",
    "ReportConfig",
    "ResourcesConfig",
    "ResumeConfig",
    "SearchConfig",
    "SweepConfig",
    "TrainCommandConfig",
    "TrainConfig",
    "TrialConfig",
]


@dataclass
class ModelConfig:
    """The network around the variant."""

    name: str = "small"
    stem: str = "small"  # small: one 3x3 at stride 1; deep: three 3x3 at stride 2, then a pool
    stem_width: int = 32  # deep: channels of the first two 3x3; the stem ends at twice that
    depths: list[int] = field(default_factory=lambda: [1, 1])  # blocks of each stage
    planes: list[int] = field(default_factory=lambda: [32, 64])  # a stage ends at 4 x planes
    avg_down: bool = True  # shortcut: average pool, then 1x1 at stride 1
    avd: bool = True  # a 3x3 average pool does the down-sampling of a block
    avd_first: bool = True  # that pool before the 3x3 (ResNeSt-fast) instead of after it
    radix0: str = "resnet_d"  # what radix 0 means: resnet_d (strided 3x3), or avd like the others
    zero_init_last_gamma: bool = True  # last batch norm of each block starts at zero
    dropout: float = 0.0  # before the classifier
    dropblock: float = 0.0  # in the last two stages
    pretrained: str | None = None  # weights to start from: a file of the authors or of timm


@dataclass
class DataConfig:
    """Images, their split into training, validation and test, and what is done to them."""

    name: str = "digits"
    root: str | None = None  # folder of the images; null: none is needed, or ~/.cache
    download: bool = False
    image_size: int = 8  # pixels, the side of the square that the network sees
    channels: int = 3
    classes: int | None = None  # null: counted from the folders
    mean: list[float] = field(default_factory=list)  # per channel, of images in [0, 1]
    std: list[float] = field(default_factory=list)  # likewise; both or neither
    background: list[int] = field(default_factory=lambda: [255])  # behind transparency, 0 to 255
    augment: str = "none"
    train_images: int | None = None  # null: all that validation leaves
    val_images: int | None = None  # held out of training; null: the data set's own val images
    test_images: int | None = None  # null: the data set's own test images, if it has any
    split_seed: int = 0
    workers: int = 0  # loader processes per training process
    check: bool = True  # read every image once before anything is measured
    unreadable: str = "refuse"  # what that finds: refuse, or skip and count
    skip: list[str] = field(default_factory=list)  # files left out, below root; filled by skip


@dataclass
class TrainConfig:
    """The recipe."""

    name: str = "quick"
    epochs: int = 9
    batch_size: int = 64  # images per optimizer step, over all workers of a trial
    learning_rate: float = 0.1  # per 256 images of batch: the peak is this x batch_size / 256
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 1e-4  # none on biases and norms
    warmup_epochs: float = 1.0  # linear, then cosine to zero
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution; 0 is off
    precision: str = "fp32"  # fp32, bf16 or fp16 (mixed)
    channels_last: bool = False
    compile: bool = False


@dataclass
class MeasureConfig:
    """The mode in which cost is measured: latency is a property of the variant and of this."""

    name: str = "eager"
    batch: int = 1  # images per forward pass
    image_size: int | None = None  # pixels; null: the data's
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    form: str = "plain"  # plain: as exported; fast: norms folded, fastest form of each 3x3
    warmup: int = 10  # passes before the first timed one
    repeats: int = 150  # timed passes
    threads: int = 1  # CPU only
    device: str | None = None  # null: cuda where a trial has a GPU, else cpu


@dataclass
class MethodConfig:
    """A sampler or pruner: its name and its own parameters."""

    name: str = ""
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class LimitsConfig:
    """Bounds on measured costs; what breaks one is infeasible and never trained."""

    latency_ms: float | None = None  # at most
    latency_p95_ms: float | None = None  # at most
    images_per_s: float | None = None  # at least
    memory_mib: float | None = None  # at most
    train_memory_mib: float | None = None  # at most
    parameters_m: float | None = None  # at most
    gmacs: float | None = None  # at most


@dataclass
class SearchConfig:
    """What varies, what is sought, and how much may be spent on it."""

    space: dict[str, Any] = field(default_factory=dict)
    objectives: list[str] = field(default_factory=lambda: ["accuracy", "latency_ms", "memory_mib"])
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    trials: int | None = None  # most candidates; null: every one of a finite space
    epochs: int = 9  # one trial's full length
    budget: int | None = None  # training epochs of the whole sweep; null: no bound
    hours: float | None = None  # wall-clock; null: no bound
    seed: int = 0
    repeats: int = 0  # most further seeds of a candidate that noise leaves in doubt on the front
    warm_start: list[str] = field(default_factory=list)  # folders of earlier runs to learn from
    sampler: MethodConfig = field(default_factory=MethodConfig)
    pruner: MethodConfig = field(default_factory=MethodConfig)


@dataclass
class TrialConfig:
    """How a trial comes by its epochs."""

    name: str = "train"  # or table: replay recorded curves
    path: str | None = None  # table: the CSV
    engine: str = "simulator"  # table: in virtual time; or ray: through Ray Tune
    workers: int = 1  # table: virtual workers of the simulator


@dataclass
class ResourcesConfig:
    """What a trial gets, and on which machines."""

    address: str | None = None  # of a running Ray cluster ("auto"); null: this machine
    gpus_per_trial: float | None = None  # total, may be a fraction; null: 1 where there is one
    workers_per_trial: int | None = None  # processes; null: gpus_per_trial rounded up, at least 1
    cpus_per_worker: int = 1


@dataclass
class SweepConfig:
    """The sweep command."""

    sweep: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)
    tracking: str = "offline"
    storage: str | None = None  # an Optuna RDB URL; null: study.db in the run's folder
    run: str | None = None  # a new folder; null: runs/<sweep>/<start time>
    plan: bool = False  # print what it would cost, and end before anything begins
    verbose: bool = False


@dataclass
class TrainCommandConfig:
    """The train command: one variant, to its full length."""

    variant: str = "2s1x64d"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    seed: int = 0
    tracking: str = "offline"
    run: str | None = None
    plan: bool = False  # print what it would cost, and end before anything begins
    verbose: bool = False


@dataclass
class ProfileConfig:
    """The profile command: costs of one variant, without training."""

    variant: str = "2s1x64d"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    verbose: bool = False


@dataclass
class ResumeConfig:
    """The resume command: the run's own configuration, with larger bounds where given."""

    run: str | None = None
    trials: int | None = None
    budget: int | None = None
    hours: float | None = None
    storage: str | None = None  # where the study's database is now; null: as recorded
    verbose: bool = False


@dataclass
class ReportConfig:
    """The report command."""

    run: str | None = None
    storage: str | None = None  # where the study's database is now; null: as recorded
    verbose: bool = False


@dataclass
class ExportConfig:
    """The export command."""

    run: str | None = None
    select: str = "knee"
    format: list[str] = field(default_factory=lambda: ["source"])  # source is always written
    storage: str | None = None  # where the study's database is now; null: as recorded
    verbose: bool = False
