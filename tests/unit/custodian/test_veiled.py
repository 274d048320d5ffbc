"""What is stored of references that others wrote."""

from __future__ import annotations

import pyarrow as pa

from engine.custodian.reference import LENGTH, Kind, Reference
from engine.custodian.veiled import veiled


def test_only_ours_are_stored_as_they_are() -> None:
    ours, iban = str(Reference(Kind.DEBIT, 7, 1, 12)), "BE68539007547034"
    assert len(iban) == LENGTH, "as long as ours, and begins as one of a file"
    texts = [ours, iban, "Zhang Wei 6222020000000044", "Zhang Wei", "Zhang Wei", "", None]
    found = veiled(pa.array(texts)).to_pylist()
    assert (found[0], found[5], found[6]) == (ours, "", None)
    assert [text for text in found[1:5] if not text or text[0] != "#" or len(text) != 13] == []
    assert found[3] == found[4]
    assert len(set(found)) == len(found) - 1
