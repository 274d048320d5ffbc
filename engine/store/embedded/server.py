"""What a keeper asks of a server, and the error of one that does not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from engine.errors import FentanError

if TYPE_CHECKING:
    import signal
    import subprocess
    from pathlib import Path


class EmbeddedServerError(FentanError):
    """An embedded server does not run."""


class Server(Protocol):
    """One embedded server of one data folder."""

    name: str
    log: Path
    url: str
    stop_signal: signal.Signals
    """Ends the server in order."""
    last_signal: signal.Signals
    """Ends it at once, if it does not heed the first."""
    notice: dict[str, str]
    """What the user ought to know about where it runs; empty if nothing."""

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server; set up its data first if there are none. Raises EmbeddedServerError."""

    def pid(self) -> int | None:
        """The process that serves this data folder, ready or not, whoever started it."""

    def ready(self) -> bool:
        """Whether it takes connections."""
