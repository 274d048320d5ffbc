"""The day that something happened on: as the request says, else today."""

from __future__ import annotations

from datetime import date

from engine.api.service import Call
from engine.errors import InvalidInput


def happened_on(call: Call, time_zone: str, on: date | None) -> date:
    """A day of a plan's time zone. Raises InvalidInput when it is still to come there."""
    today = call.today(time_zone)
    if on is not None and on > today:
        raise InvalidInput(f"on {on} is still to come; it is {today} in {time_zone}")
    return on or today
