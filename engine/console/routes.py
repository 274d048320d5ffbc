"""Every page there is, by area."""

from __future__ import annotations

from engine.console.pages import (
    admin,
    audit,
    breaks,
    claims,
    decisions,
    exports,
    finance,
    journals,
    member,
    ops,
    overview,
    public,
    run,
    runs,
    schedules,
    settlement,
    share,
    statements,
    trial_balance,
)

PAGES = (
    overview.pages,
    runs.pages,
    run.pages,
    claims.pages,
    ops.pages,
    schedules.pages,
    audit.pages,
    admin.pages,
    finance.pages,
    settlement.pages,
    breaks.pages,
    decisions.pages,
    statements.pages,
    trial_balance.pages,
    journals.pages,
    member.pages,
    exports.pages,
    public.pages,
    share.pages,
)
