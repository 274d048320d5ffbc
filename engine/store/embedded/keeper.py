"""The keeper: starts one server, answers its users, and stops it when the last of them is gone."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from engine.store.embedded.folders import last_lines
from engine.store.embedded.postgres import Postgres
from engine.store.embedded.server import EmbeddedServerError
from engine.store.embedded.valkey import Valkey

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from engine.store.embedded.server import Server

START_SECONDS = 600
"""The longest a server may take to be ready; recovery after a crash replays up to max_wal_size."""

STOP_SECONDS = 120
"""The longest an orderly stop may take before the server is ended at once."""

STOP_REQUEST = b"stop\n"
"""Sent by a user who wants the server stopped for all."""

KINDS: dict[str, Callable[[Path], Server]] = {"postgres": Postgres, "valkey": Valkey}


def keep(name: str, data_dir: Path, *, listener: int, lock: int) -> NoReturn:
    """Run the server `name` of `data_dir` until nobody uses it, then end this process.

    `listener` and `lock` are inherited descriptors of the socket users come to and of the lock file.
    """
    os.umask(0o077)
    door = socket.socket(fileno=listener)
    users: set[socket.socket] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    try:
        _run(KINDS[name](data_dir), door, users)
    except (EmbeddedServerError, OSError) as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - into the log
        _refuse(door, str(error))
    except SystemExit:
        pass
    # Users who wait for the end see their connection close after the lock is free and with nothing left to run.
    os.close(lock)
    os._exit(0)


def _run(server: Server, door: socket.socket, users: set[socket.socket]) -> None:
    """Start `server`, let users in, stop it after the last. Raises EmbeddedServerError."""
    process = None
    try:
        process = _bring_up(server)
        answer = json.dumps({"url": server.url, **server.notice}).encode() + b"\n"
        _serve(server, door, users, answer, process)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # No user may come in any more: one who does finds no door and waits for the lock.
        Path(door.getsockname()).unlink(missing_ok=True)
        _bring_down(server, process)


def _bring_up(server: Server) -> subprocess.Popen[bytes] | None:
    """Start `server` unless one that outlived its keeper still runs; wait until it is ready."""
    deadline = time.monotonic() + START_SECONDS
    process, since = None, 0
    while not server.ready():
        if process is not None and process.poll() is not None:
            reason, process = last_lines(server.log, since=since), None
            # Backends of a postmaster that was killed take a moment to notice; it is safe to wait, not to go on.
            if "still in use" not in reason:
                raise EmbeddedServerError(f"{server.name} does not start; its log {server.log} ends:\n{reason}")
            time.sleep(0.2)
        if process is None and server.pid() is None:
            since = server.log.stat().st_size if server.log.exists() else 0
            process = server.launch()
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"{server.name} was not ready after {START_SECONDS} s; see its log {server.log}")
        time.sleep(0.01)
    return process


def _serve(
    server: Server,
    door: socket.socket,
    users: set[socket.socket],
    answer: bytes,
    process: subprocess.Popen[bytes] | None,
) -> None:
    """Tell all who connect the `answer`, until the last has left or one asks to stop. Raises if the server dies."""
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(timeout=1.0):
                if key.fileobj is door:
                    user, _ = door.accept()
                    users.add(user)
                    selector.register(user, selectors.EVENT_READ)
                    with suppress(OSError):  # left already: the next select sees it
                        user.sendall(answer)
                    continue
                user = next(each for each in users if each is key.fileobj)
                # The last user's connection stays open: it closes, and so tells them, once the server is down.
                if _received(user) or len(users) == 1:
                    return
                selector.unregister(user)
                users.remove(user)
                user.close()
            if server.pid() is None if process is None else process.poll() is not None:
                raise EmbeddedServerError(f"{server.name} ended by itself; its log is {server.log}")


def _received(user: socket.socket) -> bool:
    """Whether `user` asks to stop the server; otherwise they have left."""
    try:
        return user.recv(len(STOP_REQUEST)) == STOP_REQUEST
    except OSError:
        return False


def _bring_down(server: Server, process: subprocess.Popen[bytes] | None) -> None:
    """Stop the server in order, at once if it does not heed that, and wait until it is gone."""
    for number in (server.stop_signal, server.last_signal):
        deadline = time.monotonic() + STOP_SECONDS
        pid = process.pid if process is not None and process.poll() is None else server.pid()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < deadline:
            if (process is None or process.poll() is not None) and server.pid() is None:
                return
            time.sleep(0.005)


def _refuse(door: socket.socket, error: str) -> None:
    """Tell those who wait at the door why the server does not run."""
    door.setblocking(False)
    with suppress(OSError):
        while True:
            user, _ = door.accept()
            user.sendall(json.dumps({"error": error}).encode() + b"\n")
            user.close()
