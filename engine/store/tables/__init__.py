"""Every table of Fentan, declared once. The guards stand in the migrations; DESIGN §4 and §9 say why it is so.

Bulk tables carry `shard_id` first in every key, so that the same schema can be distributed by it.
Days inside arrays are day numbers (days since 1970-01-01); money is bigint minor units.
"""

from __future__ import annotations

from engine.store.tables.access import api_tokens, idempotency_keys, sessions, share_links, sign_in_attempts
from engine.store.tables.base import PLAN_STRIDE, SHARD_SEATS, metadata
from engine.store.tables.claims import claim_events, claims, notices, objections
from engine.store.tables.custodian import (
    account_tokens,
    attempts,
    break_events,
    breaks,
    custodians,
    debit_batches,
    instruction_events,
    statement_lines,
    statements,
)
from engine.store.tables.ledger import accounts, balances, journals, posting_segments, year_usage
from engine.store.tables.operations import audit_log, decisions, jobs, queues, schedules, workers
from engine.store.tables.plans import plan_rules, plans, skipped_slots
from engine.store.tables.roster import imports, member_columns, members, roster, roster_changes, shards
from engine.store.tables.runs import IN_THE_BOOKS, run_cases, run_shards, share_runs
from engine.store.tables.webhooks import deliveries, outbox, webhooks

__all__ = [
    "IN_THE_BOOKS",
    "PLAN_STRIDE",
    "SHARD_SEATS",
    "account_tokens",
    "accounts",
    "api_tokens",
    "attempts",
    "audit_log",
    "balances",
    "break_events",
    "breaks",
    "claim_events",
    "claims",
    "custodians",
    "debit_batches",
    "decisions",
    "deliveries",
    "idempotency_keys",
    "imports",
    "instruction_events",
    "jobs",
    "journals",
    "member_columns",
    "members",
    "metadata",
    "notices",
    "objections",
    "outbox",
    "plan_rules",
    "plans",
    "posting_segments",
    "queues",
    "roster",
    "roster_changes",
    "run_cases",
    "run_shards",
    "schedules",
    "sessions",
    "shards",
    "share_links",
    "share_runs",
    "sign_in_attempts",
    "skipped_slots",
    "statement_lines",
    "statements",
    "webhooks",
    "workers",
    "year_usage",
]
