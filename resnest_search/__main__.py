"""The command line: ``python -m resnest_search [command] key=value …``.

One short function for each command; what is heavy is imported where it is used, so that
a misspelt word is answered at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search import __version__, stopping
from resnest_search.configuration.checks import (
    OWN_WEIGHTS,
    check_elsewhere,
    check_export,
    check_source,
    given,
)
from resnest_search.configuration.compose import COMMANDS, Base, run_command, to_record
from resnest_search.configuration.schema import (
    CompareConfig,
    DashboardConfig,
    ElsewhereConfig,
    EvaluateConfig,
    ExportConfig,
    ListCommandConfig,
    MethodConfig,
    ProfileConfig,
    ReportConfig,
    ResumeConfig,
    RetrainedConfig,
    SearchConfig,
    SpaceProfileConfig,
    SweepConfig,
    TrainCommandConfig,
)
from resnest_search.errors import UserError
from resnest_search.execution.scratch import settle
from resnest_search.files import writing
from resnest_search.panels import dashboard_panels
from resnest_search.redact import without_password
from resnest_search.words import command as typed
from resnest_search.words import now

if TYPE_CHECKING:
    from resnest_search.execution.sweep import SweepRun
    from resnest_search.export.best import Export
    from resnest_search.report.runs import RunLine
    from resnest_search.space import Space
    from resnest_search.study.costing import Costing
    from resnest_search.study.record import Sweep
    from resnest_search.study.study import SweepStudy

__all__ = ["main"]

_WIDE = 200  # columns of what goes to a file

_USAGE = """\
usage: python -m resnest_search [command] key=value ...

  sweep=NAME        search a space: train, report and export (the default command)
  resume run=DIR    carry on an interrupted sweep, or one with larger bounds
  train variant=V   train one variant, such as 2s2x40d, to its full length
  train source=DIR  train a network of a run again, to its full length
  profile variant=V measure what a variant costs, without training
  profile sweep=S   measure what all networks of a sweep cost
  report run=DIR    draw the tables and the page of a run again
  export run=DIR    write a variant of a run as a model that needs torch alone
  evaluate run=DIR  a network of a run on images: accuracy, class by class
  compare run=[A,B] several runs side by side: fronts, hypervolume, what differs
  dashboard run=DIR the panels of a run as a workspace of W&B's; needs the extra [dashboard]
  list runs=DIR     the runs below a folder, and how they stand

`python -m resnest_search COMMAND --help` says what each key does, `--cfg job` prints the composed
configuration. docs/configuration.md has every key on one page.
"""


def main() -> None:
    """Run the command of ``sys.argv``; exits with 2 after bad input, with 1 after a sweep in which
    no trial completed, with 128 + its number after a signal: 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        _main(sys.argv[1:])
    except BrokenPipeError:
        if not _unread():
            raise
        sys.exit(128 + signal.SIGPIPE)
    finally:
        if _unread():  # what is left to print, Python would complain of at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _main(words: list[str]) -> None:
    if not words:
        print(_USAGE, end="")
        sys.exit(2)
    stopping.watch()
    settle()
    try:
        if "--version" in words:
            print(f"resnest-search {__version__}", flush=True)
            return
        command, rest = _command(words)
        if {"--help", "-h"} & set(rest):
            _help(command, rest, whole=words[0] not in COMMANDS)
            return
        _carry_out(command, rest)
        sys.stdout.flush()
    except UserError as error:
        print(f"resnest-search: {_printable(without_password(str(error)))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("resnest-search: interrupted", file=sys.stderr)
        sys.exit(stopping.exit_code())


def _unread() -> bool:
    """Whether stdout is a pipe that nobody reads any more, as after ``| head -1``."""
    waiting = select.poll()
    waiting.register(1, 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


def _help(command: str, words: list[str], whole: bool) -> None:
    from resnest_search.configuration.page import help_text

    others = [word for word in words if word not in ("--help", "-h")]
    text = help_text(command, others)
    print(f"{_USAGE}\n{text}" if whole else text, end="", flush=True)


def _carry_out(command: str, words: list[str]) -> None:
    configs: list[Any] = []
    base = partial(_base_of, words=words) if _from_a_run(command, words) else None
    run_command(command, words, configs.append, base)
    if len(configs) > 1 and command in ("sweep", "train"):
        from resnest_search.execution.prepare import prepare

        for config in configs:  # what is wrong with the last is said before the first takes hours
            made = _sweep_of(config) if command == "train" else config
            prepare(made)
            _check_shown(made)
    for config in configs:
        if command == "train":
            train(config, words)
        else:
            _TASKS[command](config)


def _from_a_run(command: str, words: list[str]) -> bool:
    return command == "train" and any(word.lstrip("+").startswith("source=") for word in words)


def _base_of(configs: Sequence[TrainCommandConfig], words: list[str]) -> Base | None:
    from resnest_search.retrain import base_of

    return base_of(configs, words)


def _printable(text: str) -> str:
    """One line, whatever characters a path in it has."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _command(words: list[str]) -> tuple[str, list[str]]:
    first = words[0]
    if first == "profile" and any(word.startswith("sweep=") for word in words):
        return "profile_sweep", words[1:]
    if first in COMMANDS:
        return first, words[1:]
    if "=" in first or first.startswith(("-", "~", "+")):
        return "sweep", words
    raise UserError(f"{first!r} is no command and no key=value; valid: {', '.join(COMMANDS)}")


def _command_line() -> str:
    """What the user typed, without the paths of this machine's Python."""
    words = sys.orig_argv[1:]
    if words[:1] != ["-m"]:
        words = [Path(words[0]).name, *words[1:]]
        return without_password(shlex.join(words))
    return without_password(shlex.join(["python", *words]))


def sweep(config: SweepConfig) -> None:
    """Measure, search, report and export."""
    from resnest_search.execution.folder import locked, new_folder
    from resnest_search.execution.images import find_images
    from resnest_search.execution.prepare import ill_suited, prepare

    config, space = prepare(config)
    _check_shown(config)
    unsuited = ill_suited(config)
    if config.plan:
        from resnest_search.execution.plan import bill

        _tell(unsuited)
        print("\n".join(bill(config, space)))
        return
    from resnest_search.execution.packing import packed
    from resnest_search.execution.resources import this_machine
    from resnest_search.execution.sweep import create, kept, table_costs
    from resnest_search.report.live import reading

    begun = time.monotonic()
    images = None
    if config.trial.name == "table":
        costings = table_costs(config, space)
    else:
        with reading() as progress:
            config, images = find_images(config, space, progress)
        costings = _costings(config, space)
        _tell([*unsuited, *images.doubts])  # not before a refusal, which is one line
    config, packing = packed(config, costings, None if config.resources.address else this_machine())
    if packing:
        print(packing)
    folder = new_folder(config.run, config.sweep)
    with locked(folder), kept(folder):
        spent_s = time.monotonic() - begun
        run = create(config, space, folder, costings, _command_line(), images, spent_s, packing)
        _conduct(run, config.verbose)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"resnest-search: {line}", file=sys.stderr)


def _check_shown(config: SweepConfig | ResumeConfig) -> None:
    """Refuse panels and listeners that are none before anything costly begins."""
    if config.dashboard is not None:
        dashboard_panels(config.dashboard)
    if config.tracking.listeners:
        from resnest_search.tracking.listeners import found_listeners

        found_listeners(config.tracking)


def _shown_by(sweep: Sweep, name: str | None) -> Sweep:
    """The sweep with another dashboard than its own, where one is named."""
    if name is None:
        return sweep
    return dataclasses.replace(sweep, config={**sweep.config, "dashboard": name})


def _costings(config: SweepConfig, space: Space) -> dict[str, Costing]:
    """What the networks of a sweep cost, with a line on where that is from."""
    from resnest_search.execution.doubts import age_line
    from resnest_search.execution.sweep import measured
    from resnest_search.report.live import measuring

    if config.measure.profile:
        found = measured(config, space, lambda done, total: None)
        one = next(iter(found.values()))
        print(f"Costs are those of {config.measure.profile}: {one.device}: {one.mode}")
        return found
    begun = now()
    with measuring(space.timed) as progress:
        found = measured(config, space, progress)
    if line := age_line(found, begun):
        print(line)
    return found


def resume(config: ResumeConfig) -> None:
    """Carry on where the study of a run stands."""
    from resnest_search.execution.folder import existing_folder, locked

    folder = existing_folder(config.run)
    from resnest_search.execution.sweep import kept, reopen
    from resnest_search.report.live import reading

    _check_shown(config)  # before it is recorded as the run's own
    with locked(folder), kept(folder):
        with reading() as progress:
            run = reopen(folder, config, progress)
        _check_shown(run.config)
        _conduct(run, config.verbose)


def train(config: TrainCommandConfig, words: Sequence[str] = ()) -> None:
    """A sweep of one candidate that nothing prunes.

    ``words`` are those that were typed: they say whether other images are meant than a source's.
    """
    made = _sweep_of(config)
    if config.source is not None:
        _tell_source(config, made, words)
    sweep(made)


def _tell_source(config: TrainCommandConfig, made: SweepConfig, words: Sequence[str]) -> None:
    """Say what is trained again, and refuse images that are no longer the source's."""
    from resnest_search.execution.prepare import prepare
    from resnest_search.report.live import reading
    from resnest_search.report.verdict import unfinished
    from resnest_search.retrain import (
        check_images,
        chosen,
        gives_way,
        kept_from,
        may_have_seen,
    )

    found = chosen(config)
    prepare(made)  # whatever is refused without reading an image
    lines = [unfinished(found.sweep)]
    if not config.plan:
        with reading() as progress:
            lines.append(check_images(found, words, progress))
    print(f"Trains {found} again.")
    lines += [*gives_way(found, made), *kept_from(found, made, words)]
    if config.model.pretrained == OWN_WEIGHTS:
        lines += may_have_seen(found, made)
    _tell(filter(None, lines))


def _sweep_of(config: TrainCommandConfig) -> SweepConfig:
    check_source(config)
    if config.source is None:
        return _sweep_of_one(config)
    from resnest_search.retrain import chosen

    found = chosen(config)
    if config.model.pretrained == OWN_WEIGHTS:
        model = dataclasses.replace(config.model, pretrained=found.weights)
        config = dataclasses.replace(config, model=model)
    return RetrainedConfig(**vars(_sweep_of_one(config)), source=found.origin)


def _sweep_of_one(config: TrainCommandConfig) -> SweepConfig:
    from resnest_search.configuration.checks import parse_variant

    parse_variant(config.variant, config.model)
    search = SearchConfig(
        space={"variant": [config.variant]},
        epochs=config.train.epochs,
        seed=config.seed,
        sampler=MethodConfig("grid"),
        pruner=MethodConfig("none"),
    )
    return SweepConfig(
        sweep="train",
        model=config.model,
        data=config.data,
        train=config.train,
        search=search,
        measure=config.measure,
        resources=config.resources,
        tracking=config.tracking,
        run=config.run,
        plan=config.plan,
        verbose=config.verbose,
    )


def profile(config: ProfileConfig) -> None:
    """Print what a variant costs on this machine."""
    from rich.console import Console

    from resnest_search.execution.doubts import age_line, cost_doubts
    from resnest_search.execution.measuring import profile_variant
    from resnest_search.report.profile import latency_text, profile_table

    begun = now()
    costing = profile_variant(config)
    print(f"{config.variant} in {config.model.name} on {costing.device}: {costing.mode}")
    details = costing.details or {}
    table = profile_table(costing.costs, details["train_mode"], costing.half_width)
    Console().print(table)
    for name in costing.also:
        if (beside := costing.beside(name)) and not beside.failure:
            print(f"{name}: {latency_text(beside)} ms on {beside.device}: {beside.mode}")
    if form := details.get("form"):
        print(f"fast form: {form}")
    found = {config.variant: costing}
    if line := age_line(found, begun):
        print(line)
    _tell(cost_doubts(found, config.measure.half_width))


def profile_sweep(config: SpaceProfileConfig) -> None:
    """Print what the networks of a sweep cost on this machine, and write it where asked."""
    from rich.console import Console

    from resnest_search.execution.doubts import age_line, cost_doubts
    from resnest_search.execution.prepare import prepare_profile
    from resnest_search.execution.profiles import profiled
    from resnest_search.report.live import measuring
    from resnest_search.report.profile import draw_profile, space_table

    space = prepare_profile(config)
    begun = now()
    with measuring(space.timed, then="") as progress:
        candidates = {candidate.name: candidate for candidate in space.networks}
        found, failures = profiled(config, candidates, config.sweep, progress)
    costings = {entry.name: entry.costing for entry in found.entries}
    print(found.place)
    Console().print(space_table(costings))
    if line := age_line(costings, begun):
        print(line)
    if config.out:
        out = Path(config.out)
        with writing("out", out):
            found.write(out)
            draw_profile(costings, found.place, out.with_suffix(".png"))
        print(f"Written to {out} and {out.with_suffix('.png')}")
    _tell([*failures, *cost_doubts(costings, config.measure.half_width)])


def report(config: ReportConfig) -> None:
    """Write tables and page anew from the study."""
    from resnest_search.execution.folder import elsewhere_folder
    from resnest_search.execution.recorded import recorded_sweep

    sweep = _shown_by(recorded_sweep(config.run, config.storage), config.dashboard)
    there = _elsewhere(sweep, config.measure)
    if there is None:
        with writing("run", sweep.folder):
            _write_reports(sweep)
        _print_closing(sweep)
        return
    from resnest_search.study.transfer import changes

    name, seen = there
    profile = config.measure.profile
    source = str(Path(profile).resolve()) if profile else f"measure={name}"
    with writing("run", sweep.folder):
        place = elsewhere_folder(Path(sweep.folder), name, source)
        _write_reports(seen, place)
    _print_closing(seen, with_pointers=False)
    print("\n".join(changes(sweep, seen)))
    print(f"Tables and page: {place}")


def _elsewhere(sweep: Sweep, mode: ElsewhereConfig) -> tuple[str, Sweep] | None:
    """The sweep with the costs of another device or mode, and that one's name; None for neither.

    Raises:
        UserError: there are no such costs.
    """
    check_elsewhere(mode)
    if not mode.name and not mode.profile:
        return None
    from resnest_search.execution.elsewhere import seen_from
    from resnest_search.report.live import measuring

    return seen_from(sweep, mode, partial(measuring, then=""))


def export(config: ExportConfig) -> None:
    """Write the chosen variant into best/; exits with 1 where some formats were impossible."""
    check_export(config)
    from resnest_search.execution.recorded import opened_run
    from resnest_search.study.select import check_trained

    with opened_run(config.run, config.storage) as (study, sweep):
        check_trained(sweep)
        exported = _exported(config, study, sweep)
    print(exported)
    _tell(exported.refused.values())
    if exported.refused:
        sys.exit(1)


def _exported(config: ExportConfig, study: SweepStudy, sweep: Sweep) -> Export:
    from resnest_search.export import export_best
    from resnest_search.report.verdict import unfinished
    from resnest_search.study.narrow import narrowed
    from resnest_search.study.transfer import changes

    if line := unfinished(sweep):
        print(line)
    if there := _elsewhere(sweep, config.measure):
        _tell([*changes(sweep, there[1]), *there[1].cost_doubts])
        sweep = there[1]
    sweep = narrowed(sweep, given(config.limits), given(config.weights))
    return export_best(sweep, config.select, config.format, study)


def evaluate(config: EvaluateConfig) -> None:
    """Print how good a trained network is on images, and write it where asked."""
    check_export(config)
    from resnest_search.execution.folder import check_writable, existing_folder

    if not (Path(config.run or "") / "model.json").is_file():  # no export of a network either
        existing_folder(config.run, "run")
    if config.out:
        check_writable(f"out={config.out}", Path(config.out))
    from resnest_search.evaluation.subject import evaluated
    from resnest_search.evaluation.told import told, write

    found = evaluated(config)
    print("\n".join(told(found)))
    if config.out:
        out = Path(config.out)
        with writing("out", out):
            write(found, out)
        print(f"Written to {out / 'evaluate.json'} and {out / 'confusion.csv'}")


def compare(config: CompareConfig) -> None:
    """Print what several runs come to, and draw it where asked."""
    from rich.console import Console

    from resnest_search.execution.folder import check_writable
    from resnest_search.execution.recorded import recorded_sweep
    from resnest_search.report.compare import comparison_csv, told
    from resnest_search.study.compare import compare as laid_side_by_side

    if len(config.run) < 2:
        words = ",".join(config.run)
        raise UserError(f"run=[{words}]: {len(config.run)} given; valid: two or more folders")
    if config.out:
        check_writable(f"out={config.out}", Path(config.out))
    sweeps = []
    for word in config.run:
        sweep = recorded_sweep(word)
        there = _elsewhere(sweep, config.measure)
        sweeps.append(there[1] if there else sweep)
    found = laid_side_by_side(sweeps)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    for part in told(found):
        console.print(part, soft_wrap=isinstance(part, str), markup=False)
    if config.out:
        from resnest_search.report.compare_page import write_comparison

        out = Path(config.out)
        with writing("out", out):
            out.mkdir(parents=True, exist_ok=True)
            write_comparison(found, out / "compare.html")
            comparison_csv(found, out / "compare.csv")
        print(f"Written to {out / 'compare.html'} and {out / 'compare.csv'}")


def dashboard(config: DashboardConfig) -> None:
    """Save the panels of runs as a workspace of W&B's, or write it into the first one's folder."""
    from resnest_search.configuration.compose import from_record
    from resnest_search.execution.recorded import recorded_sweep
    from resnest_search.execution.sweep import tracked_now
    from resnest_search.study.compare import check_alike
    from resnest_search.tracking.workspace import save_workspace

    first = recorded_sweep(config.run, config.storage, uncertainty=False)
    others = [recorded_sweep(word, key="beside", uncertainty=False) for word in config.beside]
    if others:
        check_alike([first, *others])
    tracking = tracked_now(from_record(first.config).tracking, config.tracking)
    print(save_workspace([_shown_by(first, config.dashboard), *others], tracking))


def list_runs(config: ListCommandConfig) -> None:
    """Print how the runs below a folder stand."""
    from resnest_search.execution.folder import run_folders

    above = Path(config.runs or "runs")
    if config.runs and not above.is_dir():
        raise UserError(f"runs={above}: is no folder; valid: one with folders of runs below it")
    folders = list(run_folders(above))
    if not folders:
        print(f"No runs below {above}.")
        return
    from resnest_search.report.runs import runs_table

    print(runs_table([_line_of(folder) for folder in folders]))


def _line_of(folder: Path) -> RunLine:
    from resnest_search.execution.recorded import recorded_sweep
    from resnest_search.report.runs import RunLine, run_line

    try:
        return run_line(recorded_sweep(folder, uncertainty=False), str(folder))
    except UserError as error:
        return RunLine(str(folder), f"cannot be read: {error}")


def _conduct(run: SweepRun, verbose: bool) -> None:
    """Run the trials of a sweep under its lock, then report and export what there is."""
    from resnest_search.execution.sweep import carry_out, timed
    from resnest_search.report.live import LiveTable
    from resnest_search.tracking.listeners import Told
    from resnest_search.tracking.tracked import group_of
    from resnest_search.watch import Watch

    config, folder = run.config, run.folder
    with LiveTable(config.sweep, every_epoch=verbose) as live:
        tracker = Told(
            config.tracking,
            folder,
            group_of(config.sweep, folder),
            to_record(config),
            live.message,
        )
        begun = not run.strategy.finished
        # Tune answers Ctrl-C while trials run; this is for the seconds in which Ray starts.
        with contextlib.suppress(KeyboardInterrupt):
            if begun:
                watch = Watch(run, live, tracker)
                with timed(run):
                    watch.begin()
                    carry_out(run, watch, verbose)
    _finish(run, tracker, begun)


def _finish(run: SweepRun, tracker: Any, begun: bool) -> None:
    """Report first, so that nothing that goes wrong in the export costs a table, nor the reverse.

    Exits with 1 where no trial completed, and with 128 + its number after a signal.
    """
    from resnest_search.execution.outcome import shortfall
    from resnest_search.export import export_best
    from resnest_search.study.read import read_sweep

    sweep = read_sweep(run.study, run.folder, at_work=False)
    try:
        _write_reports(sweep)
    except Exception as error:  # such as of a dashboard that is gone; the network is not to miss
        again = typed("report", run=run.folder)
        reason = _printable(without_password(f"{error}"))
        print(f"resnest-search: no page ({reason}). Again with: {again}", file=sys.stderr)
    if sweep.replayed:
        print("Nothing exported: a replayed table has no weights.")
    elif sweep.front and (begun or not (run.folder / "best").exists()):
        try:
            print(export_best(sweep, "knee", study=run.study))
        except UserError as error:
            print(f"resnest-search: nothing exported: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            again = typed("export", run=run.folder) if run.strategy.finished else ""
            print(f"Interrupted; nothing exported. {again and f'Again with: {again}'}".strip())
            if again:
                sys.exit(stopping.exit_code())
    tracker.close(sweep)
    _print_closing(sweep)
    if not run.strategy.finished:
        print(f"Interrupted. Carry on with: {typed('resume', run=run.folder)}")
        sys.exit(stopping.exit_code())
    if line := shortfall(sweep):
        print(f"resnest-search: {_printable(line)}", file=sys.stderr)
        sys.exit(1)


def _write_reports(sweep: Sweep, place: Path | None = None) -> None:
    """Into a place, else into the run's folder."""
    from resnest_search.report.html import write_report
    from resnest_search.report.table import front_csv, rows_csv, trials_csv

    folder = place or Path(sweep.folder)
    trials_csv(sweep, folder / "trials.csv")
    front_csv(sweep, folder / "front.csv")
    rows_csv(sweep, folder / "rows.csv")
    write_report(sweep, folder / "report.html")


def _print_closing(sweep: Sweep, with_pointers: bool = True) -> None:
    from resnest_search.report.table import print_closing

    print_closing(sweep, with_pointers=with_pointers)


_TASKS: dict[str, Callable[[Any], None]] = {
    "sweep": sweep,
    "train": train,
    "profile": profile,
    "profile_sweep": profile_sweep,
    "resume": resume,
    "report": report,
    "export": export,
    "evaluate": evaluate,
    "compare": compare,
    "dashboard": dashboard,
    "list": list_runs,
}


if __name__ == "__main__":
    main()
