"""An evaluation in lines and in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnest_search.evaluation.confusion import Confusion
from resnest_search.evaluation.subject import Evaluation
from resnest_search.files import write_atomically
from resnest_search.redact import public_text
from resnest_search.words import counted

__all__ = ["told", "write"]

_MOST = 20  # classes of which matrix and table are printed
_WORST = 5


def told(found: Evaluation) -> list[str]:
    """What is printed, a line each."""
    confusion = found.confusion
    facts = confusion.facts()
    low, high = facts["interval"]
    lines = [
        f"{found.network} on {found.images}: accuracy {_percent(facts)} % (95 % interval "
        f"{100 * low:.2f} to {100 * high:.2f}), {counted(confusion.images, 'image')}",
        f"balanced accuracy {100 * facts['balanced_accuracy']:.2f} ± "
        f"{100 * facts['balanced_error']:.2f} %, "
        f"macro F1 {100 * facts['macro_f1']:.2f} ± {100 * facts['macro_f1_error']:.2f} %",
    ]
    if found.recorded is not None:
        lines.append(f"training recorded {100 * found.recorded:.2f} %")
    if found.look is not None:
        lines.append(str(found.look))
    lines += [*found.remarks, ""]
    if len(confusion.names) <= _MOST:
        return [*lines, *_matrix(confusion), "", *_worst(facts)]
    return [*lines, *_worst(facts)]


def _percent(facts: dict[str, Any]) -> str:
    return f"{100 * facts['accuracy']:.2f} ± {100 * facts['standard_error']:.2f}"


def _matrix(confusion: Confusion) -> list[str]:
    """Rows are true classes, columns answers by the number of their class."""
    width = max(len(name) for name in confusion.names)
    cell = max(3, len(str(confusion.counts.max())) + 1)
    columns = "".join(f"{number:>{cell}}" for number in range(len(confusion.names)))
    lines = [f"{'true class':>{width + 4}}{columns}  acc %"]
    shown = {entry["name"]: _percent(entry) for entry in confusion.classes}
    for number, (name, row) in enumerate(zip(confusion.names, confusion.counts, strict=True)):
        counts = "".join(f"{count:>{cell}}" for count in row)
        lines.append(f"{number:>3} {name:>{width}}{counts}  {shown.get(name, '–')}")
    return lines


def _worst(facts: dict[str, Any]) -> list[str]:
    """The least accurate classes, with what they are taken for."""
    wrong = [entry for entry in facts["classes"] if entry["taken_for"] is not None]
    ranked = sorted(wrong, key=lambda entry: entry["accuracy"])[:_WORST]
    return [
        f"worst: {entry['name']}, {_percent(entry)} % of {entry['images']}, most often taken for "
        f"{entry['taken_for']}"
        for entry in ranked
    ]


def write(found: Evaluation, folder: Path) -> None:
    """evaluate.json and confusion.csv into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "network": found.network,
        "on": public_text(found.images),
        **found.confusion.facts(),
        "recorded_accuracy": found.recorded,
        "look": vars(found.look) if found.look else None,
        "remarks": list(found.remarks),
    }
    write_atomically(folder / "evaluate.json", json.dumps(facts, indent=2) + "\n")
    found.confusion.write(folder / "confusion.csv")
