"""What a token allows, and that whoever tries one learns nothing from how long the answer takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.access.roles import ADMINS, APPROVERS, EVERYONE, FINANCE, OPS, SCHEDULERS, Role
from engine.access.tokens import Token

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)


def token(*scopes: str) -> Token:
    return Token(1, "anna", Role.SCHEDULER, scopes or None, "olga", NOW, NOW, None, None, None)


@pytest.mark.parametrize(
    ("scopes", "asked", "allowed"),
    [
        ((), "runs:write", True),
        (("runs:read",), "runs:read", True),
        (("runs:read",), "runs:write", False),
        (("runs:write",), "runs:read", True),
        (("runs:write",), "claims:read", False),
        (("runs:read", "claims:write"), "claims:write", True),
        (("run:write",), "runs:read", False),
    ],
)
def test_what_scopes_allow(scopes: tuple[str, ...], asked: str, allowed: bool) -> None:
    assert token(*scopes).allows(asked) is allowed


def test_an_admin_may_all_and_a_viewer_reads() -> None:
    desks = (SCHEDULERS, FINANCE, OPS, APPROVERS, ADMINS)
    assert all(Role.ADMIN in desk for desk in desks)
    assert not any(Role.VIEWER in desk for desk in desks)
    assert set(Role) == EVERYONE
    assert not APPROVERS & {Role.SCHEDULER, Role.FINANCE}, "who plans or proposes is not at the desk that approves"
