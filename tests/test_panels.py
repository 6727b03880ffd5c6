import re
from dataclasses import replace

import pytest
from sample_sweeps import mixed

from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.panels import dashboard_panels, drawn, panels_of, read_panels
from resnest_search.report.figures import figure_of


def plots(panels):
    return [(p.kind, p.title, p.x, p.y, p.size) for p in panels if p.x or p.y]


def shown(sweep):
    """Kinds of what a page would show."""
    panels = drawn(read_panels(), sweep)
    return [p.kind for p in panels if p.kind in ("table", "config") or figure_of(p, sweep)]


def of(*objectives, panels=None):
    sweep = replace(mixed(), objectives=objectives)
    return plots(drawn(read_panels() if panels is None else panels, sweep))


def test_the_shipped_panels_show_the_objectives_first_in_their_order():
    panels = read_panels()
    assert [panel.kind for panel in panels[:2]] == ["rows", "objectives"]
    assert {"objectives", "table", "curves", "scatter", "config"} <= {p.kind for p in panels}
    assert of("accuracy", "latency_ms", "memory_mib") == [
        ("front", "Accuracy against latency", "latency_ms", "accuracy", "memory_mib"),
        ("front", "Accuracy against memory", "memory_mib", "accuracy", ""),
        ("curves", "Accuracy after each epoch", "", "accuracy", ""),
        ("scatter", "Latency against multiply-accumulates", "gmacs", "latency_ms", ""),
    ]


@pytest.mark.parametrize(
    ("objectives", "fronts", "curves"),
    [
        (("memory_mib", "accuracy"), ["Accuracy against memory"], "Accuracy"),
        (("accuracy",), ["Accuracy against latency"], "Accuracy"),
        (("loss", "images_per_s"), ["Loss against throughput"], "Loss"),
        (("accuracy", "loss"), ["Accuracy against loss"], "Accuracy"),
        (
            ("gmacs", "train_memory_mib"),
            ["Multiply-accumulates against training memory"],
            "Accuracy",
        ),
    ],
)
def test_other_objectives_have_other_panels(objectives, fronts, curves):
    titles = [title for _, title, *_ in of(*objectives)]
    last = "Latency against multiply-accumulates"
    assert titles == [*fronts, f"{curves} after each epoch", last]


def test_no_plot_is_drawn_twice_and_none_that_is_empty():
    assert [t for _, t, *_ in of("latency_ms", "gmacs")] == [
        "Latency against multiply-accumulates",
        "Accuracy after each epoch",
    ]
    bare = [replace(t, costs={"memory_mib": 1.0}, curve=()) for t in mixed().trials]
    sweep = replace(mixed(), trials=tuple(bare))
    assert shown(sweep) == ["table", "config"]
    assert shown(replace(sweep, trials=())) == ["config"]


def test_a_second_table_is_not_drawn(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("panels: [{kind: table, title: a}, {kind: table, title: b}]")
    assert [p.title for p in drawn(read_panels(path), mixed())] == ["a"]


def test_the_first_line_says_what_is_shown():
    first = (shipped_folder("dashboards") / "sweep.yaml").read_text().splitlines()[0]
    assert re.match(r"# \w+", first)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("panels: []", "list of panels"),
        ("- 1", "expected a key 'panels'"),
        ("panels: [", "flow"),
        ("panels: [7]", "panel 1.*not 7"),
        ("panels: [{kind: pie, title: t}]", "kind 'pie' is none of front"),
        ("panels: [{kind: table}]", "table needs 'title'"),
        ("panels: [{kind: scatter, title: t, x: gmacs}]", "scatter needs 'y'"),
        ("panels: [{kind: scatter, title: t, x: gmacs, y: speed}]", "'speed' is none of accuracy"),
        (
            "panels: [{kind: curves, title: t, y: gmacs}]",
            "'gmacs' is none of accuracy, balanced_accuracy",
        ),
        ("panels: [{kind: curves, title: t, y: loss, x: gmacs}]", "curves knows no 'x'"),
        ("panels: [{kind: table, title: 3}]", "title must be text, not 3"),
    ],
)
def test_a_wrong_specification_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        read_panels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read_panels(tmp_path / "nowhere.yaml")


def test_a_checkout_goes_before_the_packages_own_copy(tmp_path):
    package = tmp_path / "package"
    (package / "_shipped" / "conf").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    assert shipped_folder("conf", package) == package / "_shipped" / "conf"
    (tmp_path / "pyproject.toml").touch()
    assert shipped_folder("conf", package) == tmp_path / "conf"
    with pytest.raises(FileNotFoundError, match="install"):
        shipped_folder("sweeps", package)


def test_a_dashboard_of_the_working_directory_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards" / "costs.yaml").write_text("panels: [{kind: table, title: All}]")
    assert [p.title for p in dashboard_panels("costs")] == ["All"]
    assert [p.title for p in panels_of(replace(mixed(), config={"dashboard": "costs"}))] == ["All"]
    assert panels_of(mixed()) == read_panels()  # a run of an earlier version names none
    with pytest.raises(UserError, match=r"^dashboard=cost: there is none; valid: sweep, costs$"):
        dashboard_panels("cost")
