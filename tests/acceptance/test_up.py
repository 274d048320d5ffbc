"""`fentan up` and `fentan api` as processes: where they answer, to whom, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.tokens import NotAuthenticated, authenticate
from engine.cli import processes
from engine.store.embedded import Embedded
from tests.integration.worlds import until

pytestmark = pytest.mark.acceptance

PATIENCE_SECONDS = 60.0


@contextmanager
def started(folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A `fentan` whose standard output can be read, killed at the end of the block if it runs still."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    environment |= {f"FENTAN_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "engine.cli.main", *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def printed(process: subprocess.Popen[str]) -> str:
    """The next line of its standard output."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def exported(process: subprocess.Popen[str]) -> str:
    """The value of a setting that it prints as a shell takes it."""
    line = printed(process)
    found = re.fullmatch(r"export FENTAN_API_(?:URL|TOKEN)=(\S+)", line)
    assert found, line
    return found[1]


def status(url: str, token: str) -> int:
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:  # noqa: S310 - ours
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.fixture
def servers(database_url: str, embedded: Embedded) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": embedded.redis_url}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_up_serves_a_first_admin_and_ends_whole(tmp_path: Path, servers: dict[str, str]) -> None:
    tokens = []
    for _ in range(2):
        with started(tmp_path, "up", "--workers", "1", "--port", "0", **servers) as up:
            assert printed(up).startswith("the console, the API and 1 worker are up at http://127")
            url, token = exported(up), exported(up)
            tokens.append(token)
            assert [status(f"{url}/v1/runs", each) for each in tokens] == ([200] if len(tokens) == 1 else [401, 200])
            assert status(f"{url}/v1/runs", "fentan_1_nobody") == 401
            up.send_signal(signal.SIGINT)
            assert up.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(OSError, match="refused"):
            status(url, token)
        log = (tmp_path / "log").read_text("utf-8")
        assert "worker stopped" in log
        assert "request answered" in log
        assert token not in log


def test_each_up_has_a_token_of_its_own(tmp_path: Path, servers: dict[str, str]) -> None:
    (tmp_path / "second").mkdir()
    with started(tmp_path, "up", "--workers", "1", "--port", "0", **servers) as up:
        printed(up)
        url, token = exported(up), exported(up)
        with started(tmp_path / "second", "up", "--workers", "1", "--port", "0", **servers) as second:
            printed(second)
            second_url, second_token = exported(second), exported(second)
            both = [status(f"{at}/v1/runs", each) for at in (url, second_url) for each in (token, second_token)]
            assert both == [200] * 4
            second.send_signal(signal.SIGINT)
            assert second.wait(PATIENCE_SECONDS) == 0
        assert [status(f"{url}/v1/runs", each) for each in (token, second_token)] == [200, 401]


async def test_the_token_lives_as_long_as_its_up(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "EXTEND_SECONDS", 0.01)
    async with processes._admin_token(database_url) as text:
        now = datetime.now(UTC)
        first = (await authenticate(engine, text, now=now)).expires_at
        assert first <= now + processes.ADMIN_LIFE

        async def extended() -> bool:
            return (await authenticate(engine, text, now=now)).expires_at > first

        await until(extended, "extended")
    with pytest.raises(NotAuthenticated):
        await authenticate(engine, text, now=now)


def test_up_does_not_go_on_without_its_api(tmp_path: Path, servers: dict[str, str]) -> None:
    with started(tmp_path, "up", "--workers", "1", "--port", "0", **servers) as up:
        printed(up)
        children = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text("ascii").split()
        lines = {int(child): Path(f"/proc/{child}/cmdline").read_text("utf-8") for child in children}
        (api,) = [child for child, line in lines.items() if "\0api\0" in line]
        os.kill(api, signal.SIGKILL)
        assert up.wait(PATIENCE_SECONDS) == 1
    assert "fentan: the API has ended by itself (exit code -9)" in (tmp_path / "log").read_text("utf-8")


def test_a_port_that_is_taken(tmp_path: Path, servers: dict[str, str], taken: int) -> None:
    refusal = f"fentan: cannot listen on 127.0.0.1, port {taken}: Address already in use; name others with --host"
    with started(tmp_path, "api", "--port", str(taken), **servers) as api:
        assert api.wait(PATIENCE_SECONDS) == 1
    assert refusal in (tmp_path / "log").read_text("utf-8")
    with started(tmp_path, "up", "--workers", "1", "--port", str(taken), **servers) as up:
        assert up.wait(PATIENCE_SECONDS) == 1
        assert printed(up) == ""
    log = (tmp_path / "log").read_text("utf-8")
    assert refusal in log
    assert "the API has ended by itself (exit code 1); the workers stop as well" in log


def test_the_api_prints_its_address_and_ends_when_told(tmp_path: Path, servers: dict[str, str]) -> None:
    with started(tmp_path, "api", "--port", "0", **servers) as api:
        url = printed(api)
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]+", url)
        with urlopen(f"{url}/v1/openapi.json", timeout=10) as answer:  # noqa: S310 - ours
            assert json.load(answer)["openapi"] == "3.1.0"
        api.send_signal(signal.SIGTERM)
        assert api.wait(PATIENCE_SECONDS) == 0
