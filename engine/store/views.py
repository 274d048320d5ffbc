"""The views that the engine itself reads; alembic would take them for tables beside those."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, MetaData, Table, Text

views = MetaData()

journal_lines = Table(
    "journal_lines",
    views,
    Column("shard_id", BigInteger),
    Column("seq", BigInteger),
    Column("kind", Text),
    Column("run_id", BigInteger),
    Column("effective_on", Date),
    Column("line", BigInteger),
    Column("account_id", BigInteger),
    Column("amount", BigInteger),
)
