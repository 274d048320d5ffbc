"""Secrets that open something: 32 random bytes, given out once and kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """A new secret: 43 letters, digits, - and _."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret, and known it by: 32 bytes. Any text has one."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
