"""Where the data that travels with the code lies: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_BUNDLED = _PACKAGE / "_bundled"
_ROOT = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent


def config_dir() -> Path:
    """The folder of settings.toml, plans/ and custodians/."""
    return _ROOT / "config"


def migrations_dir() -> Path:
    """The folder of alembic's env.py, versions/ and sql/."""
    return _ROOT / "migrations"
