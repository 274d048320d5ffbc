"""Who may call the API and sign in, and what was answered under an idempotency key."""

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
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
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
    Column("password_hash", Text, comment="argon2id; NULL: whoever holds it signs in with the token alone"),
    PrimaryKeyConstraint("token_id", name="api_tokens_pkey"),
    CheckConstraint(
        "role IN ('viewer', 'scheduler', 'finance', 'ops', 'approver', 'admin')", name="api_tokens_role_check"
    ),
    CheckConstraint("octet_length(digest) = 32", name="api_tokens_digest_check"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="api_tokens_revoked_check"),
    Index(
        "api_tokens_password_index",
        "name",
        unique=True,
        postgresql_where=text("password_hash IS NOT NULL AND revoked_at IS NULL"),
    ),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the secret in the cookie, which nobody keeps"),
    Column("token_id", BigInteger, ForeignKey("api_tokens.token_id", name="sessions_token_fkey"), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("digest", name="sessions_pkey"),
    CheckConstraint("octet_length(digest) = 32", name="sessions_digest_check"),
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of a name and of the network that tries it"),
    Column("failures", Integer, nullable=False, comment="in a row, those under way with them"),
    Column("last_failed_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("digest", name="sign_in_attempts_pkey"),
    Index("sign_in_attempts_failed_index", "last_failed_at"),
)

share_links = Table(
    "share_links",
    metadata,
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the secret in the link, good for one use"),
    Column("plan_id", BigInteger, ForeignKey("plans.plan_id", name="share_links_plan_fkey"), nullable=False),
    Column("seat", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Column("viewer_digest", LargeBinary, comment="SHA-256 of the secret in the cookie of who opened the link"),
    Column("message_id", BigInteger, ForeignKey("outbox.message_id", name="share_links_message_fkey")),
    PrimaryKeyConstraint("digest", name="share_links_pkey"),
    UniqueConstraint("viewer_digest", name="share_links_viewer_key"),
    CheckConstraint("octet_length(digest) = 32", name="share_links_digest_check"),
    CheckConstraint("(used_at IS NULL) = (viewer_digest IS NULL)", name="share_links_used_check"),
    Index("share_links_seat_index", "plan_id", "seat", "created_at"),
    Index("share_links_created_index", "created_at"),
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
