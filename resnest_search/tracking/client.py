"""Runs of W&B: opened, closed, and what W&B is kept from writing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.redact import public_text

if TYPE_CHECKING:
    import wandb

__all__ = [
    "Head",
    "close_run",
    "data_in",
    "entity_of",
    "let_go",
    "mode_of",
    "one_line",
    "open_run",
    "project_of",
]

_PROJECT = "resnest-search"
_INTERVAL_S = 5.0  # between sendings of a run; W&B's own 15 are long beside short epochs


@dataclass(frozen=True)
class Head:
    """What a run says of itself first.

    Attributes:
        id: of the run, within its project.
        name: that a person reads.
        group: the runs that belong together.
        job: ``trial`` or ``summary``.
        config: nested plain data.
    """

    id: str
    name: str
    group: str
    job: str
    config: Mapping[str, Any]


def mode_of(name: str) -> str:
    """How runs are written: as configured, unless WANDB_MODE wants less."""
    if name in ("none", "tensorboard"):
        return "none"
    asked = os.environ.get("WANDB_MODE", "").lower()
    return {"disabled": "none", "offline": "offline", "dryrun": "offline"}.get(asked, name)


def project_of(tracking: TrackingConfig) -> str:
    """The project that runs belong to."""
    return tracking.project or os.environ.get("WANDB_PROJECT") or _PROJECT


def entity_of(tracking: TrackingConfig) -> str | None:
    """The user or team that the project belongs to; None for that of the account."""
    return tracking.entity or os.environ.get("WANDB_ENTITY") or None


def one_line(error: Exception) -> str:
    """What went wrong, without what identifies the user."""
    text = public_text(" ".join(str(error).split()))[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def open_run(
    mode: str,
    tracking: TrackingConfig,
    folder: Path,
    head: Head,
    patience_s: float,
    resume: bool = False,
) -> wandb.Run:
    """Open a run in ``<folder>/wandb``.

    A run of that id that lies there was left by a driver that was killed, and goes.

    Args:
        mode: ``offline`` or ``online``.
        tracking: project, entity and tags.
        folder: the sweep's.
        head: what the run says of itself.
        patience_s: most seconds that its end may take.
        resume: online, whether to go on with the run of that id where the server has one.

    Raises:
        Exception: whatever W&B raises; online within half a minute.
    """
    import wandb

    for half_written in (folder / "wandb").glob(f"*run-*-{head.id}"):
        shutil.rmtree(half_written)
    settings = _settings(mode, folder, patience_s)
    wandb.setup(settings=settings)  # else the login speaks, and asks, in spite of silent
    return wandb.init(
        id=head.id,
        dir=str(folder),
        group=head.group,
        name=head.name,
        job_type=head.job,
        config=_plain(head.config),
        settings=settings,
        reinit="create_new",
        resume="allow" if resume else None,
        project=project_of(tracking),
        entity=entity_of(tracking),
        tags=tracking.tags or _tags(),
    )


def close_run(run: wandb.Run) -> None:
    """Wait until a run is written, online until it is sent.

    Raises:
        TimeoutError: the server did not take it as fast as was asked.
    """
    folder = Path(run.settings.sync_dir)
    run.finish()
    # W&B's own logs name the home folder, and nothing reads them.
    shutil.rmtree(folder / "logs", ignore_errors=True)


def _tags() -> list[str]:
    return [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]


def _settings(mode: str, folder: Path, patience_s: float) -> wandb.Settings:
    """Silent, and without code, git, machine, user, environment and console."""
    import wandb

    settings = wandb.Settings(
        mode="online" if mode == "online" else "offline",
        root_dir=str(folder),
        silent=True,
        console="off",
        symlink=False,
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        host="-",
        username="-",
        email="-",
        program="resnest_search",
        program_relpath="resnest_search",
        program_abspath="resnest_search",
        run_notes="",
        x_executable="python",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_disable_viewer=True,
        x_save_requirements=False,
        init_timeout=30,
        login_timeout=5,
        force=True,
        x_graphql_retry_max=2,
        x_file_stream_transmit_interval=_INTERVAL_S,
    )
    if hasattr(settings, "finish_timeout"):  # else a lost network would hold the sweep up
        settings.finish_timeout = patience_s
        settings.finish_timeout_raises = True
    return settings


@contextmanager
def data_in(folder: Path) -> Iterator[None]:
    """Keep the tables' files, which wandb sync uploads, in the run that they belong to."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before


def let_go() -> None:
    """End W&B's own process, which would hold the id of a run that failed."""
    import wandb

    try:
        wandb.teardown()
    except (Exception, SystemExit):  # it failed before; a fresh one is started either way
        return


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain
