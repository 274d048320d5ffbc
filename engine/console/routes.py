"""Every page there is, by area."""

from __future__ import annotations

from engine.console.pages import overview

PAGES = (overview.pages,)
