"""Webhooks: who is told of what, the messages, and how far each is delivered."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from engine.store.tables.base import metadata, moment

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", BigInteger, Identity(always=True)),
    Column("url", Text, nullable=False),
    Column(
        "events",
        ARRAY(Text),
        nullable=False,
        comment="run.sealed, run.settled, run.closed, break.opened, share.requested",
    ),
    Column("made_by", Text, nullable=False),
    moment("made_at"),
    Column("ended_at", DateTime(timezone=True), comment="told of nothing any more"),
    PrimaryKeyConstraint("webhook_id", name="webhooks_pkey"),
    CheckConstraint("cardinality(events) > 0", name="webhooks_events_check"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", BigInteger, Identity(always=True)),
    Column("event", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="what it is about: run:7"),
    Column("detail", JSONB, nullable=False, comment="ids and counts; never amounts of members, never people"),
    moment("recorded_at"),
    PrimaryKeyConstraint("message_id", name="outbox_pkey"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("message_id", BigInteger, ForeignKey("outbox.message_id", name="deliveries_message_fkey"), nullable=False),
    Column("webhook_id", BigInteger, ForeignKey("webhooks.webhook_id", name="deliveries_webhook_fkey"), nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), comment="not tried before; NULL: as soon as somebody can"),
    Column("ended_at", DateTime(timezone=True)),
    Column("error", Text, comment="of the last try that failed"),
    PrimaryKeyConstraint("message_id", "webhook_id", name="deliveries_pkey"),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="deliveries_state_check"),
    CheckConstraint("(ended_at IS NULL) = (state = 'waiting')", name="deliveries_ended_check"),
    Index("deliveries_waiting_index", "webhook_id", "message_id", postgresql_where=text("state = 'waiting'")),
    Index("deliveries_webhook_index", "webhook_id", "message_id"),
    Index("deliveries_state_index", "state", "ended_at"),
)
