"""The JSON report a long command leaves: its place is tried before the work begins, not after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.cli.answer import json_text
from engine.errors import InvalidInput


def prepare(path: Path | None) -> None:
    """Make the report's folder and see that the file can be written; what it held stays until `write`.

    No path asks for no report. Raises InvalidInput where it cannot be written.
    """
    if path is None:
        return
    is_new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise InvalidInput(
            f"{path}: the report cannot be written there ({error.strerror}); name another --report FILE"
        ) from None


def write(path: Path, outcome: dict[str, Any]) -> None:
    """Write the outcome as JSON, in place of what the file held."""
    path.write_text(json_text(outcome) + "\n", "utf-8")
