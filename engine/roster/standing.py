"""What a member's seat says now, and which changes it can take: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.plans import NEVER, date_of
from engine.roster.changes import Kind
from engine.roster.columns import ALONE


class Change(NamedTuple):
    """One line of a file of changes. Days are day numbers; `until_day` is NEVER when the file gives none.

    `payer_ref`: who is to pay, None for the member; `payer`: that member's seat, once it is known.
    """

    line: int
    kind: Kind
    member_ref: str
    from_day: int
    until_day: int
    born_on: int
    tier: int
    payer_ref: str | None = None
    payer: int = ALONE


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's last seat with every change so far in it; days are day numbers, (0, 0) is not frozen.

    `tier`: the last that was chosen, which weighs from `tier_from` on (0: the one of joining, from the first day on).
    """

    shard_id: int
    seat: int
    spell: int
    shares_from: int
    ended_on: int = NEVER
    frozen_from: int = 0
    frozen_to: int = 0
    tier: int = 0
    tier_from: int = 0
    payer: int = ALONE

    def after(self, change: Change) -> Standing:
        """What the seat says once it took a change that nothing refused; of a tier, `from_day` is when it weighs."""
        match change.kind:
            case Kind.EXIT:
                return replace(self, ended_on=change.from_day)
            case Kind.TIER:
                return replace(self, tier=change.tier, tier_from=change.from_day)
            case Kind.PAYER:
                return replace(self, payer=change.payer)
            case Kind.FREEZE | Kind.JOIN:
                return replace(self, frozen_from=change.from_day, frozen_to=change.until_day)

    def covers(self, day: int) -> bool:
        """Whether it is a membership on the day, frozen or not."""
        return self.shares_from <= day < self.ended_on


def refusal(standing: Standing | None, change: Change) -> str | None:
    """Why a member of this standing (None: never joined) cannot take the change; None when nothing speaks against it.

    A join needs the seat before to have ended. An exit comes after the join, and sooner than an exit before it. Of a
    seat one freeze is kept: giving its first day again moves its end (so a freeze without end is ended), one that
    begins after its end takes its place, any other is refused. Another tier can be chosen once the one before weighs.
    """
    day = change.from_day
    match change.kind:
        case Kind.JOIN:
            return _join_refusal(standing, day)
        case _ if standing is None:
            return "is no member of the plan"
        case Kind.EXIT:
            return _exit_refusal(standing, day)
        case Kind.FREEZE:
            return _freeze_refusal(standing, day)
        case Kind.TIER:
            return _tier_refusal(standing, change)
        case Kind.PAYER:
            return _own_refusal(standing, change)


def payer_refusal(payer: Standing | None, change: Change) -> str | None:
    """Why who is named (None: never joined) cannot pay for the member; None when nothing speaks against it.

    A payer is in force and pays for themself, so that there is one account to debit and no chain of them.
    """
    if change.payer_ref == change.member_ref:
        return "is the member; leave it empty, so that the member pays"
    if payer is None:
        return "is no member of the plan"
    if not payer.covers(change.from_day):
        return f"is not covered on {date_of(change.from_day)}; a payer is a member in force"
    if payer.payer != ALONE:
        return "is paid for by another; name somebody who pays for themself"
    return None


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
    if not standing.covers(day):
        return "is not covered on the first day of the freeze"
    frozen = standing.frozen_from < standing.frozen_to
    if frozen and day != standing.frozen_from and day <= standing.frozen_to:
        end = "further notice" if standing.frozen_to == NEVER else date_of(standing.frozen_to)
        return (
            f"is frozen from {date_of(standing.frozen_from)} until {end}; "
            "give that first day again to move its end, or a first day after it"
        )
    return None


def _tier_refusal(standing: Standing, change: Change) -> str | None:
    if not standing.covers(change.from_day):
        return "is not covered on the day it was asked"
    if change.tier == standing.tier:
        return f"is in tier {change.tier} already, or chose it last"
    if change.from_day < standing.tier_from:
        return f"chose tier {standing.tier}, which weighs from {date_of(standing.tier_from)}; choose again from then on"
    return None


def _own_refusal(standing: Standing, change: Change) -> str | None:
    if not standing.covers(change.from_day):
        return "is not covered on the day it was asked"
    if change.payer_ref is None and standing.payer == ALONE:
        return "pays for themself already"
    return None
