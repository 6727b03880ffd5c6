import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, mixed, timed

from resnest_search.panels import Panel
from resnest_search.report.html import write_report
from resnest_search.study.record import FAILED, INFEASIBLE, PRUNED, RUNNING

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects ids, rows and visible text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.rows, self.words = [], [], [], [], []
        self.scripts = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.scripts += tag == "script"
        if tag == "tr":
            self.rows.append((dict(attrs).get("class", ""), []))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "td":
            self.rows[-1][1].append(data)

    @property
    def text(self):
        return " ".join(self.words)


def page(sweep, folder, panels=None):
    write_report(sweep, folder / "report.html", panels)
    text = (folder / "report.html").read_text(encoding="utf-8")
    packed = re.search(r"<script [^>]* id=\"plotly\">[\w+/=]+</script>", text)
    assert packed
    return text.replace(packed[0], ""), Page(text)


def test_the_page_is_one_file_that_loads_nothing(tmp_path):
    text, parsed = page(mixed(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "http://" not in text
    assert "https://" not in text
    names = {name for name, _ in parsed.attributes}
    assert not names & {"src", "srcset", "action", "data"}
    links = [v for n, v in parsed.attributes if n in ("href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"@import|url\((?!#)", text)


def test_ids_are_unique_over_all_plots(tmp_path):
    _, parsed = page(mixed(), tmp_path)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_head_says_question_knee_budget_device_and_mode(tmp_path):
    sweep = mixed()
    best = next(trial for trial in sweep.trials if trial.number == sweep.knee)
    _, parsed = page(sweep, tmp_path)
    assert sweep.question in parsed.text
    assert f"The knee of the front is {best.variant}" in parsed.text
    assert f"{sweep.epochs} of {sweep.budget} epochs" in parsed.text
    assert "8 pruned" in parsed.text
    assert "Intel Xeon, 2 threads" in parsed.text
    assert "eager fp32 batch 1 at 8 px" in parsed.text
    assert "torch 2.14.0" in parsed.text
    assert sweep.started in parsed.text


def test_mixed_devices_are_all_named(tmp_path):
    trials = [make_trial(0, "1s1x16d"), make_trial(1, "2s1x16d", device="NVIDIA H100")]
    _, parsed = page(make_sweep(trials), tmp_path)
    assert "devices: Intel Xeon, 2 threads; NVIDIA H100" in parsed.text


def test_no_pruned_failed_or_infeasible_row_is_on_the_front(tmp_path):
    sweep = mixed()
    wrong = replace(make_trial(99, "2s1x24d", PRUNED), on_front=True)
    sweep = replace(sweep, trials=(*sweep.trials, wrong))
    _, parsed = page(sweep, tmp_path)
    rows = [(kind.split(), cells) for kind, cells in parsed.rows if cells]
    assert len(rows) == len(sweep.trials)
    for kind, cells in rows:
        if kind[0] != "complete":
            assert "front" not in kind
            assert not any("★" in cell for cell in cells)


def test_reasons_of_failed_and_infeasible_are_visible_in_full(tmp_path):
    trials = [make_trial(1, "1s1x16d", FAILED), make_trial(-1, "4s4x96d", INFEASIBLE)]
    _, parsed = page(make_sweep(trials), tmp_path)
    assert "failed: CUDA out of memory: tried to allocate 2.00 GiB" in parsed.text
    assert "infeasible: latency_ms 9.10 is over the limit 8.00" in parsed.text


def test_everything_that_was_recorded_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\" onload='x'"
    trial = make_trial(0, "1s1x16d", FAILED, reason=evil, device=evil)
    sweep = replace(make_sweep([trial]), name=evil, question=evil, config={"a": evil})
    text, parsed = page(sweep, tmp_path)
    charts = text.count('class="chart"')
    assert parsed.scripts == 2 + charts  # the library, the page's own, and what charts draw
    assert "<script>alert" not in text
    assert not any(name == "onload" for name, _ in parsed.attributes)


def test_home_folders_addresses_and_secrets_stay_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "hunter2hunter2")
    monkeypatch.setenv("HOME", "/data/people/carol")
    config = {
        "data": {"root": "/home/alice/images"},
        "run": "/data/people/carol/runs/1",
        "resources": {"address": "ray://gpu17.lab:10001"},
        "storage": "postgresql://bob:pw12@db/study",
    }
    failed = make_trial(1, "1s1x16d", FAILED, reason="hunter2hunter2 in /home/alice/x.py")
    sweep = replace(make_sweep([failed]), config=config, folder="/data/people/carol/runs/1")
    text, _ = page(sweep, tmp_path)
    for secret in ("hunter2", "alice", "carol", "gpu17", "bob", "pw12"):
        assert secret not in text
    assert "~/images" in text


def test_a_home_folder_in_a_parameter_stays_out_of_names_and_figures(tmp_path):
    files = ("/home/alice/0.pth", "/home/alice/1.pth")
    variants = [f"{radix}s1x{width}d" for radix in (0, 1, 2) for width in (16, 24, 40, 64)]
    trials = [
        make_trial(n, name, parameters={"model.pretrained": files[n % 2]})
        for n, name in enumerate(variants)
    ]
    text, _ = page(timed(make_sweep(trials)), tmp_path)
    assert "alice" not in text
    assert "model.pretrained=~/1.pth" in text


def test_an_empty_sweep_has_a_page(tmp_path):
    _, parsed = page(make_sweep([]), tmp_path)
    assert "The front has 0 members" in parsed.text
    assert "Every trial" not in parsed.text
    assert not any(name == "role" for name, _ in parsed.attributes)  # no figure


def test_a_thousand_trials_make_a_page_that_opens(tmp_path):
    trials = [make_trial(n, "2s4x64d", PRUNED if n % 3 else "complete") for n in range(1000)]
    text, _ = page(timed(make_sweep(trials)), tmp_path)
    assert len(text) < 3_000_000
    assert (tmp_path / "report.html").stat().st_size < 6_000_000


@pytest.mark.parametrize("words", ["</script><b>", "<!-- <script>"])
def test_what_names_say_ends_no_script(tmp_path, words):
    trial = make_trial(0, "1s1x16d")
    trial = replace(trial, variant="", parameters={"a": words})
    text, parsed = page(make_sweep([trial, make_trial(1, "2s1x40d")]), tmp_path)
    assert ("b", "") not in parsed.attributes
    assert "Configuration" in parsed.text
    assert "<!-- " not in text  # after which a script would hide the end of its own


def test_a_sweep_under_way_says_so_and_is_loaded_anew(tmp_path):
    trials = [make_trial(0, "1s1x16d"), make_trial(1, "2s1x40d", RUNNING)]
    at_work = replace(make_sweep(trials), finished=False)
    text, parsed = page(at_work, tmp_path)
    assert '<body data-live="30">' in text
    assert "Under way: drawn at " in parsed.text
    ends = {"finished": True}, {"at_work": False}, {"costs_of": "jetson"}
    for over in (replace(at_work, **end) for end in ends):
        text, parsed = page(over, tmp_path)
        assert "data-live" not in text
        assert "Under way" not in parsed.text


def test_rows_can_be_filtered_by_state_and_radix_and_marked_by_keyboard(tmp_path):
    sweep = mixed()
    _, parsed = page(sweep, tmp_path)
    values = {v for n, v in parsed.attributes if n == "value"}
    assert {f"state {t.state}" for t in sweep.trials} <= values
    assert {"radix 0", "radix 1", "radix 2", "radix 4"} <= values
    places = [int(v) for n, v in parsed.attributes if n == "data-trial"]
    assert sorted(places) == list(range(len(sweep.trials)))
    assert sum(n == "aria-pressed" for n, _ in parsed.attributes) == len(sweep.trials)


def test_panels_decide_what_is_shown_and_in_which_order(tmp_path):
    panels = (Panel("config", "Settings"), Panel("scatter", "Cost", x="gmacs", y="memory_mib"))
    _, parsed = page(mixed(), tmp_path, panels)
    assert parsed.text.index("Settings") < parsed.text.index("Cost")
    assert "Every trial" not in parsed.text


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_report(make_sweep([]), path)
    assert path.read_text() == "old"
    assert [p.name for p in Path(tmp_path).iterdir()] == ["report.html"]


def test_the_page_names_the_winner_together_with_what_is_within_noise_of_it(tmp_path):
    sweep = doubtful()
    text, parsed = page(sweep, tmp_path)
    verdict = text[text.index('class="verdict"') : text.index('class="status"')]
    for trial in sweep.trials:
        if trial.number in (sweep.knee, *sweep.rivals):
            assert trial.variant in verdict
    assert "front %" in parsed.text
    sheets = [trial.curve[-1].correct for trial in sweep.trials if trial.state == "complete"]
    assert all(sheets)
    assert not any(sheet in text for sheet in sheets)
