"""Plans, their rules, and the periods they skipped."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from engine.store.tables.base import metadata, moment

plans = Table(
    "plans",
    metadata,
    Column("plan_id", BigInteger, Identity(always=True)),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("last_root", LargeBinary, comment="the latest seal, which the next one covers"),
    Column("ended_on", Date, comment="the books are closed; NULL while the plan lives"),
    Column(
        "custodian_id",
        BigInteger,
        ForeignKey("custodians.custodian_id", name="plans_custodian_fkey"),
        comment="who holds its money; NULL: nobody yet, and nothing can be debited",
    ),
    Column("locked_through", Date, comment="nothing is posted on this day or before; NULL: no period is locked"),
    moment("recorded_at"),
    PrimaryKeyConstraint("plan_id", name="plans_pkey"),
    UniqueConstraint("code", name="plans_code_key"),
)

plan_rules = Table(
    "plan_rules",
    metadata,
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="plan_rules_plan_fkey"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("rules", JSONB, nullable=False),
    moment("recorded_at"),
    PrimaryKeyConstraint("plan_id", "version", name="plan_rules_pkey"),
)

skipped_slots = Table(
    "skipped_slots",
    metadata,
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="skipped_slots_plan_fkey"), nullable=False),
    Column("debit_on", Date, nullable=False),
    Column("reason", Text, nullable=False),
    Column("skipped_by", Text, nullable=False),
    moment("recorded_at"),
    PrimaryKeyConstraint("plan_id", "debit_on", name="skipped_slots_pkey"),
)
