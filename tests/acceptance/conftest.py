"""The console script in the process of the tests, on a database of their own where they need one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from rich.console import Console, ConsoleDimensions

from engine.cli import main
from tests.acceptance.console import Done, Fentan


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """A command says how its whole process logs, which here goes on to other tests."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def console(
    log_as_before: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Fentan:
    """Each command would wait a second for its imports if it were a process of its own."""
    # Of the class: a console keeps the width it was made under, and some are made once in a process.
    monkeypatch.setattr(Console, "size", ConsoleDimensions(width=200, height=50))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["fentan", *arguments])
        capfd.readouterr()  # what making the test's world logged
        # In a thread of its own, where no loop runs: a command starts its own, and an async test has one already.
        with ThreadPoolExecutor(1) as apart, pytest.raises(SystemExit) as ended:
            apart.submit(main.main).result()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return command


@pytest.fixture
def fentan(console: Fentan, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fentan:
    """The console script on the test's database."""
    settings = {"DATABASE_URL": database_url, "LOG_LEVEL": "warning", "DATA_DIR": str(tmp_path / "data")}
    for name, value in settings.items():
        monkeypatch.setenv(f"FENTAN_{name}", value)
    return console
