"""Plan files: those of config/plans by their codes, others by their paths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InvalidInput, NotFound
from engine.resources import config_dir

if TYPE_CHECKING:
    from engine.plans import PlanRules


def preset_codes() -> list[str]:
    """The codes of the plans in config/plans, sorted."""
    return sorted(path.stem for path in (config_dir() / "plans").glob("*.toml"))


def load_plan(plan: str) -> PlanRules:
    """The rules of a code in config/plans, or of the TOML file at a path. Raises InvalidInput."""
    from engine.plans import parse  # noqa: PLC0415 - commands that only name plans do without

    known = preset_codes()
    path = config_dir() / "plans" / f"{plan}.toml" if plan in known else Path(plan)
    if path.suffix != ".toml" or not path.is_file():
        raise NotFound(f"no plan {plan!r}; known are {', '.join(known)}, or give the path of a TOML file")
    try:
        return parse(path.read_text("utf-8-sig"), path.name)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name}: not text in UTF-8 (byte {error.start}); save it as that") from None
    except OSError as error:
        raise InvalidInput(f"{path.name}: {error.strerror}") from None
