"""`fentan reconcile`: what the custodian says that the books do not explain, and who settles it how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.access.names import actor_name
from engine.cli import money_out, proofs, suggested
from engine.cli.answer import print_json
from engine.cli.break_tables import dossier_as_json, print_dossier, print_queue, queue_as_json
from engine.cli.options import As, iso_day
from engine.cli.shell import in_database
from engine.custodian.actions import Action
from engine.custodian.aging import AGES, Age
from engine.custodian.break_rows import Break, Counted, Selection, count_breaks, list_breaks
from engine.custodian.breaks import Code, SeverityName, State
from engine.custodian.registered import Custodian, custodian_of, list_custodians
from engine.decisions import Decision
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, grouped
from engine.reconcile import breaks as handling
from engine.reconcile.dossier import dossier_of
from engine.reconcile.effects import Target
from engine.reconcile.locking import propose_lock
from engine.reconcile.resolving import plan_of_target, propose_resolution
from engine.roster.columns import membership_on
from engine.roster.plan import plan_of
from engine.settings import Settings

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Breaks between the books and the custodian's statements: queue them, resolve them, lock what is done.",
)
app.command()(money_out.pay)
app.command()(money_out.refund)
app.command()(money_out.close)
app.command()(proofs.show)
app.command()(proofs.proof)
app.command()(proofs.custody)
app.command()(proofs.sponsor)
app.command()(proofs.export)
app.command()(suggested.suggest)
console = Console(markup=False, highlight=False)


def _age(text: str) -> Age:
    known = {str(age).replace(" ", ""): age for age in AGES}
    try:
        return known[text.replace(" ", "")]
    except KeyError:
        raise InvalidInput(f"--age {text}: give one of {', '.join(map(repr, known))}, in business days") from None


Ids = Annotated[list[int], typer.Argument(metavar="ID…", min=1, max=BIGINT_MAX, help="The numbers of breaks.")]
Id = Annotated[int, typer.Argument(metavar="ID", min=1, max=BIGINT_MAX, help="The break's number, as `breaks` has it.")]
OfCustodian = Annotated[str | None, typer.Option("--custodian", metavar="CODE", help="Only this custodian's.")]
OfPlan = Annotated[str | None, typer.Option("--plan", metavar="CODE", help="Only this plan's.")]
OfRun = Annotated[int | None, typer.Option("--run", metavar="RUN", min=1, max=BIGINT_MAX, help="Only this run's.")]
OfCode = Annotated[Code | None, typer.Option("--code", help="Only of this code.")]
On = Annotated[
    date | None,
    typer.Option("--on", metavar="DATE", parser=iso_day, help="As of this day. [default: today, in its zone]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are text in major units.")]
Remark = Annotated[str, typer.Option("--comment", metavar="TEXT", help="What else there is to say: no names.")]


@dataclass(frozen=True)
class Desk:
    """What a command works with: the custodians there are, and the day."""

    connection: AsyncConnection
    custodians: Sequence[Custodian]
    on: date


def _at_desk(
    work: Callable[[Desk], Awaitable[T]], *, on: date | None, custodian: str | None = None, writes: bool = False
) -> T:
    """Do it in one transaction, on `on` or today in the zone of the custodian, or of the first."""

    async def opened(engine: AsyncEngine, _: Settings) -> T:
        async with engine.begin() if writes else engine.connect() as connection:
            custodians = await list_custodians(connection)
            if custodian is not None:
                await custodian_of(connection, custodian)
            zones = [each.profile.time_zone for each in custodians if custodian in (None, each.code)]
            day = on or datetime.now(ZoneInfo(zones[0] if zones else "UTC")).date()
            return await work(Desk(connection, custodians, day))

    return in_database(opened)


async def _plan_id(connection: AsyncConnection, code: str | None) -> int | None:
    return None if code is None else (await plan_of(connection, code)).plan_id


@app.command("breaks")
def breaks_(
    custodian: OfCustodian = None,
    plan: OfPlan = None,
    run: OfRun = None,
    code: OfCode = None,
    state: Annotated[State | None, typer.Option(help="Only in this state. [default: all that are not closed]")] = None,
    severity: Annotated[SeverityName | None, typer.Option(help="Only this bad or worse.")] = None,
    age: Annotated[
        Age | None, typer.Option(metavar="BAND", parser=_age, help="Business days: 0-1, 2-3, 4-7, 8-30 or '>30'.")
    ] = None,
    mine: Annotated[str | None, typer.Option(metavar="NAME", help="Only what is assigned to NAME.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at once.")] = 50,
    after: Annotated[int, typer.Option(metavar="ID", min=0, max=BIGINT_MAX, help="Those after this one.")] = 0,
    on: On = None,
    as_json: AsJson = False,
) -> None:
    """The queue: every break that waits for somebody, and how many there are by code."""
    least = None if severity is None else severity.severity

    async def found(desk: Desk) -> tuple[list[Break], list[Counted]]:
        selection = Selection(
            custodian=custodian,
            plan_id=await _plan_id(desk.connection, plan),
            run_id=run,
            code=code,
            states=() if state is None else (state,),
            assigned_to=mine,
            least=least,
            age=age,
        )
        page = await list_breaks(desk.connection, selection, desk.custodians, on=desk.on, after=after, limit=limit)
        return page, await count_breaks(desk.connection, selection, desk.custodians, on=desk.on)

    page, counts = _at_desk(found, on=on, custodian=custodian)
    if as_json:
        last = page[-1].break_id if len(page) == limit else None
        print_json(queue_as_json(page, counts, last))
        return
    print_queue(console, page, counts)
    if len(page) == limit:
        console.print(f"more with --after {page[-1].break_id}")


@app.command("break")
def break_(number: Id, on: On = None, as_json: AsJson = False) -> None:
    """Everything about one break: its line, where that stands, what was posted, and its history."""
    found = _at_desk(lambda desk: dossier_of(desk.connection, number, on=desk.on), on=on)
    if as_json:
        print_json(dossier_as_json(found))
    else:
        print_dossier(console, found)


@app.command()
def assign(
    ids: Ids,
    to: Annotated[str, typer.Option("--to", metavar="NAME", parser=actor_name, help="Who takes them on.")],
    actor: As,
    on: On = None,
) -> None:
    """Put breaks into one person's hands."""
    number = _at_desk(
        lambda desk: handling.assign(desk.connection, ids, to, on=desk.on, actor=actor), on=on, writes=True
    )
    console.print(f"{_breaks(number)} assigned to {to}")


@app.command()
def comment(
    number: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="For the record: no names.")],
    actor: As,
    on: On = None,
) -> None:
    """Remark on a break; it stays where it stands."""
    _at_desk(lambda desk: handling.comment(desk.connection, number, text, on=desk.on, actor=actor), on=on, writes=True)
    console.print(f"break {number} has your comment")


@app.command()
def resolve(
    action: Annotated[Action, typer.Option("--action", help="What is to be done.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for who approves: no names.")],
    actor: As,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID…]", min=1, max=BIGINT_MAX, help="The numbers of breaks.")
    ] = None,
    custodian: OfCustodian = None,
    plan: OfPlan = None,
    code: OfCode = None,
    run: Annotated[
        int | None, typer.Option(metavar="RUN", min=1, help="Only this run's; with --seat, whose debit it is.")
    ] = None,
    seat: Annotated[int | None, typer.Option(metavar="SEAT", min=0, help="Whose debit or money it is.")] = None,
    member: Annotated[str | None, typer.Option(metavar="REF", help="The same, by the roster's reference.")] = None,
    remark: Remark = "",
    on: On = None,
) -> None:
    """Propose what is done about breaks: those numbered, or all open ones of a code; another approves it."""
    if not ids and code is None:
        raise InvalidInput("say which breaks: their numbers, or --code CODE for all that are open")
    names_seat = seat is not None or member is not None

    async def proposed(desk: Desk) -> Decision:
        connection = desk.connection
        plan_id = await _plan_id(connection, plan)
        target = None
        if names_seat:
            target = await _target(desk, plan_id, run, seat, member)
        selection = Selection(
            ids=tuple(ids or ()),
            custodian=custodian,
            plan_id=None if names_seat else plan_id,
            run_id=None if names_seat else run,
            code=code,
        )
        return await propose_resolution(
            connection, selection, action, reason=reason, comment=remark, target=target, on=desk.on, actor=actor
        )

    _print_proposed(_at_desk(proposed, on=on, custodian=custodian, writes=True))


@app.command()
def lock(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Whose books are locked.")],
    through: Annotated[date, typer.Argument(metavar="DATE", parser=iso_day, help="The last day that is locked.")],
    actor: As,
    on: On = None,
) -> None:
    """Propose that nothing is posted any more on a day or before; another approves it."""

    async def proposed(desk: Desk) -> Decision:
        found = await plan_of(desk.connection, plan)
        return await propose_lock(desk.connection, found, through, on=desk.on, actor=actor)

    _print_proposed(_at_desk(proposed, on=on, writes=True))


async def _target(desk: Desk, plan_id: int | None, run: int | None, seat: int | None, member: str | None) -> Target:
    """The seat that --seat or --member names, of the plan of --run or --plan. Raises InvalidInput."""
    of_plan = await plan_of_target(desk.connection, plan_id, run)
    if member is not None:
        found = await membership_on(desk.connection, of_plan, member, desk.on)
        if found is None:
            raise InvalidInput(f"--member {member}: the plan has no such member; check the reference")
        seat = found.seat
    assert seat is not None
    return Target(of_plan, seat, run)


def _print_proposed(decision: Decision) -> None:
    what = [f"decision {decision.decision_id} proposes the {decision.kind} of {decision.subject}"]
    if number := decision.detail.get("number"):
        suspense = grouped(int(decision.detail["suspense_minor"]))
        what.append(f"{_breaks(number)}: {decision.detail['action']}; {suspense} on suspense")
    console.print("; ".join(what), soft_wrap=True)
    console.print(f"somebody else approves: fentan decision approve {decision.decision_id} --as NAME")


def _breaks(number: int) -> str:
    return f"{number:,} break{'' if number == 1 else 's'}"
