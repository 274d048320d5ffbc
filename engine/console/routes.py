"""Every page there is, by area."""

from __future__ import annotations

from engine.console.pages import admin, audit, breaks, ops, overview, run, runs, schedules, statements

PAGES = (
    overview.pages,
    runs.pages,
    run.pages,
    ops.pages,
    schedules.pages,
    audit.pages,
    admin.pages,
    breaks.pages,
    statements.pages,
)
