"""Decisions of two people, what everybody did, and the workers."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from engine.store.tables.base import metadata, moment

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", BigInteger, Identity(always=True)),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="decisions_plan_fkey"), nullable=False),
    Column("kind", Text, nullable=False, comment="what is to be done: correction, recovery, …"),
    Column("subject", Text, nullable=False, comment="what it is about: run:7, claim:3, plan:quark"),
    Column("detail", JSONB, nullable=False, comment="all that doing it needs; ids and amounts, never names"),
    Column("effective_on", Date, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'proposed'")),
    Column("proposed_by", Text, nullable=False),
    Column("decided_by", Text),
    Column("outcome", JSONB, comment="what doing it came to, or why it was refused"),
    moment("recorded_at"),
    PrimaryKeyConstraint("decision_id", name="decisions_pkey"),
    CheckConstraint("state IN ('proposed', 'done', 'refused')", name="decisions_state_check"),
    CheckConstraint("(decided_by IS NULL) = (state = 'proposed')", name="decisions_decided_check"),
    CheckConstraint(
        "state <> 'done' OR (lower(decided_by) <> lower(proposed_by) AND btrim(decided_by) <> '')",
        name="decisions_four_eyes_check",
    ),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True)),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    moment("recorded_at"),
    PrimaryKeyConstraint("audit_id", name="audit_log_pkey"),
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("shard_id", BigInteger, comment="the shard in hand"),
    Column("memory_mib", Integer),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("beat_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("worker", name="workers_pkey"),
)
