"""The door for Python: a run as tables and networks, and a sweep begun from a cell.

``import resnest_search as rs; run = rs.open_run("runs/…")``. What is heavy is imported where it is
used. Whatever the command line refuses in one line is a UserError with that line here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from resnest_search.errors import UserError
from resnest_search.words import path_word, value_word

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go
    from torch import nn

    from resnest_search.study.record import Sweep, TrialRecord

__all__ = ["RecordedRun", "open_run", "search"]

_WHOLE = (  # columns of whole numbers, of which some may be missing
    *("number", "radix", "cardinality", "width", "seed", "pruned_at", "epochs", "full_epochs"),
    *("seeds", "repeat_of", "validation_images", "latency_rounds"),
)
_TEXTS = ("candidate", "variant", "state", "reason", "device", "mode", "train_mode")
_FLAGS = ("on_front", "knee")
_MAPPINGS = ("parameters", "versions")
_SAID = "resnest-search: "  # begins what the command line says of itself on stderr


def open_run(folder: str | Path, storage: str | None = None) -> RecordedRun:
    """A run as it stands now; one that is at work still is to be opened again later.

    Args:
        folder: of the run.
        storage: URL of the study's database now, where that is not what the run recorded.

    Raises:
        UserError: the folder is none of a run, or its study cannot be read.
    """
    from resnest_search.execution.recorded import recorded_sweep

    return RecordedRun(recorded_sweep(folder, storage))


class RecordedRun:
    """A run's trials, front and networks.

    Args:
        sweep: as the study had it.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def __repr__(self) -> str:
        from resnest_search.words import counted

        trials = counted(len(self.sweep.trials), "trial")
        state = "finished" if self.sweep.finished else "not finished"
        front = len(self.sweep.front)
        return f"<run {self.folder} of {self.sweep.name}: {trials}, {front} on the front, {state}>"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.sweep.folder)

    @property
    def verdict(self) -> str:
        """What is said of it where it ends, a line each."""
        from resnest_search.report.verdict import verdict

        return "\n".join(verdict(self.sweep))

    @cached_property
    def trials(self) -> pandas.DataFrame:
        """Every trial, a row each, in the order and with the columns of trials.csv.

        Accuracies are fractions, the units of costs stand in their names. What was not measured is
        missing. ``parameters`` and ``versions`` are mappings.
        """
        from resnest_search.report.reading import ordered

        return _frame(self.sweep, ordered(self.sweep))

    @cached_property
    def front(self) -> pandas.DataFrame:
        """The Pareto front, a row each, with the columns of front.csv, typed as in `trials`."""
        return _frame(self.sweep, self.sweep.front)

    def figure(self, kind: str = "front", **axes: str) -> go.Figure:
        """A chart of the page, by the kind of its panel, as a plotly figure.

        ``figure("scatter", x="parameters_m", y="accuracy")`` is one that the page has not.

        Args:
            kind: front, scatter, curves, parallel, importance, hypervolume, timeline or ledger.
            axes: x, y and size of the kinds that have them, names of metrics; else those of the
                first panel of that kind in the run's dashboard.

        Raises:
            UserError: the kind or an axis is none, or there is nothing to draw.
        """
        from resnest_search.panels import drawn, panels_of, read_panel
        from resnest_search.report.figures import figure_of

        asked = [read_panel({"kind": kind, "title": kind, **axes}, "figure")] if axes else []
        panels = drawn(asked or panels_of(self.sweep), self.sweep)
        panel = next((panel for panel in panels if panel.kind == kind), None)
        found = figure_of(panel, self.sweep) if panel else None
        if found is None:
            panels = drawn(panels_of(self.sweep), self.sweep)
            kinds = ", ".join(dict.fromkeys(p.kind for p in panels if figure_of(p, self.sweep)))
            raise UserError(f"figure: of {kind!r} there is nothing to draw; valid here: {kinds}")
        return found

    def load(
        self,
        select: str = "knee",
        *,
        limits: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> nn.Module:
        """A trained network on the CPU, in eval mode, chosen as ``export`` chooses.

        It takes images (batch, channels, height, width) as validation prepares them and gives
        logits (batch, classes).

        Args:
            select: knee, accuracy, latency, memory, a variant, or a candidate's hash.
            limits: of costs, by the keys of ``export``'s ``limits.``.
            weights: of objectives at the knee, by those of its ``weights.``.

        Raises:
            UserError: nothing complete is meant or holds the limits, or the checkpoint is gone.
        """
        from resnest_search.export import trained_network
        from resnest_search.study.narrow import narrowed
        from resnest_search.study.select import check_trained, select_trial

        _check_choice(select, limits or {}, weights or {})
        check_trained(self.sweep)
        seen = narrowed(self.sweep, limits or {}, weights)
        return trained_network(seen, select_trial(seen, select))


def search(*words: str, **keys: Any) -> RecordedRun:
    """Search a space as ``python -m resnest_search`` does, and open the run.

    ``search("sweep=radix_card", "train.epochs=3")`` and
    ``search(sweep="radix_card", **{"train.epochs": 3})`` are the same. A process of its own
    searches, so that nothing of Ray stays here; what it says is printed. Ctrl-C interrupts it as in
    a terminal.

    Args:
        words: ``key=value``, as they are typed.
        keys: the same as values; None is null, lists and mappings are written as Hydra has them.

    Raises:
        UserError: with the line of the command line where that ends with exit code 1 or 2.
        KeyboardInterrupt: it was interrupted, and can be resumed.
        RuntimeError: it ended for a reason that it had no line for.
    """
    typed = [*words, *(f"{key}={value_word(value)}" for key, value in keys.items())]
    folder, typed = _with_folder(typed)
    code, line = _run(["sweep", *typed])
    if code == 0:
        return open_run(folder)
    if code in (1, 2) and line.startswith(_SAID):
        raise UserError(line.removeprefix(_SAID))
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt
    raise RuntimeError(f"the search ended with exit code {code}: {line}")


def _frame(sweep: Sweep, trials: Iterable[TrialRecord]) -> pandas.DataFrame:
    import pandas

    from resnest_search.report.table import table_rows

    columns, rows = table_rows([({}, sweep, trials)])
    kinds = {
        **dict.fromkeys(columns, "float64"),
        **dict.fromkeys(_WHOLE, "Int64"),
        **dict.fromkeys(_TEXTS, "string"),
        **dict.fromkeys(_FLAGS, "bool"),
        **dict.fromkeys(_MAPPINGS, "object"),
    }
    for row in rows:
        row.update({name: row[name] == "true" for name in _FLAGS})
        row.update({name: json.loads(row[name]) for name in _MAPPINGS})
    return pandas.DataFrame(rows, columns=columns).astype(kinds)


def _check_choice(select: str, limits: Mapping[str, float], weights: Mapping[str, float]) -> None:
    """Raises UserError where a key or a value is none that ``export`` takes."""
    from resnest_search.configuration.checks import check_export, check_keys
    from resnest_search.configuration.schema import ExportConfig, WeightsConfig, WithinConfig

    config = ExportConfig(select=select)
    sections: dict[str, tuple[WithinConfig | WeightsConfig, Mapping[str, float]]] = {
        "limits": (config.limits, limits),
        "weights": (config.weights, weights),
    }
    for name, (section, given) in sections.items():
        for key, value in given.items():
            if key not in vars(section):
                valid = ", ".join(vars(section))
                raise UserError(f"{name}.{key}: no such key; valid here: {valid}")
            if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's are, too
                raise UserError(f"{name}.{key}: {str(value)!r} is not a number")
            setattr(section, key, value if isinstance(value, int | float) else float(value))
    check_keys(config)
    check_export(config)


def _with_folder(words: list[str]) -> tuple[Path, list[str]]:
    """Where the run goes, and the words with that folder."""
    from resnest_search.configuration.compose import value_of
    from resnest_search.execution.folder import default_folder

    if flags := [word for word in words if word.startswith("-")]:
        raise UserError(f"{flags[0]}: is of the command line; valid here: key=value")
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    given = dict(zip(keys, words, strict=True))
    if value_of(given.get("plan", "plan=false")) is not False:
        raise UserError(f"{given['plan']}: makes no run; valid here: false")
    run = value_of(given.get("run", "run=null"))
    sweep = given.get("sweep", "sweep=sweep").partition("=")[2]
    folder = Path(run) if run else default_folder(sweep)
    others = (word for key, word in zip(keys, words, strict=True) if key != "run")
    return folder, [*others, path_word("run", folder)]


def _run(words: list[str]) -> tuple[int, str]:
    """Run a command of ours and print what it says; its exit code, and the last line of stderr.

    That line is not printed where it says why the command failed.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    above = Path(__file__).parents[1]
    if above.name not in ("site-packages", "dist-packages"):  # a checkout that is not installed
        paths = [str(above), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    process = subprocess.Popen(
        [sys.executable, "-m", "resnest_search", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is handed on below, once
    )
    assert process.stdout is not None
    assert process.stderr is not None
    last: list[str] = []
    listener = threading.Thread(target=_echo_all_but_last, args=(process.stderr, last))
    listener.start()
    while True:
        try:
            for line in process.stdout:
                print(line, end="")
            code = process.wait()
            listener.join()
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
    line = last[0].rstrip("\n") if last else ""
    if line and not (code and line.startswith(_SAID)):
        print(line, file=sys.stderr)
    return code, line


def _echo_all_but_last(stream: IO[str], last: list[str]) -> None:
    for line in stream:
        if last:
            print(last.pop(), end="", file=sys.stderr)
        last.append(line)
