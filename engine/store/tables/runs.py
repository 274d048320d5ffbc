"""Share runs, the cases they carry, and how far each shard is."""

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
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from engine.store.tables.base import metadata

IN_THE_BOOKS = ("sealed", "collecting", "settled", "closed")
"""States of a run whose charges stand: it is sealed, however far its debits are."""

share_runs = Table(
    "share_runs",
    metadata,
    Column("run_id", BigInteger, Identity(always=True)),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="share_runs_plan_fkey"), nullable=False),
    Column("rules_version", Integer, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'share'")),
    Column("debit_on", Date, nullable=False, comment="of a credit run the day members are credited"),
    Column("surplus", JSONB, comment="credit run: premiums, claims, costs and where they come from"),
    Column("state", Text, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("planned_by", Text, nullable=False),
    Column("approved_by", Text),
    Column("freeze_expires_at", DateTime(timezone=True)),
    Column("members", BigInteger, comment="seats of the frozen shards"),
    Column("carry_in", BigInteger, comment="minor units, pinned at freeze"),
    Column("ledger_seq", BigInteger, comment="seq of the plan's shard 0 at freeze"),
    Column("clip", BigInteger, comment="allowances above it are measured as it; NULL: none is clipped"),
    Column("pointers", JSONB, comment="tier → seat where the rotation of odd units stands, pinned at freeze"),
    Column("sealed_pointers", JSONB, comment="where the rotation stands after this run"),
    Column("solution", LargeBinary, comment="canonical JSON of the apportionment, compressed"),
    Column("preview", JSONB),
    Column("preview_digest", LargeBinary),
    Column("approved_digest", LargeBinary),
    Column("previous_root", LargeBinary),
    Column("root", LargeBinary),
    Column("void_root", LargeBinary, comment="the seal of the mirrored postings of a voided run"),
    Column("moments", JSONB, nullable=False, server_default=text("'{}'::jsonb"), comment="state → when it began"),
    Column("failure", Text),
    PrimaryKeyConstraint("run_id", name="share_runs_pkey"),
    CheckConstraint(
        "approved_by IS NULL OR (lower(approved_by) <> lower(planned_by) AND btrim(approved_by) <> '')",
        name="share_runs_four_eyes_check",
    ),
    CheckConstraint(
        "state IN ('planned', 'frozen', 'measured', 'previewed', 'approved', 'posting', 'sealed', 'collecting',"
        " 'settled', 'closed', 'voiding', 'voided', 'failed')",
        name="share_runs_state_check",
    ),
    CheckConstraint("kind IN ('share', 'credit')", name="share_runs_kind_check"),
    CheckConstraint("(kind = 'credit') = (surplus IS NOT NULL)", name="share_runs_surplus_check"),
    CheckConstraint(
        "approved_digest IS NULL OR approved_digest = preview_digest", name="share_runs_approved_preview_check"
    ),
    CheckConstraint("approved_digest IS NULL OR approved_by IS NOT NULL", name="share_runs_approved_by_check"),
    Index(
        "share_runs_period_key",
        "plan_id",
        "debit_on",
        unique=True,
        postgresql_where=text("state NOT IN ('voided', 'failed')"),
    ),
    Index("share_runs_state_index", "state", "run_id"),
)

run_cases = Table(
    "run_cases",
    metadata,
    Column("run_id", BigInteger, ForeignKey("share_runs.run_id", name="run_cases_run_fkey"), nullable=False),
    Column("number", Integer, nullable=False, comment="filing order inside the run"),
    Column(
        "claim_id",
        BigInteger,
        ForeignKey("claims.claim_id", name="run_cases_claim_fkey"),
        comment="NULL: a credit run's surplus",
    ),
    Column("claim_number", Integer),
    Column("aid_minor", BigInteger, nullable=False),
    Column("gate_day", Integer, nullable=False),
    Column("cap_minor", BigInteger),
    Column("aid_paid_minor", BigInteger),
    Column("fee_minor", BigInteger),
    PrimaryKeyConstraint("run_id", "number", name="run_cases_pkey"),
    UniqueConstraint("run_id", "claim_id", name="run_cases_claim_key"),
    CheckConstraint("(claim_id IS NULL) = (claim_number IS NULL)", name="run_cases_claim_check"),
    Index("run_cases_claim_index", "claim_id"),
)

run_shards = Table(
    "run_shards",
    metadata,
    Column("shard_id", BigInteger, nullable=False),
    Column("run_id", BigInteger, nullable=False),
    Column("phase", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0"), comment="rises in a phase: it fences a claim"),
    Column("failures", Integer, nullable=False, server_default=text("0"), comment="of this phase, until a retry"),
    Column("lease_until", DateTime(timezone=True)),
    Column("worker", Text),
    Column("error", Text),
    Column("roster_version", Integer, nullable=False),
    Column("ledger_seq", BigInteger, nullable=False, comment="seq of the shard at freeze"),
    Column("histogram", LargeBinary),
    Column("waived_histogram", LargeBinary, comment="of the seats whose share the sponsor pays"),
    Column("cap_histograms", LargeBinary, comment="by cap, where several make the allowance: which of them stops whom"),
    Column("seats", Integer, nullable=False),
    Column("sharers", BigInteger),
    Column("charged_minor", BigInteger),
    Column("waived_minor", BigInteger),
    Column("waived_seats", BigInteger),
    Column("pointers", JSONB, comment="tier → seat after the last odd unit given here"),
    Column("root", LargeBinary, comment="Merkle root of the shard's leaves"),
    Column("claimed_at", DateTime(timezone=True), comment="when the worker of this attempt took it"),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("shard_id", "run_id", name="run_shards_pkey"),
    CheckConstraint("phase IN ('measure', 'post', 'reverse')", name="run_shards_phase_check"),
    CheckConstraint("state IN ('pending', 'working', 'done', 'failed')", name="run_shards_state_check"),
    Index("run_shards_run_index", "run_id", "phase", "state"),
)
