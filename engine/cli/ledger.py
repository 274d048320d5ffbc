"""`fentan ledger`: trial-balance, books, member, entries, proof, verify."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.answer import print_json
from engine.cli.payers import Paid, read_paid
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.ledger.accounts import seat_shard
from engine.ledger.books import BookedAccount, books, difference_of
from engine.ledger.entries import ENTRY_COLUMNS, read_entries
from engine.ledger.proof import Proof, prove, verify_proof
from engine.ledger.statement import Entry, Statement, read_statement
from engine.ledger.trial_balance import TrialLine, difference, trial_balance
from engine.ledger.verify import Verification, verify
from engine.money import grouped, to_major
from engine.roster.members import find_seats
from engine.roster.plan import plan_of, plan_or_only, rules_of
from engine.settings import Settings
from engine.store.tables import plans

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="The ledger: who owes what, and the proof that it adds up.")

PlanOrOnly = Annotated[
    str | None, typer.Option("--plan", metavar="CODE", help="The plan. [default: the only one there is]")
]
AnyPlan = Annotated[str | None, typer.Option("--plan", metavar="CODE", help="The plan. [default: every plan]")]
MemberRef = Annotated[str, typer.Argument(metavar="REF", help="The member's reference in the roster.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; money is text in major units.")]

ID_MAX, SEAT_MAX = 2**63 - 1, 2**31 - 1
"""The largest id of a run and number of a seat that the database can hold."""


@app.command("trial-balance")
def show_trial_balance(
    plan: AnyPlan = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Count what is effective on or before this day."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Every account's balance, debit or credit, and the difference of the two sides: 0.00."""
    day = None if as_of is None else as_of.date()

    async def read(connection: AsyncConnection) -> dict[str, list[TrialLine]]:
        found = await _plans(connection, plan)
        return {code: await trial_balance(connection, plan_id, day) for code, plan_id in found.items()}

    balances = _reading(read)
    if as_json:
        shown = [_trial_balance_json(code, lines) | {"as_of": day} for code, lines in balances.items()]
        print_json({"plans": shown} if plan is None else shown[0])
        return
    for code, lines in balances.items():
        print(f"{code}{f', as of {day}' if day else ''}")
        print_trial_balance(Console(), lines)


@app.command("books")
def show_books(plan: PlanOrOnly = None, as_json: AsJson = False) -> None:
    """The books from the first journal to the last: what made each balance, kind by kind, and what it is."""

    async def read(connection: AsyncConnection) -> tuple[str, list[BookedAccount]]:
        found = await plan_or_only(connection, plan)
        rules = await rules_of(connection, found.plan_id, found.version)
        return found.code, await books(connection, found.plan_id, sponsor=rules.share.sponsor)

    code, accounts = _reading(read)
    if as_json:
        shown = [_booked_json(each) for each in accounts]
        print_json({"plan": code, "accounts": shown, "difference": to_major(difference_of(accounts))})
    else:
        print_books(Console(), code, accounts)


@app.command("member")
def show_member(ref: MemberRef, plan: PlanOrOnly = None, as_json: AsJson = False) -> None:
    """One member's statement: every entry on every subledger, and what the sponsor paid in their place."""

    async def read(connection: AsyncConnection) -> tuple[str, list[tuple[Statement, Paid]]]:
        found = await plan_or_only(connection, plan)
        return found.code, await _statements(connection, found.plan_id, ref)

    code, statements = _reading(read)
    if as_json:
        print_json({"plan": code, "member": ref, "seats": [_statement_json(*statement) for statement in statements]})
    else:
        _print_statements(Console(), ref, statements)


@app.command("entries")
def show_entries(
    plan: AnyPlan = None,
    run: Annotated[
        int | None, typer.Option(metavar="RUN", min=1, max=ID_MAX, help="Only what this run posted.")
    ] = None,
    seat: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=SEAT_MAX, help="Only this seat; of one plan.")
    ] = None,
    member: Annotated[str | None, typer.Option(metavar="REF", help="Only this member; of one plan.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=ID_MAX, help="At most so many.")] = 100,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, row by row as it is read.")] = False,
) -> None:
    """Entries of the subledgers: a row for each seat and amount, by shard, journal, account and seat."""

    async def read(connection: AsyncConnection) -> list[dict[str, object]]:
        found = await _entries_wanted(connection, plan, run, seat, member, limit)
        if not as_csv:
            return [_entry_json(entry) async for entry in found]
        writer = csv.DictWriter(sys.stdout, ENTRY_COLUMNS, lineterminator="\n")
        writer.writeheader()
        async for entry in found:
            writer.writerow(_entry_json(entry))
        return []

    rows = _reading(read)
    if as_json:
        print_json(rows)
    elif not as_csv:
        right = ("shard", "seq", "run", "seat", "amount")
        _print_table(Console(), ENTRY_COLUMNS, [tuple(row.values()) for row in rows], right=right)
        print(f"{len(rows):,} entries{'; --limit allows no more' if len(rows) == limit else ''}")


@app.command("proof")
def show_proof(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, max=ID_MAX, help="A sealed run.")],
    ref: MemberRef,
    plan: PlanOrOnly = None,
    as_json: AsJson = False,
) -> None:
    """That a member's share stands under a run's seal: the leaf it is in, and the steps from there to the root."""

    async def read(connection: AsyncConnection) -> tuple[str, Proof]:
        found = await plan_or_only(connection, plan)
        refusal: InvalidInput | None = None
        for shard_id, seat in reversed(await _seats(connection, found.plan_id, ref)):
            try:
                return found.code, await prove(connection, run, shard_id, seat)
            except InvalidInput as error:  # an earlier spell of the member may have a share where this one has none
                refusal = error
        assert refusal is not None
        raise refusal

    code, proof = _reading(read)
    holds = verify_proof(proof)
    if as_json:
        print_json({"plan": code, "holds": holds} | _proof_json(proof))
    else:
        print(f"run {run} of {code}, seat {proof.seat:,}: {grouped(proof.amount)}, tag {proof.tag.hex()}")
        print(f"leaf   seats {proof.first_seat:,} to {proof.first_seat + len(proof.amounts) - 1:,}")
        for step in proof.steps:
            print(f"{'left ' if step.is_left else 'right'}  {step.sibling.hex()}")
        print(f"after  {(proof.previous_root or bytes(32)).hex()}")
        print(f"root   {proof.root.hex()}: {'it holds' if holds else 'IT DOES NOT HOLD'}")
    if not holds:
        raise typer.Exit(1)


@app.command("verify")
def run_verify(plan: AnyPlan = None, as_json: AsJson = False) -> None:
    """Prove the ledger from its journals alone: balances, segments, digests, checkpoints, seals. Exit 1 if it fails."""

    async def check(engine: AsyncEngine, _settings: Settings) -> Verification:
        async with engine.connect() as connection:
            plan_id = None if plan is None else (await plan_of(connection, plan)).plan_id
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("shards")
            return await verify(engine, plan_id, on_shard=lambda done, of: bar.update(task, completed=done, total=of))

    found = in_database(check)
    if as_json:
        problems = [problem._asdict() for problem in found.problems]
        print_json({"ok": not problems, "checked": dict(found.checked), "problems": problems})
    else:
        for what, count in found.checked.items():
            print(f"{what:<12} {count:>15,}")
        for problem in found.problems:
            print(f"[{problem.invariant}] {problem.place}: {problem.what}")
        print(f"{len(found.problems):,} problems" if found.problems else "the ledger holds")
    if found.problems:
        raise typer.Exit(1)


def print_trial_balance(console: Console, lines: Sequence[TrialLine]) -> None:
    """The accounts, the two sums and their difference, for eyes."""
    rows = [(str(int(each.account)), each.account.title, _side(each.debit), _side(each.credit)) for each in lines]
    rows.append(("", "", grouped(sum(line.debit for line in lines)), grouped(sum(line.credit for line in lines))))
    _print_table(console, ("code", "account", "debit", "credit"), rows, right=("debit", "credit"))
    _say(console, f"difference {grouped(difference(lines))}")


def print_books(console: Console, code: str, accounts: Sequence[BookedAccount]) -> None:
    """The books, account by account, for eyes."""
    _say(console, f"{code}: the books from the first journal to the last, debit + and credit -")
    rows: list[tuple[str, str, str]] = []
    for each in accounts:
        rows.append((f"{int(each.account)} {each.account.title}{' (cover)' if each.unit else ''}", "", ""))
        rows.append(("    opening", grouped(0), ""))
        rows.extend((f"    {kind}", grouped(amount), "") for kind, amount in each.by_kind.items())
        rows.append(("    closing", grouped(each.closing), each.explanation))
    _print_table(console, ("account", "amount", "what it is"), rows, right=("amount",))
    _say(console, f"difference {grouped(difference_of(accounts))}")


async def print_statement(console: Console, engine: AsyncEngine, plan_id: int, member_ref: str) -> None:
    """One member's statement, for eyes. Raises InvalidInput when there is no such member."""
    async with engine.connect() as connection:
        _print_statements(console, member_ref, await _statements(connection, plan_id, member_ref))


def _reading(command: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async def connected(engine: AsyncEngine, _settings: Settings) -> T:
        async with engine.connect() as connection:
            return await command(connection)

    return in_database(connected)


async def _plans(connection: AsyncConnection, code: str | None) -> dict[str, int]:
    """The id of one plan, or of each, by code."""
    if code is not None:
        return {code: (await plan_of(connection, code)).plan_id}
    rows = await connection.execute(select(plans.c.code, plans.c.plan_id).order_by(plans.c.plan_id))
    return {row.code: row.plan_id for row in rows}


async def _seats(connection: AsyncConnection, plan_id: int, ref: str) -> list[tuple[int, int]]:
    seats = await find_seats(connection, plan_id, ref)
    if not seats:
        raise InvalidInput(f"{ref}: no such member of the plan; check the reference")
    return seats


async def _statements(connection: AsyncConnection, plan_id: int, ref: str) -> list[tuple[Statement, Paid]]:
    """One for each of the member's spells, and who paid for whom in it."""
    statements = [await read_statement(connection, *seat) for seat in await _seats(connection, plan_id, ref)]
    return [(statement, await read_paid(connection, plan_id, statement)) for statement in statements]


async def _entries_wanted(
    connection: AsyncConnection, plan: str | None, run: int | None, seat: int | None, member: str | None, limit: int
) -> AsyncIterator[Entry]:
    """Of one seat or member, from their statements; otherwise from the view, page by page."""
    if seat is None and member is None:
        plan_id = None if plan is None else (await plan_of(connection, plan)).plan_id
        return read_entries(connection, plan_id, run_id=run, limit=limit)
    if seat is not None and member is not None:
        raise InvalidInput("give either --seat N or --member REF")
    found = await plan_or_only(connection, plan)
    seats = [(seat_shard(found.plan_id, seat), seat)] if seat is not None else []
    if member is not None:
        seats = await _seats(connection, found.plan_id, member)
    return _of_seats(connection, seats, run, limit)


async def _of_seats(
    connection: AsyncConnection, seats: Sequence[tuple[int, int]], run: int | None, limit: int
) -> AsyncIterator[Entry]:
    for shard_id, seat in seats:
        for entry in (await read_statement(connection, shard_id, seat)).entries:
            if run in (None, entry.run_id) and limit > 0:
                yield entry
                limit -= 1


def _entry_json(entry: Entry) -> dict[str, object]:
    values = (entry.shard_id, entry.seq, entry.effective_on, entry.kind, entry.run_id, int(entry.account))
    return dict(zip(ENTRY_COLUMNS, (*values, entry.account.title, entry.seat, to_major(entry.amount)), strict=True))


def _trial_balance_json(plan: str, lines: Sequence[TrialLine]) -> dict[str, Any]:
    return {
        "plan": plan,
        "accounts": [
            {
                "account": int(line.account),
                "name": line.account.title,
                "debit": to_major(line.debit),
                "credit": to_major(line.credit),
            }
            for line in lines
        ],
        "debit": to_major(sum(line.debit for line in lines)),
        "credit": to_major(sum(line.credit for line in lines)),
        "difference": to_major(difference(lines)),
    }


def _booked_json(booked: BookedAccount) -> dict[str, Any]:
    return {
        "account": booked.account.title,
        "code": int(booked.account),
        "unit": booked.unit,
        "closing": to_major(booked.closing),
        "by_kind": {kind: to_major(amount) for kind, amount in booked.by_kind.items()},
        "holders": booked.holders,
        "explanation": booked.explanation,
    }


def _statement_json(statement: Statement, paid: Paid) -> dict[str, Any]:
    entries = [
        _entry_json(entry) | {"balance": to_major(balance), "paid_by": paid.payer_of(entry)}
        for entry, balance in statement.running()
    ]
    for entry in entries:
        del entry["shard"], entry["seat"]
    return {
        "seat": statement.seat,
        "owed": to_major(statement.owed),
        "waived": to_major(statement.waived),
        "entries": entries,
        "paid_for_others": [
            {"run": debit.run_id, "date": debit.debit_on, "member": debit.member, "amount": to_major(debit.amount)}
            for debit in paid.for_others
        ],
    }


def _proof_json(proof: Proof) -> dict[str, Any]:
    return {
        "run": proof.run_id,
        "seat": proof.seat,
        "amount": to_major(proof.amount),
        "tag": proof.tag.hex(),
        "leaf": {
            "first_seat": proof.first_seat,
            "amounts": [to_major(amount) for amount in proof.amounts.tolist()],
            "tags": [tag.hex() for tag in proof.leaf_tags],
        },
        "steps": [{"sibling": step.sibling.hex(), "side": "left" if step.is_left else "right"} for step in proof.steps],
        "previous_root": proof.previous_root.hex() if proof.previous_root else None,
        "root": proof.root.hex(),
    }


def _side(amount: int) -> str:
    """A trial balance leaves the other side blank."""
    return grouped(amount) if amount else ""


def _print_statements(console: Console, ref: str, statements: Sequence[tuple[Statement, Paid]]) -> None:
    columns = ("date", "kind", "run", "account", "amount", "balance")
    for statement, paid in statements:
        _say(console, f"{ref}, seat {statement.seat:,}")
        rows = [
            (
                *(entry.effective_on, f"{entry.kind}{_on_account(paid, entry)}", entry.run_id, entry.account.title),
                *(grouped(entry.amount), grouped(balance)),
            )
            for entry, balance in statement.running()
        ]
        _print_table(console, columns, rows, right=("run", "amount", "balance"))
        _say(console, f"owes {grouped(statement.owed)}; the sponsor paid {grouped(statement.waived)} that was waived")
        for debit in paid.for_others:
            _say(console, f"paid {grouped(debit.amount)} for {debit.member} in run {debit.run_id}")


def _on_account(paid: Paid, entry: Entry) -> str:
    """Whose account the share is debited to, where it is not the member's."""
    payer = paid.payer_of(entry)
    return "" if payer is None else f" on {payer}'s account"


def _print_table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str]
) -> None:
    """Columns as wide as they need to be: an amount is never cut to fit a screen."""
    cells = [tuple(columns), *(tuple("" if cell is None else str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        _say(console, "  ".join(padded).rstrip())


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
