"""Where the package's own configuration lies: conf, sweeps and dashboards."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped_folder"]


def shipped_folder(name: str, package: Path | None = None) -> Path:
    """The folder of that name beside the package in a checkout, else the wheel's own copy.

    Args:
        name: ``conf``, ``sweeps`` or ``dashboards``.
        package: folder of the package; this one's where it is not given.

    Raises:
        FileNotFoundError: neither exists, so the installation is broken.
    """
    package = package or Path(__file__).resolve().parents[1]
    beside = package.parent / name
    # An installed package stands among others, so a mere folder of that name proves nothing.
    if (package.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    inside = package / "_shipped" / name
    if not inside.is_dir():
        raise FileNotFoundError(f"neither {beside} nor {inside} exists; install the package again")
    return inside
