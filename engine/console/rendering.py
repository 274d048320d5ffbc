"""From a template and what it shows to HTML, in the visitor's language, for what the visitor may do."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cache, partial
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from pydantic import BaseModel

from engine import __version__
from engine.api.writing import as_json, etag
from engine.console.assets import ASSETS
from engine.console.flash import COOKIE as FLASH
from engine.console.flash import said_before
from engine.console.language import Language, translations
from engine.console.navigation import areas_of, is_within_reach
from engine.console.visits import OPERATIONS, Visit
from engine.console.words import Words, money, number, percent

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "fentan_theme"

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


@cache
def environment(language: Language) -> Environment:
    """The templates, in a language. A name that is not there is an error, never a gap on the page."""
    made = Environment(
        loader=PackageLoader("engine.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do", "jinja2.ext.loopcontrols"],
    )
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]  # jinja2.ext.i18n adds it
    made.filters |= {"money": money, "number": number, "percent": percent}
    for name in ("ago", "bytes", "day", "day_before", "duration", "moment", "word"):
        made.filters[name] = _worded(name)
    made.globals |= {
        "version": __version__,
        "action_url": action_url,
        "etag_of": etag_of,
        "new_key": _new_key,
    }
    return made


def _new_key() -> str:
    return secrets.token_hex(16)


def _worded(name: str) -> Any:
    """A filter that asks the words of the page: which zone, what time it is."""

    @pass_context
    def of_the_page(context: Context, value: object, *more: object) -> object:
        return context["words"].filters[name](value, *more)

    return of_the_page


def action_url(operation: str, in_path: Mapping[str, object]) -> str:
    """Where the form of an operation goes. `in_path`: what its path names."""
    return "/do" + OPERATIONS[operation].path.format(**{name: quote(str(value)) for name, value in in_path.items()})


def etag_of(view: BaseModel) -> str:
    """The ETag of what the page shows, as the API gives it: what a form's field `seen` holds."""
    return etag(as_json(view))


def theme_of(visit: Visit) -> str:
    """The colours that the visitor chose; the system's unless they did."""
    chosen = visit.request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else THEMES[0]


def zone_of(visit: Visit) -> ZoneInfo:
    """The zone of the moments on a page."""
    return ZoneInfo(visit.service.settings.console_time_zone)


def render(
    visit: Visit, template: str, context: Mapping[str, Any], *, area: str = "", paused: object = (), status: int = 200
) -> web.Response:
    """The page. `paused`: queues, for the banner that everyone sees who works here."""
    made, assets = environment(visit.language), visit.request.app[ASSETS]
    words = Words(visit.language, zone_of(visit), visit.now)
    shared = {
        "words": words,
        "visitor": visit.visitor,
        "may": visit.may,
        "csrf": visit.csrf,
        "language": visit.language,
        "theme": theme_of(visit),
        "path": visit.path,
        "now": visit.now,
        "asset": assets.url,
        "styles": assets.styles,
        "paused": paused,
        # A part of a page has no place for what the whole one says.
        "notices": [] if visit.is_part else said_before(visit, words),
        "areas": areas_of(visit, area),
        "is_within_reach": partial(is_within_reach, visit),
    }
    text = made.get_template(template).render(shared | dict(context))
    response = web.Response(text=text, content_type="text/html", status=status, headers=SECURITY)
    if shared["notices"]:
        response.del_cookie(FLASH, path="/")
    return response
