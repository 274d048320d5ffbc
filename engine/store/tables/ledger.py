"""The chart of accounts, journals and the detail under them, and checkpoints of balances."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from engine.store.tables.base import PLAN_STRIDE, metadata, moment

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", BigInteger, autoincrement=False, nullable=False),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="accounts_plan_fkey"), nullable=False),
    Column("unit", SmallInteger, nullable=False),
    Column("code", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("control", Boolean, nullable=False),
    PrimaryKeyConstraint("account_id", name="accounts_pkey"),
    CheckConstraint(f"account_id = plan_id * {PLAN_STRIDE} + unit * 10000 + code", name="accounts_id_check"),
    CheckConstraint("control = (code % 10 = 0)", name="accounts_control_check"),
)

journals = Table(
    "journals",
    metadata,
    Column("shard_id", BigInteger, ForeignKey("shards.shard_id", name="journals_shard_fkey"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("run_id", BigInteger),
    Column("effective_on", Date, nullable=False),
    moment("recorded_at"),
    Column("prev_digest", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("accounts", ARRAY(BigInteger), nullable=False),
    Column("amounts", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("shard_id", "seq", name="journals_pkey"),
    UniqueConstraint("shard_id", "idempotency_key", name="journals_idempotency_key"),
    CheckConstraint("journal_is_balanced(shard_id, accounts, amounts)", name="journals_balanced_check"),
    Index("journals_run_index", "run_id"),
)

posting_segments = Table(
    "posting_segments",
    metadata,
    Column("shard_id", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("positions", ARRAY(Integer), comment="NULL: dense from the shard's first seat"),
    Column("amounts", ARRAY(BigInteger), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shard_id", "seq", "account_id", name="posting_segments_pkey"),
    ForeignKeyConstraint(
        ["shard_id", "seq"], ["journals.shard_id", "journals.seq"], name="posting_segments_journal_fkey"
    ),
    CheckConstraint("segment_is_sound(positions, amounts, total)", name="posting_segments_sound_check"),
)

balances = Table(
    "balances",
    metadata,
    Column("shard_id", BigInteger, ForeignKey("shards.shard_id", name="balances_shard_fkey"), nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("as_of_seq", BigInteger, nullable=False),
    Column("amounts", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("shard_id", "account_id", name="balances_pkey"),
)

year_usage = Table(
    "year_usage",
    metadata,
    Column("shard_id", BigInteger, ForeignKey("shards.shard_id", name="year_usage_shard_fkey"), nullable=False),
    Column("year", Integer, nullable=False),
    Column("as_of_seq", BigInteger, nullable=False),
    Column("amounts", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("shard_id", "year", name="year_usage_pkey"),
)
