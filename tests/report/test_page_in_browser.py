"""The page in a real browser, where one is installed: what a click, a filter and a drag do."""

import csv
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, mixed, timed

from resnest_search.report.compare_page import write_comparison
from resnest_search.report.html import write_report
from resnest_search.study.compare import compare
from resnest_search.study.record import INFEASIBLE

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

FIRST = """<script>
window.complaints = [];
addEventListener("error", (event) => complaints.push(event.message));
addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
const told = console.error;
console.error = (...words) => { complaints.push(words.join(" ")); told(...words); };
</script>"""
LAST = """<script>
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const names = (selector) => all(selector).map((row) => row.dataset.name).sort();
// in virtual time a browser makes few frames of its own
const paint = () => charts.forEach((chart) => chart.paint());
const chart = (kind) => charts.find(({ text }) => text.includes(kind));
(async () => {
  await wait(3000);
  let found;
  try { found = await (async () => { BODY })(); } catch (error) { found = String(error.stack); }
  const result = document.createElement("pre");
  result.id = "result";
  const asked = performance.getEntriesByType("resource").map(({ name }) => name);
  const loaded = asked.filter((name) => !/^(data|blob):/.test(name));
  result.textContent = JSON.stringify({ found, complaints, loaded });
  document.body.append(result);
})();
</script>"""


def in_browser(sweep, folder, body, *, size="1100,7000", flags=()):
    """What ``body``, JavaScript, returns on the page of a sweep; the page itself is to be calm."""
    path = folder / "report.html"
    write_report(sweep, path)
    return on_page(path, body, size=size, flags=flags)


def on_page(path, body, *, size="1100,7000", flags=()):
    text = path.read_text(encoding="utf-8").replace("<head>", f"<head>{FIRST}", 1)
    path.write_text(text.replace("</body>", LAST.replace("BODY", body) + "</body>"), "utf-8")
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--user-data-dir={path.parent / 'profile'}",
        f"--window-size={size}",
        "--virtual-time-budget=30000",
        *flags,
        "--dump-dom",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    result = json.loads(html.unescape(found[1]))
    assert result["complaints"] == []
    assert result["loaded"] == []
    return result["found"]


WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def test_every_chart_is_drawn_and_nothing_is_loaded(tmp_path):
    body = "paint(); return charts.map(({ box }) => [box.id, Boolean(box.querySelector('svg'))])"
    found = in_browser(timed(doubtful()), tmp_path, body, flags=WEBGL)
    assert len(found) == 8
    assert all(drawn for _, drawn in found)


def test_a_click_on_a_point_marks_it_in_every_chart_and_in_the_table(tmp_path):
    sweep = timed(doubtful())
    place = next(n for n, t in enumerate(sweep.trials) if t.number == sweep.knee)
    body = f"""
      charts[0].box.emit("plotly_click", {{ points: [{{ customdata: {place} }}] }});
      paint();
      const marks = charts.map(({{ box, lines }}) => lines
        ? box.data[0].line.color.includes(2)
        : box.data.some((trace) => trace.showlegend === false && trace.hoverinfo === "skip"));
      const before = [names("tr.marked"), one("#said").textContent, marks];
      one("tr.marked button.mark").click();
      await wait(500);
      return [...before, names("tr.marked")];
    """
    marked, said, marks, after = in_browser(sweep, tmp_path, body, flags=WEBGL)
    name = sweep.trials[place].name
    assert marked == [name]
    assert said == f"Marked: {name}."
    assert sum(marks) == 7  # every chart whose points are trials: all but the bars
    assert after == []


def test_filters_hide_rows_and_points_and_are_kept_over_a_reload(tmp_path):
    sweep = timed(mixed())
    body = """
      if (sessionStorage.again) return [names("tr[data-trial]:not([hidden])"), drawn()];
      function drawn() {
        paint();
        const trace = charts[0].box.data.find(({ name }) => name.startsWith("dominated"));
        return trace.x.filter((value) => value !== null).length;
      }
      one("input[value='radix 0']").click();
      one("input[value='state pruned']").click();
      sessionStorage.again = "yes";
      location.reload();
      await wait(60000);
    """
    found = in_browser(sweep, tmp_path, body)
    assert len(found) == 2, found
    rows, points = found
    left = [t for t in sweep.trials if t.state != "pruned" and t.dimensions["radix"] != 0]
    assert rows == sorted(t.name for t in left)
    assert points == sum(t.state == "complete" and not t.on_front for t in left)


def test_a_drag_along_an_axis_keeps_what_crosses_it_and_can_be_let_go(tmp_path):
    sweep = timed(doubtful())
    body = """
      const lines = chart("parcoords").box;
      await Plotly.restyle(lines, { "dimensions[0].constraintrange": [[[-0.1, 0.5]]] }, [0]);
      await wait(1500);
      const kept = names("tr[data-trial]:not([hidden])");
      one("#clear").click();
      await wait(1500);
      return [kept, names("tr[data-trial]:not([hidden])").length];
    """
    kept, all_of_them = in_browser(sweep, tmp_path, body, flags=WEBGL)
    complete = [t for t in sweep.trials if t.state == "complete" and t.repeat_of is None]
    assert kept == [t.name for t in complete if t.dimensions["radix"] == 0]
    assert all_of_them == len(sweep.trials)


def test_columns_are_chosen_and_what_is_shown_is_saved(tmp_path):
    sweep = timed(mixed())
    body = """
      one("input[value='state pruned']").click();
      const box = all("#columns label").find((label) => label.textContent.trim() === "GMACs");
      box.querySelector("input").click();
      one("th:nth-child(5) button").click();
      return [csv(one("table.sortable")), one("th[aria-sort]").getAttribute("aria-sort")];
    """
    text, sorted_by = in_browser(sweep, tmp_path, body)
    _, *lines = text.strip().split("\r\n")
    found = list(csv.DictReader(text.splitlines()))
    assert "gmacs" not in found[0]
    recorded = {str(t.number): t for t in sweep.trials}
    for row in filter(
        lambda row: row["number"], found
    ):  # values and names of trials.csv, not the percent of the heads
        trial = recorded[row["number"]]
        assert row["accuracy"] == ("" if trial.accuracy is None else str(trial.accuracy))
        assert float(row["latency_ms"]) == pytest.approx(trial.costs["latency_ms"])
        assert row["variant"] == trial.variant
    assert len(lines) == sum(t.state != "pruned" for t in sweep.trials)
    assert sorted_by == "ascending"


def test_what_was_chosen_is_that_of_the_trials_and_columns_while_others_come(tmp_path):
    trials = [make_trial(n, f"{n % 3}s1x{w}d") for n, w in enumerate((16, 24, 40, 48, 56))]
    ruled_out = make_trial(-1, "4s4x96d", INFEASIBLE)
    path = tmp_path / "report.html"
    write_report(timed(make_sweep([*trials, ruled_out])), path)
    state = {  # of a page on which only the first trial of radix 0 was complete
        "marked": [ruled_out.candidate],
        "columns": ["MiB"],
        "sorted": ["MiB", True],
        "zoom": {"panel5": {"radix": [-0.1, 0.5]}},
        "kept": {"panel5": [0]},
    }
    kept = json.dumps(json.dumps(state))
    script = f"<script>sessionStorage['resnest-search ' + location.pathname] = {kept}</script>"
    text = path.read_text("utf-8")
    path.write_text(text.replace("</header>", f"</header>{script}", 1), "utf-8")
    body = """
      const of_axes = chart("parcoords").box.id;
      const left = names("tr[data-trial]:not([hidden])");
      const hidden = headsOf(one("table.sortable")).filter((_, at) =>
        getComputedStyle(one("table.sortable").tHead.rows[0].cells[at]).display === "none");
      const sorted = one("th[aria-sort]").textContent;
      const marked = names("tr.marked");
      one("#clear").click();
      return [of_axes, left, hidden, sorted, marked, chosen.zoom];
    """
    axes, left, hidden, by, marked, zoom = on_page(path, body, flags=WEBGL)
    assert axes == "panel5"
    assert left == sorted(t.name for t in trials if t.dimensions["radix"] == 0)
    assert (hidden, by) == (["MiB"], "MiB")
    assert marked == [ruled_out.name]
    assert zoom == {}


def test_only_what_the_reader_zoomed_stays_as_it_was(tmp_path):
    body = """
      paint();
      const { box } = charts[0];
      Plotly.Plots.resize(box);
      await wait(500);
      const resized = Object.keys(chosen.zoom[box.id] ?? {});
      const [low, high] = box.layout.xaxis.range;
      await Plotly.relayout(box, { "xaxis.range[0]": low, "xaxis.range[1]": (low + high) / 2 });
      return [resized, Object.keys(chosen.zoom[box.id])];
    """
    resized, zoomed = in_browser(timed(doubtful()), tmp_path, body, flags=WEBGL)
    assert resized == []
    assert zoomed == ["xaxis"]


def test_a_page_that_is_loaded_anew_leaves_the_reader_where_he_was(tmp_path):
    sweep = timed(mixed(120))
    body = """
      const state = () => [one(".scroll").scrollTop, all("details").map(({ open }) => open),
        document.activeElement.getAttribute("aria-label") ?? document.activeElement.id];
      if (sessionStorage.before) return [JSON.parse(sessionStorage.before), state()];
      one(".tools details").open = true;
      one(".scroll").scrollTop = 300;
      all("button.mark")[20].focus({ preventScroll: true });
      sessionStorage.before = JSON.stringify(state());
      leave();
      await wait(60000);
    """
    before, after = in_browser(sweep, tmp_path, body, size="1100,700", flags=WEBGL)
    assert before == [300, [True, False], before[2]]
    assert before[2].startswith("mark ")
    assert after == before


def test_a_page_that_a_killed_sweep_left_says_how_long_nothing_came(tmp_path):
    path = tmp_path / "report.html"
    write_report(replace(timed(mixed()), finished=False), path)
    text = path.read_text("utf-8").replace(' data-live="30"', "")  # in virtual time it never rests
    path.write_text(text, "utf-8")
    assert "Nothing new" not in on_page(path, "return one('.live').textContent")
    long_ago = re.sub(r'data-drawn="(\d+)"', lambda m: f'data-drawn="{int(m[1]) - 7300}"', text)
    path.write_text(long_ago, "utf-8")
    said = on_page(path, "return one('.live').textContent")
    assert "Nothing new for 2 h" in said
    assert "killed" in said


def test_without_webgl_a_line_stands_where_the_parallel_axes_would(tmp_path):
    body = "return [charts.length, all('.note').map((note) => note.textContent)]"
    count, notes = in_browser(
        timed(doubtful()),
        tmp_path,
        body,
        flags=("--disable-gpu", "--disable-software-rasterizer", "--disable-3d-apis"),
    )
    assert count == 7
    assert any("WebGL" in note and "stand in the table" in note for note in notes)


def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path):
    body = "return [document.documentElement.scrollWidth, innerWidth]"
    width, screen = in_browser(timed(mixed()), tmp_path, body, size="500,900")
    assert width <= screen


def test_a_page_without_trials_is_calm(tmp_path):
    assert in_browser(make_sweep([]), tmp_path, "return charts.length") == 0


def test_a_candidate_is_marked_in_the_fronts_of_all_compared_runs(tmp_path):
    sweep = doubtful()
    found = compare([sweep, replace(sweep, folder="another")], draws=20)
    write_comparison(found, tmp_path / "compare.html")
    body = """
      one("tr[data-trial] button.mark").click();
      paint();
      const marks = ({ box }) => box.data.filter(({ hoverinfo }) => hoverinfo === "skip");
      const points = charts.map((chart) => marks(chart).map(({ x }) => x.length));
      return [one("#said").textContent, points];
    """
    said, marks = on_page(tmp_path / "compare.html", body)
    assert said == f"Marked: {found.shared[0].name}."
    assert marks == [[1, 1], [1, 1]]  # of two costs, in either run
