"""Searches for the Pareto front, raced on tables of recorded learning curves.

    python benchmarks/search.py                               # every table of benchmarks/tables
    python benchmarks/search.py --table FILE --seeds 5 --methods random optuna_tpe known_cost+none
    python benchmarks/search.py --share 0.7                   # each seed searches a part of its own

Every search is driven by one event loop in virtual time, with 1, 4 and 16 workers, and is judged by
the epochs until it has trained 90, 95 and 99 % of the true front's hypervolume. What the front is,
and how noise is forgiven, stands in ``search_peers/truth.py``; a table's columns in
``search_peers/table.py``; how ours is compared with the others in ``search_peers/results.py``.
Prints tables, goals and ratios, and writes ``search.md`` and one ``search-TABLE.png`` a table to
``--out``. Five tables of 36 to 72 candidates take about twenty minutes on two cores, without
``optuna_gp``, ``botorch_qlognehvi`` and ``neps_primo``, which ``--methods`` must name: one search
by the first two takes 8 to 31 seconds of CPU on the smallest table.

A search that draws little decides much the same with every seed, so that 20 seeds on one table are
hardly more than one draw of it. With ``--share`` each seed has its own random part of the
candidates, with its own front, and seeds are draws indeed.

Some peers are no dependencies of this project, and are left out where they are not found:

- Syne Tune. MO-ASHA needs little of what the package would install:
  ``pip install --no-deps --target FOLDER syne-tune dill``, then ``PYTHONPATH=FOLDER python …``
- OptunaHub's multi-metric pruner, which ``optunahub`` loads from GitHub at run time:
  ``git clone https://github.com/optuna/optunahub-registry FOLDER``, then ``--optunahub FOLDER``
- BoTorch, which needs no other torch than this project's: ``pip install --no-deps --target FOLDER
  botorch gpytorch linear_operator pyre-extensions typing_inspect multipledispatch``, then
  ``PYTHONPATH=FOLDER python …``
- NePS, whose pins exclude this project's: ``python -m venv FOLDER``, ``FOLDER/bin/pip install
  neural-pipeline-search``, then ``--neps FOLDER/bin/python``
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from search_peers.page import goals_section, page, ratios_section, table_section
from search_peers.plots import draw
from search_peers.pool import Asked, raced
from search_peers.results import Results
from search_peers.rows import rows_named
from search_peers.table import read_table
from search_peers.truth import Truth

HERE = Path(__file__).parent


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, nargs="+", action="extend", help="CSV files")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each kind")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16], help="virtual ones")
    parser.add_argument("--methods", nargs="+", help="keys of rows, or SAMPLER+PRUNER of ours")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--optunahub", type=Path, help="a clone of OptunaHub's registry")
    parser.add_argument("--share", type=float, default=1.0, help="of the candidates, for each seed")
    parser.add_argument("--neps", type=Path, help="an interpreter that has NePS")
    asked = parser.parse_args(words)
    asked.table = asked.table or sorted((HERE / "tables").glob("*.csv"))
    if not asked.table:
        parser.error("--table: benchmarks/tables has none")
    if min(asked.seeds, asked.jobs, *asked.workers) < 1:
        parser.error("--seeds, --workers and --jobs: valid: at least 1")
    if not 0 < asked.share <= 1:
        parser.error(f"--share {asked.share:g}: valid: above 0, at most 1")
    return asked


def main(words: Sequence[str] | None = None) -> None:
    """Race, print, keep."""
    asked = arguments(words)
    try:
        rows = rows_named(asked.methods, asked.optunahub, asked.neps)
        tables = [(table, Truth(table)) for table in map(read_table, asked.table)]
        if len({table.name for table, _ in tables}) < len(tables):
            raise ValueError("--table: two files have the same name")
    except (OSError, ValueError) as error:
        sys.exit(f"search.py: {error}")
    asked.out.mkdir(parents=True, exist_ok=True)
    left_out = [row for row in rows if row.missing]
    for row in left_out:
        print(f"left out: {row.title}: {row.missing}", file=sys.stderr)
    for lack in (lack for table, _ in tables for lack in table.left_out):
        print(f"left out: {lack}", file=sys.stderr)
    rows = [row for row in rows if not row.missing]
    keys = [row.key for row in rows]
    race = Asked(asked.table, keys, asked.optunahub, asked.seeds, asked.neps, asked.share)
    parts = [table.part(asked.share, 0) for table, _ in tables]  # all seeds' are as large
    results = Results(rows, dict(raced(race, asked.workers, asked.jobs)), parts)
    plots = [f"search-{table.name}.png" for table, _ in tables]
    for part, name in zip(parts, plots, strict=True):
        draw(results, part.name, len(part.settings) * part.epochs, asked.out / name)
    text = page(results, tables, facts(asked, words), left_out, plots)
    (asked.out / "search.md").write_text(text, encoding="utf-8")
    for table, _ in tables:
        for workers in results.workers:
            print("\n".join(table_section(results, table.name, workers)))
    print("\n".join([*goals_section(results), *ratios_section(results)]))


def facts(asked: argparse.Namespace, words: Sequence[str] | None) -> list[str]:
    """Command, machine and versions."""
    import torch  # for the CPU's name alone

    from resnest_search.cost.machine import device_name

    packages = ("resnest-search", "numpy", "scipy", "optuna", "ray", "syne-tune", "botorch")
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    part = f", each of its own {asked.share:.0%} of the candidates" if asked.share < 1 else ""
    return [
        f"command: `python {shlex.join(_without_folders(asked, words))}`",
        f"{asked.seeds} seeds{part}; virtual workers: {', '.join(map(str, asked.workers))}",
        f"machine: {device_name(torch.device('cpu'))}, {asked.jobs} processes; no result depends "
        "on its speed",
        f"versions: python {platform.python_version()}, {', '.join(versions)}",
    ]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _without_folders(asked: argparse.Namespace, words: Sequence[str] | None) -> list[str]:
    """The command line, with no folder of this machine in it."""
    folders = {str(asked.optunahub), str(asked.out), str(asked.neps)}
    tables = {str(path): _beside(path) for path in asked.table}
    given = sys.argv[1:] if words is None else words
    shown = ("FOLDER" if word in folders else tables.get(word, word) for word in given)
    return ["benchmarks/search.py", *shown]


def _beside(path: Path) -> str:
    root = HERE.parent
    resolved = path.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else path.name


if __name__ == "__main__":
    main()
