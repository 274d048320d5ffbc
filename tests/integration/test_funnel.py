"""The funnel of a run on real PostgreSQL: every share in one place (I12), and as the ledger has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Selection
from engine.custodian.breaks import Code
from engine.custodian.events import Event, append
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.standing import SentBatch, Standing, fold
from engine.custodian.verdicts import Sum
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.members.collection import collect, exit_unpaid
from engine.reconcile.decided import carry_out
from engine.reconcile.funnel import PARTS, Debts, FunnelLeaks, funnel_of, parted
from engine.reconcile.resolving import propose_resolution
from engine.roster.plan import lock_roster
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.prepaid import opened, prepaid
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import APPROVER, DEBIT, PLANNER, alike, build

pytestmark = pytest.mark.integration

SHARE = 10
"""0.10: the most a case may cost each."""


async def parts(world: Asked) -> dict[str, tuple[int, int]]:
    """What is in the funnel, without what is empty; asserts I12."""
    found = await world.funnel()
    named = {name: getattr(found, name) for name in PARTS}
    assert named["assessed"] == sum((named[name] for name in PARTS[1:]), Sum())
    return {name: (each.count, each.amount_minor) for name, each in named.items() if each != Sum()}


async def told(world: Asked, state: State, *positions: int, source: str = "rule:unpaid", attempt: int = 1) -> None:
    async with world.world.engine.begin() as connection:
        await connection.execute(text("SELECT 1"))  # COPY wants a transaction that has begun
        event = Event(attempt, state, source, positions=np.array(positions, np.int32))
        await append(connection, world.run.run_id, Kind.DEBIT, [(world.world.shard(1), event)])


async def posted(world: Asked, kind: str, against: Account, amounts: dict[int, int]) -> None:
    """A journal on what seats owe for the run."""
    receivable, other = (account_id(world.world.plan_id, code) for code in (Account.CONTRIBUTIONS_RECEIVABLE, against))
    segment = Segment(receivable, np.array(list(amounts.values()), np.int64), np.array(list(amounts), np.int32))
    lines = {receivable: segment.total, other: -segment.total}
    key = f"{world.run.name}:{kind}:1"
    async with world.world.engine.begin() as connection:
        await post(connection, Journal(world.world.shard(1), key, kind, BOOKED_ON, lines, (segment,)))


async def test_I12_every_share_is_in_one_place_from_the_seal_to_the_end(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path, alike(4), alike(0), is_asked=False)
    whole = {"assessed": (4, 4 * SHARE), "in_flight": (4, 4 * SHARE)}
    assert await parts(world) == whole
    assert (await world.funnel()).sent == Sum()
    await world.asks()
    assert await parts(world) == whole
    assert (await world.funnel()).sent == Sum(4, 4 * SHARE)

    await world.takes(
        Line(SHARE, world.reference(0)),
        Line(SHARE, world.reference(1)),
        Line(-SHARE - 2, world.reference(1), "return", reason="AM04", original=SHARE, charges=2),
        Line(SHARE - 1, world.reference(2)),
        Line(0, world.reference(3), "return", reason="MD06", original=SHARE),
    )
    assert await parts(world) == {
        "assessed": (4, 4 * SHARE),
        "settled": (1, SHARE),
        "in_flight": (1, SHARE),
        "returned": (2, 2 * SHARE),
    }
    found = await world.funnel()
    assert found.by_reason == {"AM04": Sum(1, SHARE), "MD06": Sum(1, SHARE)}
    assert found.rejected == Sum(1, SHARE)
    assert dict(found.posted) == {Account.CUSTODIAN_CASH: SHARE - 2, Account.BANK_CHARGES: 2}
    shown = found.as_json()
    assert shown["returned"] == {"count": 2, "amount": "0.20"}
    assert shown["by_reason"]["AM04"] == {"count": 1, "amount": "0.10"}
    assert shown["posted"] == {"custodian cash": "0.08", "bank charges": "0.02"}


async def test_what_settles_comes_back_and_is_written_off(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(*(Line(SHARE, world.reference(seat)) for seat in range(3)))
    await world.world.sql("UPDATE share_runs SET state = 'settled'")
    await world.takes(
        Line(-SHARE, world.reference(0), "return", reason="MD01", original=SHARE),
        Line(-SHARE, world.reference(1), "reversal", original=SHARE),
        opening=3 * SHARE,
    )
    # What the custodian took back is nobody's before it is decided: it stands on suspense.
    late = {"assessed": (4, 4 * SHARE), "settled": (1, SHARE), "in_flight": (2, 2 * SHARE), "returned": (1, SHARE)}
    assert await parts(world) == late
    async with engine.begin() as connection:
        await lock_roster(connection, world.world.plan_id)
        await exit_unpaid(connection, world.run.run_id, world.world.shard(1), np.array([0], np.int32))
    await told(world, State.WRITTEN_OFF, 0)
    found = await parts(world)
    assert (found["written_off"], found.get("returned")) == ((1, SHARE), None)
    assert (await world.funnel()).posted[Account.BAD_DEBT] == SHARE


async def test_I12_what_was_taken_back_is_in_flight_until_it_is_booked_once_more_however_often(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await asked(engine, tmp_path)
    booked = Line(SHARE, world.reference(0))
    back = Line(-SHARE, world.reference(0), "reversal", original=SHARE)
    rest = {"assessed": (4, 4 * SHARE), "in_flight": (3, 3 * SHARE), "settled": (1, SHARE)}
    whole = {"assessed": (4, 4 * SHARE), "in_flight": (4, 4 * SHARE)}
    opening = 0
    for days, (line, expected) in enumerate(
        [(booked, rest), (back, whole), (booked, rest), (back, whole), (booked, rest)]
    ):
        await world.takes(replace(line, on=BOOKED_ON + timedelta(days=days)), opening=opening)
        opening += line.amount
        assert await parts(world) == expected
    async with engine.begin() as connection:
        both = await propose_resolution(
            connection, Selection(code=Code.REVERSED), Action.ASK_AGAIN, reason="a test", on=BOOKED_ON, actor=PLANNER
        )
        await carry_out(connection, both.decision_id, actor=APPROVER)
    assert await parts(world) == rest


async def test_what_the_sponsor_pays_is_waived(engine: AsyncEngine, tmp_path: Path) -> None:
    waiver = {
        "name": "new ones", "joined_by": "2019-01-01", "gates_from": "2019-07-01", "gates_to": "2019-07-31",
        "reason": "the sponsor pays",
    }  # fmt: skip
    seats = alike(4)
    seats.shares_from[2:] += 1
    world = await asked(engine, tmp_path, seats, waivers=[waiver])
    assert await parts(world) == {
        "assessed": (4, 4 * SHARE),
        "in_flight": (2, 2 * SHARE),
        "waived": (2, 2 * SHARE),
    }


async def test_a_prepaid_plan_draws_what_it_assesses(engine: AsyncEngine, tmp_path: Path) -> None:
    plan = await build(engine, prepaid(), alike(4))
    await opened(plan, [5_00] * 4)
    await plan.claim(aid_minor=4_00)
    run = await plan.sealed()
    async with engine.connect() as connection:
        found = await funnel_of(connection, run.run_id)
    assert (found.drawn, found.assessed) == (found.assessed, found.drawn)
    assert found.drawn.count == 4
    assert found.drawn.amount_minor > 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (3, {"assessed": (4, 4 * SHARE + 3), "settled": (4, 4 * SHARE), "in_flight": (0, 3)}),
        (-3, {"assessed": (4, 4 * SHARE - 3), "settled": (4, 4 * SHARE - 3)}),
        (-SHARE, {"assessed": (3, 3 * SHARE), "settled": (3, 3 * SHARE)}),
    ],
)
async def test_a_correction_after_the_debit_changes_what_was_assessed(
    engine: AsyncEngine, tmp_path: Path, change: int, expected: dict[str, Any]
) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(*(Line(SHARE, world.reference(seat)) for seat in range(4)))
    await posted(world, "correction", Account.SPONSOR_RECEIVABLE, {0: change})
    assert await parts(world) == expected


@pytest.mark.parametrize(
    ("line", "code", "action", "expected"),
    [
        # Settled, though a unit of it is a bad debt: what the ledger lost stands beside, by account.
        ("short", Code.AMOUNT_MISMATCH, Action.ACCEPT, {"settled": (4, 4 * SHARE)}),
        ("short", Code.AMOUNT_MISMATCH, Action.WRITE_OFF, {"settled": (3, 3 * SHARE), "written_off": (1, SHARE)}),
        ("reversed", Code.REVERSED, Action.ASK_AGAIN, {"settled": (3, 3 * SHARE), "returned": (1, SHARE)}),
        ("reversed", Code.REVERSED, Action.WRITE_OFF, {"settled": (3, 3 * SHARE), "written_off": (1, SHARE)}),
        ("late", Code.RETURNED_AFTER_SETTLEMENT, Action.ASK_AGAIN, {"settled": (3, 3 * SHARE), "returned": (1, SHARE)}),
    ],
)
async def test_I12_holds_after_each_resolution(
    engine: AsyncEngine, tmp_path: Path, line: str, code: Code, action: Action, expected: dict[str, Any]
) -> None:
    world = await asked(engine, tmp_path)
    first = [Line(SHARE, world.reference(seat)) for seat in range(3)]
    if line == "short":
        await world.takes(*first, Line(SHARE - 1, world.reference(3)))
    else:
        await world.takes(*first, Line(SHARE, world.reference(3)))
        await world.world.sql("UPDATE share_runs SET state = 'settled'")
        kind = "reversal" if line == "reversed" else "return"
        await world.takes(Line(-SHARE, world.reference(3), kind, original=SHARE), opening=4 * SHARE)
    async with engine.begin() as connection:
        chosen = Selection(code=code)
        decision = await propose_resolution(connection, chosen, action, reason="a test", on=BOOKED_ON, actor=PLANNER)
    async with engine.begin() as connection:
        await carry_out(connection, decision.decision_id, actor=APPROVER)
    assert await parts(world) == {"assessed": (4, 4 * SHARE)} | expected


async def test_I12_a_debit_that_is_booked_and_not_posted_leaks(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await told(world, State.BOOKED, 1, source="statement:9")
    with pytest.raises(FunnelLeaks, match=r"1 seats owe another amount .* position 1 owes 0.10 .* booked .*\[I12\]"):
        await world.funnel()


async def test_I12_money_that_is_posted_and_in_no_history_leaks(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    async with engine.begin() as connection:
        await collect(connection, world.run.run_id, world.world.shard(1), np.array([2], np.int32), on=BOOKED_ON)
    with pytest.raises(FunnelLeaks, match=r"position 2 owes 0.00 and its debit is sent with 0.10 left"):
        await world.funnel()


async def test_only_a_sealed_run_has_a_funnel(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(
        engine, (await asked(engine, tmp_path)).world.rules.model_copy(update={"code": "other"}), alike(4)
    )
    await world.claim()
    run = await world.previewed(DEBIT)
    async with engine.connect() as connection:
        with pytest.raises(InvalidInput, match="only a sealed run has debits"):
            await funnel_of(connection, run.run_id)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(-5, 5), st.integers(-5, 10), st.sampled_from(State), st.integers(0, 3)
        ),
        max_size=12,
    )
)
def test_I12_the_parts_come_to_the_whole_whatever_stands_where(seats: list[tuple[int, int, int, State, int]]) -> None:
    charged, corrected, owed, states, drawn = (np.array([seat[at] for seat in seats], np.int64) for at in range(5))
    n = len(seats)
    debts = Debts(charged, corrected, owed, drawn, np.zeros(n, np.bool_))
    attempt = (states > 0).astype(np.uint8)
    nothing = np.zeros(n, np.int64)
    standing = Standing(
        *(charged, states.astype(np.uint8), attempt, charged, attempt, np.maximum(drawn, 0)),
        *(nothing.astype(np.int32), nothing.astype(np.uint8)),
    )
    found = parted(1, debts, standing)
    parts = (found.settled, found.in_flight, found.returned, found.written_off)
    assert found.assessed == sum(parts, Sum())
    assert all(part.amount_minor >= 0 for part in parts)


class Told:
    """One seat's debts as a person would keep them, and the history that is written down of them."""

    def __init__(self, seat: int, charged: int) -> None:
        self.seat, self.charged, self.corrected = seat, charged, 0
        self.owed, self.settled, self.written_off = charged, 0, 0
        self.state, self.attempt, self.asked = State.NONE, 0, 0
        self.events: list[Event] = []

    def play(self, step: str) -> None:
        """Ask, book, return, raise or lower by a unit, write off; what cannot be now is passed over."""
        is_out, is_back = self.state is State.SENT, self.state is State.RETURNED
        match step:
            case "ask" if self.owed and not is_out:
                self.attempt, self.asked = self.attempt + 1, self.owed
                self._tell(State.SENT, self.owed)
            case "book" if is_out:
                self.owed, self.settled = self.owed - self.asked, self.settled + self.asked
                self._tell(State.BOOKED)
            case "return" if self.state is State.BOOKED:
                self.owed, self.settled = self.owed + self.asked, self.settled - self.asked
                self._tell(State.RETURNED)
            case "raise":
                self.corrected, self.owed = self.corrected + 1, self.owed + 1
            case "lower" if self.owed and not is_out:
                self.corrected, self.owed = self.corrected - 1, self.owed - 1
            case "write off" if is_back and self.owed:
                let_go, self.owed, self.written_off = self.owed, 0, self.written_off + self.owed
                self._tell(State.WRITTEN_OFF, let_go)

    def _tell(self, state: State, amount: int | None = None) -> None:
        self.state = state
        said, file = (State.ASSESSED, 1) if state is State.SENT else (state, None)
        amounts = None if amount is None else np.array([amount], np.int64)
        at = np.array([self.seat], np.int32)
        self.events.append(Event(self.attempt, said, f"step:{len(self.events)}", file, positions=at, amounts=amounts))


STEPS = st.lists(st.sampled_from(["ask", "book", "return", "raise", "lower", "write off"]), max_size=20)


@given(st.lists(st.tuples(st.integers(0, 5), STEPS), max_size=6))
def test_I12_amounts_split_exactly_however_often_debits_are_raised(seats: list[tuple[int, list[str]]]) -> None:
    told = [Told(seat, charged) for seat, (charged, _) in enumerate(seats)]
    for each, (_, steps) in zip(told, seats, strict=True):
        for step in steps:
            each.play(step)

    def column(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(each, name) for each in told], np.int64)

    none = np.zeros(len(told), np.int64)
    charged = column("charged")
    debts = Debts(charged, column("corrected"), column("owed"), none, none.astype(bool))
    history = [event for each in told for event in each.events]
    found = parted(1, debts, fold(charged, history, {1: SentBatch(1, DEBIT)}))

    def expected(amount: str, *states: State) -> Sum:
        """Seats by their newest state; what is owed by those in it, all else of all."""
        in_it = [each for each in told if each.state in states]
        counted = sum(each.charged + each.corrected > 0 for each in in_it)
        return Sum(counted, sum(getattr(each, amount) for each in (in_it if amount == "owed" else told)))

    assert found.settled == expected("settled", State.BOOKED)
    assert found.written_off == expected("written_off", State.WRITTEN_OFF)
    assert found.returned == expected("owed", State.RETURNED)
    on_top = sum(each.owed for each in told if each.state in (State.BOOKED, State.WRITTEN_OFF))
    assert found.in_flight == expected("owed", State.NONE, State.SENT) + Sum(0, on_top)
