"""Names of those who decide, as they stand in the audit log."""

from __future__ import annotations

import re
import unicodedata

from engine.errors import InvalidInput

_NAME = re.compile(r"\w[\w .@-]{0,63}")


def actor_name(text: str) -> str:
    """A name as it goes into the audit log: one spelling for what looks the same. Raises InvalidInput."""
    name = re.sub(" +", " ", unicodedata.normalize("NFKC", text).strip())
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{text!r} is no name: give 1 to 64 letters, digits, spaces and . @ - _")
    return name
