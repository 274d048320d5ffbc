"""The array COPY codec against a real server: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sqlalchemy import BigInteger, Column, Date, Integer, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.store.arrays import CopyOutsideTransaction, MalformedCopy, Row, copy_in, copy_out, encode_array

pytestmark = pytest.mark.integration

EVERY = Table(
    "every_kind",
    MetaData(),
    Column("bigints", ARRAY(BigInteger)),
    Column("ints", ARRAY(Integer)),
    Column("smallints", ARRAY(SmallInteger)),
    Column("bigint", BigInteger),
    Column("int", Integer),
    Column("smallint", SmallInteger),
    Column("bytes", LargeBinary),
    Column("text", Text),
    Column("day", Date),
)
NAMES = [column.name for column in EVERY.c]
KINDS = [column.type for column in EVERY.c]
IN_ORDER = f"SELECT {', '.join(NAMES)} FROM every_kind ORDER BY ctid"


def whole(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def array_of(kind: str) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(kind, st.integers(0, 40))


ROWS = st.tuples(
    *(
        st.none() | values
        for values in (
            *(array_of("int64"), array_of("int32"), array_of("int16")),
            *(whole(64), whole(32), whole(16)),
            st.binary(max_size=100),
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50),
            st.dates(),
        )
    )
)


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """In a transaction that holds an empty `every_kind`."""
    async with engine.begin() as connection:
        await connection.run_sync(EVERY.create)
        yield connection


def plain(rows: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
    """Rows that compare: an array as its dtype and values."""
    return [
        tuple((str(value.dtype), value.tolist()) if isinstance(value, np.ndarray) else value for value in row)
        for row in rows
    ]


@given(rows=st.lists(ROWS, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_goes_in_comes_out(connection: AsyncConnection, rows: list[Row]) -> None:
    await connection.exec_driver_sql("TRUNCATE every_kind")
    await copy_in(connection, EVERY, NAMES, rows)
    assert plain(await copy_out(connection, IN_ORDER, [], KINDS)) == plain(rows)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("bigints", np.array([-(2**63), -1, 0, 1, 2**63 - 1], dtype=np.int64)),
        ("ints", np.array([-(2**31), 2**31 - 1], dtype=np.int32)),
        ("smallints", np.array([-(2**15), 2**15 - 1], dtype=np.int16)),
        ("bigints", np.arange(65_536, dtype=np.int64) ** 3),
        ("bigints", np.arange(10, dtype=np.int64)[::-2]),
        ("bigints", np.empty(0, dtype=np.int64)),
        ("day", date.min),
        ("day", date.max),
        ("day", date(2000, 1, 1)),
        ("text", "分摊 🀄 \n\t\\N"),
        ("bytes", bytes(range(256))),
    ],
)
async def test_extremes_survive(connection: AsyncConnection, column: str, value: object) -> None:
    await copy_in(connection, EVERY, [column], [(value,)])  # type: ignore[list-item]
    found = await copy_out(connection, f"SELECT {column} FROM every_kind", [], [EVERY.c[column].type])
    assert plain(found) == plain([(value,)])


async def test_the_server_reads_what_the_codec_wrote(connection: AsyncConnection) -> None:
    arrays = (np.array([1, -2], np.int64), np.array([1, -2], np.int32), np.array([1, -2], np.int16))
    row = (*arrays, 4, 5, 6, b"\0\xff", "七", date(2019, 1, 21))
    await copy_in(connection, EVERY, NAMES, [row])
    found = (await connection.exec_driver_sql("SELECT * FROM every_kind")).one()
    assert tuple(found) == ([1, -2], [1, -2], [1, -2], 4, 5, 6, b"\0\xff", "七", date(2019, 1, 21))


ARRAYS = NAMES[:3]


@pytest.mark.parametrize("how", ["packed", "array_send"])
@given(rows=st.lists(st.tuples(*(array_of(kind) for kind in ("int64", "int32", "int16"))), max_size=4))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_arrays_as_bytes_are_the_same_arrays(connection: AsyncConnection, how: str, rows: list[Row]) -> None:
    await connection.exec_driver_sql("TRUNCATE every_kind")
    await copy_in(connection, EVERY, ARRAYS, rows)
    query = f"SELECT {', '.join(f'{how}({name})' for name in ARRAYS)} FROM every_kind ORDER BY ctid"
    assert plain(list(await copy_out(connection, query, [], KINDS[:3]))) == plain(rows)


async def test_a_stored_array_is_handed_out_as_it_lies(connection: AsyncConnection) -> None:
    stored = np.arange(65_536, dtype=np.int64) ** 3
    await copy_in(connection, EVERY, ["bigints"], [(stored,)])
    ((size, found),) = await copy_out(
        connection,
        "SELECT length(packed(bigints))::bigint, packed(bigints) FROM every_kind",
        [],
        [BigInteger(), ARRAY(BigInteger)],
    )
    assert (size, found.dtype, found.tolist()) == (20 + stored.nbytes, np.int64, stored.tolist())


async def test_numbers_take_their_places_in_a_query(connection: AsyncConnection) -> None:
    numbers = [-1, *range(2, 12)]
    query = "SELECT $11::bigint, $1::bigint, $10::bigint"
    assert await copy_out(connection, query, numbers, [BigInteger()] * 3) == [(11, -1, 10)]


async def test_a_copy_outside_a_transaction_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(CopyOutsideTransaction, match=r"\[I3\]"):
            await copy_in(connection, EVERY, ["bigint"], [(1,)])


@pytest.mark.parametrize(
    "array",
    [
        "ARRAY[[1, 2], [3, 4]]::bigint[]",
        "ARRAY[1, NULL, 3]::bigint[]",
        "'[0:1]={1,2}'::bigint[]",
        "ARRAY[1, 2]::integer[]",
        "ARRAY[1.5, 2.5]::float8[]",
    ],
)
@pytest.mark.parametrize("how", ["{}", "packed({})", "array_send({})"])
async def test_an_array_of_another_shape_is_refused(engine: AsyncEngine, array: str, how: str) -> None:
    async with engine.begin() as connection:
        with pytest.raises(MalformedCopy):
            await copy_out(connection, f"SELECT {how.format(array)}", [], [ARRAY(BigInteger)])


async def test_another_number_of_columns_is_refused(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        with pytest.raises(MalformedCopy, match="expected 2 columns, got 1"):
            await copy_out(connection, "SELECT 1::bigint", [], [BigInteger(), BigInteger()])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2), dtype=np.int64),
        np.zeros(2, dtype=np.float64),
        np.zeros(2, dtype=np.uint64),
        np.zeros(2, dtype=np.float32),
        np.zeros(2, dtype=">i8"),
    ],
)
def test_only_plain_integers_are_encoded(values: np.ndarray) -> None:
    with pytest.raises(TypeError, match="expected a one-dimensional"):
        encode_array(values)


async def test_a_column_without_a_binary_form_is_named(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        with pytest.raises(TypeError, match="JSONB"):
            await copy_out(connection, "SELECT '{}'::jsonb", [], [JSONB()])
