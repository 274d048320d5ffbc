"""`fentan claim`: file, publish, object, resolve, pass, reject, withdraw, bill, recover, show, list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date, datetime
from fractions import Fraction
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import claims
from engine.apportion.rate import Rate
from engine.claims import Claim, Decision, Objection, State
from engine.cli.answer import print_json
from engine.cli.options import As, iso_day, not_to_come
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.money import grouped, to_major, to_minor
from engine.plans import Accident, Deduction, PlanRules
from engine.roster.columns import membership_on
from engine.roster.plan import Plan, plan_of, rules_of
from engine.settings import Settings

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Claims: from filing through public notice to the share run.")


ID_MAX, NUMBER_MAX = 2**63 - 1, 2**31 - 1
"""The largest id of a claim and number of an objection that the database can hold."""

ClaimId = Annotated[
    int, typer.Argument(metavar="CLAIM", min=1, max=ID_MAX, help="The claim's id, as `file` and `list` print it.")
]
PlanCode = Annotated[str, typer.Option("--plan", metavar="CODE", help="The plan.")]
On = Annotated[
    date | None,
    typer.Option(
        "--on", metavar="DATE", parser=iso_day, help="The day it counts from; today in the plan's zone unless given."
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record: no medical details.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _rate(text: str) -> Fraction:
    try:
        rate: Fraction = TypeAdapter(Rate).validate_python(text)
    except ValidationError:
        raise InvalidInput(f"--fault-share {text!r}: write it as exact text like 0.7 or 7/10") from None
    return rate


def _deduction(text: str) -> Deduction:
    amount, _, reason = text.partition(":")
    if not reason.strip():
        raise InvalidInput(f'--deduct {text!r}: write AMOUNT:REASON, like "20000:paid by the state"')
    return Deduction(to_minor(amount.strip()), reason.strip())


@app.command("file")
def file_claim(
    plan: PlanCode,
    member: Annotated[str, typer.Option(metavar="REF", help="The member's reference in the roster.")],
    diagnosed_on: Annotated[date, typer.Option(metavar="DATE", parser=iso_day, help="The day of first diagnosis.")],
    actor: As,
    aid: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="A part of the plan's aid for the age; all of it unless given.")
    ] = None,
    severity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the plan's aid goes by it: one of those it names.")
    ] = None,
    award: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Where the plan's aid goes by the fault share: the damage.")
    ] = None,
    fault_share: Annotated[
        Fraction | None, typer.Option(metavar="RATE", parser=_rate, help="The member's part of the fault, like 0.7.")
    ] = None,
    compulsory: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With --award: what compulsory cover pays of it.")
    ] = None,
    third_party: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With --award: what third-party cover pays of it.")
    ] = None,
    deduct: Annotated[
        list[Deduction] | None,
        typer.Option(metavar="AMOUNT:REASON", parser=_deduction, help="Comes off the aid; may be given repeatedly."),
    ] = None,
    on: On = None,
) -> None:
    """File a claim of a member who was covered on the day of diagnosis."""
    accident = _accident(award, fault_share, compulsory, third_party)

    async def filed(connection: AsyncConnection) -> Claim:
        found, rules = await _plan(connection, plan)
        cover = await membership_on(connection, found.plan_id, member, diagnosed_on)
        if cover is None:
            raise InvalidInput(f"--member {member}: no such member of {plan}; check the reference")
        return await claims.file(
            connection,
            found.plan_id,
            rules,
            cover,
            diagnosed_on=diagnosed_on,
            on=on or _today(rules),
            actor=actor,
            aid_minor=None if aid is None else to_minor(aid),
            severity=severity,
            accident=accident,
            deductions=deduct or (),
        )

    _say(_committed(filed))


def _accident(
    award: str | None, fault_share: Fraction | None, compulsory: str | None, third_party: str | None
) -> Accident | None:
    if award is None or fault_share is None:
        if (award, fault_share, compulsory, third_party) != (None,) * 4:
            raise InvalidInput("give --award and --fault-share together; --compulsory and --third-party only with them")
        return None
    return Accident(to_minor(award), fault_share, to_minor(compulsory or "0"), to_minor(third_party or "0"))


@app.command()
def publish(claim: ClaimId, actor: As, on: On = None) -> None:
    """Begin the public notice of a claim, on a notice day of its plan."""

    async def published(connection: AsyncConnection, rules: PlanRules, day: date) -> Claim:
        return await claims.publish(connection, claim, rules, on=day, actor=actor)

    _say(_decided(claim, on, published))


@app.command("object")
def object_to(claim: ClaimId, reason: Reason, actor: As, on: On = None) -> None:
    """Object to a claim while its notice lasts; it does not pass before the objection is resolved."""

    async def objected(connection: AsyncConnection, _rules: PlanRules, day: date) -> Objection:
        return await claims.object_to(connection, claim, reason=reason, on=day, actor=actor)

    print(f"claim {claim}: objection {_decided(claim, on, objected).number} is open")


@app.command()
def resolve(
    claim: ClaimId,
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", min=1, max=NUMBER_MAX, help="The objection, as `show` numbers it.")
    ],
    resolution: Annotated[
        str, typer.Option(metavar="TEXT", help="The answer. If it is upheld, `reject` the claim next.")
    ],
    actor: As,
    on: On = None,
) -> None:
    """Resolve an objection to a claim."""

    async def resolved(connection: AsyncConnection, _rules: PlanRules, day: date) -> Claim:
        return await claims.resolve(connection, claim, number, resolution=resolution, on=day, actor=actor)

    _decided(claim, on, resolved)
    print(f"claim {claim}: objection {number} is resolved")


@app.command("pass")
def pass_claim(
    actor: As,
    claim: Annotated[
        int | None, typer.Argument(metavar="[CLAIM]", min=1, max=ID_MAX, help="One claim; or --due with --plan.")
    ] = None,
    due: Annotated[bool, typer.Option("--due", help="Every claim of --plan that can pass.")] = False,
    plan: Annotated[str | None, typer.Option(metavar="CODE", help="The plan, with --due.")] = None,
    on: On = None,
) -> None:
    """Pass a claim whose notice has ended with no open objection, or all of a plan's that are due."""
    if claim is not None and not due and plan is None:

        async def passes(connection: AsyncConnection, rules: PlanRules, day: date) -> Claim:
            return await claims.pass_(connection, claim, on=not_to_come(day, rules.time_zone), actor=actor)

        _say(_decided(claim, on, passes))
    elif claim is None and due and plan is not None:
        code = plan

        async def passed(connection: AsyncConnection) -> list[int]:
            found, rules = await _plan(connection, code)
            day = not_to_come(on or _today(rules), rules.time_zone)
            return await claims.pass_due(connection, found.plan_id, on=day, actor=actor)

        passed_ids = _committed(passed)
        named = f": claims {', '.join(map(str, passed_ids))}" if passed_ids else ""
        print(f"{code}: {len(passed_ids):,} passed{named}")
    else:
        raise InvalidInput("give either one CLAIM, or --due and --plan CODE")


@app.command()
def reject(claim: ClaimId, reason: Reason, actor: As, on: On = None) -> None:
    """Reject a claim before it passes. Final."""
    _say(_decided(claim, on, lambda c, _, day: claims.reject(c, claim, reason=reason, on=day, actor=actor)))


@app.command()
def withdraw(claim: ClaimId, reason: Reason, actor: As, on: On = None) -> None:
    """Withdraw a claim, from a run too until that is approved. Final; of one shared in part, only what waits."""
    _say(_decided(claim, on, lambda c, _, day: claims.withdraw(c, claim, reason=reason, on=day, actor=actor)))


@app.command()
def bill(
    claim: ClaimId,
    amount: Annotated[str, typer.Option(metavar="AMOUNT", help="The stage: at most what is left of the aid.")],
    actor: As,
    on: On = None,
) -> None:
    """Put the next stage of a claim in, where the plan pays aid as bills come; --on is the notice day of its gate."""

    async def billed(connection: AsyncConnection, rules: PlanRules, day: date) -> Claim:
        return await claims.bill(connection, claim, rules, to_minor(amount), on=day, actor=actor)

    _say(_decided(claim, on, billed))


@app.command()
def recover(
    claim: ClaimId,
    amount: Annotated[str, typer.Option(metavar="AMOUNT", help="What came back: at most what was paid.")],
    reason: Reason,
    actor: As,
    on: On = None,
) -> None:
    """Propose that wrongly paid aid came back; it is posted once somebody else approves."""
    from engine.runs.recovery import propose_recovery

    async def proposed(connection: AsyncConnection, rules: PlanRules, day: date) -> int:
        not_to_come(day, rules.time_zone)
        decision = await propose_recovery(connection, claim, to_minor(amount), reason, on=day, actor=actor)
        return decision.decision_id

    number = _decided(claim, on, proposed)
    print(f"decision {number} waits for somebody else: fentan decision approve {number} --as NAME")


@app.command()
def show(claim: ClaimId, as_json: AsJson = False) -> None:
    """Show a claim, its objections and its history."""

    async def read(connection: AsyncConnection) -> tuple[Claim, list[Objection], list[Decision]]:
        return (
            await claims.claim_of(connection, claim),
            await claims.objections_to(connection, claim),
            await claims.history(connection, claim),
        )

    found, objections, history = _committed(read)
    if as_json:
        detailed = {"objections": [asdict(each) for each in objections], "history": [asdict(each) for each in history]}
        print_json(_plain(found) | detailed)
        return
    _say(found)
    print(f"  diagnosed {found.diagnosed_on}, filed {found.filed_on}, seat {found.seat:,}")
    if objections:
        _print_table(
            ("objection", "raised", "reason", "resolved", "resolution"),
            [(o.number, o.raised_on, o.reason, o.resolved_on or "open", o.resolution or "") for o in objections],
        )
    _print_table(
        ("event", "on", "by", "detail"),
        [(h.event, h.happened_on, h.actor, ", ".join(f"{k} {_told(v)}" for k, v in h.detail.items())) for h in history],
    )


@app.command("list")
def list_claims(
    plan: PlanCode,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a plan's claims in filing order."""

    async def read(connection: AsyncConnection) -> list[Claim]:
        found = await plan_of(connection, plan)
        return await claims.claims_of(connection, found.plan_id, tuple(State) if state is None else (state,))

    found = _committed(read)
    if as_json:
        print_json([_plain(claim) for claim in found])
        return
    _print_table(
        ("claim", "number", "state", "aid", "shared", "left", "filed", "notice", "ends", "run"),
        [
            (c.claim_id, c.number, c.state)
            + tuple(map(grouped, (c.aid_minor, c.shared_minor, c.aid_minor - c.shared_minor)))
            + (c.filed_on,)
            + ((c.notice.notice_on, c.notice.ends_on) if c.notice else ("", ""))
            + (c.run_id or "",)
            for c in found
        ],
        right=("claim", "number", "aid", "shared", "left", "run"),
    )
    print(f"listed: {len(found):,}, aid together {grouped(sum(claim.aid_minor for claim in found))}")


def _committed(command: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async def in_transaction(engine: AsyncEngine, _settings: Settings) -> T:
        async with engine.begin() as connection:
            return await command(connection)

    return in_database(in_transaction)


def _decided(claim_id: int, on: date | None, step: Callable[[AsyncConnection, PlanRules, date], Awaitable[T]]) -> T:
    """Take `step` on the day given, or on today's in the zone of the claim's plan."""

    async def command(connection: AsyncConnection) -> T:
        claim = await claims.claim_of(connection, claim_id)
        _, rules = await _plan(connection, claim.plan_code)
        return await step(connection, rules, on or _today(rules))

    return _committed(command)


async def _plan(connection: AsyncConnection, code: str) -> tuple[Plan, PlanRules]:
    plan = await plan_of(connection, code)
    return plan, await rules_of(connection, plan.plan_id, plan.version)


def _today(rules: PlanRules) -> date:
    return datetime.now(ZoneInfo(rules.time_zone)).date()


def _say(claim: Claim) -> None:
    notice = f", notice from {claim.notice.notice_on} until before {claim.notice.ends_on}" if claim.notice else ""
    run = f", in run {claim.run_id}" if claim.run_id else ""
    print(
        f"claim {claim.claim_id} (number {claim.number} of {claim.plan_code}): {claim.state}, "
        f"aid {grouped(claim.aid_minor)}{notice}{run}"
    )
    if claim.shared_minor or claim.unbilled_minor:
        gate = f" with the notice of {claim.stage_on}" if claim.stage_on and claim.next_minor else ""
        came_back = f", came back {grouped(claim.recovered_minor)}" if claim.recovered_minor else ""
        print(
            f"  shared {grouped(claim.shared_minor)}, next {grouped(claim.next_minor)}{gate}, "
            f"left for bills {grouped(claim.unbilled_minor)}{came_back}"
        )


def _told(value: str | int | list[str]) -> str:
    return "; ".join(value) if isinstance(value, list) else str(value)


def _plain(claim: Claim) -> dict[str, Any]:
    """The claim as JSON keys, money as text in major units."""
    fields = asdict(claim)
    notice_on, ends_on = fields.pop("notice") or (None, None)
    amounts = {name.removesuffix("_minor"): to_major(fields.pop(name)) for name in list(fields) if "_minor" in name}
    stages = {"next": to_major(claim.next_minor), "left": to_major(claim.aid_minor - claim.shared_minor)}
    return fields | amounts | stages | {"notice_on": notice_on, "notice_ends_on": ends_on}


def _print_table(columns: tuple[str, ...], rows: list[tuple[object, ...]], right: tuple[str, ...] = ()) -> None:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*map(str, row))
    # People wrote some of these texts: brackets in them are brackets.
    Console(markup=False, emoji=False, highlight=False).print(table)
