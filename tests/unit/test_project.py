"""The house style that no linter knows, kept by tests."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest
import typer

from engine.cli import main

ROOT = Path(__file__).parents[2]

MODULE_LINES = 500
FUNCTION_LINES = 60

TOP_LEVEL = {
    *("pyproject.toml", "engine", "migrations", "workers", "config", "tests", "docker", "README.md"),
    # What tools and readers insist on.
    *("Makefile", ".ci", "docs", "CHANGELOG.md", "LICENSE", "constraints.txt", ".gitignore", ".dockerignore"),
}

EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "misc", "common"}

MODULES = sorted(path for folder in ("engine", "workers", "migrations") for path in (ROOT / folder).rglob("*.py"))
PURE_MODULES = [path for path in MODULES if {"plans", "apportion", "money"} & set(path.relative_to(ROOT).parts)]

CLOCKS_AND_FILES = re.compile(r"^(open|input|print)$|\.(now|utcnow|today|time|monotonic|read_text|write_text)$")

ELSEWHERE = re.compile(
    r"(pypi|pythonhosted|npmjs|debian)[.](org|com)"  # a package registry's host
    r"|/(work|farm)/|(?<![\w.$}])/(tmp|root|home|Users|opt)/\w"  # a path of one machine
)

Node = TypeVar("Node", bound=ast.AST)


def committed() -> list[Path]:
    """Every file that git holds."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    names = listing.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def words(name: str) -> set[str]:
    """The words of an identifier: `RunManager` and `run_manager` are both run, manager."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def nodes(path: Path, *kinds: type[Node]) -> Iterator[Node]:
    return (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds))


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_modules_stay_short() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines >= MODULE_LINES} == {}


def test_functions_stay_short() -> None:
    lengths = {
        at(path, node.lineno): (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
    }
    assert {place: lines for place, lines in lengths.items() if lines >= FUNCTION_LINES} == {}


def test_names_say_something() -> None:
    modules = [at(path, 1) for path in MODULES if words(path.stem) & EMPTY_WORDS]
    classes = [
        f"{at(path, node.lineno)} {node.name}"
        for path in MODULES
        for node in nodes(path, ast.ClassDef)
        if words(node.name) & EMPTY_WORDS
    ]
    assert modules + classes == []


def test_the_pure_floor_reads_no_clock_and_no_file() -> None:
    calls = [
        f"{at(path, node.lineno)} {ast.unparse(node.func)}"
        for path in PURE_MODULES
        for node in nodes(path, ast.Call)
        if CLOCKS_AND_FILES.search(ast.unparse(node.func))
    ]
    assert calls == []


def test_the_pure_floor_knows_no_float() -> None:
    numbers = [
        at(path, node.lineno)
        for path in PURE_MODULES
        for node in nodes(path, ast.Constant)
        if isinstance(node.value, float)
    ]
    names = [at(path, node.lineno) for path in PURE_MODULES for node in nodes(path, ast.Name) if node.id == "float"]
    assert numbers + names == []


def test_nothing_committed_names_a_registry_or_a_machine() -> None:
    named = [
        f"{at(path, number)} {line.strip()[:100]}"
        for path in committed()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        if ELSEWHERE.search(line)
    ]
    assert named == []


def test_the_top_level_stays_small() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in committed()}
    assert entries - TOP_LEVEL == set()


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    paths = re.findall(r"`((?:engine|workers|config|migrations|docker|tests|docs)/[\w./-]*)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def test_the_ten_functions_of_one_fen_are_where_the_page_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"^\d+\. `([\w/]+\.py)` `(\w+)`", page, re.MULTILINE)
    assert len(named) == 10
    gone = [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")]
    assert gone == []


def test_the_readme_names_every_command_of_a_group_and_no_other() -> None:
    named = defaultdict[str, set[str]](set)
    table = re.findall(r"^\| `fentan (\w+) ([a-z][^`]*)`", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    for group, commands in table:
        named[group] |= {command.split()[0] for command in commands.split(" · ")}
    known = {
        group: {command.name or getattr(command.callback, "__name__", "") for command in commands.registered_commands}
        for group, module in main._MODULES.items()
        if isinstance(commands := getattr(import_module(f"engine.cli.{module}"), "app", None), typer.Typer)
    }
    assert named == known


def requirements() -> list[str]:
    """The lines of pyproject.toml that ask for a package, comments and all."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.findall(r"^(?:dependencies|dev) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in lists for line in block.splitlines()]


@pytest.mark.parametrize("line", requirements())
def test_every_dependency_says_why(line: str) -> None:
    assert re.fullmatch(r'"[^"]+",\s+# .{8,}', line)


def test_every_dependency_is_pinned_with_a_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert len(asked) == len(requirements())
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==\S+ \\\n    --hash", constraints, re.MULTILINE))
    names = {re.split(r"[\[<>=~ ;]", line)[0].lower() for line in asked}
    assert names - pinned == set()


def test_the_image_asks_for_secrets_and_holds_none() -> None:
    compose = (ROOT / "docker" / "compose.yaml").read_text("utf-8")
    services = re.findall(r"^  (\w+):$", compose.split("\nservices:")[1].split("\nvolumes:")[0], re.MULTILINE)
    assert services == ["postgres", "valkey", "migrate", "worker", "api", "prometheus", "grafana", "backup"]
    secrets = set(re.findall(r"\$\{(\w+_(?:PASSWORD|KEY)):\?", compose))
    example = (ROOT / "docker" / ".env.example").read_text("utf-8")
    assert secrets == {line.removesuffix("=") for line in example.splitlines() if line.endswith("=")}
    assert not re.search(r"_(PASSWORD|KEY|AUTH):\s+[^$\s]", compose)
    for name in (".env", "custodian.env"):
        assert name in (ROOT / "docker" / ".gitignore").read_text("utf-8").split()


def test_the_example_of_custodian_env_has_what_the_profiles_name() -> None:
    profiles = "".join(path.read_text("utf-8") for path in (ROOT / "config" / "custodians").glob("*.toml"))
    example = (ROOT / "docker" / "custodian.env.example").read_text("utf-8")
    named = set(re.findall(r"CUSTODIAN_\w+", profiles))
    assert set(re.findall(r"^# (CUSTODIAN_\w+)=$", example, re.MULTILINE)) == named
