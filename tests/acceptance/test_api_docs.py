"""docs/api.md does what it says: its commands in order against a real API with a worker, and its table of roles."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.access.roles import EVERYONE, Role
from engine.api.routes import ENDPOINTS
from engine.store.embedded import Embedded

pytestmark = pytest.mark.acceptance

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
PATIENCE_SECONDS = 60.0


class Example(NamedTuple):
    """Commands, and what they print: in which language it is written, and the text of it."""

    commands: str
    language: str
    printed: str


def examples() -> list[Example]:
    """The commands of the page in their order, each with the block that follows it, if one does."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    after = [*blocks[1:], ("", "")]
    return [
        Example(text, *(shown if shown[0] in ("json", "text") else ("", "")))
        for (language, text), shown in zip(blocks, after, strict=True)
        if language == "sh"
    ]


def differences(shown: Any, answered: Any, place: str = "") -> list[str]:
    """What the page shows and the answer lacks; … stands for anything but null."""
    if shown == "…":
        return [] if answered is not None else [f"{place}: null"]
    if isinstance(shown, dict) and isinstance(answered, dict):
        return [each for name in shown for each in differences(shown[name], answered.get(name), f"{place}.{name}")]
    if isinstance(shown, list) and isinstance(answered, list) and len(shown) == len(answered):
        pairs = zip(shown, answered, strict=True)
        return [each for number, pair in enumerate(pairs) for each in differences(*pair, f"{place}[{number}]")]
    return [] if shown == answered else [f"{place}: the page shows {shown!r}, the API answered {answered!r}"]


def test_differences_are_found() -> None:
    assert differences({"a": "…", "b": [{"c": 1}]}, {"a": 1, "b": [{"c": 1, "d": 2}], "e": 3}) == []
    assert differences({"a": "…"}, {}) == [".a: null"]
    assert differences({"b": [{"c": 1}]}, {"b": [{"c": 2}]}) == [".b[0].c: the page shows 1, the API answered 2"]
    assert len(differences([1], [1, 2])) == 1


def test_the_commands_of_the_page(database_url: str, embedded: Embedded, tmp_path: Path) -> None:
    settings = {
        "FENTAN_DATABASE_URL": database_url,
        "FENTAN_REDIS_URL": embedded.redis_url,
        "FENTAN_SWEEP_SECONDS": "1",
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    environment |= settings | {"PATH": path}
    with (tmp_path / "log").open("w") as log:
        up = subprocess.Popen(
            ["fentan", "up", "--workers", "1", "--port", "0"],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert up.stdout is not None
        up.stdout.readline()
        url = up.stdout.readline().strip().removeprefix("export FENTAN_API_URL=")
        assert url.startswith("http://"), (tmp_path / "log").read_text("utf-8")
        _run(url, environment, tmp_path)
        _run_python(url, environment, tmp_path)
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=PATIENCE_SECONDS)
    assert up.returncode == 0


def _run(url: str, environment: dict[str, str], folder: Path) -> None:
    mark = "@@@"
    script = "".join(f"{each.commands}\necho; echo {mark}\n" for each in examples())
    script += 'echo "$ANNA" > anna\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8080", url)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    printed = done.stdout.split(f"\n{mark}\n")
    found: list[str] = []
    for example, text in zip(examples(), printed, strict=False):
        if example.language == "json":
            answer = text.strip().removeprefix("data: ")
            wrong = differences(json.loads(example.printed), json.loads(answer))
            found.extend(f"{example.commands}{each}\n{answer}" for each in wrong)
        elif example.printed.strip() not in text:
            found.append(f"{example.commands}: {text}")
    assert found == [], done.stderr
    assert (done.returncode, [line for line in done.stderr.splitlines() if "keep it" not in line]) == (0, [])
    assert len(printed) == len(examples()) + 1


def _run_python(url: str, environment: dict[str, str], folder: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    asked = {"FENTAN_API_URL": url, "FENTAN_API_TOKEN": (folder / "anna").read_text("ascii").strip()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    one, refusal, amount = done.stdout.splitlines()
    assert one.startswith("1 ")
    assert one.endswith(" 0.10")
    assert refusal.startswith("409 ")
    assert amount == "0.10"


def test_the_table_of_roles() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \| (`\w+`.*) \|$", PAGE, re.MULTILINE)
    shown = {
        frozenset({Role.ADMIN, *(Role(name) for name in who.split(", ") if name != "admin alone")}): set(
            re.findall(r"`(\w+)`", what)
        )
        for who, what in rows
    }
    declared: dict[frozenset[Role], set[str]] = {}
    for endpoint in ENDPOINTS:
        declared.setdefault(endpoint.roles, set()).add(endpoint.name)
    del declared[EVERYONE]
    assert shown == declared
