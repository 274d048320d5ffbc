"""The gates a statement passes before anything is posted from it (BANK.md, stage 0). Pure arithmetic (I9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from engine.custodian.statement import Fault, Footing, Problem, Statement, Sum
from engine.money import grouped
from engine.money.sums import exact_sum


@dataclass
class Tally:
    """What the lines of one statement add up to, in minor units; debits as a positive amount."""

    lines: int = 0
    credits: int = 0
    debits: int = 0

    @property
    def net(self) -> int:
        """Credits less debits, in minor units."""
        return self.credits - self.debits

    def take(self, batch: pa.RecordBatch) -> None:
        """Add the lines of a batch of SCHEMA."""
        amounts = batch["amount_minor"].to_numpy()
        self.lines += batch.num_rows
        self.credits += exact_sum(amounts[amounts > 0])
        self.debits -= exact_sum(amounts[amounts < 0])


def ties(statement: Statement, tally: Tally) -> bool | None:
    """Whether opening + Σ lines = closing; None where the statement lacks one of the balances."""
    if statement.opening_minor is None or statement.closing_minor is None:
        return None
    return statement.opening_minor + tally.net == statement.closing_minor


def problems(footing: Footing, tally: Tally) -> tuple[Problem, ...]:
    """Everything wrong with one statement: what its reader found, then every gate that does not hold."""
    return (*footing.problems, *_balance(footing, tally), *_completeness(footing), *_totals(footing, tally))


def follows(statement: Footing, last: Footing) -> tuple[Problem, ...]:
    """What keeps `statement` from being the next of its account after `last`: opening = last closing, sequence + 1."""
    found = []
    now, before = statement.statement, last.statement
    if now.account != before.account:
        message = f"of account {now.account}, and the one before it of {before.account}"
        found.append(Problem(Fault.ACCOUNT_MISMATCH, "account", message))
    sequence, earlier = statement.declared.sequence, last.declared.sequence
    # Numbers begin again every year, and some banks write 0 always.
    if sequence is not None and earlier is not None and sequence > earlier + 1 > 1:
        message = f"number {sequence} comes after number {earlier}; {sequence - earlier - 1} between them are missing"
        found.append(Problem(Fault.STATEMENT_GAP, "sequence number", message))
    opening, closing = now.opening_minor, before.closing_minor
    if opening is not None and closing is not None and opening != closing:
        message = f"opens with {grouped(opening)}; the statement before it closed with {grouped(closing)}"
        found.append(Problem(Fault.STATEMENT_GAP, "opening balance", message))
    return tuple(found)


def _balance(footing: Footing, tally: Tally) -> Iterator[Problem]:
    statement = footing.statement
    if ties(statement, tally) is not False:
        return
    opening, closing = statement.opening_minor or 0, statement.closing_minor or 0
    reached = opening + tally.net
    yield Problem(
        Fault.BALANCE_BREAK,
        "closing balance",
        f"opening {grouped(opening)} + credits {grouped(tally.credits)} - debits {grouped(tally.debits)} is "
        f"{grouped(reached)}, and the statement closes with {grouped(closing)}: off by {grouped(closing - reached)}",
    )


def _completeness(footing: Footing) -> Iterator[Problem]:
    if not footing.declared.last_page:
        message = "the file says that more pages follow; join them, or ask for the whole statement"
        yield Problem(Fault.STATEMENT_GAP, f"page {footing.declared.page}", message)


def _totals(footing: Footing, tally: Tally) -> Iterator[Problem]:
    declared = footing.declared
    found = (
        ("credits", declared.credits, footing.credit_entries, tally.credits),
        ("debits", declared.debits, footing.debit_entries, tally.debits),
        ("credits and debits together", declared.gross, footing.entries, tally.credits + tally.debits),
        ("credits less debits", declared.net, footing.entries, tally.net),
    )
    for what, stated, entries, amount in found:
        if stated is None:
            continue
        wrong = list(_differences(stated, entries, amount))
        if wrong:
            yield Problem(Fault.TOTALS_BREAK, stated.place, f"the file says {what} are {' and '.join(wrong)}")


def _differences(stated: Sum, entries: int, amount: int) -> Iterator[str]:
    if stated.entries is not None and stated.entries != entries:
        yield f"{stated.entries} entries, and it holds {entries}"
    if stated.amount_minor is not None and stated.amount_minor != amount:
        yield f"{grouped(stated.amount_minor)}, and they add up to {grouped(amount)}"
