"""Who pays for whom, for eyes: `fentan run payers`, and what a member's statement says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.answer import print_json
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.ledger.accounts import seat_shard
from engine.ledger.statement import Entry, Statement, read_statement
from engine.money import BIGINT_MAX, grouped, to_major
from engine.roster.members import find_seats, ref_of
from engine.runs.instructions import Totals, family_of, is_debited, of_payer, payers_of_seat, totals_of
from engine.runs.run import Run, load_run
from engine.settings import Settings

console = Console(markup=False, highlight=False, soft_wrap=True)


class Debit(NamedTuple):
    """One share debited to a member's account, in minor units."""

    run_id: int
    debit_on: date
    member: str
    amount: int


@dataclass(frozen=True)
class Paid:
    """Who paid for a member, run → reference, and what the member paid for others; in the order of debit."""

    by: dict[int, str]
    for_others: list[Debit]

    def payer_of(self, entry: Entry) -> str | None:
        """Whose account an entry of the member's is debited to; None when it is the member's, or nobody's."""
        return self.by.get(entry.run_id) if is_debited(entry) and entry.run_id is not None else None


def payers(
    run_id: Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGINT_MAX, help="A sealed run.")],
    member: Annotated[str | None, typer.Option(metavar="REF", help="What is debited to this member's account.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; money is text in major units.")] = False,
) -> None:
    """Whose accounts a run debits, and for whom: the payer's own share first, then the family as they joined."""

    async def totals(engine: AsyncEngine, _: Settings) -> tuple[Run, Totals]:
        async with engine.connect() as connection:
            run = await load_run(connection, run_id)
            return run, await totals_of(connection, run)

    async def debits(engine: AsyncEngine, _: Settings) -> tuple[list[Debit], str | None]:
        async with engine.connect() as connection:
            return await _debits_of(connection, await load_run(connection, run_id), member or "")

    if member is None:
        _show_totals(*in_database(totals), as_json=as_json)
    else:
        _show_debits(run_id, member, *in_database(debits), as_json=as_json)


def _show_totals(run: Run, found: Totals, *, as_json: bool) -> None:
    if as_json:
        counts = {"instructions": found.instructions, "accounts": found.payers, "family_shares": found.family_shares}
        amounts = {"amount": to_major(found.amount_minor), "family_amount": to_major(found.family_minor)}
        print_json({"run": run.run_id, "plan": run.plan_code} | counts | amounts)
        return
    said = f"run {run.run_id} of {run.plan_code}, debited on {run.debit_on}: "
    if not found.instructions:
        console.print(f"{said}nobody is debited")
        return
    console.print(
        f"{said}{found.instructions:,} instructions on {found.payers:,} accounts, {grouped(found.amount_minor)}"
    )
    console.print(
        f"{found.family_shares:,} of them, {grouped(found.family_minor)}, pay for somebody else of the family"
    )


def _show_debits(run_id: int, member: str, debits: list[Debit], payer: str | None, *, as_json: bool) -> None:
    if as_json:
        rows = [_debit_json(debit) for debit in debits]
        print_json({"run": run_id, "member": member, "paid_by": payer, "debits": rows})
        return
    total = grouped(sum(debit.amount for debit in debits))
    console.print(f"run {run_id} debits {member}'s account {len(debits)} times, {total}")
    for number, debit in enumerate(debits, start=1):
        whose = "their own share" if debit.member == member else f"for {debit.member}"
        console.print(f"{number:>4}  {grouped(debit.amount):>12}  {whose}")
    if payer is not None:
        console.print(f"{member}'s own share is debited to {payer}'s account")


async def _debits_of(connection: AsyncConnection, run: Run, member: str) -> tuple[list[Debit], str | None]:
    """What is debited to a member's account, and whose account their own share is on where it is another's."""
    seats = await find_seats(connection, run.plan_id, member)
    if not seats:
        raise InvalidInput(f"{member}: no such member of {run.plan_code}; check the reference")
    debits: list[Debit] = []
    payer = None
    for shard_id, seat in seats:
        found = await of_payer(connection, run, seat)
        for whose, amount in zip(found.seat.tolist(), found.amount_minor.tolist(), strict=True):
            debits.append(Debit(run.run_id, run.debit_on, await ref_of(connection, run.plan_id, whose), amount))
        paid = (await payers_of_seat(connection, shard_id, seat)).get(run.run_id)
        payer = payer if paid is None else await ref_of(connection, run.plan_id, paid)
    return debits, payer


def _debit_json(debit: Debit) -> dict[str, Any]:
    return {"member": debit.member, "amount": to_major(debit.amount)}


async def read_paid(connection: AsyncConnection, plan_id: int, statement: Statement) -> Paid:
    """Who paid the member's shares of sealed runs, and which of others the member paid."""
    by = {
        run_id: await ref_of(connection, plan_id, payer)
        for run_id, payer in (await payers_of_seat(connection, statement.shard_id, statement.seat)).items()
    }
    debits: list[Debit] = []
    for seat in await family_of(connection, plan_id, statement.seat):
        shard_id = seat_shard(plan_id, seat)
        paid = await payers_of_seat(connection, shard_id, seat)
        member = await ref_of(connection, plan_id, seat)
        debits += [
            Debit(entry.run_id, entry.effective_on, member, entry.amount)
            for entry in (await read_statement(connection, shard_id, seat)).entries
            if entry.run_id is not None and is_debited(entry) and paid.get(entry.run_id) == statement.seat
        ]
    return Paid(by, sorted(debits, key=lambda debit: debit.run_id))
