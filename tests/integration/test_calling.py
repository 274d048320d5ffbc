"""Calls: auto top-ups and levies asked of the custodian by the plan's rule, booked, back, and asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.breaks import BreakRefused
from engine.custodian.calls import call_number
from engine.custodian.outbox import files_waiting
from engine.custodian.profile import BookingMode, Profile
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian
from engine.custodian.tokens import Tokens, write_tokens
from engine.ledger.accounts import Account
from engine.members.levies import levy
from engine.plans import day_number
from engine.reconcile.calling import call_members
from engine.reconcile.collecting import CollectedDay, collect_day
from engine.reconcile.custody import Quarter, custody_of
from engine.reconcile.instructing import Asking
from engine.reconcile.proof import Proof, proof_of
from engine.reconcile.sending import withdraw
from engine.reconcile.taking import Taken, take
from engine.roster.columns import Columns
from engine.roster.plan import lock_roster
from engine.store.tables import SHARD_SEATS
from tests.integration.bank_statement import Line, statement
from tests.integration.broken import resolve
from tests.integration.held import ACTOR, SHANGHAI, debit_files, desk_in, hold, lines, profile_of
from tests.integration.prepaid import held_by, paying, swept
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

A, L = Kind.AUTO_TOP_UP, Kind.LEVY
CASH = Account.CUSTODIAN_CASH
ENTRY, CARD = ({"name": name, "on": "joining", "amount": amount} for name, amount in (("entry", "9"), ("card", "5")))


def june(number: int) -> date:
    return date(2019, 6, number)


@dataclass
class Caller:
    """A plan, its custodian, and what the two write to each other."""

    world: World
    custodian: Custodian
    folder: Path
    closing_minor: int = 0

    async def day(self, on: date, *, sends: bool = True) -> CollectedDay:
        """A day of the custodian's, and what waits leaves."""
        now = datetime(on.year, on.month, on.day, 9, tzinfo=SHANGHAI)
        day = await collect_day(self.world.engine, self.custodian, desk_in(self.folder), on=on, now=now, actor=ACTOR)
        if sends:
            await self.world.sql(
                "UPDATE debit_batches SET sent_at = :at, sent_on = :on WHERE sent_at IS NULL AND withdrawn_at IS NULL",
                at=now,
                on=on,
            )
        return day

    async def asks(self, on: date) -> tuple[int, int] | None:
        """What a day's call asks for: how many, how much."""
        asked = (await self.day(on)).called
        return (asked[0].instructions, asked[0].amount_minor) if asked else None

    def reference(self, seat: int, called_on: date, kind: Kind = A) -> str:
        return str(Reference(kind, call_number(self.world.plan_id, called_on), 1, seat))

    async def takes(self, *said: Line) -> Taken:
        path = self.folder / "statement.csv"
        path.write_text(statement(said, self.closing_minor), "utf-8")
        on = max(line.on for line in said)
        (taken,) = await take(self.world.engine, self.custodian, path, files=self.folder, actor=ACTOR, on=on)
        assert taken.state == "taken", taken.problems
        self.closing_minor += sum(line.amount for line in said)
        return taken

    async def books(self, called_on: date, *seats: int, amount: int = 10_00, on: date, kind: Kind = A) -> None:
        await self.takes(*(Line(amount, self.reference(seat, called_on, kind), on=on) for seat in seats))

    async def returns(
        self, called_on: date, *seats: int, amount: int = 10_00, on: date, kind: Kind = A, reason: str = "AM04"
    ) -> None:
        """It is booked, and comes back the same day on another statement."""
        await self.books(called_on, *seats, amount=amount, on=on, kind=kind)
        there = [self.reference(seat, called_on, kind) for seat in seats]
        await self.takes(*(Line(-amount, each, "return", on=on, reason=reason) for each in there))

    async def charges(self, name: str, *, on: date) -> None:
        """A levy is charged to whom it is due."""
        async with self.world.engine.begin() as connection:
            await levy(connection, self.world.plan, self.world.rules, name, on=on, actor=ACTOR)

    async def resolves(self, action: Action) -> None:
        """The one break there is, by decision of two."""
        async with self.world.engine.begin() as connection:
            ids = [row[0] for row in await self.world.rows("SELECT break_id FROM breaks")]
            await resolve(connection, ids, action, on=june(13))

    async def proof(self, on: date) -> Proof:
        async with self.world.engine.connect() as connection:
            return await proof_of(connection, self.custodian, on)

    async def flows(self) -> tuple[dict[str, int], dict[str, int], int]:
        """What the custody report shows of the quarter."""
        async with self.world.engine.connect() as connection:
            found = await custody_of(connection, self.world.plan, Quarter(2019, 2))
        return dict(found.inflow), dict(found.outflow), found.difference

    async def breaks(self) -> list[tuple[Any, ...]]:
        return await self.world.rows("SELECT code, kind, seat, suspense_minor FROM breaks ORDER BY break_id")


async def prepaid(
    engine: AsyncEngine, folder: Path, *deposits: Sequence[int], month: str = "50", profile: Profile | None = None
) -> Caller:
    """Members with these balances; below 3.00 one is asked for 10.00."""
    auto = {"below": "3", "amount": "10", "per_month_at_most": month}
    rule = {"entry": "9", "floor": "1", "return_days": 30, "auto_top_up": auto}
    world = await paying(engine, *deposits, prepaid=rule)
    total = sum(map(sum, deposits))
    return Caller(world, await hold(world, profile or profile_of()), folder, total)


async def levied(engine: AsyncEngine, folder: Path, columns: Columns, profile: Profile | None = None) -> Caller:
    """Members who owe an entry premium of 9.00 since 3 June."""
    rules = rules_of_preset(levies=[ENTRY, CARD], exits=None, unpaid={"retry_days": 2})
    world = await build(
        engine, rules, replace(columns, shares_from=np.full(len(columns), day_number(june(1)), np.int32))
    )
    plan = Caller(world, await hold(world, profile or profile_of()), folder)
    await plan.charges("entry", on=june(3))
    return plan


async def test_an_auto_top_up_is_asked_booked_and_the_members(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [299, 300, 0], [0])
    number = call_number(plan.world.plan_id, june(3))
    day = await plan.day(june(3))
    assert day.called == (Asking(number, A, 1, june(3), 1, 3, 30_00),)
    assert [row[:3] for row in lines(desk_in(tmp_path))] == [
        [plan.reference(seat, june(3)), f"M{seat}", "10.00"] for seat in (0, 2, SHARD_SEATS)
    ]
    assert (await plan.day(june(3))).called == (), "once a day"
    assert (await plan.day(june(4))).called == (), "they are under way"
    assert await held_by(plan.world) == [299, 300, 0], "nothing is the member's before it is booked"
    assert (await plan.proof(june(4))).in_transit.amount_minor == 30_00
    await plan.books(june(3), 0, 2, SHARD_SEATS, on=june(5))
    assert (await held_by(plan.world), await held_by(plan.world, 2)) == ([1299, 300, 1000], [1000])
    assert (await plan.proof(june(5))).in_transit.amount_minor == 0
    assert (await plan.proof(june(5))).difference == 0
    assert await plan.breaks() == []
    inflow, outflow, difference = await plan.flows()
    assert (inflow, outflow, difference) == ({"deposits paid in": 599, "auto top-ups collected": 30_00}, {}, 0)
    assert await plan.world.problems() == []


async def test_what_came_back_is_asked_again_until_the_months_sum(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [200, 900], month="20")
    assert await plan.asks(june(3)) == (1, 10_00)
    await plan.returns(june(3), 0, on=june(4))
    assert await held_by(plan.world) == [200, 900]
    assert await plan.asks(june(4)) == (1, 10_00)
    await plan.returns(june(4), 0, on=june(5))
    assert await plan.asks(june(5)) is None, "20.00 were asked for in June"
    assert await plan.asks(date(2019, 7, 1)) == (1, 10_00)
    await plan.books(date(2019, 7, 1), 0, on=date(2019, 7, 2))
    assert await held_by(plan.world) == [1200, 900]
    inflow, outflow, difference = await plan.flows()
    assert (inflow["auto top-ups collected"], outflow["auto top-ups that came back"]) == (20_00, 20_00)
    assert difference == 0
    assert await plan.world.problems() == []


async def test_a_reason_that_forbids_it_waits_for_the_next_month(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [200])
    assert await plan.asks(june(28)) == (1, 10_00)
    await plan.returns(june(28), 0, on=june(29), reason="AC04")
    assert await plan.asks(june(30)) is None
    assert await plan.asks(date(2019, 7, 1)) == (1, 10_00)


async def test_one_that_comes_back_late_is_taken_off_again_and_freezes(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [50])
    assert await plan.asks(june(3)) == (1, 10_00)
    await plan.books(june(3), 0, on=june(4))
    assert (await swept(plan.world, june(6))).frozen == 0
    await plan.takes(Line(-10_00, plan.reference(0, june(3)), "return", on=june(7), reason="AM04"))
    assert await held_by(plan.world) == [50]
    assert (await swept(plan.world, june(9))).frozen == 1
    frozen_from = await plan.world.value("SELECT min(from_day) FROM roster_changes WHERE kind = 'freeze'")
    assert frozen_from == day_number(june(8)), "the day after the balance fell"
    assert await plan.asks(june(9)) is None, "who is frozen returns by themself"
    assert (await plan.proof(june(7))).difference == 0
    assert await plan.world.problems() == []


async def test_one_that_is_on_no_statement_is_missing_and_cleared_when_it_comes(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    plan = await prepaid(engine, tmp_path, [0, 0])
    await plan.day(june(3))
    await plan.books(june(3), 0, on=june(4))
    days = [(await plan.day(on)).missing for on in (june(5), june(12), june(12))]
    assert days == [0, 1, 0]
    assert await plan.breaks() == [("MISSING_AT_BANK", "A", 1, 0)]
    assert await plan.asks(june(13)) is None, "nobody knows yet what became of it"
    await plan.books(june(3), 1, on=june(14))
    assert await plan.world.value("SELECT state FROM breaks") == "resolved"


async def test_what_the_custodian_books_wrongly_is_a_break_and_nobodys_deposit(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    plan = await prepaid(engine, tmp_path, [0, 0, 900])
    await plan.day(june(3))
    await plan.takes(
        Line(9_00, plan.reference(0, june(3)), on=june(4)),
        Line(10_00, plan.reference(2, june(3)), on=june(4)),
        Line(10_00, plan.reference(1, june(3)), on=june(4)),
        Line(10_00, plan.reference(1, june(3)), on=june(4)),
    )
    assert await plan.breaks() == [
        ("AMOUNT_MISMATCH", "A", 0, 9_00),
        ("UNKNOWN_REFERENCE", "A", 2, 10_00),
        ("DUPLICATE_AT_BANK", "A", 1, 10_00),
    ]
    assert await held_by(plan.world) == [0, 10_00, 900]
    assert (await plan.proof(june(4))).difference == 0


async def test_a_levy_is_asked_booked_and_owed_no_more(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await levied(engine, tmp_path, alike(3))
    assert await plan.asks(june(4)) == (3, 27_00)
    await plan.books(june(4), 0, 1, amount=9_00, on=june(5), kind=L)
    assert (await plan.world.owed(1)).tolist() == [0, 0, 900]
    await plan.returns(june(4), 2, amount=9_00, on=june(6), kind=L)
    assert (await plan.world.owed(1)).tolist() == [0, 0, 900]
    assert await plan.asks(june(6)) == (1, 9_00), "asked again, by the rule for debits"
    await plan.books(june(6), 2, amount=9_00, on=june(7), kind=L)
    assert await plan.asks(june(7)) is None
    assert await plan.world.accounts() == {CASH: 27_00, Account.ENTRY_PREMIUMS_AND_LEVIES: -27_00}
    inflow, outflow, difference = await plan.flows()
    assert (inflow["levies collected"], outflow["levies that came back"]) == (36_00, 9_00)
    assert difference == 0
    assert await plan.breaks() == []
    assert await plan.world.problems() == []


async def test_a_levy_is_asked_while_the_days_of_the_rule_last(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await levied(engine, tmp_path, alike(2))
    asked = []
    for number in (4, 5, 6, 7):
        asked.append(await plan.asks(june(number)))
        on = june(number)
        back = {0: "AM04", 1: "AC04"} if number == 4 else {0: "AM04"}
        if asked[-1]:
            await plan.books(on, *back, amount=9_00, on=on, kind=L)
            await plan.takes(*(Line(-9_00, plan.reference(n, on, L), "return", on, why) for n, why in back.items()))
    assert asked == [(2, 18_00), (1, 9_00), (1, 9_00), None], "two days of retries; never a closed account"
    assert (await plan.world.owed(1)).tolist() == [900, 900], "it stays owed"


async def test_a_family_payer_pays_and_who_has_no_account_is_not_asked(engine: AsyncEngine, tmp_path: Path) -> None:
    payer = np.array([-1, 0, -1], np.int32)
    plan = await levied(engine, tmp_path, replace(alike(3), payer=payer), profile_of(payer_known_by="account"))
    key: SecretStr = desk_in(tmp_path).account_key
    assert await plan.asks(june(4)) is None, "nobody is known"
    async with engine.begin() as connection:
        await lock_roster(connection, plan.world.plan_id)
        tokens = Tokens(pa.array(["ACC0", "ACC1", None], pa.string()))
        await write_tokens(connection, plan.world.shard(1), tokens, key)
    assert await plan.asks(june(5)) == (2, 18_00)
    assert [row[1] for row in lines(desk_in(tmp_path))] == ["ACC0", "ACC0"]


@pytest.mark.parametrize(("deposits", "files", "debit_on"), [([0, 0, 0, 900, 900], 3, 3), ([0] * 5, 5, 4)])
async def test_a_call_is_for_a_day_that_all_its_files_reach(
    engine: AsyncEngine, tmp_path: Path, deposits: list[int], files: int, debit_on: int
) -> None:
    """From nine on two files leave in an hour; a fifth would only after the cut-off."""
    limits = {"max_items_per_file": 1, "files_per_hour": 2, "cut_off": time(10, 30)}
    plan = await prepaid(engine, tmp_path, deposits, profile=profile_of(limits=limits))
    (asking,) = (await plan.day(june(3))).called
    assert (asking.batches, asking.debit_on) == (files, june(debit_on))


async def test_what_missed_its_day_holds_up_nothing_that_waits_behind(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0, 0], profile=profile_of(limits={"max_items_per_file": 1}))
    await plan.day(june(3), sends=False)
    async with engine.connect() as connection:
        waiting = [
            await files_waiting(connection, plan.custodian, now=datetime(2019, 6, on, hour, tzinfo=SHANGHAI))
            for on, hour in ((3, 23), (4, 0))
        ]
    assert waiting == [2, 0]


async def test_a_call_killed_before_its_commit_is_made_anew(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0])
    desk, now = desk_in(tmp_path), datetime(2019, 6, 3, 9, tzinfo=SHANGHAI)
    async with engine.connect() as connection:
        called = await call_members(
            connection, plan.custodian, plan.world.plan_id, desk, on=june(3), now=now, actor=ACTOR
        )
    (file,) = debit_files(desk)
    assert await plan.world.value("SELECT count(*) FROM attempts") == 0
    assert list((await plan.day(june(3))).called) == called
    assert debit_files(desk) == [file]


async def test_nobody_is_called_once_the_plan_winds_down(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0])
    assert await plan.asks(date(2021, 3, 25)) == (1, 10_00)
    await plan.returns(date(2021, 3, 25), 0, on=date(2021, 3, 25))
    assert await plan.asks(date(2021, 3, 26)) is None
    await plan.world.sql("UPDATE plans SET ended_on = '2021-03-31'")
    assert await plan.asks(date(2021, 4, 1)) is None


RESOLVED: dict[str, tuple[Kind, int | None, Action, dict[Account, int]]] = {
    # What is asked, what is booked of it (None: nothing), what is done; what the books hold besides what is charged.
    "a top-up, too little, accepted": (A, 9_00, Action.ACCEPT, {CASH: 9_00, Account.MEMBER_DEPOSITS: -9_00}),
    "a top-up, too much, accepted": (
        A, 11_00, Action.ACCEPT, {CASH: 11_00, Account.MEMBER_DEPOSITS: -10_00, Account.REFUNDS_PAYABLE: -1_00},
    ),
    "a top-up, too little, given back": (A, 9_00, Action.GIVE_BACK, {CASH: 9_00, Account.REFUNDS_PAYABLE: -9_00}),
    "a top-up, missing, asked again": (A, None, Action.ASK_AGAIN, {}),
    "a levy, too little, accepted": (
        L, 8_00, Action.ACCEPT, {CASH: 8_00, Account.BAD_DEBT: 1_00, Account.ENTRY_PREMIUMS_AND_LEVIES: -9_00},
    ),
    "a levy, missing, written off": (
        L, None, Action.WRITE_OFF, {Account.BAD_DEBT: 9_00, Account.ENTRY_PREMIUMS_AND_LEVIES: -9_00},
    ),
    "a levy, missing, asked again": (
        L, None, Action.ASK_AGAIN, {Account.CONTRIBUTIONS_RECEIVABLE: 9_00, Account.ENTRY_PREMIUMS_AND_LEVIES: -9_00},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RESOLVED)
async def test_what_people_resolve(engine: AsyncEngine, tmp_path: Path, case: str) -> None:
    kind, booked, action, books = RESOLVED[case]
    plan = await (prepaid(engine, tmp_path, [0]) if kind is A else levied(engine, tmp_path, alike(1)))
    asked = await plan.asks(june(4))
    if booked is not None:
        await plan.takes(Line(booked, plan.reference(0, june(4), kind), on=june(5)))
    assert (await plan.day(june(12))).called == (), "nobody knows yet what became of it"
    await plan.resolves(action)
    assert await plan.world.accounts() == books
    is_free = action in (Action.ASK_AGAIN, Action.GIVE_BACK)
    assert await plan.asks(june(14)) == (asked if is_free else None)
    assert (await plan.proof(june(13))).difference == 0
    assert await plan.world.problems() == []


async def test_what_was_taken_back_is_off_the_balance_once_people_say_so(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0])
    await plan.asks(june(4))
    await plan.books(june(4), 0, on=june(5))
    await plan.takes(Line(-10_00, plan.reference(0, june(4)), "reversal", on=june(6)))
    assert await plan.breaks() == [("REVERSED", "A", 0, -10_00)]
    assert await held_by(plan.world) == [10_00]
    await plan.resolves(Action.ASK_AGAIN)
    assert await held_by(plan.world) == [0]
    assert await plan.world.accounts() == {}
    assert await plan.asks(june(14)) == (1, 10_00)


async def test_a_levy_asked_again_is_not_taken_twice(engine: AsyncEngine, tmp_path: Path) -> None:
    """What the custodian refused, and booked all the same once it was asked again."""
    plan = await levied(engine, tmp_path, alike(1))
    await plan.asks(june(4))
    await plan.takes(Line(0, plan.reference(0, june(4), L), "return", on=june(4), reason="AM04"))
    assert await plan.asks(june(5)) == (1, 9_00)
    await plan.books(june(4), 0, amount=9_00, on=june(5), kind=L)
    assert await plan.breaks() == [("STATUS_CONFLICT", "L", 0, 9_00)]
    with pytest.raises(BreakRefused, match="asked for again since; give the money back"):
        await plan.resolves(Action.ACCEPT)
    await plan.resolves(Action.GIVE_BACK)
    await plan.books(june(5), 0, amount=9_00, on=june(6), kind=L)
    assert (await plan.world.owed(1)).tolist() == [0]
    assert (await plan.world.accounts())[Account.REFUNDS_PAYABLE] == -9_00


async def test_what_is_lost_of_one_levy_is_nothing_of_the_next(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await levied(engine, tmp_path, alike(1))
    await plan.asks(june(4))
    await plan.books(june(4), 0, amount=9_00, on=june(5), kind=L)
    await plan.charges("card", on=june(6))
    assert await plan.asks(june(6)) == (1, 5_00)
    await plan.takes(Line(-9_00, plan.reference(0, june(4), L), "reversal", on=june(7)))
    await plan.resolves(Action.WRITE_OFF)
    assert (await plan.world.owed(1)).tolist() == [5_00]
    assert (await plan.world.accounts())[Account.BAD_DEBT] == 9_00
    await plan.books(june(6), 0, amount=5_00, on=june(14), kind=L)
    assert (await plan.world.owed(1)).tolist() == [0]


async def test_nobody_owes_a_top_up_that_is_missing(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0])
    await plan.asks(june(4))
    await plan.day(june(12))
    with pytest.raises(BreakRefused, match="nobody owes it"):
        await plan.resolves(Action.WRITE_OFF)


async def test_what_is_refused_before_it_is_booked_is_asked_again(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0, 0])
    await plan.asks(june(4))
    await plan.takes(
        Line(0, plan.reference(0, june(4)), "return", on=june(4), reason="AM04"),
        Line(0, plan.reference(1, june(4)), "return", on=june(4), reason="AC04"),
    )
    assert await plan.asks(june(5)) == (1, 10_00)
    assert await plan.world.accounts() == {}


async def test_a_file_booked_as_one_line_is_everybodys_top_up(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0, 900, 100], profile=profile_of(booking=BookingMode.GROSS_PER_BATCH))
    await plan.asks(june(4))
    (file,) = debit_files(desk_in(tmp_path))
    await plan.takes(Line(20_00, kind="batch", on=june(5), batch=file.reference, count=2))
    assert await held_by(plan.world) == [10_00, 9_00, 11_00]
    assert await plan.breaks() == []


async def test_what_missed_its_cut_off_does_not_count_and_is_asked_anew(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await prepaid(engine, tmp_path, [0], month="10")
    await plan.day(june(4), sends=False)
    async with engine.begin() as connection:
        late = datetime(2019, 6, 6, tzinfo=SHANGHAI)
        assert await withdraw(connection, plan.custodian, now=late, actor=ACTOR) == 1
    assert await plan.asks(june(6)) == (1, 10_00)
