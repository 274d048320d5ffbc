"""One member's proof, checked with nothing but SHA-256: that their share stands under a run's seal.

RFC 6962's prefixes, as the ledger seals a run: a leaf is SHA-256(00 ‖ amounts in minor units as little-endian int64 ‖
member tags), a node SHA-256(01 ‖ left ‖ right), the seal SHA-256(02 ‖ the root before, 32 zero bytes for none ‖ top).
"""

from __future__ import annotations

import hashlib

from engine.client.answers import Proof
from engine.money import to_minor

_TAG_BYTES = 16
_AMOUNT_BYTES = 8


def proof_holds(proof: Proof) -> bool:
    """Whether the seat's amount and tag stand in the leaf, and the leaf leads to the root.

    Whose seal the root is, and that the tag is the member's, is for the reader to compare with what was published.
    """
    leaf = proof["leaf"]
    place = proof["seat"] - leaf["first_seat"]
    amounts = [to_minor(amount) for amount in leaf["amounts"]]
    tags = [bytes.fromhex(tag) for tag in leaf["tags"]]
    if not 0 <= place < len(amounts) == len(tags) or any(len(tag) != _TAG_BYTES for tag in tags):
        return False
    if amounts[place] != to_minor(proof["amount"]) or leaf["tags"][place] != proof["tag"]:
        return False
    money = b"".join(amount.to_bytes(_AMOUNT_BYTES, "little", signed=True) for amount in amounts)
    node = _sha256(b"\x00", money, *tags)
    for step in proof["steps"]:
        sibling = bytes.fromhex(step["sibling"])
        node = _sha256(b"\x01", sibling, node) if step["is_left"] else _sha256(b"\x01", node, sibling)
    before = bytes.fromhex(proof["previous_root"]) if proof["previous_root"] else bytes(32)
    return _sha256(b"\x02", before, node).hex() == proof["root"]


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
