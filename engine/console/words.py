"""How values stand on a page: money in groups of three, days and moments, enums as words of the visitor's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from zoneinfo import ZoneInfo

from babel.dates import format_timedelta
from markupsafe import Markup

from engine.console.language import Language, translations

NOTHING = "–"
_NO_TIME = Markup("–")


@dataclass(frozen=True)
class Words:
    """What a page in a language says for a value. `zone`: of the moments shown; `now`: what `ago` counts from."""

    language: Language
    zone: ZoneInfo
    now: datetime

    @property
    def filters(self) -> Mapping[str, Callable[..., object]]:
        """By the names that templates know them under."""
        return {
            "ago": self.ago,
            "bytes": self.size,
            "day": self.day,
            "day_before": self.day_before,
            "duration": self.duration,
            "moment": self.moment,
            "money": money,
            "number": number,
            "percent": percent,
            "word": self.word,
        }

    def word(self, value: object) -> str:
        """The value of an enum, an operation's name: in words."""
        if value is None:
            return NOTHING
        key = str(value.value if isinstance(value, Enum) else value)
        said = translations(self.language).pgettext("word", key)
        return str(said) if said != key else key.replace("_", " ").replace("-", " ")

    def day(self, value: date | str | None) -> Markup:
        """A day as 2019-07-14."""
        if value is None:
            return _NO_TIME
        return Markup('<time datetime="{0}">{0}</time>').format(value)

    def day_before(self, value: date | str | None) -> Markup:
        """The day before, as the last one of what a first day after ends."""
        day = date.fromisoformat(value) if isinstance(value, str) else value
        return self.day(None if day is None else day - timedelta(days=1))

    def moment(self, value: datetime | str | None) -> Markup:
        """A moment to the second in the console's zone; exact to the microsecond for machines."""
        if value is None:
            return _NO_TIME
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        shown = at.astimezone(self.zone)
        said = shown.strftime("%Y-%m-%d %H:%M:%S")
        zone = shown.strftime("%Z")
        return Markup('<time datetime="{}" title="{} {}">{}</time>').format(at.isoformat(), said, zone, said)

    def ago(self, value: datetime | str | None) -> Markup:
        """How long ago, or in how long, a moment is."""
        if value is None:
            return _NO_TIME
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        away, locale = at - self.now, str(self.language)
        is_now = abs(away) < timedelta(seconds=1)
        said = self._just_now() if is_now else format_timedelta(away, add_direction=True, locale=locale)
        exact = at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S %Z")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(at.astimezone(UTC).isoformat(), exact, said)

    def _just_now(self) -> str:
        return translations(self.language).gettext("just now")

    def duration(self, seconds: float | None) -> str:
        """A length of time, to one unit."""
        return (
            NOTHING if seconds is None else format_timedelta(round(seconds), threshold=1.2, locale=str(self.language))
        )

    def size(self, count: int | None) -> str:
        """Bytes, in the largest unit of which there is one."""
        if count is None:
            return NOTHING
        size, unit = Fraction(count), "B"
        for unit in ("B", "KiB", "MiB", "GiB"):
            if size < 1024 or unit == "GiB":
                break
            size /= 1024
        return f"{float(size):,.{0 if unit == 'B' else 1}f} {unit}"


def money(text: str | None) -> str:
    """Decimal text of the API in groups of three."""
    if text is None:
        return NOTHING
    sign = "-" if str(text).startswith("-") else ""
    whole, _, fen = str(text).removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}.{fen or '00'}"


def number(value: Decimal | float | None) -> str:
    """A whole number in groups of three; another with one digit after the point."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def percent(part: float | None, whole: float = 1) -> str:
    """A part of a whole; nothing of nothing is nothing to speak of."""
    if part is None or not whole:
        return NOTHING
    return f"{100 * part / whole:.1f}%"
