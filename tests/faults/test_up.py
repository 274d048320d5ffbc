"""`fentan up` however it ends: its API, its workers and its servers end with it. While it lives, its servers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.test_up import exported, printed, started, status

pytestmark = pytest.mark.faults

PATIENCE_SECONDS = 60.0


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines by pid of what works in `folder` or names it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            at = (process / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in line or at.is_relative_to(folder):
            found[int(process.name)] = line
    return found


def until_children(folder: Path, count: int | None) -> None:
    """Wait until so many children of `up` run in `folder`, or (None) until nothing does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = processes_of(folder).values()
        children = [line for line in lines if "--tethered" in line]
        if (not lines) if count is None else len(children) == count:
            return
        time.sleep(0.05)
    pytest.fail(f"after {PATIENCE_SECONDS:.0f} seconds there run: {list(processes_of(folder).values())}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    command = [sys.executable, "-m", "engine.cli.main", "up", "--workers", "2", "--port", "0"]
    up = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_children(tmp_path, 3)
        up.send_signal(number)
        status = up.wait(PATIENCE_SECONDS)
    finally:
        up.kill()
    until_children(tmp_path, None)
    assert status == (-number if number is signal.SIGKILL else 0)


def until_logged(folder: Path, line: str) -> None:
    """Wait until `up` says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while line not in (log := (folder / "log").read_text("utf-8")):
        if time.monotonic() > deadline:
            pytest.fail(f"after {PATIENCE_SECONDS:.0f} seconds nobody said {line!r}: {log}")
        time.sleep(0.05)


def server_of(folder: Path, name: str) -> int:
    """The process of an embedded server."""
    if name == "postgres":
        return int((folder / ".fentan/postgres/data/postmaster.pid").read_text("ascii").split()[0])
    (pid,) = [pid for pid, line in processes_of(folder).items() if "/valkey-server" in line]
    return pid


def test_servers_that_end_are_brought_back_and_belong_to_it(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--workers", "1", "--port", "0") as up:
        printed(up)
        url, token = exported(up), exported(up)
        assert status(f"{url}/readyz", token) == 200
        for name in ("valkey", "postgres"):
            dead = server_of(tmp_path, name)
            os.kill(dead, signal.SIGKILL)
            for line in (f"{name} has ended by itself; it is started again\n", f"{name} runs again\n"):
                until_logged(tmp_path, line)
            assert server_of(tmp_path, name) != dead
        deadline = time.monotonic() + PATIENCE_SECONDS
        while status(f"{url}/v1/runs", token) != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status(f"{url}/v1/runs", token) == 200
        until_children(tmp_path, 2)
        until_logged(tmp_path, '"event": "doorbell back"')
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_SECONDS) == 0
    until_children(tmp_path, None)


def test_it_ends_where_a_server_cannot_be_brought_back(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--workers", "1", "--port", "0") as up:
        printed(up)
        (tmp_path / ".fentan/postgres/data/PG_VERSION").write_text("1\n", "ascii")
        os.kill(server_of(tmp_path, "postgres"), signal.SIGKILL)
        assert up.wait(PATIENCE_SECONDS) == 1
    assert "\nfentan: postgres does not start; its log " in (tmp_path / "log").read_text("utf-8")
    until_children(tmp_path, None)


def test_it_makes_no_empty_database_for_one_that_is_gone(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--workers", "1", "--port", "0") as up:
        printed(up)
        dead, home = server_of(tmp_path, "postgres"), tmp_path / ".fentan/postgres"
        home.rename(tmp_path / "elsewhere")
        os.kill(dead, signal.SIGKILL)
        assert up.wait(PATIENCE_SECONDS) == 1
    log = (tmp_path / "log").read_text("utf-8")
    assert f"\nfentan: postgres is not started again: its folder {home} is gone\n" in log
    until_children(tmp_path, None)
