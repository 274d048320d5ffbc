"""The ledger: accounts, trial balance, journals and what lies under them; periods that are locked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from engine.access.roles import EVERYONE, FINANCE
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Id, Model, Moment, Money, Page, Paged, whole
from engine.api.proposed import Proposal, day_of, proposal
from engine.api.service import Call, Streamed
from engine.ledger.accounts import COVER, CURRENCY, Account, account_id, account_of, list_accounts, unit_of
from engine.ledger.books import BookedAccount, books, difference_of
from engine.ledger.entries import BEGINNING, Place, entries_as_csv, read_entries
from engine.ledger.posted import (
    PostedJournal,
    SegmentSum,
    ShardBalance,
    balance_by_shard,
    journal_at,
    list_journals,
    segments_at,
)
from engine.ledger.statement import Entry
from engine.ledger.tie_out import tie_out_of
from engine.ledger.trial_balance import TrialLine, difference
from engine.reconcile.locking import locked_through, propose_lock
from engine.roster.plan import plan_of, rules_of
from engine.runs.run import load_run

endpoints = Endpoints("ledger", "The books of each plan: exact, append-only, and adding up.")

CSV = "text/csv"


class Unit(StrEnum):
    """What an account is kept in: the plan's currency, or cover given to members."""

    CURRENCY = "currency"
    COVER = "cover"


_UNITS = {CURRENCY: Unit.CURRENCY, COVER: Unit.COVER}
_NUMBERS = {unit: number for number, unit in _UNITS.items()}


class OfPlan(Model):
    """One plan."""

    plan: Code


class OfRun(Model):
    """One run."""

    run_id: Id


class AccountView(Model):
    """An account. `has_detail`: its lines have an amount for each seat, or for each claim of aid payable."""

    account_id: int
    code: int
    name: str
    unit: Unit
    has_detail: bool


class Chart(Model):
    """The accounts of a plan."""

    plan: str
    accounts: list[AccountView]


class AsOf(OfPlan):
    """A plan at the end of a day; without one all that was ever posted."""

    as_of: Day | None = None


class TrialLineView(Model):
    """One account on the side where it stands."""

    account_id: int
    code: int
    name: str
    unit: Unit
    debit: Money
    credit: Money


class TrialBalance(Model):
    """Every account that has a line. `difference`: 0.00, or the ledger is broken (I1)."""

    plan: str
    as_of: Day | None
    lines: list[TrialLineView]
    debit: Money
    credit: Money
    difference: Money


class JournalFilter(Paged):
    """Which journals of a plan. `account`: those with a line on it, by its code; `unit`: what that account is kept in.

    `after`: shard and seq of the last one seen.
    """

    plan: Code
    account: Annotated[Account | None, BeforeValidator(whole)] = None
    unit: Unit = Unit.CURRENCY
    kind: Annotated[str | None, Field(pattern=r"^[a-z][a-z -]{0,39}$")] = None
    run_id: Id | None = None
    first: Day | None = None
    last: Day | None = None
    after: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}:[0-9]{1,18}$")] = None


class JournalLine(Model):
    """One line, debit positive."""

    account_id: int
    code: int
    name: str
    unit: Unit
    amount: Money


class JournalView(Model):
    """A journal. `key`: what it is, posted once under it (I3); `digest`: of it and of all before it on its shard."""

    shard_id: int
    seq: int
    key: str
    kind: str
    run_id: int | None
    effective_on: Day
    recorded_at: Moment
    lines: list[JournalLine]
    digest: str


class JournalPlace(OfPlan):
    """Where a journal stands."""

    shard_id: Id
    seq: Id


class SegmentView(Model):
    """The detail under one line: `entries` amounts over `places` seats, or claims, that come to the line (I2)."""

    account_id: int
    code: int
    name: str
    is_sparse: bool
    places: int
    entries: int
    total: Money
    digest: str


class JournalDetail(JournalView):
    """A journal with what lies under its lines. `previous_digest`: of the journal before it on its shard."""

    segments: list[SegmentView]
    previous_digest: str


class EntryFilter(Paged):
    """Which entries of a plan. `after`: shard, seq, account and seat of the last one seen."""

    plan: Code
    run_id: Id | None = None
    after: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}(:[0-9]{1,18}){3}$")] = None


class EntryFile(OfPlan):
    """Which entries of a plan, in a file."""

    run_id: Id | None = None


class EntryView(Model):
    """An amount of one seat; of one claim's number on aid payable. Debit positive."""

    shard_id: int
    seq: int
    effective_on: Day
    kind: str
    run_id: int | None
    code: int
    name: str
    unit: Unit
    seat: int
    amount: Money


class BalanceFilter(Paged):
    """An account of a plan, by its code. `after`: the last shard seen."""

    plan: Code
    account: Annotated[Account, BeforeValidator(whole)]
    unit: Unit = Unit.CURRENCY
    after: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}$")] = None


class ShardBalanceView(Model):
    """What an account holds on one shard after its posting `seq`, debit positive. Shard number 0 is the plan's own."""

    shard_id: int
    number: int
    first_seat: int
    seats: int
    seq: int
    amount: Money


class TieOutView(Model):
    """What went into a run and what came of it (I5): charged + sponsor + carry in = aid + fee + carry out."""

    run_id: int
    charged: Money
    sponsor: Money
    carry_in: Money
    money_in: Money
    aid: Money
    fee: Money
    carry_out: Money
    money_out: Money
    difference: Money


class BookedView(Model):
    """An account from the first journal to the last: what made its balance, kind by kind, and what that is, in words.

    `holders`: how many seats, or claims, have a balance of their own.
    """

    code: int
    name: str
    unit: Unit
    by_kind: Mapping[str, Money]
    closing: Money
    holders: int
    explanation: str


class Books(Model):
    """The books of a plan. `difference`: 0.00, or the ledger is broken (I1)."""

    plan: str
    accounts: list[BookedView]
    difference: Money


class Periods(Model):
    """Through which day nothing is posted any more; null: no period is locked yet."""

    plan: str
    locked_through: Day | None


class Lock(Model):
    """The last day of the period to lock."""

    through: Day


@endpoints.get("/plans/{plan}/accounts", EVERYONE)
async def chart_of_accounts(call: Call, params: OfPlan) -> Chart:
    """The chart of accounts of a plan."""
    plan = await plan_of(call.connection, params.plan)
    accounts = [
        AccountView(
            account_id=each.account_id,
            code=each.code,
            name=each.name,
            unit=_UNITS[each.unit],
            has_detail=each.control,
        )
        for each in await list_accounts(call.connection, plan.plan_id)
    ]
    return Chart(plan=plan.code, accounts=accounts)


@endpoints.get("/plans/{plan}/trial-balance", EVERYONE)
async def show_trial_balance(call: Call, params: AsOf) -> TrialBalance:
    """Every account of a plan, debit or credit, as of a day."""
    plan = await plan_of(call.connection, params.plan)
    lines = await call.service.daily_sums.trial_balance(call.connection, plan.plan_id, params.as_of)
    return TrialBalance(
        plan=plan.code,
        as_of=params.as_of,
        lines=[_trial_line(line) for line in lines],
        debit=sum(line.debit for line in lines),
        credit=sum(line.credit for line in lines),
        difference=difference(lines),
    )


@endpoints.get("/plans/{plan}/journals", EVERYONE)
async def list_of_journals(call: Call, params: JournalFilter) -> Page[JournalView]:
    """The journals of a plan by shard and seq: on an account, of a kind, of a run, effective from day to day."""
    plan = await plan_of(call.connection, params.plan)
    account = None if params.account is None else account_id(plan.plan_id, params.account, _NUMBERS[params.unit])
    shard_id, seq = map(int, (params.after or "0:0").split(":"))
    found = await list_journals(
        call.connection,
        plan.plan_id,
        account=account,
        kind=params.kind,
        run_id=params.run_id,
        first=params.first,
        last=params.last,
        after=(shard_id, seq),
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, _journal, lambda each: f"{each.shard_id}:{each.seq}")


@endpoints.get("/plans/{plan}/journals/{shard_id}/{seq}", EVERYONE)
async def show_journal(call: Call, params: JournalPlace) -> JournalDetail:
    """One journal: its lines, the segments under them, and its place in the chain of digests."""
    plan = await plan_of(call.connection, params.plan)
    found = await journal_at(call.connection, plan.plan_id, params.shard_id, params.seq)
    segments = await segments_at(call.connection, found.shard_id, found.seq)
    return JournalDetail(
        **dict(_journal(found)),
        segments=[_segment(each) for each in segments],
        previous_digest=found.prev_digest.hex(),
    )


@endpoints.get("/plans/{plan}/entries", EVERYONE)
async def list_of_entries(call: Call, params: EntryFilter) -> Page[EntryView]:
    """The entries of a plan, a row for each seat and amount, by shard, journal, account and seat."""
    plan = await plan_of(call.connection, params.plan)
    after = Place(*map(int, params.after.split(":"))) if params.after else BEGINNING
    read = read_entries(call.connection, plan.plan_id, run_id=params.run_id, after=after, limit=params.limit + 1)
    found = [entry async for entry in read]
    return call.page(found, params.limit, _entry, lambda each: ":".join(map(str, each[:4])))


@endpoints.get("/plans/{plan}/entries.csv", EVERYONE, media_type=CSV)
async def download_entries(call: Call, params: EntryFile) -> Streamed:
    """All entries of a plan, or of a run of it, as CSV: seats, never references."""
    plan = await plan_of(call.connection, params.plan)
    service = call.service

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in entries_as_csv(service.engine, plan.plan_id, run_id=params.run_id):
            if service.closing.is_set():  # a file that just ends would pass for the whole
                raise ConnectionAbortedError
            yield piece

    return Streamed(CSV, pieces(), f"entries-{plan.code}.csv")


@endpoints.get("/plans/{plan}/balances", EVERYONE)
async def list_of_balances(call: Call, params: BalanceFilter) -> Page[ShardBalanceView]:
    """What an account holds, shard by shard."""
    plan = await plan_of(call.connection, params.plan)
    account = account_id(plan.plan_id, params.account, _NUMBERS[params.unit])
    after = int(params.after or 0)
    found = await balance_by_shard(call.connection, plan.plan_id, account, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, _shard_balance, lambda each: each.shard_id)


@endpoints.get("/runs/{run_id}/tie-out", EVERYONE)
async def show_tie_out(call: Call, params: OfRun) -> TieOutView:
    """What went into a sealed run and what came of it, read from its journals alone (I5)."""
    run = await load_run(call.connection, params.run_id)
    found = await tie_out_of(call.connection, run.run_id)
    return TieOutView(
        run_id=run.run_id,
        **found._asdict(),
        money_in=found.money_in,
        money_out=found.money_out,
        difference=found.money_in - found.money_out,
    )


@endpoints.get("/plans/{plan}/books", EVERYONE)
async def show_books(call: Call, params: OfPlan) -> Books:
    """The books from the first journal to the last: what made each balance, kind by kind, and what it is."""
    plan = await plan_of(call.connection, params.plan)
    rules = await rules_of(call.connection, plan.plan_id, plan.version)
    found = await books(call.connection, plan.plan_id, sponsor=rules.share.sponsor)
    return Books(plan=plan.code, accounts=[_booked(each) for each in found], difference=difference_of(found))


@endpoints.get("/plans/{plan}/periods", EVERYONE)
async def show_periods(call: Call, params: OfPlan) -> Periods:
    """Through which day the books of a plan are locked."""
    plan = await plan_of(call.connection, params.plan)
    return Periods(plan=plan.code, locked_through=await locked_through(call.connection, plan.plan_id))


@endpoints.post("/plans/{plan}/periods/lock", FINANCE, status=201, moves_money=True)
async def lock_periods(call: Call, params: OfPlan, body: Lock) -> Proposal:
    """Propose that nothing is posted any more through a day that is proved; another approves it."""
    plan = await plan_of(call.connection, params.plan)
    today = await day_of(call, plan.plan_id)
    return proposal(call, await propose_lock(call.connection, plan, body.through, on=today, actor=call.actor))


def _trial_line(line: TrialLine) -> TrialLineView:
    return TrialLineView(
        account_id=line.account_id,
        code=line.account,
        name=line.account.title,
        unit=_UNITS[line.unit],
        debit=line.debit,
        credit=line.credit,
    )


def _journal(found: PostedJournal) -> JournalView:
    return JournalView(
        shard_id=found.shard_id,
        seq=found.seq,
        key=found.idempotency_key,
        kind=found.kind,
        run_id=found.run_id,
        effective_on=found.effective_on,
        recorded_at=found.recorded_at,
        lines=[_line(account, amount) for account, amount in found.lines],
        digest=found.digest.hex(),
    )


def _line(account: int, amount: int) -> JournalLine:
    code = account_of(account)
    return JournalLine(account_id=account, code=code, name=code.title, unit=_UNITS[unit_of(account)], amount=amount)


def _segment(found: SegmentSum) -> SegmentView:
    code = account_of(found.account_id)
    return SegmentView(
        account_id=found.account_id,
        code=code,
        name=code.title,
        is_sparse=found.is_sparse,
        places=found.places,
        entries=found.entries,
        total=found.total_minor,
        digest=found.digest.hex(),
    )


def _entry(found: Entry) -> EntryView:
    return EntryView(
        shard_id=found.shard_id,
        seq=found.seq,
        effective_on=found.effective_on,
        kind=found.kind,
        run_id=found.run_id,
        code=found.account,
        name=found.account.title,
        unit=_UNITS[unit_of(found.account_id)],
        seat=found.seat,
        amount=found.amount,
    )


def _shard_balance(found: ShardBalance) -> ShardBalanceView:
    values = found._asdict()
    return ShardBalanceView(amount=values.pop("amount_minor"), **values)


def _booked(found: BookedAccount) -> BookedView:
    return BookedView(
        code=found.account,
        name=found.account.title,
        unit=_UNITS[found.unit],
        by_kind=found.by_kind,
        closing=found.closing,
        holders=found.holders,
        explanation=found.explanation,
    )
