"""What refusals cost: CPU seconds, and whether a heavy library was imported for them.

``python benchmarks/refusals.py`` writes a table to stdout. Each refusal is a command of its own in
an empty folder; seconds are those of user and system together, of its process and its children.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "tables" / "fashion_mnist.csv"
HEAVY = ("ray", "sklearn", "torch", "torchvision")
REFUSED = (
    ("sweep=radix_card", "train.epochz=3"),
    ("sweep=radix_card", "run=/dev/null/x"),
    ("sweep=radix_card", "run=" + "x" * 300),
    ("sweep=radix_card", "data=image_folder", "data.root=/nowhere"),
    ("sweep=radix_card", "data=cifar10", "data.root=/nowhere"),
    ("sweep=radix_card", "model.pretrained=absent.pth"),
    ("sweep=radix_card", "storage=sqlite:////nowhere/study.db"),
    ("sweep=radix_card", "search.warm_start=absent"),
    ("sweep=radix_card", "resources.gpus_per_trial=99"),
    ("sweep=radix_card", "resources.cpus_per_worker=9999"),
    ("sweep=radix_card", "search/sampler=nsga2", "search.sampler.args.nothing=1"),
    ("sweep=radix_card", "search/pruner=optuna", "search.pruner.name=NoPruner"),
    ("sweep=radix_card", "trial=table", "trial.path=absent.csv"),
    ("sweep=radix_card", "trial=table", f"trial.path={TABLE}", "search.epochs=99"),
    ("sweep=breakdown", "trial=table", f"trial.path={TABLE}", "search.epochs=3"),
    ("sweep=radix_card", "trial=table", f"trial.path={TABLE}", "search.objectives=[gmacs]"),
    ("train", "variant=3x"),
    ("resume", "run=absent"),
    ("report", "run=."),
    ("train", "source=absent"),
    ("export", "run=absent"),
    ("evaluate", "run=absent"),
    ("dashboard", "run=absent"),
    ("compare", "run=[absent,gone]"),
    ("profile", "sweep=absent"),
    ("export", "run=.", "limits.speed=2"),
    ("export", "run=.", "limits.latency_ms=-1"),
    ("export", "run=.", "weights.accuracy=-1"),
    ("export", "run=.", "weights.accuracy=inf"),
    ("export", "run=.", "select=accuracy", "weights.accuracy=2"),
    ("list", "runs=absent"),
    ("sweep=radix_card", "rows=[3]"),
    ("sweep=radix_card", "search.first=[3]"),
    ("sweep=radix_card", 'search.first=["radix=[1"]'),
    ("sweep=radix_card", "+search.space.train.learning_rate=[{a:1}]"),
    (
        "sweep=radix_card",
        "+search.space.train.learning_rate={choices:{low:0.1,high:0.2},when:{radix:2},else:0.3}",
    ),
    ("sweep=radix_card", "--multirun", "dashboard=sweep,nope"),
    ("profile", "sweep=radix_card", "plan=true"),
    ("sweep=radix_card", "--config-dir", "conf"),
    ("sweep=radix_card", "search.seed=0,1"),
    ("train", "--multirun", "variant=2s1x64d,3s1x64d"),
)
_PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*(set(sys.modules) & {heavy!r}), file=open("imported", "w")))
from resnest_search.__main__ import main
sys.argv = sys.orig_argv = ["resnest-search", *sys.argv[1:]]
main()
"""


@dataclass(frozen=True)
class Refusal:
    """How a command ended.

    ``seconds`` are of CPU; ``imported`` are those of `HEAVY` that it imported.
    """

    code: int
    said: str  # on stderr
    seconds: float
    imported: tuple[str, ...]


def refused(words: tuple[str, ...], folder: Path) -> Refusal:
    """A command, run in a folder."""
    program = _PROGRAM.format(heavy=set(HEAVY))
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    imported = tuple(sorted((folder / "imported").read_text().split()))
    return Refusal(process.returncode, said, used.ru_utime + used.ru_stime, imported)


def main() -> None:
    """Print the table."""
    print("| CPU s | exit | imported | command |\n| ---: | ---: | --- | --- |")
    for words in REFUSED:
        with tempfile.TemporaryDirectory() as folder:
            found = refused(words, Path(folder))
        shown = " ".join(words).replace(f"{ROOT}/", "")
        shown = shown if len(shown) < 100 else f"{shown[:60]}…"
        imported = ", ".join(found.imported) or "none"
        print(f"| {found.seconds:.2f} | {found.code} | {imported} | `{shown}` |", flush=True)


if __name__ == "__main__":
    main()
