"""Custodians: who holds the plans' money, what they take and send back, and a day with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from engine.access.roles import EVERYONE, FINANCE, SCHEDULERS
from engine.api.days import happened_on
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Id, Model, Page, Paged, Reasoned
from engine.api.jobs import JobView, asked
from engine.api.service import Call
from engine.custodian.profile import Meaning, Profile, Retry, load, presets
from engine.custodian.registered import Custodian, assign, custodian_of, list_custodians, plan_codes, register
from engine.errors import InvalidInput, NotFound
from engine.jobs.job import Kind
from engine.reconcile.proof import coverage_of
from engine.reconcile.sending import withdraw
from engine.roster.plan import newest_rules, plan_of
from engine.runs.run import load_run

endpoints = Endpoints("custodians", "Who holds the plans' money: what each takes and sends back, and a day with it.")

MISSING_SHOWN = 366


class OfCustodian(Model):
    """One custodian."""

    custodian: Code


class OfSealedRun(Model):
    """One run."""

    run_id: Id


class SomeCustodians(Paged):
    """Which custodians."""

    after: Code | None = None


class NewCustodian(Model):
    """A custodian by its code, one of those that come with Fentan (config/custodians)."""

    custodian: Code


class HeldPlan(Reasoned):
    """The plan whose money it holds."""

    plan: Code


class AsOn(Model):
    """As if it were a day; without one it is now."""

    on: Day | None = None


class Withdrawal(AsOn, Reasoned):
    """Which files to withdraw. `not_there`: also those whose sending broke off, which the custodian says it has not."""

    not_there: bool = False


class Withdrawn(Model):
    """How many files were withdrawn, whose debits are asked for anew."""

    files: int


class FileLimits(Model):
    """What one file holds at most, and when it must be there: by `cut_off`, so many business days before its day."""

    max_items_per_file: int
    max_bytes: int
    files_per_hour: int
    cut_off: str
    lead_days: int


class ReasonView(Model):
    """What a code of the custodian's means, and whether the same debit may be asked for again."""

    means: Meaning
    retry: Retry


class CustodianView(Model):
    """A custodian as it is registered. `books_from`: of its statements the one that books, all others only inform.

    `reached_by`: how files go there. `in_transit_days`: business days until a debit that is on no statement is missing.
    """

    custodian: str
    name: str
    currency: str
    time_zone: str
    plans: list[str]
    debits: str
    payouts: str | None
    limits: FileLimits
    statements: list[str]
    books_from: str
    booking: str
    in_transit_days: int
    payer_known_by: str
    reached_by: str
    reasons: Mapping[str, ReasonView]


class CoverageView(Model):
    """Which days the statements that were taken speak of. `missing`: the first of those that none does.

    `parked`: statements that post nothing and that nothing explains yet.
    """

    custodian: str
    first_on: Day | None
    last_on: Day | None
    days_missing: int
    missing: list[Day]
    parked: int


def _view(custodian: Custodian, plans: Mapping[int, str]) -> CustodianView:
    known = custodian.profile
    return CustodianView(
        custodian=known.code,
        name=known.name,
        currency=known.currency,
        time_zone=known.time_zone,
        plans=[plans[plan_id] for plan_id in custodian.plans],
        debits=known.debits.format,
        payouts=_pays_by(known),
        limits=FileLimits(**known.limits.model_dump() | {"cut_off": f"{known.limits.cut_off:%H:%M}"}),
        statements=list(known.statements),
        books_from=known.books_from,
        booking=known.booking.value,
        in_transit_days=known.in_transit_days,
        payer_known_by=known.payer_known_by,
        reached_by=known.transport.kind,
        reasons={code: ReasonView(means=each.means, retry=each.retry) for code, each in known.reasons.items()},
    )


def _pays_by(known: Profile) -> str | None:
    try:
        return known.pays_by.format
    except InvalidInput:
        return None


@endpoints.get("/custodians", EVERYONE)
async def list_of_custodians(call: Call, params: SomeCustodians) -> Page[CustodianView]:
    """The custodians that are registered, by their codes."""
    found = await list_custodians(call.connection, after=params.after or "", limit=params.limit + 1)
    plans = await plan_codes(call.connection)
    return call.page(found, params.limit, lambda each: _view(each, plans), lambda each: each.code)


@endpoints.get("/custodians/{custodian}", EVERYONE)
async def show_custodian(call: Call, params: OfCustodian) -> CustodianView:
    """What a custodian takes and sends back, and whose money it holds."""
    return _view(await custodian_of(call.connection, params.custodian), await plan_codes(call.connection))


@endpoints.get("/custodians/{custodian}/coverage", EVERYONE)
async def show_coverage(call: Call, params: OfCustodian) -> CoverageView:
    """Which days a custodian's statements speak of until today, and which are missing: none before it is over."""
    custodian = await custodian_of(call.connection, params.custodian)
    today = call.today(custodian.profile.time_zone)
    found = await coverage_of(call.connection, custodian, today)
    missing = [day for day in found.missing if day < today]
    return CoverageView(
        custodian=custodian.code,
        first_on=found.first_on,
        last_on=found.last_on,
        days_missing=len(missing),
        missing=missing[:MISSING_SHOWN],
        parked=found.parked,
    )


@endpoints.post("/custodians", FINANCE, status=201, moves_money=True)
async def register_custodian(call: Call, body: NewCustodian) -> CustodianView:
    """Make a custodian known, or take its profile as it is now."""
    if body.custodian not in presets():
        raise NotFound(f"no profile of {body.custodian} comes with Fentan; there are: {', '.join(presets())}")
    custodian = await register(call.connection, load(body.custodian), actor=call.actor)
    call.created(f"/v1/custodians/{custodian.code}")
    return _view(custodian, await plan_codes(call.connection))


@endpoints.post("/custodians/{custodian}/assign", FINANCE, moves_money=True, changes=show_custodian)
async def assign_plan(call: Call, params: OfCustodian, body: HeldPlan) -> CustodianView:
    """Let a custodian hold a plan's money, for good."""
    plan = await plan_of(call.connection, body.plan)
    await assign(call.connection, params.custodian, plan.plan_id, actor=call.actor, reason=body.reason)
    return await show_custodian(call, params)


@endpoints.post("/custodians/{custodian}/day", FINANCE, status=202, moves_money=True)
async def play_custodian_day(call: Call, params: OfCustodian, body: AsOn) -> JobView:
    """A custodian's whole day: take what it sent, ask again or end who does not pay, send what waits; a worker does it.

    The same day again goes on where it was.
    """
    return await _with_custodian(call, params, Kind.DAY, body.on)


@endpoints.post("/custodians/{custodian}/send", FINANCE, status=202, moves_money=True)
async def send_files(call: Call, params: OfCustodian, body: AsOn) -> JobView:
    """Send the files that wait, as many as the custodian takes now; workers also do it by themselves."""
    return await _with_custodian(call, params, Kind.SEND, body.on)


async def _with_custodian(call: Call, params: OfCustodian, kind: Kind, on: date | None) -> JobView:
    custodian = await custodian_of(call.connection, params.custodian)
    detail = {"custodian": custodian.code, **said_on(call, custodian.profile.time_zone, on)}
    return await asked(call, kind, f"custodian:{custodian.code}", detail)


def said_on(call: Call, time_zone: str, on: date | None) -> dict[str, Any]:
    """The day a job is done as on, where the request says one. Raises InvalidInput for one that is still to come."""
    return {} if on is None else {"on": happened_on(call, time_zone, on).isoformat()}


@endpoints.post("/runs/{run_id}/instruct", SCHEDULERS | FINANCE, status=202, moves_money=True)
async def instruct_run(call: Call, params: OfSealedRun, body: AsOn) -> JobView:
    """Write the files that ask for what members owe for a sealed run; a worker does it, and they are sent in time."""
    run = await load_run(call.connection, params.run_id)
    zone = (await newest_rules(call.connection, run.plan_id)).time_zone
    return await asked(call, Kind.INSTRUCT, run.name, {"run_id": run.run_id, **said_on(call, zone, body.on)})


@endpoints.post("/custodians/{custodian}/withdraw", FINANCE, moves_money=True)
async def withdraw_files(call: Call, params: OfCustodian, body: Withdrawal) -> Withdrawn:
    """Withdraw the files that missed their cut-off, so that their debits are asked for anew."""
    custodian = await custodian_of(call.connection, params.custodian)
    zone = ZoneInfo(custodian.profile.time_zone)
    now = call.now
    if body.on is not None:
        now = datetime.combine(happened_on(call, zone.key, body.on), time(), zone)
    files = await withdraw(
        call.connection, custodian, now=now, actor=call.actor, not_there=body.not_there, reason=body.reason
    )
    return Withdrawn(files=files)
