"""What a page says once of what was done just before it: kept by the browser, for a minute, until then."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from engine.console.language import translations
from engine.console.visits import OPERATIONS, Visit
from engine.console.words import Words

COOKIE = "fentan_said"
_KEPT_SECONDS = 60


class Said(NamedTuple):
    """A notice on top of a page."""

    tone: str
    text: str


def say(response: web.Response, operation: str) -> None:
    """Have the next page say that an operation of the API was done."""
    response.set_cookie(COOKIE, operation, max_age=_KEPT_SECONDS, httponly=True, samesite="Strict", path="/")


def said_before(visit: Visit, words: Words) -> list[Said]:
    """What to say on the page now shown. A name that is no operation is nothing that we kept."""
    operation = visit.request.cookies.get(COOKIE)
    if operation not in OPERATIONS:
        return []
    return [Said("good", translations(words.language).gettext("Done: %s") % words.word(operation))]
