"""The shape of the house: imports point one way, and each heavy library has its one door."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import resnest_search

PACKAGE = Path(resnest_search.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_shipped" not in path.parts)

# What a part may import; whatever is not listed is refused, a new part too.
BASE = {
    "",
    "configuration",
    "configuration.schema",
    "configuration.shipped",
    "errors",
    "files",
    "gauges",
    "metrics",
    "redact",
    "stopping",
    "study.answers",
    "study.record",
    "variant",
    "words",
}
COMPOSING = ("checks", "flags", "options", "overrides")
HELPERS = {*BASE, *(f"configuration.{name}" for name in ("checks", "compose", "options")), "panels"}
STATE = {*HELPERS, "space", "study"}
BELOW: dict[str, set[str]] = {
    **dict.fromkeys(BASE, BASE),
    "configuration.checks": BASE,
    "configuration.flags": BASE,
    "configuration.options": BASE,
    "configuration.overrides": BASE,
    "configuration.compose": {*BASE, *(f"configuration.{name}" for name in COMPOSING)},
    "configuration.page": {*HELPERS, "configuration.flags"},
    "panels": BASE,
    "pareto": BASE,
    "conditions": BASE,
    "space": {*HELPERS, "conditions"},
    "study": {*HELPERS, "pareto", "space"},
    "models": BASE,
    "data": HELPERS,
    "cost": {*HELPERS, "models"},
    "search": {*STATE, "pareto"},
    "simulation": {*STATE, "search"},
    "training": {*HELPERS, "models", "data"},
    "tracking": {*HELPERS, "report"},
    "report": {*HELPERS, "study"},
    "export": {*STATE, "training", "models", "data", "cost"},
    "execution": {
        *STATE,
        "conditions",
        "search",
        "simulation",
        "training",
        "models",
        "data",
        "cost",
    },
    "watch": {*HELPERS, "study", "tracking", "report", "execution"},
    "__main__": {*STATE, "tracking", "report", "execution", "export", "watch"},
}
BELOW["evaluation"] = {*STATE, "export", "execution", "models", "data"}
BELOW["retrain"] = {*STATE, "export", "execution", "training"}
BELOW["__main__"] |= {"configuration.page", "retrain", "evaluation"}
BELOW["notebook"] = {*STATE, "report", "execution", "export"}
DOORS: dict[str, set[str]] = {
    "moocore": {"pareto"},
    "hydra": {"configuration.compose", "configuration.overrides"},
    "omegaconf": {"configuration.compose"},
    "optuna": {"search", "space", "study"},
    "ray": {"execution"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "pytorch_lightning": {"training"},
    "lightning_fabric": {"training", "execution"},
    "torch": {
        "models",
        "data",
        "cost",
        "training",
        "export",
        "execution",
        "evaluation",
        "notebook",
        "gauges",  # only to name a CUDA device that its process has from torch already
    },
    "torchvision": {"data"},
    "sklearn": {"data", "search"},
    "matplotlib": {"report"},
    "plotly": {"report", "notebook"},
    "pandas": {"notebook"},
    "rich": {"report", "__main__"},
}


def part_of(path: Path) -> str:
    """The part of the house that a file belongs to."""
    return part(path.relative_to(PACKAGE).with_suffix("").parts)


def part(names: Sequence[str]) -> str:
    """The first name below the package: a folder, or a module of the root.

    Of the configuration each module is a part: the schema goes everywhere, Hydra nowhere. Of the
    study two are: plain data that everyone may have without Optuna.
    """
    inside = [name for name in names if name != "__init__"]
    whole = ".".join(inside[:2])
    return whole if inside[:1] == ["configuration"] or whole in BASE else whole.split(".")[0]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file names in an import, wherever it stands, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is relative"
            yield str(node.module), node.lineno
            if node.module in (
                "resnest_search",
                "resnest_search.configuration",
                "resnest_search.study",
            ):
                for alias in node.names:
                    if alias.name != "__version__":
                        yield f"{node.module}.{alias.name}", node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = part_of(path)
    for name, line in imports(path):
        package, *rest = name.split(".")
        if package == "resnest_search":
            wanted = part(rest)
            assert wanted == own or wanted in BELOW[own], f"line {line}: {own} -> {wanted}"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library: str) -> None:
    users = {
        part_of(path)
        for path in FILES
        for name, _ in imports(path)
        if name.split(".")[0] == library
    }
    assert users <= DOORS[library]
    assert users, "nobody uses it: the table is out of date"


def test_the_fabric_of_lightning_lends_execution_its_environment_alone() -> None:
    users = {
        (path.name, name)
        for path in FILES
        for name, _ in imports(path)
        if part_of(path) == "execution" and name.startswith("lightning_fabric")
    }
    assert users == {("workers.py", "lightning_fabric.plugins.environments.cluster_environment")}


def test_a_variant_and_the_schema_need_the_standard_library_and_one_another_alone() -> None:
    names = ("variant", "configuration.schema", "metrics", "study.record", "errors")
    theirs = {f"resnest_search.{name}" for name in names} | sys.stdlib_module_names
    for name in names:
        for module, line in imports(PACKAGE / f"{name.replace('.', '/')}.py"):
            known = module in theirs or module.split(".")[0] in theirs
            assert known, f"{name}:{line} imports {module}"


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("resnest_search", {"torch", "ray", "optuna", "hydra", "numpy"}),
        ("resnest_search.notebook", {"torch", "ray", "optuna", "hydra", "numpy", "pandas"}),
        ("resnest_search.study.record", {"torch", "ray", "optuna", "hydra", "numpy"}),
        ("resnest_search.study.study", {"torch", "ray", "pytorch_lightning", "hydra", "wandb"}),
        ("resnest_search.search", {"torch", "ray", "pytorch_lightning", "hydra", "wandb"}),
        (
            "resnest_search.configuration.compose",
            {"torch", "ray", "pytorch_lightning", "optuna", "wandb"},
        ),
        ("resnest_search.__main__", {"torch", "ray", "pytorch_lightning", "optuna", "wandb"}),
        ("resnest_search.data", {"torch", "ray", "pytorch_lightning"}),
        ("resnest_search.execution.driver", {"torch", "pytorch_lightning", "hydra", "wandb"}),
        ("resnest_search.data.module", {"torchvision", "pytorch_lightning", "ray"}),
        ("resnest_search.export", {"torchvision", "pytorch_lightning", "ray", "wandb"}),
        ("resnest_search.cost", {"ray", "optuna", "hydra", "wandb", "pytorch_lightning"}),
    ],
)
def test_what_an_import_brings_along(module: str, strangers: set[str]) -> None:
    code = f"import {module}, sys; print(*(set(sys.modules) & {strangers!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        check=True,
    )
    assert ran.stdout.split() == []


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name != "__main__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_what_a_module_says_that_it_has_is_there(path: Path) -> None:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    names = list(getattr(module, "__all__", []))
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(module, name), name
