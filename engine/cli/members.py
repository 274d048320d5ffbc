"""`fentan member`: show, top-up, owed, return, sweep, levy, link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.answer import print_json
from engine.cli.options import As, iso_day
from engine.cli.shell import in_database
from engine.members.deposits import TakenTopUps, take_top_ups
from engine.members.levies import levy
from engine.members.member import Member, member_of
from engine.members.returning import Owed, come_back, owed
from engine.members.share_links import make_link
from engine.members.sweep import Swept, sweep
from engine.money import grouped, in_major, to_major, to_minor
from engine.plans import PlanRules
from engine.roster.plan import Plan, lock_living, plan_or_only, rules_of
from engine.settings import Settings
from engine.store.audit import record

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Members between runs: balances, freezes, returns, exits, levies.")


MemberRef = Annotated[str, typer.Argument(metavar="REF", help="The member's reference in the roster.")]
PlanOrOnly = Annotated[
    str | None, typer.Option("--plan", metavar="CODE", help="The plan. [default: the only one there is]")
]
On = Annotated[
    date | None,
    typer.Option("--on", metavar="DATE", parser=iso_day, help="The day it counts from. [default: today, in its zone]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; money is text in major units.")]


@app.command()
def show(ref: MemberRef, plan: PlanOrOnly = None, on: On = None, as_json: AsJson = False) -> None:
    """Show a member: seat, tier, cover, freeze, balance, what they owe, and who pays for whom."""

    async def read(connection: AsyncConnection, found: Plan, rules: PlanRules, day: date) -> Member:
        return await member_of(connection, found, rules, ref, on=day)

    member = _committed(plan, on, read)
    if as_json:
        others = {"payer": member.payer and member.payer.ref, "pays_for": [each.ref for each in member.pays_for]}
        print_json(in_major(asdict(member)) | others)
        return
    for line in _lines(member):
        print(line)


@app.command("top-up")
def top_up(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .csv file.")],
    actor: As,
    plan: PlanOrOnly = None,
) -> None:
    """Add what members paid in: member_ref, amount, paid_on, and if you like payer_ref, who paid."""

    async def taken(connection: AsyncConnection, found: Plan, _rules: PlanRules, day: date) -> TakenTopUps:
        return await take_top_ups(connection, found, file, on=day, actor=actor)

    result = _committed(plan, None, taken)
    if result.repeated:
        print(f"{file.name}: {result.top_ups:,} top-ups already taken, nothing changed")
    else:
        print(f"{file.name}: {result.top_ups:,} top-ups taken, {grouped(result.amount_minor)} together")


@app.command("owed")
def show_owed(ref: MemberRef, plan: PlanOrOnly = None, on: On = None, as_json: AsJson = False) -> None:
    """Say what it costs a frozen member to return: the shares missed, and the floor."""

    async def read(connection: AsyncConnection, found: Plan, rules: PlanRules, day: date) -> Owed:
        return await owed(connection, found, rules, ref, on=day)

    cost = _committed(plan, on, read)
    if as_json:
        runs = [{"run": run_id, "share": to_major(minor)} for run_id, minor in cost.missed.items()]
        fields = asdict(cost) | {"missed_minor": cost.missed_minor, "needed_minor": cost.needed_minor}
        del fields["missed"]
        print_json(in_major({"member": ref} | fields | {"runs": runs}))
        return
    print(
        f"{ref} is frozen since {cost.frozen_from} and can return until {cost.return_by}\n"
        f"shares missed in {len(cost.missed):,} runs: {grouped(cost.missed_minor)}; "
        f"balance {grouped(cost.balance_minor)}; to be left: {grouped(cost.floor_minor)} or more\n"
        f"to pay in: {grouped(cost.needed_minor)} or more"
    )


@app.command("return")
def return_member(
    ref: MemberRef,
    amount: Annotated[str, typer.Option(metavar="AMOUNT", help="What the member pays in.")],
    actor: As,
    plan: PlanOrOnly = None,
    on: On = None,
) -> None:
    """Let a frozen member return: the shares missed are paid from what they pay in, and the freeze ends."""

    async def returned(connection: AsyncConnection, found: Plan, rules: PlanRules, day: date) -> str:
        made = await come_back(connection, found, rules, ref, to_minor(amount), on=day, actor=actor)
        return (
            f"{ref} is back from {day} on: paid in {grouped(made.paid_minor)}, "
            f"{grouped(made.missed_minor)} of it for shares missed; balance {grouped(made.balance_minor)}"
        )

    print(_committed(plan, on, returned))


@app.command("sweep")
def sweep_plan(actor: As, plan: PlanOrOnly = None, on: On = None) -> None:
    """Apply every exit, freeze and refund rule due by a day; a run does so by itself when it freezes."""

    async def swept(connection: AsyncConnection, found: Plan, rules: PlanRules, day: date) -> str:
        await lock_living(connection, found.plan_id)
        result = await sweep(connection, found.plan_id, rules, on=day)
        await record(connection, actor, "sweep", f"plan:{found.code}", asdict(result) | {"on": str(day)})
        return _said(found.code, day, result)

    print(_committed(plan, on, swept))


@app.command("levy")
def charge_levy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The levy, as the plan names it.")],
    actor: As,
    plan: PlanOrOnly = None,
    on: On = None,
) -> None:
    """Charge a levy of the plan to every member who owes it by a day."""

    async def levied(connection: AsyncConnection, found: Plan, rules: PlanRules, day: date) -> str:
        made = await levy(connection, found, rules, name, on=day, actor=actor)
        if made.repeated:
            return f"{found.code}: {name} was charged before, nothing changed"
        short = f"; {made.short:,} balances lacked {grouped(made.short_minor)}" if made.short else ""
        return f"{found.code}: {name} charged to {made.seats:,} members, {grouped(made.amount_minor)} together{short}"

    print(_committed(plan, on, levied))


@app.command("link")
def link(ref: MemberRef, actor: As, plan: PlanOrOnly = None) -> None:
    """Print a link that shows a member their own shares: good for one use, for 15 minutes, behind the API's address."""

    async def made(connection: AsyncConnection, found: Plan, _rules: PlanRules, _day: date) -> str:
        return await make_link(connection, found, ref, now=datetime.now(UTC), actor=actor)

    print(_committed(plan, None, made))


def _committed(
    code: str | None, on: date | None, step: Callable[[AsyncConnection, Plan, PlanRules, date], Awaitable[T]]
) -> T:
    """Take `step` for the plan in one transaction, on the day given or on today's in the plan's zone."""

    async def in_transaction(engine: AsyncEngine, _settings: Settings) -> T:
        async with engine.begin() as connection:
            plan = await plan_or_only(connection, code)
            rules = await rules_of(connection, plan.plan_id, plan.version)
            day = on or datetime.now(ZoneInfo(rules.time_zone)).date()
            return await step(connection, plan, rules, day)

    return in_database(in_transaction)


def _said(code: str, on: date, swept: Swept) -> str:
    done = [
        f"{count:,} {what}"
        for count, what in (
            (swept.aged, "left at the plan's age"),
            (swept.aided, "left after receiving aid"),
            (swept.lapsed, "left after not returning"),
            (swept.frozen, "frozen below the floor"),
            (swept.refunded, f"owed back {grouped(swept.refunded_minor)}"),
        )
        if count
    ]
    return f"{code}, {on}: {', '.join(done) or 'no rule was due'}"


def _lines(member: Member) -> list[str]:
    ends = f"until before {member.ends_on}" if member.ends_on else "without end"
    force = "in force" if member.in_force else "not in force"
    lines = [
        f"{member.member} of {member.plan}: seat {member.seat:,}, spell {member.spell}, tier {member.tier}",
        f"shares from {member.shares_from}, claims from {member.claims_from}, {ends}; {force}",
    ]
    if member.frozen_from:
        until = f"until before {member.frozen_until}" if member.frozen_until else "until further notice"
        lines.append(f"frozen since {member.frozen_from}, {until}")
    if member.balance_minor is not None:
        lines.append(f"balance {grouped(member.balance_minor)}")
    if member.owed_minor:
        lines.append(f"owes {grouped(member.owed_minor)}")
    if member.refund_minor:
        lines.append(f"is owed back {grouped(member.refund_minor)}")
    if member.payer:
        lines.append(f"{member.payer.ref} pays the shares")
    if member.pays_for:
        lines.append(f"pays the shares of {', '.join(each.ref for each in member.pays_for)}")
    return lines
