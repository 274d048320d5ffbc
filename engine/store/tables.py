"""Every table of Fentan, declared once. The guards stand in the migrations; DESIGN §4 and §9 say why it is so.

Bulk tables carry `shard_id` first in every key, so that the same schema can be distributed by it.
Days inside arrays are day numbers (days since 1970-01-01); money is bigint minor units.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

SHARD_SEATS = 65_536
"""Seats of a full shard; the unit of work, of storage and of distribution."""

PLAN_STRIDE = 1_000_000
"""`shard_id` = plan_id · PLAN_STRIDE + number, `account_id` = plan_id · PLAN_STRIDE + unit · 10,000 + code."""


def _moment(name: str) -> Column[object]:
    """When a row was written, by the database's clock."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


plans = Table(
    "plans",
    metadata,
    Column("plan_id", BigInteger, Identity(always=True)),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("last_root", LargeBinary, comment="the latest seal, which the next one covers"),
    Column("ended_on", Date, comment="the books are closed; NULL while the plan lives"),
    _moment("recorded_at"),
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
    _moment("recorded_at"),
    PrimaryKeyConstraint("plan_id", "version", name="plan_rules_pkey"),
)

shards = Table(
    "shards",
    metadata,
    Column("shard_id", BigInteger, autoincrement=False, nullable=False),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="shards_plan_fkey"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("first_seat", BigInteger, nullable=False),
    Column("seats", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0")),
    Column("head", LargeBinary, nullable=False, server_default=text("''::bytea")),
    PrimaryKeyConstraint("shard_id", name="shards_pkey"),
    CheckConstraint(f"shard_id = plan_id * {PLAN_STRIDE} + number", name="shards_id_check"),
    CheckConstraint(f"seats BETWEEN 0 AND {SHARD_SEATS}", name="shards_seats_check"),
)

member_columns = Table(
    "member_columns",
    metadata,
    Column("shard_id", BigInteger, ForeignKey("shards.shard_id", name="member_columns_shard_fkey"), nullable=False),
    Column("born_on", LargeBinary, nullable=False, comment="day numbers, little-endian int32"),
    Column("member_refs", Text, nullable=False, comment="one a line, in seat order"),
    Column("tags", LargeBinary, nullable=False, comment="16 bytes a seat: what stands for its member in a proof"),
    PrimaryKeyConstraint("shard_id", name="member_columns_pkey"),
)

members = Table(
    "members",
    metadata,
    Column("plan_id", BigInteger, nullable=False),
    Column("shard_id", BigInteger, nullable=False),
    Column("seat", Integer, nullable=False, comment="dense inside the plan: shards.first_seat + position"),
    Column("ref_bucket", SmallInteger, nullable=False, comment="CRC-32 of the reference mod 64: what spreads the rows"),
    Column("spell", SmallInteger, nullable=False, comment="1, 2, …: a person who re-joins takes a new seat"),
    Column("member_ref", Text(collation="C"), nullable=False),
    # The bucket comes last, so that references that rise go to the end of the B-tree, which fills its pages.
    PrimaryKeyConstraint("plan_id", "member_ref", "spell", "ref_bucket", name="members_pkey"),
)

# Days as little-endian int32 and tiers as int16 of every seat, one after the other: a run reads all of them twice, and
# the server sends bytes five times faster than array elements (docs/adr/0004).
roster = Table(
    "roster",
    metadata,
    Column("shard_id", BigInteger, ForeignKey("shards.shard_id", name="roster_shard_fkey"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("shares_from", LargeBinary, nullable=False),
    Column("claims_from", LargeBinary, nullable=False),
    Column("ended_on", LargeBinary, nullable=False),
    Column("frozen_from", LargeBinary, comment="NULL: no seat of the shard was ever frozen"),
    Column("frozen_to", LargeBinary),
    Column("tier", LargeBinary, nullable=False),
    Column("next_tier", LargeBinary, comment="chosen, and not yet in force; NULL: nobody of the shard chose one"),
    Column("next_tier_from", LargeBinary, comment="the debit day from which next_tier weighs; 0: none was chosen"),
    Column("payer", LargeBinary, comment="seat of the family payer, int32, -1: the member; NULL: nobody has one"),
    Column("folded_through", BigInteger, nullable=False, comment="the last roster_changes.change_id in this version"),
    _moment("recorded_at"),
    PrimaryKeyConstraint("shard_id", "version", name="roster_pkey"),
    CheckConstraint(
        "octet_length(claims_from) = octet_length(shares_from) AND octet_length(ended_on) = octet_length(shares_from)"
        " AND 2 * octet_length(tier) = octet_length(shares_from) AND (frozen_from IS NULL) = (frozen_to IS NULL)"
        " AND coalesce(octet_length(frozen_from), octet_length(shares_from)) = octet_length(shares_from)"
        " AND coalesce(octet_length(frozen_to), octet_length(shares_from)) = octet_length(shares_from)"
        " AND (next_tier IS NULL) = (next_tier_from IS NULL)"
        " AND coalesce(octet_length(next_tier), octet_length(tier)) = octet_length(tier)"
        " AND coalesce(octet_length(next_tier_from), octet_length(shares_from)) = octet_length(shares_from)"
        " AND coalesce(octet_length(payer), octet_length(shares_from)) = octet_length(shares_from)",
        name="roster_lengths_check",
    ),
)

roster_changes = Table(
    "roster_changes",
    metadata,
    Column("shard_id", BigInteger, nullable=False),
    Column("change_id", BigInteger, Identity(always=True)),
    Column("seat", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column(
        "from_day",
        Integer,
        nullable=False,
        comment="join: shares from; exit: first day not covered; freeze: from; tier: weighs from; payer: chosen on",
    ),
    Column(
        "until_day",
        Integer,
        comment="join: the wait ends, claims from; freeze: first day not frozen; tier: claims go by it from",
    ),
    Column("tier", SmallInteger, comment="join, tier"),
    Column("payer", Integer, comment="join, payer: the seat that pays; NULL: the member"),
    Column("reason", Text, comment="the rule that made it, such as age or floor; NULL: it was asked for"),
    Column("import_id", BigInteger, comment="the file it came in; NULL: a rule made it"),
    _moment("recorded_at"),
    PrimaryKeyConstraint("shard_id", "change_id", name="roster_changes_pkey"),
    CheckConstraint("kind IN ('join', 'exit', 'freeze', 'tier', 'payer')", name="roster_changes_kind_check"),
    CheckConstraint("(import_id IS NULL) = (reason IS NOT NULL)", name="roster_changes_origin_check"),
)

imports = Table(
    "imports",
    metadata,
    Column("import_id", BigInteger, Identity(always=True)),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="imports_plan_fkey"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("rows", BigInteger, nullable=False),
    _moment("recorded_at"),
    PrimaryKeyConstraint("import_id", name="imports_pkey"),
    UniqueConstraint("plan_id", "kind", "sha256", name="imports_file_key"),
    CheckConstraint("kind IN ('roster', 'changes', 'top-ups')", name="imports_kind_check"),
)

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
    _moment("recorded_at"),
    PrimaryKeyConstraint("claim_id", "event_id", name="claim_events_pkey"),
)

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
        "state IN ('planned', 'frozen', 'measured', 'previewed', 'approved', 'posting', 'sealed', 'voiding',"
        " 'voided', 'failed')",
        name="share_runs_state_check",
    ),
    CheckConstraint("kind IN ('share', 'credit')", name="share_runs_kind_check"),
    CheckConstraint("(kind = 'credit') = (surplus IS NOT NULL)", name="share_runs_surplus_check"),
    CheckConstraint(
        "approved_digest IS NULL OR approved_digest = preview_digest", name="share_runs_approved_preview_check"
    ),
    Index(
        "share_runs_period_key",
        "plan_id",
        "debit_on",
        unique=True,
        postgresql_where=text("state NOT IN ('voided', 'failed')"),
    ),
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
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("shard_id", "run_id", name="run_shards_pkey"),
    CheckConstraint("phase IN ('measure', 'post', 'reverse')", name="run_shards_phase_check"),
    CheckConstraint("state IN ('pending', 'working', 'done', 'failed')", name="run_shards_state_check"),
    Index("run_shards_run_index", "run_id", "phase", "state"),
)

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
    _moment("recorded_at"),
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
    _moment("recorded_at"),
    PrimaryKeyConstraint("decision_id", name="decisions_pkey"),
    CheckConstraint("state IN ('proposed', 'done', 'refused')", name="decisions_state_check"),
    CheckConstraint("(decided_by IS NULL) = (state = 'proposed')", name="decisions_decided_check"),
    CheckConstraint(
        "state <> 'done' OR (lower(decided_by) <> lower(proposed_by) AND btrim(decided_by) <> '')",
        name="decisions_four_eyes_check",
    ),
)

skipped_slots = Table(
    "skipped_slots",
    metadata,
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="skipped_slots_plan_fkey"), nullable=False),
    Column("debit_on", Date, nullable=False),
    Column("reason", Text, nullable=False),
    Column("skipped_by", Text, nullable=False),
    _moment("recorded_at"),
    PrimaryKeyConstraint("plan_id", "debit_on", name="skipped_slots_pkey"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True)),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    _moment("recorded_at"),
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
