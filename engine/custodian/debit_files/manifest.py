"""What a file of debits is known by, beside it: totals and hash. Without its manifest a file is not finished."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from engine.errors import InvalidInput
from engine.plans.fields import Part
from engine.plans.wrong_keys import lines_of

SUFFIX = ".manifest.json"


class Manifest(Part):
    """One file of a batch. `reference`: what the custodian knows it by; `amount_minor`: Σ of its `count` debits."""

    file: Annotated[str, Field(pattern=r"^[0-9A-Z]{16}\.[a-z]+$")]
    reference: str
    profile: str
    format: str
    encoding: str
    run: int
    attempt: int
    debit_on: date
    sequence: str
    created_at: datetime
    currency: str
    count: int
    amount_minor: int
    bytes: int
    sha256: str

    def text(self) -> str:
        """As it stands in its file: equal manifests are equal text."""
        return self.model_dump_json(indent=2) + "\n"

    def check(self, folder: Path) -> None:
        """Raises InvalidInput unless the file in `folder` is the one that was written."""
        path = folder / self.file
        try:
            size, digest = path.stat().st_size, _sha256(path)
        except OSError as error:
            raise InvalidInput(f"{self.file}: {error.strerror}") from None
        if (size, digest) != (self.bytes, self.sha256):
            raise InvalidInput(f"{self.file}: is not as its manifest says; it was cut or changed after it was written")


def read(path: Path) -> Manifest:
    """The manifest in the file `path`. Raises InvalidInput."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path.name}: {error.strerror}") from None
    except ValidationError as error:
        raise InvalidInput("\n".join(f"{path.name}: {line}" for line in lines_of(error, Manifest))) from None


def all_in(folder: Path) -> list[Manifest]:
    """The manifests in `folder`, by the names of their files. Raises InvalidInput."""
    return [read(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
