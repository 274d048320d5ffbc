"""Breaks: the queue that finance works off, some of them chosen to be settled together, and one with all about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field

from engine.access.roles import EVERYONE
from engine.api.break_views import BreakView, Dossier, Suggestions
from engine.api.breaks import (
    AgeBand,
    OfBreak,
    QueueFilter,
    QueuePage,
    SomeBreaks,
    count_of_breaks,
    list_of_belonging,
    list_of_breaks,
    severities_of_breaks,
    show_break,
    suggest_matches,
)
from engine.api.custodians import SomeCustodians, list_of_custodians
from engine.api.fields import LIMIT_MAX, Id, Model
from engine.console.language import N_
from engine.console.matching import Match, matched
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit
from engine.custodian.actions import Action, actions_for
from engine.custodian.breaks import Code, SeverityName, State
from engine.errors import FentanError
from engine.money import to_major

pages = Pages("/finance")

ABOUT: Mapping[Action, str] = {
    Action.ASK_AGAIN: N_("The money is not with the custodian and is still owed: it is asked for, or paid, again."),
    Action.ACCEPT: N_("What the custodian booked stands, though it is not what was asked."),
    Action.GIVE_BACK: N_("The money belongs to a seat that does not owe it: it goes back with the next refunds."),
    Action.WRITE_OFF: N_("The money, or the debt, is given up: a bad debt, or recovered from one."),
    Action.EXPLAIN: N_("There is nothing to post: no money is on suspense, or all of it together comes to nothing."),
    Action.MATCH: N_("The line is in truth about the instruction of a seat that you name."),
}
"""What an action does, for who chooses one."""

_FREE = (State.OPEN, State.ASSIGNED)
_SHOWN_MAX = 100


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ByNumber(Model):
    """Breaks that were ticked."""

    ids: Annotated[tuple[Id, ...], Field(max_length=LIMIT_MAX), BeforeValidator(_listed)] = ()


class Matching(OfBreak):
    """One break, and what is chosen to settle it with: other breaks, and a debit as `run-seat`."""

    also: Annotated[tuple[Id, ...], Field(max_length=LIMIT_MAX), BeforeValidator(_listed)] = ()
    debit: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,17}-[0-9]{1,10}$")] = None


@pages.get("/finance/breaks", EVERYONE)
async def queue(visit: Visit, params: QueuePage) -> Shown:
    """The queue, and how much of it is how bad."""
    found = await list_of_breaks(visit.call, params)
    chosen = SomeBreaks(**params.model_dump(exclude={"after", "limit"}))
    weighed = await severities_of_breaks(visit.call, chosen.model_copy(update={"severity": None}))
    numbers, suspense = Counter[SeverityName](), Counter[SeverityName]()
    for each in weighed.items:
        numbers[each.severity] += each.number
        suspense[each.severity] += each.suspense
    counts = (await count_of_breaks(visit.call, chosen)).counts
    custodians = await list_of_custodians(visit.call, SomeCustodians(limit=LIMIT_MAX))
    return Shown(
        "finance/breaks.html",
        {
            "breaks": shown(found),
            "minor": {each.break_id: each.amount for each in found.items},
            "severities": [(each, numbers[each], to_major(suspense[each])) for each in reversed(SeverityName)],
            "number": sum(each.number for each in counts),
            "free": sum(each.number for each in counts if each.state in _FREE),
            "filter": params.model_dump(mode="json", exclude={"after", "limit", "ids"}),
            "filtered": _query(chosen),
            "is_first": params.after is None,
            "custodians": [(each.custodian, each.name) for each in custodians.items],
            "codes": list(Code),
            "states": list(State),
            "ages": [(each.value, str(each.age)) for each in AgeBand],
        },
    )


@pages.get("/finance/breaks/chosen", EVERYONE)
async def chosen_breaks(visit: Visit, params: ByNumber) -> Shown:
    """Breaks that were ticked, what they come to, and what can be done about all of them at once."""
    if not params.ids:
        return await _together(visit, [], [], {})
    ids = ",".join(map(str, sorted(set(params.ids))))
    found = await list_of_breaks(visit.call, QueuePage(ids=ids, limit=LIMIT_MAX))
    free = [each.break_id for each in found.items if each.state in _FREE]
    chosen = SomeBreaks(ids=",".join(map(str, free))) if free else None
    return await _together(visit, found.items, [] if chosen is None else [chosen], {"ids": free})


@pages.get("/finance/breaks/matching", EVERYONE)
async def matching_breaks(visit: Visit, params: QueueFilter) -> Shown:
    """The same of all to which a filter applies: the first of them are shown, and all are counted."""
    found = await list_of_breaks(visit.call, QueuePage(**params.model_dump(), limit=_SHOWN_MAX))
    matching = params.model_dump(mode="json", exclude_none=True)
    return await _together(visit, found.items, [SomeBreaks(**params.model_dump())], {"matching": matching})


async def _together(
    visit: Visit, listed: Sequence[BreakView], chosen: Sequence[SomeBreaks], breaks: Mapping[str, object]
) -> Shown:
    """`breaks`: as the API's operations on selections name them."""
    counts = [each for one in chosen for each in (await count_of_breaks(visit.call, one)).counts]
    free = [each for each in counts if each.state in _FREE]
    return Shown(
        "finance/break_chosen.html",
        {
            "breaks": [shown(each) for each in listed],
            "counts": [shown(each) for each in counts],
            "number": sum(each.number for each in counts),
            "free": sum(each.number for each in free),
            "amount": to_major(sum(each.amount for each in free)),
            "suspense": to_major(sum(each.suspense for each in free)),
            "named": json.dumps(breaks),
            "matching": breaks.get("matching"),
            "choices": _choices(each.code for each in free),
        },
    )


@pages.get("/finance/breaks/{break_id}", EVERYONE)
async def one_break(visit: Visit, params: Matching) -> Shown:
    """Everything about one break, and what it could be settled with, the two sides beside each other."""
    found = await show_break(visit.call, OfBreak(break_id=params.break_id))
    (listed,) = (await list_of_breaks(visit.call, QueuePage(ids=str(params.break_id), limit=1))).items
    others, suggested, failed = list[BreakView](), None, None
    if found.state in _FREE:
        others = (await list_of_belonging(visit.call, params)).items
        suggested, failed = await _suggested(visit, found)
    match = matched(found, others, suggested, also=params.also, debit=params.debit)
    choices = _choices([found.code, *(each.code for each in others if each.break_id in params.also)])
    return Shown(
        "finance/break.html",
        {
            "view": found,
            "break": shown(found),
            "listed": shown(listed),
            "is_free": found.state in _FREE,
            "match": match,
            "failed": failed,
            "choices": choices,
            "likely": _likely(match, [each for each, _ in choices]),
            "named": json.dumps({"ids": match.ids}),
            # How bad it is today goes by the custodian's calendar, as the list does.
            "worse": [shown(each) for each in found.worsening if each.severity.severity > listed.severity.severity],
        },
    )


async def _suggested(visit: Visit, found: Dossier) -> tuple[Suggestions | None, str | None]:
    """What its line might be; or why nobody can tell: accounts that no key opens must not hide the break."""
    if Action.MATCH not in found.actions:
        return None, None
    try:
        return await suggest_matches(visit.call, OfBreak(break_id=found.break_id)), None
    except FentanError as error:
        return None, str(error)


def _choices(codes: Iterable[Code]) -> list[tuple[Action, str]]:
    """What can be done about breaks of all these codes, and what that means."""
    possible = [set(actions_for(code)) for code in set(codes)]
    return [(action, ABOUT[action]) for action in Action if possible and all(action in each for each in possible)]


def _likely(match: Match, choices: Sequence[Action]) -> Action | None:
    """What is probably meant by what is chosen."""
    meant = Action.MATCH if match.debit else Action.EXPLAIN if match.also and not match.left_minor else None
    return meant if meant in choices else None


def _query(chosen: SomeBreaks) -> str:
    return urlencode(chosen.model_dump(mode="json", exclude_none=True))
