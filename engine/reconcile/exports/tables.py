"""Tables to hand out: columns with their types, and rows that come as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.money import MINOR_DIGITS

AMOUNT = pa.decimal128(38, MINOR_DIGITS)
"""Money, in major units. Ids are text: nobody adds them up, and no program rounds them."""

TEXT, COUNT, DAY = pa.string(), pa.int64(), pa.date32()

_PAGE = 50_000

Rows = Callable[[], AsyncIterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Table:
    """One table of an export. `name`: of its file; `title`: of its sheet; `rows`: reads it, a batch at a time."""

    name: str
    title: str
    schema: pa.Schema
    rows: Rows


def columns(**kinds: pa.DataType) -> pa.Schema:
    """Columns by name, in their order."""
    return pa.schema(list(kinds.items()))


def major(minor: int | None) -> Decimal | None:
    """An amount in minor units as it stands in an AMOUNT column."""
    return None if minor is None else Decimal(int(minor)).scaleb(-MINOR_DIGITS)


def batch_of(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> pa.RecordBatch:
    """Rows as a batch: amounts in minor units, ids and everything else of a TEXT column as text."""
    by_column = list(zip(*rows, strict=True)) or [()] * len(schema)
    made = [pa.array(_fitting(kind.type, values), kind.type) for kind, values in zip(schema, by_column, strict=True)]
    return pa.RecordBatch.from_arrays(made, schema=schema)


def _fitting(kind: pa.DataType, values: Sequence[Any]) -> Sequence[Any]:
    if kind == AMOUNT:
        return [major(value) for value in values]
    if kind == TEXT:
        return [None if value is None else str(value) for value in values]
    return values


def of_rows(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> Rows:
    """The few rows that are there already."""
    kept = list(rows)

    async def read() -> AsyncIterator[pa.RecordBatch]:
        yield batch_of(schema, kept)

    return read


def selected(
    connection: AsyncConnection, schema: pa.Schema, *queries: Executable, values: Mapping[str, Any] | None = None
) -> Rows:
    """The rows of queries, one after the other, a page in memory at a time; a query's columns are the schema's."""

    async def read() -> AsyncIterator[pa.RecordBatch]:
        for query in queries:
            async with connection.stream(query, dict(values or {})) as found:
                async for page in found.partitions(_PAGE):
                    yield batch_of(schema, page)

    return read
