"""The proof of a custodian's account, day by day: what statements say, what the books say, and what lies between (I11).

Every booked line of a statement is posted, so cash in the books is what the statements come to, but for what people
entered by hand and for lines that stand on another day here than there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.aging import is_business_day
from engine.custodian.breaks import Code
from engine.custodian.coverage import Covered, uncovered
from engine.custodian.registered import Custodian
from engine.custodian.verdicts import NotConserved, Outcome, Sum
from engine.money import to_major
from engine.reconcile import proof_rows
from engine.reconcile.proof_rows import Taken

_DAY = timedelta(days=1)


class Coverage(NamedTuple):
    """Which days the statements speak of: from the first one's to the last one's by the day of the proof.

    `missing`: business days between and after them that none speaks of; `parked`: statements by then that post nothing
    and that nothing explained yet.
    """

    first_on: date | None
    last_on: date | None
    missing: tuple[date, ...]
    parked: int

    def as_json(self) -> dict[str, Any]:
        """Days as ISO text."""
        first, last = (None if day is None else day.isoformat() for day in (self.first_on, self.last_on))
        return {"first": first, "last": last, "missing": [str(day) for day in self.missing], "parked": self.parked}


@dataclass(frozen=True)
class Waiting:
    """Breaks of one code, or pending lines: how many, what they come to, and what of it stands on suspense."""

    count: int
    amount_minor: int
    suspense_minor: int

    def as_json(self) -> dict[str, Any]:
        """Amounts as text in major units."""
        amount, suspense = to_major(self.amount_minor), to_major(self.suspense_minor)
        return {"count": self.count, "amount": amount, "suspense": suspense}


@dataclass(frozen=True)
class Proof:
    """One custodian's account at the end of a day, over all plans it holds; minor units, what it holds positive.

    `opening` + `credits` - `debits` = `closing`: as the taken statements say. `book`: cash in the books by that day.
    `by_hand`: in the books, on no statement, less what the first statement opened with, which confirms it.
    `posted_later`: booked by then, posted on a later day (the period was locked). `ahead`: posted by then, on a later
    statement. Beside them, for what is known now: `in_transit`, debits sent and on no statement; `payouts_in_transit`,
    money ordered to be paid out; `suspense`, of which `breaks` and `pending` say why.
    """

    account: str
    on: date
    opening: int
    credits: int
    debits: int
    closing: int
    book: int
    by_hand: int
    posted_later: int
    ahead: int
    in_transit: Sum
    payouts_in_transit: int
    suspense: int
    breaks: Mapping[Code, Waiting]
    pending: Waiting
    coverage: Coverage

    @property
    def difference(self) -> int:
        """What no item explains: 0, or what was posted is not what the statements say (I11)."""
        return self.closing + self.by_hand - self.posted_later + self.ahead - self.book

    def as_json(self) -> dict[str, Any]:
        """Amounts as text in major units."""
        amounts = ("opening", "credits", "debits", "closing", "book")
        return {
            "account": self.account,
            "date": self.on.isoformat(),
            **{name: to_major(getattr(self, name)) for name in amounts},
            "entered_by_hand": to_major(self.by_hand),
            "posted_later": to_major(self.posted_later),
            "on_later_statement": to_major(self.ahead),
            "difference": to_major(self.difference),
            "in_transit": to_major(self.in_transit.amount_minor),
            "payouts_in_transit": to_major(self.payouts_in_transit),
            "suspense": to_major(self.suspense),
            "breaks": {code.value: found.as_json() for code, found in self.breaks.items()},
            "pending": self.pending.as_json(),
            "coverage": self.coverage.as_json(),
        }


@dataclass(frozen=True)
class Reconciled:
    """What became of every line of a custodian's statements: lines = matched + pending + ignored + in breaks (I10).

    `breaks`: by code, how many were ever found, also of what is on no line, as what is missing. `last`: the proof of
    the last day that statements speak of; None before the first.
    """

    lines: int
    outcomes: Mapping[Outcome, int]
    breaks: Mapping[str, int]
    last: Proof | None

    @property
    def difference(self) -> int:
        """What no item explains at the end of the last day, in minor units."""
        return 0 if self.last is None else self.last.difference

    def as_json(self) -> dict[str, Any]:
        """Counts, and the difference as text in major units."""
        return {
            "lines": self.lines,
            "matched": self.outcomes[Outcome.MATCHED],
            "pending": self.outcomes[Outcome.PENDING],
            "ignored": self.outcomes[Outcome.IGNORED],
            "in_breaks": self.outcomes[Outcome.BREAK],
            "breaks": dict(self.breaks),
            "difference": to_major(self.difference),
        }


@dataclass(frozen=True)
class Account:
    """All that the proofs of one custodian's account are made of, read once for all days from one on.

    `statements`: those taken that book, in the order they were; `cash`, `suspense`, `payouts`: what was posted.
    """

    custodian: Custodian
    statements: Sequence[Taken]
    cash: Sequence[proof_rows.Cash]
    suspense: Mapping[date, int]
    payouts: Mapping[date, int]
    waits: Sequence[proof_rows.Waits]
    in_transit: Sequence[proof_rows.InTransit]
    parked: Sequence[date]

    @cached_property
    def by_statement(self) -> Mapping[int | None, Sequence[proof_rows.Cash]]:
        """`cash` by the statement that posted it; None: what people entered by hand."""
        found: dict[int | None, list[proof_rows.Cash]] = {}
        for each in self.cash:
            found.setdefault(each.statement_id, []).append(each)
        return found

    def proof(self, on: date) -> Proof:
        """The proof of one day."""
        opening, closing = self._balance(on - _DAY), self._balance(on)
        credits_, debits = self._moved(on)
        later, ahead = self._shifted(on)
        hand = [each.net for each in self.by_statement.get(None, ()) if each.effective_on <= on]
        first = self.statements[0].opening_minor or 0 if self._started(on) else 0
        breaks, pending = self._waits(on)
        sent = [each for each in self.in_transit if each.sent_on <= on]
        return Proof(
            account=self.custodian.code,
            on=on,
            opening=opening,
            credits=credits_,
            debits=debits,
            closing=closing,
            book=sum(each.net for each in self.cash if each.effective_on <= on),
            by_hand=sum(hand) - first,
            posted_later=later,
            ahead=ahead,
            in_transit=Sum(sum(each.number for each in sent), sum(each.amount_minor for each in sent)),
            payouts_in_transit=-sum(amount for day, amount in self.payouts.items() if day <= on),
            suspense=-sum(amount for day, amount in self.suspense.items() if day <= on),
            breaks=breaks,
            pending=pending,
            coverage=_coverage(self.custodian, self._spoken, self.parked, on),
        )

    @cached_property
    def _spoken(self) -> Sequence[Covered]:
        return _spoken(self.statements)

    def _started(self, on: date) -> bool:
        return bool(self.statements) and self.statements[0].from_on <= on

    def _balance(self, on: date) -> int:
        """What the statements say the account holds at the end of a day; 0 before the first.

        In the middle of a statement's days: what it opened with and its lines by then.
        """
        counted: list[Taken] = []
        for place in reversed(range(len(self.statements))):
            each = self.statements[place]
            # One that came to nothing may have been taken after those that follow it.
            if each.from_on > on or (place and each.to_on <= on and each.is_still):
                continue
            counted.append(each)
            if each.opening_minor is not None:
                break  # it says what all before it came to
        balance = opening = 0
        within: Taken | None = None
        for each in reversed(counted):
            opening = balance if each.opening_minor is None else each.opening_minor
            balance = opening + each.credits_minor - each.debits_minor
            balance = balance if each.closing_minor is None else each.closing_minor
            within = each if each.to_on > on else None
        if within is None:
            return balance
        return opening + sum(row.net for row in self._posted_by(within) if _day(row, within) <= on)

    def _moved(self, on: date) -> tuple[int, int]:
        """Credits and debits of a day; of a statement over several days as they were posted, journal by journal."""
        credits_ = debits = 0
        for each in self.statements:
            if each.from_on == each.to_on == on:
                credits_, debits = credits_ + each.credits_minor, debits + each.debits_minor
            elif each.from_on <= on <= each.to_on:
                rows = [row for row in self._posted_by(each) if _day(row, each) == on]
                credits_ += sum(row.credits for row in rows)
                debits += sum(row.debits for row in rows)
        return credits_, debits

    def _shifted(self, on: date) -> tuple[int, int]:
        """What statements by then booked and was posted after; what was posted by then of statements after it."""
        later = ahead = 0
        for booked_on, row in self._booked:
            is_booked, is_posted = booked_on <= on, row.effective_on <= on
            later += row.net if is_booked and not is_posted else 0
            ahead += row.net if is_posted and not is_booked else 0
        return later, ahead

    @cached_property
    def _booked(self) -> Sequence[tuple[date, proof_rows.Cash]]:
        """What was posted for statements, with the day of the statement that it belongs to."""
        return [(_day(row, each), row) for each in self.statements for row in self._posted_by(each)]

    def _posted_by(self, statement: Taken) -> Sequence[proof_rows.Cash]:
        return self.by_statement.get(statement.statement_id, ())

    def _waits(self, on: date) -> tuple[dict[Code, Waiting], Waiting]:
        found: dict[Code | None, list[int]] = {}
        for each in self.waits:
            if each.since <= on and (each.until is None or each.until > on):
                sums = found.setdefault(each.code, [0, 0, 0])
                sums[0] += each.number
                sums[1] += each.amount_minor
                sums[2] += each.suspense_minor
        shown = {code: Waiting(*sums) for code, sums in found.items()}
        pending = shown.pop(None, Waiting(0, 0, 0))
        return {code: shown[code] for code in Code if code in shown}, pending


def _spoken(taken: Sequence[Taken]) -> list[Covered]:
    """The days of statements, in their order."""
    days = [Covered(each.from_on, each.to_on, each.opening_minor, each.closing_minor) for each in taken]
    return sorted(days, key=lambda each: (each.from_on, each.to_on))


def _coverage(custodian: Custodian, spoken: Sequence[Covered], parked: Sequence[date], on: date) -> Coverage:
    said = spoken[: bisect_right(spoken, on, key=lambda each: each.from_on)]
    parked_by_then = sum(day <= on for day in parked)
    if not said:
        return Coverage(None, None, (), parked_by_then)
    days = custodian.profile.business_days
    calendar = {} if days is None else {"holidays": days.holidays, "worked": days.worked}
    missing = tuple(day for day in uncovered(said, on) if is_business_day(day, **calendar))
    last = min(max(each.to_on for each in said), on)
    return Coverage(said[0].from_on, last, missing, parked_by_then)


async def read_account(
    connection: AsyncConnection, custodian: Custodian, first: date | None = None, *, with_transit: bool = True
) -> Account:
    """Everything of a custodian's account that its proofs of `first` and later days need.

    Without a day it is the last that statements speak of. `with_transit`: also what was sent and stands on no
    statement, for which every shard is read whose debits are under way.
    """
    cash = await proof_rows.cash_postings(connection, custodian.plans)
    taken = await proof_rows.taken_statements(connection, custodian.custodian_id, cash)
    first = first or max((each.to_on for each in taken), default=date.min)
    return Account(
        custodian,
        statements=taken,
        cash=cash,
        suspense=await proof_rows.by_day(connection, custodian.plans, proof_rows.SUSPENSE),
        payouts=await proof_rows.by_day(connection, custodian.plans, proof_rows.PAYOUTS),
        waits=await proof_rows.waiting(connection, custodian.custodian_id, first),
        in_transit=await proof_rows.in_transit(connection, custodian) if with_transit else (),
        parked=await proof_rows.parked_days(connection, custodian.custodian_id),
    )


async def proof_of(connection: AsyncConnection, custodian: Custodian, on: date) -> Proof:
    """The proof of one day (I11): its difference is 0 where the books hold what the statements say."""
    return (await read_account(connection, custodian, on)).proof(on)


async def coverage_of(connection: AsyncConnection, custodian: Custodian, on: date) -> Coverage:
    """Which days until one the statements speak of, without all else that a proof needs."""
    custodian_id = custodian.custodian_id
    taken = await proof_rows.taken_statements(connection, custodian_id, ())
    parked = await proof_rows.parked_days(connection, custodian_id)
    return _coverage(custodian, _spoken(taken), parked, on)


async def strips(
    connection: AsyncConnection, custodian: Custodian, first: date, last: date, *, with_transit: bool = True
) -> list[Proof]:
    """The proof of every day from the first to the last. `with_transit`: as `read_account` says."""
    account = await read_account(connection, custodian, first, with_transit=with_transit)
    return [account.proof(first + timedelta(days=days)) for days in range((last - first).days + 1)]


async def reconciled(connection: AsyncConnection, custodian: Custodian) -> Reconciled:
    """What became of all lines of the statements taken, breaks by code ever found, and the last day's difference.

    Raises NotConserved where the lines do not come to that (I10).
    """
    lines, tally = await proof_rows.tallied(connection, custodian.custodian_id)
    if lines != sum(tally.values()):
        raise NotConserved(f"{custodian.code}: {lines} lines came, {sum(tally.values())} were decided")
    account = await read_account(connection, custodian)
    last = max((each.to_on for each in account.statements), default=None)
    return Reconciled(
        lines,
        {outcome: tally[outcome.name.lower()] for outcome in Outcome},
        await proof_rows.breaks_by_code(connection, custodian.custodian_id),
        None if last is None else account.proof(last),
    )


def _day(row: proof_rows.Cash, statement: Taken) -> date:
    """The day of the statement that a line of it belongs to: one dated outside belongs to its first or last."""
    return min(max(row.booked_on or statement.from_on, statement.from_on), statement.to_on)
