"""Array COPY codec: numpy columns to and from PostgreSQL's binary COPY, without a Python object per element.

A row is a tuple in the order of the columns; a value is None, int, str, bytes, a date, or a one-dimensional numpy
array for `bigint[]`, `integer[]` and `smallint[]`. Arrays have no NULL element and lower bound 1 on the way in, and
anything else is refused on the way out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date
from typing import Any, TypeAlias

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Boolean, Date, Integer, LargeBinary, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from engine.errors import FentanError
from engine.store.database import driver_of, while_connected

Array: TypeAlias = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.int16]
Value: TypeAlias = int | str | bytes | date | Array | None
Row: TypeAlias = Sequence[Value]

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = struct.pack(">i", -1)
_EPOCH = date(2000, 1, 1).toordinal()
# Dimensions, has NULLs, element type's oid, length, lower bound: as sent, and as stored (there the second is the offset
# of the elements, 0 without NULLs).
_ARRAY_HEADER = struct.Struct(">iiIii")
_STORED_HEADER = struct.Struct("<iiIii")
_EMPTY_ARRAY_BYTES = 12
_LARGE_BYTES = 4096
_PLACE = re.compile(r"\$(\d+)")
_ELEMENTS: dict[int, tuple[int, np.dtype[Any]]] = {
    8: (20, np.dtype(np.int64)),
    4: (23, np.dtype(np.int32)),
    2: (21, np.dtype(np.int16)),
}


class CopyOutsideTransaction(FentanError):
    """COPY outside a transaction would commit by itself; run the fenced UPDATE first."""

    invariant = "I3"


class MalformedCopy(FentanError):
    """The server's COPY stream is not what the columns promise."""


def encode_array(values: Array) -> memoryview:
    """Binary form of a one-dimensional int64, int32 or int16 array, as array_recv reads it."""
    oid, native = _ELEMENTS[values.dtype.itemsize]
    if values.dtype != native or values.ndim != 1:
        raise TypeError(f"expected a one-dimensional {native} array, got {values.dtype} of {values.ndim} dimensions")
    if values.size == 0:
        return memoryview(struct.pack(">iiI", 0, 0, oid))
    width = native.itemsize
    field = np.empty(_ARRAY_HEADER.size + values.size * (width + 4), dtype=np.uint8)
    field[: _ARRAY_HEADER.size] = np.frombuffer(_ARRAY_HEADER.pack(1, 0, oid, values.size, 1), dtype=np.uint8)
    cells = field[_ARRAY_HEADER.size :].view([("length", ">i4"), ("value", native.newbyteorder(">"))])
    cells["length"] = width
    cells["value"] = values
    return field.data


def decode_array(field: bytes | memoryview, width: int) -> Array:
    """The array in `field`, of elements `width` bytes wide (8, 4 or 2), in native byte order.

    `field` is what array_send makes of it or what the SQL function `packed` does, which may be how it lies on disk.
    """
    oid, native = _ELEMENTS[width]
    if len(field) == _EMPTY_ARRAY_BYTES:
        return np.empty(0, dtype=native)
    is_stored = field[0] != 0  # arrays have at most six dimensions: the first byte of the four is theirs or 0
    header = _STORED_HEADER if is_stored else _ARRAY_HEADER
    dimensions, has_nulls, element, length, lower = header.unpack_from(field)
    if dimensions != 1 or has_nulls or element != oid or lower != 1:
        raise MalformedCopy(f"expected a plain one-dimensional array of type {oid}, got {dimensions} dimensions")
    if len(field) != header.size + length * (width if is_stored else width + 4):
        raise MalformedCopy(f"an array of {length} elements does not fill {len(field)} bytes")
    if is_stored:
        elements = np.frombuffer(field, native.newbyteorder("<"), offset=header.size)
    else:
        cells = [("length", ">i4"), ("value", native.newbyteorder(">"))]
        elements = np.frombuffer(field, cells, offset=header.size)["value"]
    values: Array = elements.astype(native)
    return values


def _day_number(value: date) -> int:
    return value.toordinal() - _EPOCH


def _scalar(size: str) -> tuple[Callable[[Any], bytes], Callable[[memoryview], int]]:
    packer = struct.Struct(size)
    return packer.pack, lambda field: int(packer.unpack(field)[0])


def _codec(kind: TypeEngine[Any]) -> tuple[Callable[[Any], bytes | memoryview], Callable[[memoryview], Any]]:
    """How a column's type is written and read. SmallInteger and BigInteger are kinds of Integer: order matters."""
    match kind:
        case ARRAY():
            width = (
                2 if isinstance(kind.item_type, SmallInteger) else 8 if isinstance(kind.item_type, BigInteger) else 4
            )
            return encode_array, lambda field: decode_array(field, width)
        case SmallInteger():
            return _scalar(">h")
        case BigInteger():
            return _scalar(">q")
        case Integer():
            return _scalar(">i")
        case Text():
            return str.encode, lambda field: str(field, "utf-8")
        case LargeBinary():
            return bytes, bytes
        case Boolean():
            return struct.Struct(">?").pack, lambda field: bool(field[0])
        case Date():
            return (
                lambda value: struct.pack(">i", _day_number(value)),
                lambda field: date.fromordinal(int(struct.unpack(">i", field)[0]) + _EPOCH),
            )
    raise TypeError(f"no binary form for a column of type {kind!r}")


async def copy_in(connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Append `rows` to `table`. Raises CopyOutsideTransaction unless a statement opened a transaction before."""
    driver = await driver_of(connection)
    if not driver.is_in_transaction():
        raise CopyOutsideTransaction
    encoders = [_codec(table.c[name].type)[0] for name in columns]
    count = struct.pack(">h", len(columns))

    async def stream() -> AsyncIterator[bytes | memoryview]:
        yield _SIGNATURE
        for row in rows:
            small = count
            for encode, value in zip(encoders, row, strict=True):
                if value is None:
                    small += _NULL
                    continue
                field = encode(value)
                small += struct.pack(">i", len(field))
                if len(field) < _LARGE_BYTES:
                    small += field
                else:  # a shard's array goes out as it is, uncopied
                    yield small
                    yield field
                    small = b""
            yield small
        yield _TRAILER

    with while_connected(driver):
        await driver.copy_to_table(table.name, source=stream(), columns=list(columns), format="binary")


async def copy_out(
    connection: AsyncConnection, query: str, arguments: Sequence[int], kinds: Sequence[TypeEngine[Any]]
) -> list[tuple[Any, ...]]:
    """All rows of `query` (with $1, $2, … for `arguments`), decoded by the types of its columns.

    A column read as `packed(…)` is decoded as the array it is, and cheaper for both sides.
    """
    # COPY takes no arguments; the driver would ask the server to quote them, which costs two round trips.
    query = _PLACE.sub(lambda place: f"({int(arguments[int(place[1]) - 1])})", query)
    driver = await driver_of(connection)
    chunks: list[bytes] = []

    async def collect(chunk: bytes) -> None:
        chunks.append(chunk)

    try:
        await driver.copy_from_query(query, output=collect, format="binary")
    except asyncpg.UndefinedTableError as error:
        raise MalformedCopy(str(error)) from error
    return list(_rows(memoryview(b"".join(chunks)), [_codec(kind)[1] for kind in kinds]))


def _rows(stream: memoryview, decoders: Sequence[Callable[[memoryview], Any]]) -> Iterable[tuple[Any, ...]]:
    if stream[: len(_SIGNATURE)] != _SIGNATURE:
        raise MalformedCopy
    at = len(_SIGNATURE)
    while True:
        (fields,) = struct.unpack_from(">h", stream, at)
        at += 2
        if fields == -1:
            return
        if fields != len(decoders):
            raise MalformedCopy(f"expected {len(decoders)} columns, got {fields}")
        row: list[Any] = []
        for decode in decoders:
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4
            row.append(None if length == -1 else decode(stream[at : at + length]))
            at += max(length, 0)
        yield tuple(row)
