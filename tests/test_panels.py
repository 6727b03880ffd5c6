import re

import pytest

from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.panels import KINDS, read_panels


def test_the_shipped_panels_cover_front_curves_table_and_configuration():
    panels = read_panels()
    assert panels[0].kind == "front"
    assert {panel.kind for panel in panels} == set(KINDS)
    front = panels[0]
    assert (front.x, front.y, front.size) == ("latency_ms", "accuracy", "memory_mib")


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
        ("panels: [{kind: curves, title: t, y: gmacs}]", "'gmacs' is none of accuracy, loss"),
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
