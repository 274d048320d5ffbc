"""Where a custodian's files lie, and what the environment holds of its accounts: what the faces hand down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from engine.settings import Settings

_SHARED = "in"
"""The folder that others write to; the rest hold numbers of accounts, and are their owner's alone."""


@dataclass(frozen=True)
class Desk:
    """What writing to custodians needs. `files`: the folder that holds one for each of them.

    `account_key` opens the account tokens; `environment` holds what profiles only name. Neither is in its repr.
    """

    files: Path
    account_key: SecretStr = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str]) -> Desk:
        """The desk of a process, by its settings."""
        return cls(settings.data_dir / "custodian", settings.account_key, environment)

    def folder(self, code: str, name: str) -> Path:
        """One folder of a custodian, made if it is not there: debits, out, in, statements."""
        folder = self.files / code / name
        folder.mkdir(mode=0o777 if name == _SHARED else 0o700, parents=True, exist_ok=True)
        return folder
