"""Roles: what somebody who holds a token does here. What each may is declared with every endpoint."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """One of the six. An admin may all; four eyes hold for everybody (I13)."""

    VIEWER = "viewer"
    """Reads."""

    SCHEDULER = "scheduler"
    """Plans runs, keeps rosters and claims."""

    FINANCE = "finance"
    """Takes statements, proposes what breaks come to, pays out, closes."""

    OPS = "ops"
    """Watches queues and workers: pause, resume, retry, drain."""

    APPROVER = "approver"
    """Approves or refuses what others planned or proposed."""

    ADMIN = "admin"
    """All of it, and tokens and webhooks."""


EVERYONE = frozenset(Role)
SCHEDULERS = frozenset({Role.SCHEDULER, Role.ADMIN})
FINANCE = frozenset({Role.FINANCE, Role.ADMIN})
OPS = frozenset({Role.OPS, Role.ADMIN})
APPROVERS = frozenset({Role.APPROVER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
