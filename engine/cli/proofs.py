"""`fentan reconcile show`, `proof`, `custody` and `export`: what was reconciled, and the proof that it adds up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.answer import print_json
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, grouped
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.custodian.verdicts import Sum
    from engine.reconcile.custody import Custody
    from engine.reconcile.proof import Proof
    from engine.reconcile.run_outcome import RunOutcome
    from engine.reconcile.sponsor import Sponsor

T = TypeVar("T")

console = Console(markup=False, highlight=False)

RunId = Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGINT_MAX, help="The run's number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; money is text in major units.")]
_DATE = ["%Y-%m-%d"]


def show(run_id: RunId, as_json: AsJson = False) -> None:
    """A run's funnel by count, money and reason, its breaks, its payouts, and what is missing to close it."""
    from engine.reconcile.run_outcome import outcome_of

    found = _reading(lambda connection: outcome_of(connection, run_id))
    if as_json:
        print_json(found.as_json())
    else:
        _print_outcome(found)


def proof(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The custodian's code.")],
    day: Annotated[datetime, typer.Argument(metavar="DATE", formats=_DATE, help="The end of which day.")],
    as_json: AsJson = False,
) -> None:
    """The proof of an account and day: statements, books, and what lies between. Exit 1 if anything does."""
    from engine.custodian.registered import custodian_of
    from engine.reconcile.proof import proof_of

    async def read(connection: AsyncConnection) -> Proof:
        return await proof_of(connection, await custodian_of(connection, account), day.date())

    found = _reading(read)
    if as_json:
        print_json(found.as_json())
    else:
        _print_proof(found)
    if found.difference:
        raise typer.Exit(1)


def custody(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan.")],
    quarter: Annotated[str, typer.Argument(metavar="QUARTER", help="Like 2019Q3.")],
    as_json: AsJson = False,
) -> None:
    """The custody report of a quarter: what came in and went out by kind, and the balance, equal to the books."""
    from engine.reconcile.custody import Quarter, custody_of
    from engine.roster.plan import plan_of

    chosen = Quarter.read(quarter)

    async def read(connection: AsyncConnection) -> Custody:
        return await custody_of(connection, await plan_of(connection, plan), chosen)

    found = _reading(read)
    if as_json:
        print_json(found.as_json())
    else:
        _print_custody(found)


def sponsor(plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan.")], as_json: AsJson = False) -> None:
    """What the plan's sponsor still owes by the books, and the reference that its payments need to be known by."""
    from engine.reconcile.sponsor import sponsor_of
    from engine.roster.plan import plan_of

    async def read(connection: AsyncConnection) -> Sponsor:
        return await sponsor_of(connection, (await plan_of(connection, plan)).plan_id)

    found = _reading(read)
    if as_json:
        print_json(found.as_json())
        return
    owes = f"owes {grouped(found.owed_minor)}" if found.owed_minor >= 0 else f"is owed {grouped(-found.owed_minor)}"
    console.print(f"{found.name} {owes}; what it pays has the reference {found.reference}", soft_wrap=True)


def export(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder, or one with an earlier export.")],
    run_id: Annotated[
        int | None, typer.Argument(metavar="[RUN]", min=1, max=BIGINT_MAX, help="The run's number.")
    ] = None,
    custodian: Annotated[
        str | None, typer.Option(metavar="CODE", help="In place of a run: this custodian's account.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", metavar="DATE", formats=_DATE, help="From this day,")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--through", metavar="DATE", formats=_DATE, help="to this.")] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="csv|xlsx|parquet", help="A table too long for it is Parquet.")
    ] = "csv",
    as_json: AsJson = False,
) -> None:
    """Hand out a run's reconciliation, or an account's over some days, with a manifest of rows, sums and hashes."""
    from engine.custodian.registered import custodian_of
    from engine.reconcile.exports.contents import tables_of_account, tables_of_run
    from engine.reconcile.exports.folder import Format
    from engine.reconcile.exports.folder import export as written

    if format_ not in list(Format):
        raise InvalidInput(f"--format {format_}: give one of {', '.join(Format)}")
    if (run_id is None) == (custodian is None):
        raise InvalidInput("say what to export: a RUN, or --custodian CODE --from DATE --through DATE")
    if custodian is not None and (first is None or last is None or first > last):
        raise InvalidInput("an account is exported over days: give --from DATE and --through DATE, the later one last")

    async def read(connection: AsyncConnection) -> dict[str, Any]:
        if run_id is not None:
            return await written(await tables_of_run(connection, run_id), to, f"run {run_id}", Format(format_))
        assert custodian is not None
        assert first is not None
        assert last is not None
        found = await custodian_of(connection, custodian)
        tables = await tables_of_account(connection, found, first.date(), last.date())
        return await written(tables, to, f"{custodian} from {first.date()} to {last.date()}", Format(format_))

    manifest = _reading(read)
    if as_json:
        print_json(manifest)
        return
    table = _table(f"{manifest['of']}: in {to}", "rows")
    for each in manifest["tables"]:
        table.add_row(f"{each['table']} ({each['file']})", f"{each['rows']:,}")
    console.print(table)


def _reading(command: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What a command reads, all of it as it was at one moment."""

    async def connected(engine: AsyncEngine, _: Settings) -> T:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            return await command(connection)

    return in_database(connected)


def _print_outcome(found: RunOutcome) -> None:
    from engine.reconcile.funnel import PARTS

    console.print(f"run {found.run_id} of {found.plan}: {found.state}, debited on {found.debit_on}")
    funnel = found.funnel
    _print_sums("the debits", {name.replace("_", " "): getattr(funnel, name) for name in PARTS})
    _print_sums("sent so far, and what was refused", {"sent": funnel.sent, "rejected": funnel.rejected})
    if funnel.by_reason:
        _print_sums("returned, by the custodian's code", funnel.by_reason)
    if found.payouts:
        _print_sums("payouts of the aid", {state.name.lower(): total for state, total in found.payouts.items()})
    if found.breaks:
        table = _table("breaks", "found", "unresolved", "amount")
        for code, each in found.breaks.items():
            table.add_row(code, f"{each.found:,}", f"{each.unresolved:,}", grouped(each.amount_minor))
        console.print(table)
    if found.missing:
        console.print("to be done before it can be closed:")
        for missing in found.missing:
            console.print(f"- {missing.text}")


def _print_proof(found: Proof) -> None:
    table = _table(f"{found.account} on {found.on}", "amount")
    for name in ("opening", "credits"):
        table.add_row(name, grouped(getattr(found, name)))
    table.add_row("debits", grouped(-found.debits))
    table.add_row("closing, by the statements", grouped(found.closing), end_section=True)
    explained = {
        "entered by hand, on no statement": found.by_hand,
        "booked, and posted on a later day": -found.posted_later,
        "posted, on a later statement": found.ahead,
    }
    for name, amount in explained.items():
        if amount:
            table.add_row(name, grouped(amount))
    table.add_row("not explained", grouped(-found.difference))
    table.add_row("cash, by the books", grouped(found.book))
    console.print(table)
    beside = _table("known beside", "count", "amount")
    beside.add_row("debits in transit", f"{found.in_transit.count:,}", grouped(found.in_transit.amount_minor))
    beside.add_row("payouts in transit", "", grouped(found.payouts_in_transit))
    beside.add_row("on suspense", "", grouped(found.suspense))
    for code, each in found.breaks.items():
        beside.add_row(f"  {code}", f"{each.count:,}", grouped(each.suspense_minor))
    beside.add_row("  waits for the next statement", f"{found.pending.count:,}", grouped(found.pending.suspense_minor))
    console.print(beside)
    _print_coverage(found)
    console.print(f"difference {grouped(found.difference)}")


def _print_coverage(found: Proof) -> None:
    coverage = found.coverage
    if coverage.first_on is None:
        console.print("no statement was taken yet")
    else:
        console.print(f"statements from {coverage.first_on} to {coverage.last_on}")
    if coverage.missing:
        shown = ", ".join(map(str, coverage.missing[:5]))
        more = f" and {len(coverage.missing) - 5} more" if len(coverage.missing) > 5 else ""
        console.print(f"no statement speaks of {shown}{more}")
    if coverage.parked:
        console.print(f"{coverage.parked:,} parked: `fentan statement list` says which")


def _print_custody(found: Custody) -> None:
    quarter = found.quarter
    table = _table(f"{found.plan}, {quarter.first_on} to {quarter.last_on}", "amount")
    table.add_row("opening", grouped(found.opening), end_section=True)
    for name, flow, sign in (("inflow", found.inflow, 1), ("outflow", found.outflow, -1)):
        for kind, amount in flow.items():
            table.add_row(f"  {kind}", grouped(sign * amount))
        table.add_row(name, grouped(sign * sum(flow.values())), end_section=True)
    table.add_row("closing", grouped(found.closing))
    table.add_row("cash, by the books", grouped(found.book))
    console.print(table)
    console.print(f"difference {grouped(found.difference)}")


def _print_sums(title: str, sums: Mapping[str, Sum]) -> None:
    table = _table(title, "count", "amount")
    for name, total in sums.items():
        table.add_row(name, f"{total.count:,}", grouped(total.amount_minor))
    console.print(table)


def _table(title: str, *numbers: str) -> Table:
    """A column of words that gives way on a narrow screen, and columns of numbers that do not."""
    table = Table()
    table.add_column(title, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
