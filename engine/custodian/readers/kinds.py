"""What a line is, by the bank transaction code of its entry (ISO 20022 external code sets; SWIFT's type of MT940)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from engine.custodian.statement import Kind

_SUBFAMILIES = {
    **dict.fromkeys(("UPDD", "PRDD", "RCDD", "RRTN", "RPCR"), Kind.RETURN),
    **dict.fromkeys(("CHRG", "COMM", "COMT", "FEES"), Kind.CHARGE),
    "INTR": Kind.INTEREST,
    **dict.fromkeys(("BOOK", "SWEP", "ZABA", "TOPG"), Kind.TRANSFER),
}
"""The last part of a code, where it decides alone."""

_FAMILIES = {
    "IDDT": Kind.DEBIT,
    **dict.fromkeys(("RCDT", "RRCT", "CNTR"), Kind.TOP_UP),
    **dict.fromkeys(("ICDT", "IRCT"), Kind.PAYOUT),
    **dict.fromkeys(("ICCN", "RCCN", "ACCB", "CAPL"), Kind.TRANSFER),
}

SWIFT_TYPES = {
    "DDT": Kind.DEBIT,
    "RTI": Kind.RETURN,
    **dict.fromkeys(("CHG", "COM"), Kind.CHARGE),
    "INT": Kind.INTEREST,
}
"""The last three characters of an MT940 line's type, where they say what it is."""

GERMAN_CODES = {
    **dict.fromkeys(("171", "174", "192", "193", "195", "196", "197", "198"), Kind.DEBIT),
    **dict.fromkeys(("108", "109", "159", "181", "182", "183", "184"), Kind.RETURN),
    **dict.fromkeys(("805", "808", "809"), Kind.CHARGE),
    **dict.fromkeys(("153", "166", "051", "152"), Kind.TOP_UP),
    **dict.fromkeys(("116", "117", "191", "020"), Kind.PAYOUT),
    **dict.fromkeys(("814", "812"), Kind.INTEREST),
}
"""The business transaction codes (Geschäftsvorfallcodes) with which German banks begin `:86:`."""


def kind_of(code: str) -> Kind:
    """The kind of a code of domain, family and subfamily, four characters each: "PMNTIDDTESDD"."""
    return _SUBFAMILIES.get(code[8:12]) or _FAMILIES.get(code[4:8]) or Kind.OTHER


def kinds(codes: pa.Array) -> pa.Array:
    """string[n]: the kind of each code, whatever blanks are in it; other where there is none."""
    known = codes.dictionary_encode()
    words = pa.array([kind_of("".join(code.split())).value for code in known.dictionary.to_pylist()], pa.string())
    return pc.fill_null(words.take(known.indices), Kind.OTHER.value)
