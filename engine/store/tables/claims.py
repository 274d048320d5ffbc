"""Claims, their notices, and every decision about them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from engine.store.tables.base import metadata, moment

claims = Table(
    "claims",
    metadata,
    Column("claim_id", BigInteger, Identity(always=True)),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="claims_plan_fkey"), nullable=False),
    Column("number", Integer, nullable=False, comment="1, 2, … inside the plan: its position in aid payable"),
    Column("shard_id", BigInteger, nullable=False),
    Column("seat", Integer, nullable=False),
    Column("diagnosed_on", Date, nullable=False),
    Column("filed_on", Date, nullable=False),
    Column("aid_minor", BigInteger, nullable=False, comment="the whole aid, over all its stages"),
    Column("severity", Text),
    Column("due_minor", BigInteger, comment="of it, so far; the next run carries what was not shared yet; NULL: all"),
    Column("stage_on", Date, comment="the notice day of a later stage, its gate; NULL: that of the notice"),
    Column("shared_minor", BigInteger, nullable=False, server_default=text("0"), comment="in sealed runs"),
    Column("recovered_minor", BigInteger, nullable=False, server_default=text("0"), comment="paid wrongly, and back"),
    Column("state", Text, nullable=False),
    Column(
        "run_id", BigInteger, ForeignKey("share_runs.run_id", name="claims_run_fkey"), comment="the run that carries it"
    ),
    PrimaryKeyConstraint("claim_id", name="claims_pkey"),
    UniqueConstraint("plan_id", "number", name="claims_number_key"),
    CheckConstraint("aid_minor > 0", name="claims_aid_check"),
    CheckConstraint("shared_minor BETWEEN 0 AND aid_minor", name="claims_shared_check"),
    CheckConstraint("due_minor BETWEEN greatest(shared_minor, 1) AND aid_minor", name="claims_due_check"),
    CheckConstraint("recovered_minor BETWEEN 0 AND shared_minor", name="claims_recovered_check"),
    CheckConstraint(
        "state IN ('filed', 'published', 'passed', 'sharing', 'shared', 'rejected', 'withdrawn')",
        name="claims_state_check",
    ),
    CheckConstraint("(run_id IS NOT NULL) = (state IN ('sharing', 'shared'))", name="claims_run_check"),
    Index("claims_state_index", "state", "claim_id"),
)

notices = Table(
    "notices",
    metadata,
    Column("claim_id", BigInteger, ForeignKey("claims.claim_id", name="notices_claim_fkey"), nullable=False),
    Column("notice_on", Date, nullable=False, comment="its 00:00 is the gate of the case"),
    Column("ends_on", Date, nullable=False, comment="the first day after the notice"),
    PrimaryKeyConstraint("claim_id", name="notices_pkey"),
    CheckConstraint("ends_on > notice_on", name="notices_length_check"),
)

objections = Table(
    "objections",
    metadata,
    Column("claim_id", BigInteger, ForeignKey("claims.claim_id", name="objections_claim_fkey"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("raised_on", Date, nullable=False),
    Column("reason", Text, nullable=False),
    Column("resolved_on", Date),
    Column("resolution", Text),
    PrimaryKeyConstraint("claim_id", "number", name="objections_pkey"),
    CheckConstraint("(resolved_on IS NULL) = (resolution IS NULL)", name="objections_resolution_check"),
)

claim_events = Table(
    "claim_events",
    metadata,
    Column("claim_id", BigInteger, ForeignKey("claims.claim_id", name="claim_events_claim_fkey"), nullable=False),
    Column("event_id", BigInteger, Identity(always=True)),
    Column("event", Text, nullable=False),
    Column("happened_on", Date, nullable=False),
    Column("actor", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    moment("recorded_at"),
    PrimaryKeyConstraint("claim_id", "event_id", name="claim_events_pkey"),
)
