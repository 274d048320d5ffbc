"""Other ways to lay out what a share run posts: a row per member, written in each way as well as it goes.

Every one gets what ours gets: the same members and the same amounts, on the same server. Its tables are made anew, a
CHECKPOINT comes first so that nobody pays for another's dirty pages, and its time ends with its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Column, MetaData, PrimaryKeyConstraint, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase

from engine.errors import FentanError
from engine.store.database import driver_of

Amounts = NDArray[np.int64]

CHUNK_MEMBERS = 65_536
SCALED_MEMBERS = 100_000
"""Clients that send a statement or a parameter set per row are timed on so many."""

_RUN_ID = 1


class Rows(DeclarativeBase):
    """The tables of the other layouts."""

    metadata = MetaData()


class Entry(Rows):
    """A member's charge as a row, keyed by run and member."""

    __table__ = Table(
        "bench_entries",
        Rows.metadata,
        Column("run_id", BigInteger, nullable=False),
        Column("member_id", BigInteger, nullable=False),
        Column("amount", BigInteger, nullable=False),
        PrimaryKeyConstraint("run_id", "member_id", name="bench_entries_pkey"),
    )


entries = Entry.metadata.tables["bench_entries"]

# The cap of 188.00 lies above every amount here; the statement computes least(share, cap) all the same. Primary keys
# come after the rows: what is made ready before is not timed, but waited for.
SOURCES = (
    "CREATE TABLE bench_sources AS SELECT member_id, amount AS share, 18800::bigint AS cap FROM bench_entries",
    "ALTER TABLE bench_sources ADD PRIMARY KEY (member_id)",
    "VACUUM (ANALYZE) bench_sources",
)
BALANCES = (
    "CREATE TABLE bench_balances WITH (fillfactor = {fillfactor}) AS SELECT member_id, 0::bigint AS balance FROM {of}",
    "ALTER TABLE bench_balances ADD PRIMARY KEY (member_id)",
    "VACUUM (ANALYZE) bench_balances",
)
INSERT_SELECT = "INSERT INTO bench_entries SELECT 1, member_id, least(share, cap) FROM bench_sources"
UPDATE_BALANCES = """
UPDATE bench_balances SET balance = balance + entry.amount
FROM bench_entries AS entry
WHERE entry.run_id = 1 AND entry.member_id = bench_balances.member_id
"""


class TotalsDiffer(FentanError):
    """Another layout posted another total than ours, so that the two cannot be compared."""


@dataclass(frozen=True)
class Alternative:
    """One other layout: `post` is timed; before it, untimed, come the entries table and `prepare`."""

    name: str
    title: str
    post: Callable[[AsyncEngine, Amounts], Awaitable[None]]
    prepare: tuple[str, ...] = ()
    members_max: int | None = None


@dataclass(frozen=True)
class Measured:
    """What an alternative took for how many members; `total_minor` and bytes are read back from its table."""

    members: int
    seconds: float
    bytes_per_entry: float
    total_minor: int

    @property
    def members_per_second(self) -> float:
        """Members a second, commit included."""
        return self.members / self.seconds


async def insert_select(engine: AsyncEngine, _: Amounts) -> None:
    """One statement on one connection."""
    async with engine.begin() as connection:
        await connection.execute(text(INSERT_SELECT))


async def insert_select_two_connections(engine: AsyncEngine, amounts: Amounts) -> None:
    """The same statement for each half of the members, at the same time."""

    async def half(first: int, stop: int) -> None:
        async with engine.begin() as connection:
            where = " WHERE member_id >= :first AND member_id < :stop"
            await connection.execute(text(INSERT_SELECT + where), {"first": first, "stop": stop})

    middle = amounts.size // 2
    await asyncio.gather(half(0, middle), half(middle, amounts.size))


async def row_ledger(engine: AsyncEngine, _: Amounts) -> None:
    """Keyed rows, then every member's balance, in one transaction: no slower than chunks of it, and all or nothing."""
    async with engine.begin() as connection:
        await connection.execute(text(INSERT_SELECT))
        await connection.execute(text(UPDATE_BALANCES))


async def copy_rows(engine: AsyncEngine, amounts: Amounts) -> None:
    """Binary COPY of a row per member, whole chunks encoded at once by numpy."""
    row = np.dtype([("fields", ">i2"), *[(f"{part}{n}", kind) for n in range(3) for part, kind in _FIELD]])

    async def stream() -> AsyncIterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\x00" + bytes(8)
        for first in range(0, amounts.size, CHUNK_MEMBERS):
            chunk = amounts[first : first + CHUNK_MEMBERS]
            rows = np.empty(chunk.size, row)
            rows["fields"] = 3
            rows["bytes0"] = rows["bytes1"] = rows["bytes2"] = 8
            rows["value0"] = _RUN_ID
            rows["value1"] = np.arange(first, first + chunk.size)
            rows["value2"] = chunk
            yield rows.tobytes()
        yield b"\xff\xff"

    async with engine.begin() as connection:
        driver = await driver_of(connection)
        await driver.copy_to_table(entries.name, source=stream(), format="binary")


_FIELD = (("bytes", ">i4"), ("value", ">i8"))


async def executemany(engine: AsyncEngine, amounts: Amounts) -> None:
    """SQLAlchemy Core with a parameter set per member."""
    rows = [{"run_id": _RUN_ID, "member_id": seat, "amount": paid} for seat, paid in enumerate(amounts.tolist())]
    async with engine.begin() as connection:
        await connection.execute(insert(entries), rows)


async def add_all(engine: AsyncEngine, amounts: Amounts) -> None:
    """SQLAlchemy's ORM with an object per member."""
    async with AsyncSession(engine) as session:
        session.add_all(
            Entry(run_id=_RUN_ID, member_id=seat, amount=paid) for seat, paid in enumerate(amounts.tolist())
        )
        await session.commit()


def _balances(fillfactor: int) -> tuple[str, ...]:
    """A balance per member, as a run before would have left it."""
    return tuple(statement.format(fillfactor=fillfactor, of="bench_sources") for statement in BALANCES)


ALTERNATIVES = (
    Alternative("insert_select", "INSERT … SELECT", insert_select),
    Alternative("insert_select_two_connections", "… on two connections", insert_select_two_connections),
    Alternative("row_ledger", "row ledger", row_ledger, _balances(100)),
    Alternative("row_ledger_half_full_pages", "… half-full pages", row_ledger, _balances(50)),
    Alternative("copy_rows", "COPY of rows", copy_rows),
    Alternative("executemany", "executemany", executemany, members_max=SCALED_MEMBERS),
    Alternative("orm_add_all", "ORM add_all", add_all, members_max=SCALED_MEMBERS),
)


async def load_sources(engine: AsyncEngine, amounts: Amounts) -> None:
    """Make the table that the SQL layouts read, a row for every member, settled by VACUUM."""
    async with engine.begin() as connection:
        await connection.run_sync(entries.create)
    await copy_rows(engine, amounts)
    await _settle(engine, *SOURCES)


async def measure(engine: AsyncEngine, alternative: Alternative, amounts: Amounts) -> Measured:
    """Time one alternative on fresh tables. `amounts`: int64[n] by seat. Raises TotalsDiffer."""
    charged = amounts[: alternative.members_max]
    await _settle(engine, "DROP TABLE IF EXISTS bench_balances", "DROP TABLE bench_entries")
    async with engine.begin() as connection:
        await connection.run_sync(entries.create)
    await _settle(engine, *alternative.prepare, "CHECKPOINT")
    began = perf_counter()
    await alternative.post(engine, charged)
    seconds = perf_counter() - began
    async with engine.connect() as connection:
        measured = await _read_back(connection, seconds)
    if (measured.members, measured.total_minor) != (charged.size, int(charged.sum())):
        raise TotalsDiffer(f"{alternative.name} posted {measured.total_minor} for {measured.members} members")
    return measured


async def _read_back(connection: AsyncConnection, seconds: float) -> Measured:
    count, total, size = (
        await connection.execute(
            select(func.count(), func.sum(entries.c.amount), func.pg_total_relation_size(entries.name)).select_from(
                entries
            )
        )
    ).one()
    return Measured(count, seconds, size / count, int(total))


async def _settle(engine: AsyncEngine, *statements: str) -> None:
    """Each statement by itself, as VACUUM wants it."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
