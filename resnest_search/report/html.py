"""A sweep as one HTML file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

import yaml

from resnest_search import __version__
from resnest_search.files import write_atomically
from resnest_search.panels import Panel, drawn, read_panels
from resnest_search.redact import public_config, public_text
from resnest_search.report.columns import Column, columns
from resnest_search.report.curves import curves_svg
from resnest_search.report.plots import front_svg, scatter_svg
from resnest_search.report.reading import (
    knee,
    on_front,
    ordered,
    progress,
)
from resnest_search.report.svg import ACCENT, FRONT, GRID, INK, MUTED, PAPER
from resnest_search.report.verdict import verdict
from resnest_search.study.record import Sweep, TrialRecord

__all__ = ["write_report"]

# drawn colours -> the page's own, which follow the reader's light or dark scheme
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    FRONT: "var(--front)",
    ACCENT: "var(--accent)",
}
_HOW_TO_READ = {
    "★": "On the Pareto front: no complete trial is at least as good in every objective and "
    "better in one. Only complete trials can be on it.",
    "knee": "The member of the front with the least log(error) + mean of log(costs), so that "
    "halving the error is worth halving every cost; of members whose accuracy noise does not tell "
    "from that one's, the cheapest. The error is (wrong + 1) / (images + 2). A front of one or two "
    "members has no knee: what the order of the objectives puts first is exported.",
    "±": "Standard error of the accuracy: half the width of Wilson's interval, for n validation "
    "images √(p (1 − p) / n + 1 / 4n²) / (1 + 1 / n), which is never 0; the deviation "
    "between seeds is in it, and the accuracy is the mean over its seeds, where some candidate was "
    "trained with several.",
    "front %": "Probability of being on the front: its share of 1,000 draws of the validation "
    "images with replacement, the same ones for all candidates, and, where it was measured, of "
    "the noise between seeds. Draws show neither 0 nor 100 %. Costs count as exact.",
    "within noise": "A candidate that costs no more in any objective, and of which 95 % of the "
    "drawn differences in accuracy do not tell which is the better. It could as well be chosen.",
    "( )": "Accuracy of a training that did not end. A pruned trial is unfinished: its accuracy "
    "is that of its last epoch, not comparable with a finished one's, and it is never on the "
    "front.",
    "–": "Not measured.",
    "latency": "Belongs to the device and the mode named above, not to the variant alone.",
}


def write_report(sweep: Sweep, path: str | Path, panels: Sequence[Panel] | None = None) -> None:
    """Write the page: the question, its answer, and the panels of dashboards/sweep.yaml.

    Args:
        sweep: as it stands, finished or not.
        path: of the file; replaced in one step.
        panels: others than the shipped ones.

    Raises:
        UserError: the shipped specification is broken.
        OSError: the file cannot be written.
    """
    panels = drawn(read_panels() if panels is None else panels, sweep)
    sections = "".join(
        _section(panel, sweep, f"panel{number}") for number, panel in enumerate(panels, start=1)
    )
    write_atomically(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(sweep.name)}: {_text(sweep.question)}</title>
<style>
{_shipped("page.css")}</style>
</head>
<body>
{_head(sweep)}
{sections}
{_how_to_read()}
<footer>Written by resnest-search {_text(__version__)}.</footer>
<script>
{_shipped("page.js")}</script>
</body>
</html>
""",
    )


def _text(text: str) -> str:
    return escape(public_text(text))


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _head(sweep: Sweep) -> str:
    said = "".join(f"<p>{_text(line)}</p>" for line in verdict(sweep))
    doubts = "".join(f'<p class="doubt">{_text(line)}</p>\n' for line in sweep.doubts)
    facts = [progress(sweep), _end(sweep)]
    if sweep.started:
        facts.append(f"started {sweep.started}")
    return f"""<header>
<p class="name">sweep {_text(sweep.name)}</p>
<h1>{_text(sweep.question or sweep.name)}</h1>
<div class="verdict">{said}</div>
{doubts}<p class="status">{_text(" · ".join(facts))}<br>{_text(_where(sweep.trials))}</p>
</header>"""


def _end(sweep: Sweep) -> str:
    if sweep.finished:
        return "finished"
    return "interrupted" if sweep.interrupted else "not finished"


def _where(trials: Sequence[TrialRecord]) -> str:
    """Devices, modes and versions, each once: more than one means that rows do not compare."""
    versions = (f"{name} {number}" for t in trials for name, number in t.versions.items())
    facts = [
        ("devices", "device", [t.device for t in trials]),
        ("modes", "mode", [t.mode for t in trials]),
        ("versions", "versions", [", ".join(dict.fromkeys(versions))]),
    ]
    lines = []
    for several, one, values in facts:
        found = [value for value in dict.fromkeys(values) if value]
        if found:
            lines.append(f"{several if len(found) > 1 else one}: {'; '.join(found)}")
    return " · ".join(lines)


def _section(panel: Panel, sweep: Sweep, name: str) -> str:
    note = f'<p class="note">{_text(panel.note)}</p>' if panel.note else ""
    return (
        f"<section>\n<h2>{_text(panel.title)}</h2>\n{note}{_body(panel, sweep, name)}\n</section>\n"
    )


def _body(panel: Panel, sweep: Sweep, name: str) -> str:
    if panel.kind == "table":
        return _table(sweep)
    if panel.kind == "config":
        return _config(sweep)
    if panel.kind == "curves":
        svg = curves_svg(sweep, panel.y, name=name)
    elif panel.kind == "front":
        svg = front_svg(sweep, panel.x, panel.y, panel.size, name=name)
    else:
        svg = scatter_svg(sweep, panel.x, panel.y, panel.size, name=name)
    return f'<figure role="img" aria-label="{_text(panel.title)}">{_inline(svg)}</figure>'


def _inline(svg: str) -> str:
    """Without the namespaces, which HTML implies, and in the page's colours."""
    for namespace in ("xmlns", "xmlns:xlink"):
        start = svg.find(f' {namespace}="')
        if start >= 0:
            end = svg.index('"', start + len(namespace) + 3)
            svg = svg[:start] + svg[end + 1 :]
    for painted, own in _THEME.items():
        svg = svg.replace(painted, own)
    return svg


def _table(sweep: Sweep) -> str:
    chosen = columns(sweep)
    best = knee(sweep)
    heads = "".join(
        f'<th scope="col"{_class(c)} title="{_text(c.meaning)}">{_text(c.head)}</th>'
        for c in chosen
    )
    rows = "".join(_row(trial, chosen, trial is best) for trial in ordered(sweep))
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
        '<p class="note">A click on a head sorts by it.</p>'
    )


def _row(trial: TrialRecord, chosen: Sequence[Column], at_knee: bool) -> str:
    marks = [trial.state, *["front"] * on_front(trial), *["knee"] * at_knee]
    cells = "".join(
        f'<td{_class(c)} data-value="{_value(c, trial)}">{_text(c.text(trial))}</td>'
        for c in chosen
    )
    return f'<tr class="{_text(" ".join(marks))}">{cells}</tr>\n'


def _class(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _value(column: Column, trial: TrialRecord) -> str:
    value = column.value(trial)
    return "" if value is None else _text(str(value))


def _config(sweep: Sweep) -> str:
    text = yaml.safe_dump(public_config(sweep.config), sort_keys=False, allow_unicode=True)
    return f"<details><summary>Resolved configuration</summary><pre>{_text(text)}</pre></details>"


def _how_to_read() -> str:
    entries = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>\n" for k, v in _HOW_TO_READ.items())
    return f"<section>\n<h2>How to read this</h2>\n<dl>\n{entries}</dl>\n</section>"
