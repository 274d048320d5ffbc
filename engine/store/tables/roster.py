"""Who is a member, and the columns a run needs of every seat, by shard."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from engine.store.tables.base import PLAN_STRIDE, SHARD_SEATS, metadata, moment

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
    moment("recorded_at"),
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
    moment("recorded_at"),
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
    moment("recorded_at"),
    PrimaryKeyConstraint("import_id", name="imports_pkey"),
    UniqueConstraint("plan_id", "kind", "sha256", name="imports_file_key"),
    CheckConstraint("kind IN ('roster', 'changes', 'top-ups')", name="imports_kind_check"),
)
