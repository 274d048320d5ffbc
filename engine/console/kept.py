"""Public pages as they were shown just now: however many look, the database is asked once in a while."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import NamedTuple

from aiohttp import web

PAGES_MAX = 500


class Key(NamedTuple):
    """What makes a page of a visitor who has not signed in: its address with the query, language and colours."""

    path: str
    language: str
    theme: str


class KeptPages:
    """HTML of public pages, the oldest forgotten first."""

    def __init__(self) -> None:
        self._pages = OrderedDict[Key, tuple[datetime, str]]()

    def get(self, key: Key, now: datetime) -> str | None:
        """The page, if it is still kept."""
        ends_at, html = self._pages.get(key, (now, ""))
        return html if now < ends_at else None

    def keep(self, key: Key, html: str, now: datetime, seconds: int) -> None:
        """Keep a page for so long."""
        self._pages.pop(key, None)
        self._pages[key] = (now + timedelta(seconds=seconds), html)
        if len(self._pages) > PAGES_MAX:
            self._pages.popitem(last=False)


KEPT: web.AppKey[KeptPages] = web.AppKey("kept pages", KeptPages)
