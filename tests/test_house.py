"""Rules of the house, checked on its files: arrows point down, packages are what they say they are."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepsight_core import hookspecs
from deepsight_core.components import KINDS
from deepsight_core.discovery import KINDS as ANNOUNCED
from deepsight_core.hub import Hub

ROOT = Path(__file__).parent.parent
CORE = ROOT / "deepsight_core"
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))]
PLUGINS = PROJECTS[1:]

LAYERS = (
    "errors discovery secrets display",
    "messages statistics weights",
    "figures wants",
    "protocol edits",
    "sources inside selectors agreement aspects frames",
    "evidence crossfit planes",
    "components cohorts",
    "hookspecs records scoring program survey report profiles",
    "hub desk notebook",
    "config engine comparison",
    "again change provenance progress leaderboard",
    "diagnosis frontier",
    "session",
    "testing cli",
)
"""Bottom to top; a module imports from lower rows only."""
HEIGHT = {name: height for height, row in enumerate(LAYERS) for name in row.split()}


def imports(path: Path, at_run_time_only: bool = True) -> Iterator[str]:
    """Dotted names that a file imports; what stands under TYPE_CHECKING is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped and at_run_time_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_arrows_in_the_core_point_down(path: Path) -> None:
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in HEIGHT, f"put {own} into a layer"
    for module in imports(path):
        if module.startswith("deepsight_core.") and layer(module) != own:
            assert HEIGHT[layer(module)] < HEIGHT[own], f"{own} imports {module}, which is not below it"


def test_the_core_imports_neither_torch_nor_any_plugin() -> None:
    for path in CORE.rglob("*.py"):
        for module in imports(path, at_run_time_only=False):
            top = module.split(".")[0]
            assert top not in ("torch", "transformers") and (
                top == "deepsight_core" or not top.startswith("deepsight_")
            )


def test_discovery_knows_the_kinds_that_there_are() -> None:
    assert set(ANNOUNCED) == {*KINDS, "observer"}
    assert set(hookspecs.PROVIDERS) == set(KINDS)


def test_every_hook_is_documented() -> None:
    for name, function in vars(hookspecs).items():
        if name.startswith("deepsight_"):
            assert function.__doc__, name


def facts(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def package(project: Path) -> Path:
    (name,) = facts(project)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return project / str(name)


def label(project: Path) -> str:
    return str(facts(project)["project"]["name"])


@pytest.mark.parametrize("project", PLUGINS, ids=label)
class TestPlugin:
    def test_its_pyproject_holds_packaging_facts_only(self, project: Path) -> None:
        assert set(facts(project)) == {"build-system", "project", "tool"}
        assert set(facts(project)["tool"]) == {"hatch"}

    def test_it_is_named_after_its_folder_and_has_a_page_and_tests(self, project: Path) -> None:
        assert label(project) == f"deepsight-{project.name.replace('_', '-')}"
        assert package(project).name == f"deepsight_{project.name}"
        assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) > 10
        assert list((project / "tests").glob("test_*.py"))
        assert (package(project) / "py.typed").exists()

    def test_it_declares_what_it_imports_of_deepsight(self, project: Path) -> None:
        declared = " ".join(facts(project)["project"]["dependencies"])
        for path in package(project).rglob("*.py"):
            for module in imports(path, at_run_time_only=False):
                top = module.split(".")[0]
                if top.startswith("deepsight_") and top != package(project).name:
                    assert f"{top.replace('_', '-')}" in declared.replace("[lora]", ""), f"{path} imports {top}"

    def test_its_entry_points_and_its_hooks_agree(self, project: Path) -> None:
        announced = facts(project)["project"].get("entry-points", {}).get("deepsight", {})
        hub = Hub()
        for address, module in announced.items():
            kind, _, name = address.partition(".")
            assert hub.get(kind, name).name == name
            assert module == package(project).name
            assert hub.get(kind, name).__doc__, f"{address} has no description"


def test_looking_components_up_imports_nothing_heavy() -> None:
    modules = [package(project).name for project in PLUGINS if "libraries" not in project.parts]
    heavy = ("torch", "transformers", "accelerate", "sklearn", "scipy", "matplotlib", "jinja2", "peft", "safetensors")
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("project", PROJECTS, ids=label)
def test_every_package_builds_as_a_wheel_that_holds_its_data(project: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for path in package(project).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(project)) in held
