"""Decisions of two people, what everybody did; workers, queues, jobs, and what is planned by the clock."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    false,
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
    Index("audit_log_actor_index", "actor", "audit_id"),
    Index("audit_log_act_index", "act", "audit_id"),
    Index("audit_log_subject_index", "subject", "audit_id"),
    Index("audit_log_recorded_index", "recorded_at"),
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
    Column("draining", Boolean, nullable=False, server_default=false(), comment="asked to end after what is in hand"),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("beat_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("worker", name="workers_pkey"),
)

queues = Table(
    "queues",
    metadata,
    Column("queue", Text, nullable=False),
    Column("paused_at", DateTime(timezone=True), comment="NULL: it is worked on"),
    Column("paused_by", Text),
    Column("reason", Text),
    PrimaryKeyConstraint("queue", name="queues_pkey"),
    CheckConstraint("(paused_at IS NULL) = (paused_by IS NULL)", name="queues_paused_by_check"),
    CheckConstraint("(paused_at IS NULL) = (reason IS NULL)", name="queues_reason_check"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", BigInteger, Identity(always=True)),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="what it is about: plan:quark, custodian:generic-csv, run:7"),
    Column("detail", JSONB, nullable=False, comment="all that doing it needs; ids and file names, never names"),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("asked_by", Text, nullable=False),
    moment("asked_at"),
    Column("started_at", DateTime(timezone=True), comment="of the last try"),
    Column("ended_at", DateTime(timezone=True)),
    Column("tries", Integer, nullable=False, server_default=text("0"), comment="how often somebody began it"),
    Column("outcome", JSONB, comment="what it came to"),
    Column("error", Text, comment="why it was refused, or failed"),
    PrimaryKeyConstraint("job_id", name="jobs_pkey"),
    CheckConstraint("state IN ('queued', 'done', 'failed')", name="jobs_state_check"),
    CheckConstraint("(ended_at IS NULL) = (state = 'queued')", name="jobs_ended_check"),
    Index("jobs_state_index", "state", "ended_at"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="schedules_plan_fkey"), nullable=False),
    Column("plans_at", Time, nullable=False, comment="the time of a debit day, in the plan's zone, to plan its run"),
    Column("set_by", Text, nullable=False, comment="in whose name its runs are planned"),
    moment("set_at"),
    Column("tried_at", DateTime(timezone=True), comment="when a slot was last tried and refused"),
    Column("refusal", Text, comment="why; NULL once a run was planned"),
    PrimaryKeyConstraint("plan_id", name="schedules_pkey"),
)
