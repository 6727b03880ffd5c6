"""The files that `sweep=NAME`, `model=NAME` and the other groups choose from."""

from __future__ import annotations

from pathlib import Path

import yaml

from resnest_search.configuration.shipped import shipped_folder

__all__ = ["defaults", "hidden", "option_files", "primary", "question"]


def primary(command: str) -> Path:
    """The file that a command's configuration begins with."""
    of_a_sweep = command in ("sweep", "profile_sweep")
    return shipped_folder("conf") / f"{'config' if of_a_sweep else command}.yaml"


def defaults(command: str) -> dict[str, str | None]:
    """The groups that a command selects from, in its order, with the option of each or None."""
    entries = yaml.safe_load(primary(command).read_text())["defaults"]
    return {key: one for entry in entries if isinstance(entry, dict) for key, one in entry.items()}


def option_files(group: str) -> dict[str, Path]:
    """Each option's file: the package's, and those of the working directory before them.

    ``./sweeps/NAME.yaml`` is ``sweep=NAME``, ``./model/NAME.yaml`` is ``model=NAME``, and so on.
    """
    return {path.stem: path for folder in _folders(group) for path in sorted(folder.glob("*.yaml"))}


def hidden(group: str, option: str) -> Path | None:
    """The file of the working directory that stands before a shipped option, where one does."""
    shipped, own = (folder / f"{option}.yaml" for folder in _folders(group))
    return own if shipped.is_file() and own.is_file() and not shipped.samefile(own) else None


def question(group: str, option: str) -> str:
    """The question that a sweep answers, or what another option is: line 1 of its file, a comment.

    Empty where it is unknown.
    """
    path = option_files(group).get(option)
    lines = path.read_text().splitlines() if path else []
    return lines[0].lstrip("# ").strip() if lines and lines[0].startswith("#") else ""


def _folders(group: str) -> tuple[Path, Path]:
    """The package's and the working directory's own."""
    if group == "sweep":
        return shipped_folder("sweeps"), Path.cwd() / "sweeps"
    return shipped_folder("conf") / group, Path.cwd() / group
