"""Options that several commands take, without what their work needs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from engine.access.names import actor_name
from engine.errors import InvalidInput

As = Annotated[
    str, typer.Option("--as", metavar="NAME", parser=actor_name, help="Who decides; it goes into the audit log.")
]

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Where the API answers; 0: any free one. [default: api_port]")
]
Host = Annotated[str | None, typer.Option(help="The address the API listens on. [default: api_host]")]


def iso_day(text: str) -> date:
    """A day written year first. Raises InvalidInput."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a day; write it like 2019-01-21") from None


def not_to_come(day: date, time_zone: str) -> date:
    """A day on which something is said to have happened. Raises InvalidInput when it is still to come there."""
    today = datetime.now(ZoneInfo(time_zone)).date()
    if day > today:
        raise InvalidInput(f"--on {day} is still to come; it is {today} in {time_zone}")
    return day
