"""The script and style that Vite built: where a page asks for them, and they themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

PREFIX = "/static"

BUILT = Path(__file__).parent / "static"
"""What `make assets` makes, and a wheel carries."""

_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
_HEADERS = {
    # A name holds a digest of its content, so that nobody need ask again.
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}


class Assets:
    """What a folder's manifest names, read once: a build beside a process that serves changes nothing for it.

    A folder without a manifest holds nothing, and pages do without.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        manifest = folder / ".vite" / "manifest.json"
        self._chunks: Mapping[str, Mapping[str, Any]] = json.loads(manifest.read_bytes()) if manifest.is_file() else {}
        named = {name for chunk in self._chunks.values() for name in _files(chunk)}
        self._contents = {name: (folder / name).read_bytes() for name in named}

    def url(self, entry: str) -> str | None:
        """Where the script or picture is that was built from src/`entry`; None where none was."""
        chunk = self._chunks.get(f"src/{entry}")
        return f"{PREFIX}/{chunk['file']}" if chunk else None

    def styles(self, entry: str) -> list[str]:
        """Where the style sheets are of src/`entry` and of what it imports, in the order of their rules."""
        return [f"{PREFIX}/{name}" for name in dict.fromkeys(self._styles(f"src/{entry}"))]

    def add_to(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get(f"{PREFIX}/{{name}}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        content = self._contents.get(name)
        if content is None:
            raise web.HTTPNotFound
        kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
        charset = "utf-8" if kind.startswith("text/") else None
        return web.Response(body=content, content_type=kind, charset=charset, headers=_HEADERS)

    def _styles(self, key: str) -> Iterator[str]:
        chunk = self._chunks.get(key, {})
        for imported in chunk.get("imports", []):
            yield from self._styles(imported)
        yield from chunk.get("css", [])


def _files(chunk: Mapping[str, Any]) -> list[str]:
    return [chunk["file"], *chunk.get("css", []), *chunk.get("assets", [])]


ASSETS: web.AppKey[Assets] = web.AppKey("assets", Assets)
