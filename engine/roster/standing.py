"""What a member's seat says now, and which changes it can take: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.plans import NEVER, date_of
from engine.roster.changes import Kind


class Change(NamedTuple):
    """One line of a file of changes. Days are day numbers; `until_day` is NEVER when the file gives none."""

    line: int
    kind: Kind
    member_ref: str
    from_day: int
    until_day: int
    born_on: int
    tier: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's last seat with every change so far in it; days are day numbers, (0, 0) is not frozen."""

    shard_id: int
    seat: int
    spell: int
    shares_from: int
    ended_on: int = NEVER
    frozen_from: int = 0
    frozen_to: int = 0

    def after(self, change: Change) -> Standing:
        """What the seat says once it took an exit or a freeze that nothing refused."""
        if change.kind is Kind.EXIT:
            return replace(self, ended_on=change.from_day)
        return replace(self, frozen_from=change.from_day, frozen_to=change.until_day)


def refusal(standing: Standing | None, change: Change) -> str | None:
    """Why a member of this standing (None: never joined) cannot take the change; None when nothing speaks against it.

    A join needs the seat before to have ended. An exit comes after the join, and sooner than an exit before it. Of a
    seat one freeze is kept: giving its first day again moves its end (so a freeze without end is ended), one that
    begins after its end takes its place, any other is refused.
    """
    match change.kind:
        case Kind.JOIN:
            return _join_refusal(standing, change.from_day)
        case _ if standing is None:
            return "is no member of the plan"
        case Kind.EXIT:
            return _exit_refusal(standing, change.from_day)
        case Kind.FREEZE:
            return _freeze_refusal(standing, change.from_day)
        case Kind.TIER | Kind.PAYER:
            return "cannot be changed by a file yet"


def _join_refusal(standing: Standing | None, day: int) -> str | None:
    if standing is None or standing.ended_on <= day:
        return None
    if standing.ended_on == NEVER:
        return "is a member; to come back with a new seat, leave first"
    return f"is a member until {date_of(standing.ended_on)} and can join again from then on"


def _exit_refusal(standing: Standing, day: int) -> str | None:
    if day <= standing.shares_from:
        return f"joined on {date_of(standing.shares_from)}; the first day not covered comes after"
    if day >= standing.ended_on:
        return f"leaves on {date_of(standing.ended_on)} already"
    return None


def _freeze_refusal(standing: Standing, day: int) -> str | None:
    if not standing.shares_from <= day < standing.ended_on:
        return "is not covered on the first day of the freeze"
    frozen = standing.frozen_from < standing.frozen_to
    if frozen and day != standing.frozen_from and day <= standing.frozen_to:
        end = "further notice" if standing.frozen_to == NEVER else date_of(standing.frozen_to)
        return (
            f"is frozen from {date_of(standing.frozen_from)} until {end}; "
            "give that first day again to move its end, or a first day after it"
        )
    return None
