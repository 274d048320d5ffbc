"""Script and style as Vite's manifest names them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from engine.console.assets import Assets

MANIFEST = {
    "src/main.ts": {
        "file": "main-1a.js",
        "src": "src/main.ts",
        "isEntry": True,
        "imports": ["_shared-2b.js"],
        "css": ["main-3c.css"],
        "assets": ["mark-4d.svg"],
    },
    "src/share.ts": {"file": "share-5e.js", "src": "src/share.ts", "isEntry": True, "imports": ["_shared-2b.js"]},
    "_shared-2b.js": {"file": "shared-2b.js", "css": ["shared-6f.css"]},
}
NAMES = ("main-1a.js", "shared-2b.js", "main-3c.css", "mark-4d.svg", "share-5e.js", "shared-6f.css")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder such as Vite leaves, with a file in it that the manifest does not name."""
    folder = tmp_path / "static"
    (folder / ".vite").mkdir(parents=True)
    (folder / ".vite" / "manifest.json").write_text(json.dumps(MANIFEST), "utf-8")
    for name in (*NAMES, "left-over.js"):
        (folder / name).write_text(f"/* {name} */", "utf-8")
    return folder


@pytest.fixture
async def url(built: Path) -> AsyncIterator[str]:
    app = web.Application()
    Assets(built).add_to(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def test_an_entry_has_its_script_and_the_styles_of_all_it_imports(built: Path) -> None:
    assets = Assets(built)
    assert assets.url("main.ts") == "/static/main-1a.js"
    assert assets.styles("main.ts") == ["/static/shared-6f.css", "/static/main-3c.css"]
    assert assets.styles("share.ts") == ["/static/shared-6f.css"]


@pytest.mark.parametrize("entry", ["other.ts", "../main.ts", "_shared-2b.js"])
def test_what_is_no_entry_has_none(built: Path, entry: str) -> None:
    assert Assets(built).url(entry) is None
    assert Assets(built).styles(entry) == []


def test_nothing_built_is_no_error(tmp_path: Path) -> None:
    assert Assets(tmp_path).url("main.ts") is None
    assert Assets(tmp_path).styles("main.ts") == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main-1a.js", "text/javascript; charset=utf-8"),
        ("shared-6f.css", "text/css; charset=utf-8"),
        ("mark-4d.svg", "image/svg+xml"),
    ],
)
async def test_a_file_is_served_for_good(url: str, name: str, kind: str) -> None:
    async with ClientSession() as session, session.get(f"{url}/static/{name}") as answer:
        assert answer.status == 200
        assert await answer.text() == f"/* {name} */"
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["left-over.js", ".vite/manifest.json", "%2e%2e%2f.vite%2fmanifest.json", "gone.js"])
async def test_nothing_else_is_served(url: str, name: str) -> None:
    async with ClientSession() as session, session.get(f"{url}/static/{name}") as answer:
        assert answer.status == 404


async def test_a_build_beside_it_changes_nothing(built: Path, url: str) -> None:
    (built / "main-1a.js").unlink()
    async with ClientSession() as session, session.get(f"{url}/static/main-1a.js") as answer:
        assert await answer.text() == "/* main-1a.js */"
