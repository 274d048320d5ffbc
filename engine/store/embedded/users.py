"""The side of whoever uses the embedded servers: join, be counted, leave."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engine.store.embedded.folders import last_lines, log_file, made, set_aside_long_log, socket_folder
from engine.store.embedded.keeper import KINDS, START_SECONDS, STOP_REQUEST, STOP_SECONDS
from engine.store.embedded.server import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Embedded:
    """Servers in use by this process until `close`; a URL is empty where its server was not asked for."""

    database_url: str
    """For SQLAlchemy, like `postgresql+asyncpg://fentan@/fentan?host=…&port=5432`."""
    redis_url: str
    """For redis-py and arq, like `unix:///…/valkey.sock`."""
    connections: dict[str, socket.socket] = field(repr=False)
    """To the keepers, by the server's name; being open is being counted."""
    data_dir: Path

    def close(self) -> None:
        """Leave. Returns once the servers that nobody else uses have stopped."""
        for connection in self.connections.values():
            _leave(connection)

    def lost(self) -> list[str]:
        """Names of the servers that nobody keeps any more: they have ended by themselves, or their keepers have."""
        return [name for name, connection in self.connections.items() if _is_closed(connection)]

    def bring_back(self, name: str) -> None:
        """Use a lost server again, at the address it had; blocks as `start` does. Raises EmbeddedServerError."""
        folder = self.data_dir / name
        if not folder.exists():
            raise EmbeddedServerError(f"{name} is not started again: its folder {folder} is gone")
        found = start(self.data_dir, postgres=name == "postgres", valkey=name == "valkey")
        self.connections[name].close()
        self.connections.update(found.connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> Embedded:
    """Use the servers of `data_dir`, starting those that do not run; `close` the result to leave.

    A process that is killed has left, too. Children of a process are not counted: each calls this itself. Blocks for
    about half a second, two at the very first start. Raises EmbeddedServerError.
    """
    connections, urls = {}, {}
    with ExitStack() as failed:
        for name, wanted in (("postgres", postgres), ("valkey", valkey)):
            if wanted:
                try:
                    connections[name], urls[name] = _join(made(data_dir).resolve(), name)
                except OSError as error:
                    raise EmbeddedServerError(f"the data folder {data_dir} is no use to this user: {error}") from error
                failed.callback(_leave, connections[name])
        failed.pop_all()
    return Embedded(urls.get("postgres", ""), urls.get("valkey", ""), connections, data_dir.resolve())


@contextmanager
def servers(data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> Iterator[Embedded]:
    """The servers of `data_dir` for the length of a block. Raises EmbeddedServerError."""
    with start(data_dir, postgres=postgres, valkey=valkey) as embedded:
        yield embedded


def status(data_dir: Path) -> dict[str, bool]:
    """For each server by name ("postgres", "valkey") whether it is kept running."""
    return {name: (data_dir / f"{name}.lock").exists() and not _is_free(data_dir / f"{name}.lock") for name in KINDS}


def stop(data_dir: Path) -> None:
    """Stop the servers of `data_dir`, whoever uses them."""
    for name in KINDS:
        connection = _connect(data_dir / f"{name}.lock")
        if connection is not None:
            with suppress(OSError):
                connection.sendall(STOP_REQUEST)
            _leave(connection)


def _join(data_dir: Path, name: str) -> tuple[socket.socket, str]:
    """Connect to the keeper of the server `name`, making one if there is none; its connection and the server's URL."""
    lock_path = data_dir / f"{name}.lock"
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        connection, ours = _connect(lock_path), False
        if connection is None:
            connection = _make_keeper(data_dir, name, lock_path)
            ours = connection is not None
        if connection is None:  # someone else is making one, or the last one is still stopping
            time.sleep(0.01)
            continue
        try:
            answer = _answer(connection)
        except BaseException:
            connection.close()
            raise
        if "url" in answer:
            url = answer.pop("url")
            if answer:
                _say_where(name, answer)
            return connection, url
        connection.close()
        if "error" in answer:
            raise EmbeddedServerError(answer["error"])
        if ours:
            raise EmbeddedServerError(f"the keeper of {name} died:\n{last_lines(log_file(data_dir, name))}")
        # The keeper closed its door before it saw us; the next one will.
    raise EmbeddedServerError(f"{lock_path} is held by a process that does not answer; see {log_file(data_dir, name)}")


def _say_where(name: str, notice: dict[str, str]) -> None:
    import structlog  # noqa: PLC0415 - the keeper loads this module, too, and is to start at once

    structlog.get_logger(__name__).warning("embedded_server_runs_elsewhere", server=name, **notice)


def _connect(lock_path: Path) -> socket.socket | None:
    """A connection to the keeper that the lock file names, if there is one."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(lock_path.read_text())
    except OSError:
        connection.close()
        return None
    return connection


def _make_keeper(data_dir: Path, name: str, lock_path: Path) -> socket.socket | None:
    """Start a keeper and connect to it, unless someone holds its lock. Raises EmbeddedServerError."""
    with lock_path.open("a+") as lock, socket.socket(socket.AF_UNIX) as listener:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        door = socket_folder(data_dir) / f"{name}.keeper"
        door.unlink(missing_ok=True)
        listener.bind(str(door))
        listener.listen(128)
        lock.truncate(0)
        lock.write(str(door))
        lock.flush()
        # Connected before the keeper lives: should we die now, it will see that its only user has left.
        connection = _connect(lock_path)
        log_path = log_file(data_dir, name)
        set_aside_long_log(log_path)
        inherited = (listener.fileno(), lock.fileno())
        command = [sys.executable, "-P", "-m", "engine.store.embedded", name, str(data_dir), *map(str, inherited)]
        with log_path.open("ab") as output:
            subprocess.run(
                command,
                check=False,
                pass_fds=inherited,
                cwd=data_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return connection


def _answer(connection: socket.socket) -> dict[str, str]:
    """What the keeper says, once its server is ready or has failed; empty if it went without a word."""
    connection.settimeout(START_SECONDS + STOP_SECONDS)
    received = b""
    try:
        while not received.endswith(b"\n") and (part := connection.recv(65536)):
            received += part
    except OSError:
        return {}
    answer: dict[str, str] = json.loads(received or b"{}")
    return answer


def _leave(connection: socket.socket) -> None:
    """Close the connection to a keeper; if nobody else uses its server, the keeper answers by ending after it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(2 * STOP_SECONDS)
        while connection.recv(4096):
            pass
    connection.close()


def _is_closed(connection: socket.socket) -> bool:
    """Whether the keeper at the other end is gone; once let in, nobody hears another word from it."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _is_free(lock_path: Path) -> bool:
    descriptor = os.open(lock_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
