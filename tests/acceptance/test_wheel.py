"""The built wheel is all that a person needs: it runs from an environment and a folder that know no checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from engine.store.embedded import Embedded

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path) -> str:
    """What the command prints; it runs in `folder` with none of our settings in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FENTAN_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return next(folder.glob("fentan-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel in it.

    The dependencies are lent from this environment by a .pth line, which spares a download; a line in a .pth reads no
    further .pth, so the editable install of the checkout stays out.
    """
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    commands = environment / "bin"
    run(sys.executable, "-m", "pip", "--python", commands / "python", "install", "--no-deps", wheel, folder=environment)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    return commands


def test_the_wheel_holds_code_and_data(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    data = [
        *(ROOT / "config").rglob("*.toml"),
        *(ROOT / "migrations").rglob("*.py"),
        *(ROOT / "migrations").rglob("*.sql"),
    ]
    assert {"config/settings.toml", "config/plans/xianghubao.toml", "migrations/env.py"} <= {
        path.relative_to(ROOT).as_posix() for path in data
    }
    assert {f"engine/_bundled/{path.relative_to(ROOT).as_posix()}" for path in data} - held == set()
    data = [path for folder in ("templates", "locale") for path in (ROOT / "engine" / "console" / folder).rglob("*.*")]
    assert {".html", ".po"} <= {path.suffix for path in data}
    assert {path.relative_to(ROOT).as_posix() for path in data} - held == set()
    assert {name.split("/")[0] for name in held if ".dist-info/" not in name} == {"engine", "workers"}


def test_the_wheel_holds_script_and_style_and_not_what_they_are_built_from(wheel: Path) -> None:
    packed = zipfile.ZipFile(wheel)
    folder = "engine/console/static/"
    manifest = json.loads(packed.read(f"{folder}.vite/manifest.json"))
    lists = [[chunk["file"], *chunk.get("css", []), *chunk.get("assets", [])] for chunk in manifest.values()]
    built = {name for names in lists for name in names}
    assert {Path(name).suffix for name in built} >= {".js", ".css"}
    held = {name.removeprefix(folder) for name in packed.namelist() if name.startswith(folder)}
    assert held - {".vite/manifest.json", ".vite/license.md", ".vite/.sources"} == built
    assert [name for name in packed.namelist() if "/web/" in name or "node_modules" in name] == []


def test_an_installed_api_serves_them(installed: Path, database_url: str, embedded: Embedded, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FENTAN_", "PYTHON"))}
    environment |= {"FENTAN_DATABASE_URL": database_url, "FENTAN_REDIS_URL": embedded.redis_url}
    command = [str(installed / "fentan"), "api", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as api:
        try:
            assert api.stdout is not None
            url = api.stdout.readline().rstrip("\n")
            with urlopen(f"{url}/sign-in", timeout=30) as answer:  # noqa: S310 - ours
                scripts = re.findall(r'<script type="module" src="([^"]+)">', answer.read().decode())
            with urlopen(f"{url}{scripts[0]}", timeout=30) as answer:  # noqa: S310 - ours
                assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
                assert b"htmx" in answer.read()
        finally:
            api.terminate()


def test_the_code_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import engine, workers; print(engine.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_settings_are_found(installed: Path, tmp_path: Path) -> None:
    assert "database_url" in run(installed / "fentan", "settings", folder=tmp_path)


def test_the_demo_runs(installed: Path, tmp_path: Path) -> None:
    run(installed / "fentan", "demo", "--members", "70000", "--report", "r.json", folder=tmp_path)
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert report["members"] == 70_000
    assert report["trial_balance_difference"] == "0.00"
