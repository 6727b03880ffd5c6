"""A sweep as one HTML file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import yaml

from resnest_search.files import write_atomically
from resnest_search.panels import Panel, drawn, panels_of
from resnest_search.redact import public_config
from resnest_search.report.columns import Column, columns
from resnest_search.report.figures import figure_of
from resnest_search.report.figures.style import numbered
from resnest_search.report.page import chart, document, marking_cell, plain
from resnest_search.report.reading import (
    counts,
    knee,
    on_front,
    ordered,
    under_way,
)
from resnest_search.report.rows import row_cells
from resnest_search.report.verdict import verdict
from resnest_search.study.record import Sweep, TrialRecord

__all__ = ["write_report"]

_LIVE_S = 30  # between two drawings of a sweep under way
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
    "trained with several. Of balanced accuracy it is that of the mean of the classes' accuracies, "
    "of macro F1 the deviation of draws of the validation images.",
    "front %": "Probability of being on the front: its share of 1,000 draws of the validation "
    "images with replacement, the same ones for all candidates, and, where it was measured, of "
    "the noise between seeds. Draws show neither 0 nor 100 %. Latencies are drawn, too, with "
    "their deviation between rounds of timing; what is counted is exact.",
    "within noise": "A candidate that costs no more in any objective, or is not told to, and of "
    "which 95 % of the drawn differences in accuracy do not tell which is the better. It could as "
    "well be chosen.",
    "( )": "Accuracy of a training that did not end. A pruned trial is unfinished: its accuracy "
    "is that of its last epoch, not comparable with a finished one's, and it is never on the "
    "front.",
    "–": "Not measured; of what varies: null, or a key that does not exist beside the others.",
    "latency": "Belongs to the device and the mode named above, not to the variant alone.",
}


def write_report(sweep: Sweep, path: str | Path, panels: Sequence[Panel] | None = None) -> None:
    """Write the page: the question, its answer, and the panels of its dashboard.

    Args:
        sweep: as it stands, finished or not.
        path: of the file; replaced in one step.
        panels: others than those.

    Raises:
        UserError: the specification is missing or wrong.
        OSError: the file cannot be written.
    """
    panels = drawn(panels_of(sweep) if panels is None else panels, sweep)
    sections = "".join(
        _section(panel, sweep, f"panel{number}") for number, panel in enumerate(panels, start=1)
    )
    main = f"{_bar(sweep)}\n{sections}\n{_how_to_read()}"
    reload_s = _LIVE_S if _is_live(sweep) else 0
    title = f"{sweep.name}: {sweep.question}"
    write_atomically(path, document(title, _head(sweep), main, reload_s))


def _head(sweep: Sweep) -> str:
    said = "".join(f"<p>{plain(line)}</p>" for line in verdict(sweep))
    doubts = "".join(f'<p class="doubt">{plain(line)}</p>\n' for line in sweep.doubts)
    facts = [under_way(sweep), _end(sweep)]
    if sweep.started:
        facts.append(f"started {sweep.started}")
    live, where = "", _where(sweep)
    if _is_live(sweep):
        now = datetime.now().astimezone()
        live = (
            f'<p class="live" data-drawn="{now.timestamp():.0f}">'
            f"Under way: drawn at {now:%Y-%m-%d %H:%M:%S %Z}. "
            f"The page is loaded anew every {_LIVE_S} s.</p>\n"
        )
    return f"""<header>
<p class="name">sweep {plain(sweep.name)}</p>
<h1>{plain(sweep.question or sweep.name)}</h1>
<div class="verdict">{said}</div>
{doubts}{live}<p class="status">{plain(" · ".join(facts))}<br>{plain(where)}</p>
</header>"""


def _is_live(sweep: Sweep) -> bool:
    """Whether it is drawn anew as it goes; with costs from elsewhere it is drawn once."""
    return not (sweep.finished or sweep.interrupted or sweep.costs_of)


def _end(sweep: Sweep) -> str:
    if sweep.finished:
        return "finished"
    return "interrupted" if sweep.interrupted else "not finished"


def _where(sweep: Sweep) -> str:
    """Devices, modes and versions, each once: more than one means that rows do not compare."""
    trials = sweep.trials
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
    lines += [sweep.packing] if sweep.packing else []
    lines += [f"beside it, {name}: {how}" for name, how in sweep.modes_beside.items()]
    return " · ".join(lines)


def _section(panel: Panel, sweep: Sweep, name: str) -> str:
    """Empty where there is nothing to show."""
    body = _body(panel, sweep, name)
    note = f'<p class="note">{plain(panel.note)}</p>' if panel.note else ""
    head = f'<h2 id="{name}-title">{plain(panel.title)}</h2>'
    return f"<section>\n{head}\n{note}{body}\n</section>\n" if body else ""


def _body(panel: Panel, sweep: Sweep, name: str) -> str:
    if panel.kind == "table":
        return _table(sweep)
    if panel.kind == "rows":
        return _rows(sweep)
    if panel.kind == "config":
        return _config(sweep)
    figure = figure_of(panel, sweep)
    if figure is None:
        return ""
    return chart(figure, name, panel.title)


def _bar(sweep: Sweep) -> str:
    """Filters by state and radix, and what is marked; nothing where there are no trials."""
    if not sweep.trials:
        return ""
    states = list(counts(sweep))
    radices = sorted({str(r) for t in sweep.trials if (r := _radix(t)) != ""})
    fields = [("state", states), ("radix", radices)]
    sets = "".join(_choices(key, values) for key, values in fields if len(values) > 1)
    return (
        f'<div id="bar"><form id="filters">{sets}</form>'
        '<span id="said" role="status"></span>'
        '<button type="button" id="clear" hidden>Show all, unmark</button></div>'
    )


def _choices(key: str, values: Sequence[str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" checked autocomplete="off" value="{key} {plain(value)}"> '
        f"{plain(value)}</label>"
        for value in values
    )
    return f"<fieldset><legend>{key}</legend>{boxes}</fieldset>"


def _radix(trial: TrialRecord) -> str:
    return str(trial.dimensions.get("radix", ""))


def _table(sweep: Sweep) -> str:
    chosen = columns(sweep)
    best = knee(sweep)
    place = numbered(sweep)
    heads = "".join(
        f'<th scope="col"{_class(c)} data-key="{plain(c.key or c.head)}" '
        f'title="{plain(c.meaning)}"><button type="button">{plain(c.head)}</button></th>'
        for c in chosen
    )
    rows = "".join(_row(trial, chosen, trial is best, place[id(trial)]) for trial in ordered(sweep))
    boxes = "".join(
        f'<label><input type="checkbox" checked autocomplete="off" value="{plain(c.head)}"> '
        f"{plain(c.head)}</label>"
        for c in chosen
    )
    return (
        '<p class="note">A click on a head sorts by it, a click on a row marks it in every '
        "chart.</p>\n"
        f'<div class="tools"><details><summary>Columns</summary><div id="columns">{boxes}</div>'
        '</details><button type="button" id="csv">Save what is shown as CSV</button></div>\n'
        '<div class="scroll" tabindex="0" role="region" aria-label="trials">'
        f'<table class="sortable"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _rows(sweep: Sweep) -> str:
    """The named rows in their order, which no click changes."""
    columns, rows = row_cells(sweep)
    heads = "".join(
        f'<th scope="col"{_numeric(c.number)} title="{plain(c.meaning)}">{plain(c.head)}</th>'
        for c in columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_numeric(c.number)}>{plain(text)}</td>"
            for c, text in zip(columns, cells, strict=True)
        )
        + "</tr>\n"
        for cells in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="rows">'
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _row(trial: TrialRecord, chosen: Sequence[Column], at_knee: bool, place: int) -> str:
    marks = [trial.state, *["front"] * on_front(trial), *["knee"] * at_knee]
    cells = "".join(
        f'<td{_class(c)} data-value="{_value(c, trial)}">{_cell(c, trial)}</td>' for c in chosen
    )
    # a key that stays with the trial while others come, unlike its place
    key = trial.candidate if trial.number < 0 else trial.number
    data = {"trial": place, "key": key, "state": trial.state}
    data |= {"radix": _radix(trial), "name": trial.name}
    attributes = "".join(f' data-{key}="{plain(str(value))}"' for key, value in data.items())
    return f'<tr class="{plain(" ".join(marks))}"{attributes}>{cells}</tr>\n'


def _cell(column: Column, trial: TrialRecord) -> str:
    """Its text; of the number a button, so that a row can be marked by keyboard."""
    text = _written(column, trial)(column.text(trial))
    if column.head != "#":
        return text
    return marking_cell(text, trial.name)


def _class(column: Column) -> str:
    return _numeric(column.number)


def _numeric(number: bool) -> str:
    return ' class="number"' if number else ""


def _value(column: Column, trial: TrialRecord) -> str:
    value = column.value(trial)
    return "" if value is None else _written(column, trial)(str(value))


def _written(column: Column, trial: TrialRecord) -> Callable[[str], str]:
    """No number has a secret, and thousands of them are written."""
    is_number = column.number and not isinstance(column.value(trial), str)
    return escape if is_number else plain


def _config(sweep: Sweep) -> str:
    text = yaml.safe_dump(public_config(sweep.config), sort_keys=False, allow_unicode=True)
    return f"<details><summary>Resolved configuration</summary><pre>{plain(text)}</pre></details>"


def _how_to_read() -> str:
    entries = "".join(f"<dt>{plain(k)}</dt><dd>{plain(v)}</dd>\n" for k, v in _HOW_TO_READ.items())
    return f"<section>\n<h2>How to read this</h2>\n<dl>\n{entries}</dl>\n</section>"
