"""Who may call the API, and what was answered under an idempotency key."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from engine.store.tables.base import metadata, moment

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_id", BigInteger, Identity(always=True)),
    Column("name", Text, nullable=False, comment="the person or machine that holds it: who decides, in the audit log"),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), comment="runs:read, runs:write, …; NULL: all that the role may"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the token, which nobody keeps"),
    Column("issued_by", Text, nullable=False),
    moment("issued_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True), comment="to the minute"),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_by", Text),
    PrimaryKeyConstraint("token_id", name="api_tokens_pkey"),
    CheckConstraint(
        "role IN ('viewer', 'scheduler', 'finance', 'ops', 'approver', 'admin')", name="api_tokens_role_check"
    ),
    CheckConstraint("octet_length(digest) = 32", name="api_tokens_digest_check"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="api_tokens_revoked_check"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor", Text, nullable=False, comment="whose key: two callers may choose the same"),
    Column("key", Text, nullable=False),
    Column("request", LargeBinary, nullable=False, comment="SHA-256 of method, path and body: what was asked under it"),
    Column("status", Integer, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    moment("recorded_at"),
    PrimaryKeyConstraint("actor", "key", name="idempotency_keys_pkey"),
)
