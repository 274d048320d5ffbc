"""What people type to find a break: its number, an amount, a reference of ours or another's."""

from __future__ import annotations

import re

import pyarrow as pa
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_

from engine.custodian.reference import LENGTH, Reference
from engine.custodian.veiled import veiled
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, to_minor
from engine.store.tables import breaks, statement_lines

_NUMBER = re.compile(r"#?[0-9]{1,18}", re.ASCII)
_AMOUNT = re.compile(r"-?[0-9][0-9,]{0,20}(\.[0-9]{1,2})?", re.ASCII)


def breaks_found(text: str) -> ColumnElement[bool]:
    """The condition on `breaks`: what a text names.

    Our own reference finds what is about that instruction, whichever attempt at it; another's, all of it or as it is
    shown, the lines that have it: no more of it is stored than tells it from others.
    """
    said = text.strip()
    named = _reference(said)
    if named is not None:
        same = (breaks.c.run_id == named.run, breaks.c.kind == chr(named.kind), breaks.c.seat == named.seat)
        return and_(*same)
    conditions: list[ColumnElement[bool]] = [tuple_(breaks.c.statement_id, breaks.c.ordinal).in_(_lines(said))]
    if _NUMBER.fullmatch(said):
        conditions.append(breaks.c.break_id == int(said.removeprefix("#")))
    if _AMOUNT.fullmatch(said) and abs(amount := to_minor(said.replace(",", ""))) <= BIGINT_MAX:
        conditions.append(func.abs(breaks.c.amount_minor) == abs(amount))
    return or_(*conditions)


def _lines(said: str) -> Select[tuple[int, int]]:
    """The lines that have a reference of another, as it is stored."""
    line = statement_lines.c
    stored = said if said.startswith("#") else veiled(pa.array([said], pa.string()))[0].as_py()
    has_it = or_(*(column == stored for column in (line.reference, line.batch_reference, line.bank_reference)))
    return select(line.statement_id, line.ordinal).where(has_it)


def _reference(said: str) -> Reference | None:
    if len(said.replace(" ", "")) != LENGTH:
        return None
    try:
        return Reference.read(said)
    except InvalidInput:
        return None
