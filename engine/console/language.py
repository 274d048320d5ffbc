"""The two languages of the console. English stands in the templates; Chinese in locale/zh, one catalogue an area."""

from __future__ import annotations

import io
from enum import StrEnum
from functools import cache
from pathlib import Path

from aiohttp import web
from babel.core import negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

COOKIE = "fentan_language"
CATALOGUES = Path(__file__).parent / "locale"

_HEADER_LANGUAGES_MAX = 20


class Language(StrEnum):
    """What a page is written in."""

    ENGLISH = "en"
    CHINESE = "zh"


def language_of(request: web.Request) -> Language:
    """What the visitor chose, else the best of what the browser asks for, else English."""
    if (chosen := request.cookies.get(COOKIE)) in set(Language):
        return Language(chosen)
    asked = [each.partition("-")[0] for each in _asked_for(request.headers.get("Accept-Language", ""))]
    return Language(negotiate_locale(asked, list(Language)) or Language.ENGLISH)


def _asked_for(header: str) -> list[str]:
    """The languages of an Accept-Language, the most wanted first: RFC 9110, section 12.5.4."""
    ranked = list[tuple[float, str]]()
    for each in header.lower().split(",")[:_HEADER_LANGUAGES_MAX]:
        name, _, parameter = each.replace(" ", "").partition(";")
        try:
            quality = float(parameter.removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if name and quality > 0:
            ranked.append((-quality, name))
    return [name for _, name in sorted(ranked, key=lambda rank: rank[0])]


def N_(text: str) -> str:  # noqa: N802 - the name that gettext's tools look for
    """Mark a text that is translated where it is shown."""
    return text


@cache
def translations(language: Language) -> NullTranslations:
    """All catalogues of a language as one, read from their sources once."""
    merged = Catalog(locale=language)
    for path in sorted((CATALOGUES / language).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=language):
                if message.id:
                    merged.add(message.id, message.string, context=message.context)
    written = io.BytesIO()
    write_mo(written, merged)
    written.seek(0)
    return Translations(written)
