"""References as they are stored: ours as they are, any other's only as far as it tells one from another.

What a payer or a bank writes there may be a name or the number of an account; the kept file has it.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

from engine.custodian.reference import decode

_CHARACTERS = 12


def veiled(references: pa.StringArray) -> pa.StringArray:
    """string[n]: references of ours, and `#` with the beginning of the SHA-256 of all others; null and blank stay."""
    ours = decode(references).valid.tolist()
    texts = references.to_pylist()
    return pa.array(
        [text if own or not text else f"#{_hash(text)}" for text, own in zip(texts, ours, strict=True)], pa.string()
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_CHARACTERS]
