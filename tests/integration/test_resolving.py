"""Breaks come to their end by decision of two: what each action posts, what it refuses, and what always holds."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.actions import POSSIBLE, Action
from engine.custodian.break_rows import Opening, Selection, open_breaks
from engine.custodian.breaks import BreakRefused, Code
from engine.custodian.breaks import State as Stands
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.decisions import FourEyes
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.reconcile.decided import carry_out
from engine.reconcile.effects import Target
from tests.integration.broken import DAY, Teller, holds, propose, refused, resolve, sent, totals
from tests.integration.worlds import APPROVER, PLANNER, alike

pytestmark = pytest.mark.integration

CASH, OWED, SUSPENSE = Account.CUSTODIAN_CASH, Account.CONTRIBUTIONS_RECEIVABLE, Account.SUSPENSE
LOST, CHARGES, BACK = Account.BAD_DEBT, Account.BANK_CHARGES, Account.REFUNDS_PAYABLE
SEAT = 3


@pytest.fixture
async def teller(engine: AsyncEngine, tmp_path: Path) -> Teller:
    return await sent(engine, tmp_path, alike(8))


async def states_of(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(text("SELECT state FROM breaks ORDER BY break_id"))).scalars())


async def events_of(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(text("SELECT event FROM break_events ORDER BY event_id"))).scalars())


# What the instruction was told before, the break's code, what came more than was asked (None: no line), the action;
# what was posted beyond the line itself, for c charged; where the instruction stands then.
BEFORE_LINE = {"sent": State.SENT, "disputed": State.DISPUTED, "rejected": State.REJECTED, "booked": State.BOOKED}
TABLE: dict[str, tuple[str, Code, tuple[int, int] | None, Action, dict[Account, Any], State]] = {
    "missing, asked again": ("sent", Code.MISSING_AT_BANK, None, Action.ASK_AGAIN, {}, State.RETURNED),
    "missing, given up": (
        "sent", Code.MISSING_AT_BANK, None, Action.WRITE_OFF, {OWED: -1, LOST: 1}, State.WRITTEN_OFF,
    ),
    "too much, accepted": (
        "disputed", Code.AMOUNT_MISMATCH, (1, 7), Action.ACCEPT, {SUSPENSE: (1, 7), OWED: -1, BACK: (0, -7)},
        State.BOOKED,
    ),
    "too little, accepted": (
        "disputed", Code.AMOUNT_MISMATCH, (1, -7), Action.ACCEPT, {SUSPENSE: (1, -7), OWED: -1, LOST: (0, 7)},
        State.BOOKED,
    ),
    "too little, given back": (
        "disputed", Code.AMOUNT_MISMATCH, (1, -7), Action.GIVE_BACK, {SUSPENSE: (1, -7), BACK: (-1, 7)},
        State.RETURNED,
    ),
    "too early, accepted": (
        "disputed", Code.WRONG_DATE, (1, 0), Action.ACCEPT, {SUSPENSE: 1, OWED: -1}, State.BOOKED,
    ),
    "rejected and booked, accepted": (
        "rejected", Code.STATUS_CONFLICT, (1, 0), Action.ACCEPT, {SUSPENSE: 1, OWED: -1}, State.BOOKED,
    ),
    "booked twice, given back": (
        "booked", Code.DUPLICATE_AT_BANK, (1, 0), Action.GIVE_BACK, {SUSPENSE: 1, BACK: -1}, State.BOOKED,
    ),
    "booked twice, kept": (
        "booked", Code.DUPLICATE_AT_BANK, (1, 0), Action.WRITE_OFF, {SUSPENSE: 1, LOST: -1}, State.BOOKED,
    ),
    "returned twice, lost": (
        "booked", Code.DUPLICATE_AT_BANK, (-1, 0), Action.WRITE_OFF, {SUSPENSE: -1, LOST: 1}, State.BOOKED,
    ),
    "returned with other charges, accepted": (
        "booked", Code.AMOUNT_MISMATCH, (-1, -5), Action.ACCEPT, {SUSPENSE: (-1, -5), OWED: 1, CHARGES: (0, 5)},
        State.RETURNED,
    ),
    "returned in part, accepted": (
        "booked", Code.AMOUNT_MISMATCH, (-1, 5), Action.ACCEPT, {SUSPENSE: (-1, 5), OWED: (1, -5)}, State.RETURNED,
    ),
    "without a reference, given back to who is named in it": (
        "booked", Code.UNKNOWN_REFERENCE, (1, 0), Action.GIVE_BACK, {SUSPENSE: 1, BACK: -1}, State.BOOKED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
async def test_what_an_action_posts(teller: Teller, engine: AsyncEngine, case: str) -> None:
    before, code, line, action, posted, after = TABLE[case]
    async with engine.begin() as connection:
        charged = await teller.charged(connection, SEAT)
        if before == "booked":
            await teller.book(connection, [SEAT])
        elif before != "sent":
            await teller.say(connection, [SEAT], BEFORE_LINE[before])
        amount = charged if line is None else line[0] * charged + line[1]
        (number,) = await teller.breaks(connection, code, [SEAT], amount, on_suspense=line is not None)
        await holds(connection)
        books = dict(await totals(connection))
        decision = await resolve(connection, [number], action)

        def of(share: int | tuple[int, int]) -> int:
            return share * charged if isinstance(share, int) else share[0] * charged + share[1]

        expected = {account: books.get(account, 0) + of(share) for account, share in posted.items()}
        assert await totals(connection) == {k: v for k, v in (books | expected).items() if v}
        assert await teller.state(connection, SEAT) is after
        ends = ("written off", "write off") if action is Action.WRITE_OFF else ("resolved", "resolve")
        assert await states_of(connection) == [ends[0]]
        assert await events_of(connection) == ["assign", "propose", "approve", ends[1]]
        assert decision.outcome is not None
        assert decision.outcome["number"] == 1
        await holds(connection)
    assert await teller.world.problems() == []


async def test_what_came_back_late_is_asked_again_or_lost(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await teller.book(connection, [1, 2])
        await teller.book(connection, [1, 2], back=True, reopens=True)
        charged = await teller.charged(connection, 1)
        first, second = await teller.breaks(
            connection, Code.RETURNED_AFTER_SETTLEMENT, [1, 2], -charged, on_suspense=False
        )
        books = dict(await totals(connection))
        await resolve(connection, [first], Action.ASK_AGAIN)
        assert await totals(connection) == books
        await resolve(connection, [second], Action.WRITE_OFF)
        assert await totals(connection) == books | {OWED: books[OWED] - charged, LOST: charged}
        assert [await teller.state(connection, seat) for seat in (1, 2)] == [State.RETURNED, State.WRITTEN_OFF]


@pytest.mark.parametrize(("again", "after"), [(False, State.RETURNED), (True, State.BOOKED)])
async def test_what_was_taken_back_is_owed_again_but_stays_booked_where_it_was_booked_once_more(
    teller: Teller, engine: AsyncEngine, again: bool, after: State
) -> None:
    async with engine.begin() as connection:
        charged = await teller.charged(connection, SEAT)
        owed = (await totals(connection))[OWED]
        await teller.book(connection, [SEAT])
        (number,) = await teller.breaks(connection, Code.REVERSED, [SEAT], -charged)
        await teller.say(connection, [SEAT], State.DISPUTED)
        if again:
            await teller.book(connection, [SEAT])
        await resolve(connection, [number], Action.ASK_AGAIN)
        assert (await totals(connection))[OWED] == owed - (charged if again else 0)
        assert await teller.state(connection, SEAT) is after
        await holds(connection)


async def test_what_was_lost_and_came_after_all_is_recovered(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        (missing,) = await teller.breaks(connection, Code.MISSING_AT_BANK, [SEAT], 1, on_suspense=False)
        await resolve(connection, [missing], Action.WRITE_OFF)
        charged = await teller.charged(connection, SEAT)
        (late,) = await teller.breaks(connection, Code.STATUS_CONFLICT, [SEAT], charged + 4)
        await resolve(connection, [late], Action.ACCEPT)
        books = await totals(connection)
        assert LOST not in books
        assert SUSPENSE not in books
        assert books[BACK] == -4
        assert await teller.state(connection, SEAT) is State.BOOKED


async def test_a_line_without_a_reference_is_matched_by_a_person(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        charged = await teller.charged(connection, SEAT)
        short, right = (
            *await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], charged - 1),
            *await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], charged),
        )
        books = dict(await totals(connection))
        target = Target(teller.world.plan_id, SEAT, teller.run.run_id)
        decision = await propose(connection, [short], Action.MATCH, target=target)
        with pytest.raises(BreakRefused, match="less than is owed"):
            await carry_out(connection, decision.decision_id, actor=APPROVER)
        await resolve(connection, [right], Action.MATCH, target=target)
        assert await totals(connection) == books | {SUSPENSE: books[SUSPENSE] + charged, OWED: books[OWED] - charged}
        assert await teller.state(connection, SEAT) is State.BOOKED
        await holds(connection)


async def test_money_of_nobody_known_is_given_to_a_seat_or_kept(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        first, second = await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None, None], 55)
        decision = await propose(connection, [first], Action.GIVE_BACK)
        with pytest.raises(BreakRefused, match="--seat"):
            await carry_out(connection, decision.decision_id, actor=APPROVER)
        await refused(connection, decision)
        await resolve(connection, [first], Action.GIVE_BACK, target=Target(teller.world.plan_id, SEAT))
        await resolve(connection, [second], Action.WRITE_OFF)
        books = await totals(connection)
        assert (books[BACK], books[LOST]) == (-55, -55)
        await holds(connection)


async def test_a_charge_nobody_expected_is_a_bank_charge_whatever_it_names(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.FEE_UNEXPECTED, [None, SEAT], -30)
        await resolve(connection, numbers, Action.ACCEPT)
        books = await totals(connection)
        assert books[CHARGES] == 60
        assert SUSPENSE not in books
        assert await teller.state(connection, SEAT) is State.SENT


async def test_what_cancels_each_other_is_explained_together_and_not_apart(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        wrong, corrected, silent = (
            *await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 70),
            *await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [SEAT], -70),
            *await teller.breaks(connection, Code.STATUS_CONFLICT, [5], 0, on_suspense=False),
        )
        with pytest.raises(BreakRefused, match=r"70\.00|0\.70"):
            await propose(connection, [wrong], Action.EXPLAIN)
        books = await totals(connection)
        await resolve(connection, [wrong, corrected, silent], Action.EXPLAIN)
        assert await totals(connection) == books
        await holds(connection)


@pytest.mark.parametrize(("over", "lost"), [(-8, 8), (0, 0), (5, -5)])
async def test_one_line_for_a_whole_file_settles_its_members(
    teller: Teller, engine: AsyncEngine, over: int, lost: int
) -> None:
    code = Code.BATCH_SHORT if over < 0 else Code.BATCH_OVER
    async with engine.begin() as connection:
        await teller.book(connection, [0])
        seats = range(1, 8)
        total = sum([await teller.charged(connection, seat) for seat in seats])
        await teller.say(connection, seats, State.DISPUTED)
        (number,) = await teller.breaks(connection, code, [1], total + over, kind=Kind.BATCH)
        with pytest.raises(BreakRefused, match="accept"):
            await propose(connection, [number], Action.WRITE_OFF)
        decision = await resolve(connection, [number], Action.ACCEPT)
        books = await totals(connection)
        assert decision.outcome is not None
        assert decision.outcome["instructions"] == 7
        assert OWED not in books
        assert books.get(LOST, 0) == lost
        assert {await teller.state(connection, seat) for seat in range(8)} == {State.BOOKED}
        await holds(connection)


async def test_one_who_proposes_does_not_approve_and_a_refusal_sets_the_breaks_free_I13(
    teller: Teller, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2], 9)
        decision = await propose(connection, numbers, Action.GIVE_BACK)
        with pytest.raises(FourEyes):
            await carry_out(connection, decision.decision_id, actor=PLANNER.upper())
        with pytest.raises(BreakRefused, match=rf"break {numbers[0]} is proposed by decision {decision.decision_id}"):
            await propose(connection, numbers, Action.GIVE_BACK)
        await refused(connection, decision)
        assert await states_of(connection) == ["assigned", "assigned"]
        again = await resolve(connection, numbers, Action.GIVE_BACK)
        assert again.decision_id != decision.decision_id
        assert await states_of(connection) == ["resolved", "resolved"]
        with pytest.raises(BreakRefused, match="is resolved by decision"):
            await propose(connection, numbers, Action.GIVE_BACK)
        audited = (
            await connection.execute(text("SELECT act, actor FROM audit_log WHERE act LIKE '%resolution'"))
        ).all()
        assert [tuple(row) for row in audited] == [
            ("propose resolution", PLANNER), ("refuse resolution", APPROVER),
            ("propose resolution", PLANNER), ("approve resolution", APPROVER),
        ]  # fmt: skip


@pytest.mark.parametrize("kind", ["R", "T"])
async def test_breaks_about_no_run_are_decided_in_the_custodians_name(
    teller: Teller, engine: AsyncEngine, kind: str
) -> None:
    async with engine.begin() as connection:
        of_debits = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2], 9)
        others = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [3, 4], 9)
        numbers = {"ids": others, "kind": kind}
        await connection.execute(text("UPDATE breaks SET kind = :kind WHERE break_id = ANY (:ids)"), numbers)
        assert (await propose(connection, of_debits, Action.GIVE_BACK)).subject == "run:1"
        assert (await propose(connection, others, Action.GIVE_BACK)).subject == "custodian:generic-csv"


async def test_a_line_that_comes_between_is_seen_by_who_approves_and_clears_once_refused(
    teller: Teller, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.MISSING_AT_BANK, [1, 2], 9, on_suspense=False)
        decision = await propose(connection, numbers, Action.ASK_AGAIN)
        await teller.book(connection, [2])
        with pytest.raises(BreakRefused, match=r"seat 2 of run 1: its line came since; refuse the decision"):
            await carry_out(connection, decision.decision_id, actor=APPROVER)
        await refused(connection, decision)
        assert await states_of(connection) == ["assigned", "resolved"]
        assert (await events_of(connection))[-1] == "clear"
        await resolve(connection, numbers[:1], Action.ASK_AGAIN)
        assert await teller.state(connection, 1) is State.RETURNED


@pytest.mark.parametrize("code", Code)
async def test_an_action_is_refused_for_every_code_it_makes_no_sense_for(
    teller: Teller, engine: AsyncEngine, code: Code
) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, code, [SEAT], 5, on_suspense=False)
        assert any(code in codes for codes in POSSIBLE.values())
        for action in Action:
            if code not in POSSIBLE[action]:
                with pytest.raises(BreakRefused, match="possible: "):
                    await propose(connection, numbers, action)


async def test_what_makes_no_decision_is_refused_with_what_to_do(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        (number,) = await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 5)
        with pytest.raises(InvalidInput, match="no break 77"):
            await propose(connection, [number, 77], Action.WRITE_OFF)
        with pytest.raises(InvalidInput, match="no open break is so"):
            await propose(connection, Selection(code=Code.REVERSED), Action.WRITE_OFF)
        with pytest.raises(InvalidInput, match="--run RUN and --seat"):
            await propose(connection, [number], Action.MATCH)
        with pytest.raises(InvalidInput, match="leave it out"):
            await propose(connection, [number], Action.WRITE_OFF, target=Target(1, 1))
        with pytest.raises(InvalidInput, match="say why"):
            await propose(connection, [number], Action.WRITE_OFF, reason=" ")


@pytest.mark.parametrize(
    ("code", "action"), [(Code.MISSING_AT_BANK, Action.WRITE_OFF), (Code.AMOUNT_MISMATCH, Action.ACCEPT)]
)
async def test_fifty_thousand_breaks_end_in_one_decision_within_seconds(
    engine: AsyncEngine, tmp_path: Path, code: Code, action: Action
) -> None:
    number = 50_000
    teller = await sent(engine, tmp_path, alike(number), aid_minor=1_000_000)
    async with engine.begin() as connection:
        came = 1 if code is Code.AMOUNT_MISMATCH else 0
        if came:
            await teller.suspend(connection, number)
            await teller.say(connection, range(number), State.DISPUTED)
        openings = [
            Opening(
                code,
                teller.world.plan_id,
                1,
                came,
                DAY,
                run_id=teller.run.run_id,
                kind=Kind.DEBIT,
                attempt=1,
                seat=seat,
            )
            for seat in range(number)
        ]
        await connection.execute(text("SELECT 1"))
        await open_breaks(connection, teller.custodian.custodian_id, openings)
    begun = monotonic()
    async with engine.begin() as connection:
        decision = await propose(connection, Selection(code=code), action)
        assert decision.detail["chosen_by"] == f"code {code}"
        assert "breaks" not in decision.detail
    async with engine.begin() as connection:
        done = await carry_out(connection, decision.decision_id, actor=APPROVER)
    seconds = monotonic() - begun
    assert done.outcome is not None
    assert done.outcome["instructions"] == number
    assert seconds < 20, f"{seconds:.1f} s"
    async with engine.connect() as connection:
        assert OWED not in await totals(connection)
        counts = await connection.execute(text("SELECT state, count(*) FROM breaks GROUP BY 1"))
        ends = Stands.WRITTEN_OFF if action is Action.WRITE_OFF else Stands.RESOLVED
        assert [tuple(row) for row in counts] == [(ends, number)]
        assert await connection.scalar(text("SELECT count(*) FROM break_events")) == 4 * number
        await holds(connection)
    assert np.all(await teller.world.owed(1) == 0)
