"""Whatever a custodian books and people decide, in any order: the books balance and every break is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.actions import OF_DEBTS, Action, actions_for
from engine.custodian.breaks import BreakRefused, Code, Event, after
from engine.custodian.breaks import State as Stands
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.standing import read_standing, sent_batches
from engine.decisions import decision_of
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.shards import amounts_under, shard_of
from engine.reconcile.breaks import assign, clear_missing
from engine.reconcile.decided import carry_out
from engine.reconcile.effects import Target
from engine.reconcile.funnel import funnel_of
from tests.integration.broken import DAY, Teller, holds, propose, refused, sent
from tests.integration.worlds import APPROVER, alike

pytestmark = pytest.mark.integration

SEATS = 3
SEEN = Counter[Action]()

SEAT = st.integers(0, SEATS - 1)
CUSTODIAN = st.one_of(
    st.tuples(st.sampled_from(["book", "send_back"]), SEAT, st.sampled_from([0, 0, 3, -3])),
    st.tuples(st.sampled_from(["reverse", "late", "missing", "stranger"]), SEAT, st.just(0)),
)
PEOPLE = st.tuples(
    st.sampled_from(["resolve", "resolve", "resolve", "propose", "decide", "assign", "clear"]),
    st.integers(0, 7),
    st.integers(0, 7),
)
STEPS = st.lists(st.one_of(CUSTODIAN, PEOPLE), min_size=8, max_size=24)


class World:
    """One example: what the custodian does next depends on where the instruction stands, as matching has it."""

    def __init__(self, teller: Teller, connection: AsyncConnection) -> None:
        self.teller = teller
        self.connection = connection

    async def book(self, seat: int, more: int) -> None:
        state, asked = await self._stands(seat)
        if state in (State.SENT, State.DISPUTED) and not more:
            await self.teller.book(self.connection, [seat])
        elif state in (State.SENT, State.DISPUTED):
            await self._breaks(Code.AMOUNT_MISMATCH, seat, asked + more)
            if state is State.SENT:
                await self.teller.say(self.connection, [seat], State.DISPUTED)
        else:
            code = Code.STATUS_CONFLICT if state is State.WRITTEN_OFF else Code.DUPLICATE_AT_BANK
            await self._breaks(code, seat, asked + more)

    async def send_back(self, seat: int, more: int) -> None:
        state, asked = await self._stands(seat)
        if state is State.BOOKED and not more:
            await self.teller.book(self.connection, [seat], back=True)
        elif state in (State.BOOKED, State.DISPUTED):
            await self._breaks(Code.AMOUNT_MISMATCH, seat, -asked - more)
        elif state is not State.SENT:
            code = Code.STATUS_CONFLICT if state is State.WRITTEN_OFF else Code.DUPLICATE_AT_BANK
            await self._breaks(code, seat, -asked - more)

    async def reverse(self, seat: int, _: int) -> None:
        state, asked = await self._stands(seat)
        if state is State.BOOKED:
            await self._breaks(Code.REVERSED, seat, -asked)
            await self.teller.say(self.connection, [seat], State.DISPUTED)

    async def late(self, seat: int, _: int) -> None:
        state, asked = await self._stands(seat)
        if state is State.BOOKED:
            await self.teller.book(self.connection, [seat], back=True, reopens=True)
            await self._breaks(Code.RETURNED_AFTER_SETTLEMENT, seat, -asked, on_suspense=False)

    async def missing(self, seat: int, _: int) -> None:
        state, asked = await self._stands(seat)
        known = await self._value(
            "SELECT count(*) FROM breaks WHERE code = 'MISSING_AT_BANK' AND seat = :seat", seat=seat
        )
        if state is State.SENT and not known:
            await self._breaks(Code.MISSING_AT_BANK, seat, asked, on_suspense=False)

    async def stranger(self, seat: int, _: int) -> None:
        await self.teller.breaks(self.connection, Code.MISSING_IN_LEDGER, [None], 10 - 10 * seat + 1)

    async def propose(self, first: int, second: int) -> None:
        free = "SELECT break_id, code FROM breaks WHERE state IN ('open', 'assigned') ORDER BY break_id"
        breaks = [(number, Code(code)) for number, code in await self.connection.execute(text(free))]
        if breaks:
            number, code = breaks[first % len(breaks)]
            action = actions_for(code)[second % len(actions_for(code))]
            others = [each for each, other in breaks if action in actions_for(other)] if second > 4 else []
            target = Target(self.teller.world.plan_id, first % SEATS, self.teller.run.run_id)
            named = action is Action.MATCH or (action is Action.GIVE_BACK and second % 2 == 0)
            await propose(self.connection, [number, *others], action, target=target if named else None)

    async def decide(self, first: int, second: int) -> None:
        rows = await self.connection.execute(text("SELECT decision_id FROM decisions WHERE state = 'proposed'"))
        waiting = sorted(rows.scalars())
        if waiting and second == 0:
            await refused(self.connection, await decision_of(self.connection, waiting[first % len(waiting)]))
        elif waiting:
            done = await carry_out(self.connection, waiting[first % len(waiting)], actor=APPROVER)
            SEEN[Action(done.detail["action"])] += 1

    async def resolve(self, first: int, second: int) -> None:
        await self.propose(first, second)
        await self.decide(-1, 1)

    async def assign(self, first: int, second: int) -> None:
        numbers = (await self.connection.execute(text("SELECT break_id FROM breaks ORDER BY 1"))).scalars().all()
        if numbers:
            await assign(self.connection, [numbers[first % len(numbers)]], f"person {second}", on=DAY, actor="anna")

    async def clear(self, _: int, __: int) -> None:
        await clear_missing(self.connection, self.teller.run.run_id, on=DAY, actor="clock")

    async def check(self) -> None:
        """What always holds."""
        await holds(self.connection)
        await self._check_histories()
        owed, states = await self._all()
        rows = await self.connection.execute(
            text("SELECT DISTINCT seat, code FROM breaks WHERE state NOT IN ('resolved', 'written off')")
        )
        unresolved = [(seat, Code(code)) for seat, code in rows]
        await funnel_of(self.connection, self.teller.run.run_id)
        waits = {seat for seat, code in unresolved if code in OF_DEBTS}
        for seat in set(range(SEATS)) - waits:
            state = State(int(states[seat]))
            assert state is not State.DISPUTED, f"seat {seat} is disputed, and no break says why"
            open_ = state in (State.SENT, State.RETURNED, State.REOPENED)
            assert (owed[seat] > 0) == open_, f"seat {seat} is {state.name} and owes {owed[seat]}"

    async def _check_histories(self) -> None:
        """Each break stands where its history leads."""
        rows = await self.connection.execute(text("SELECT break_id, event FROM break_events ORDER BY event_id"))
        stands = dict.fromkeys(
            (await self.connection.execute(text("SELECT break_id FROM breaks"))).scalars(), Stands.OPEN
        )
        for number, event in rows:
            stands[number] = after(stands[number], Event(event))
        found = await self.connection.execute(text("SELECT break_id, state FROM breaks"))
        assert stands == {number: Stands(state) for number, state in found}

    async def _stands(self, seat: int) -> tuple[State, int]:
        return await self.teller.state(self.connection, seat), await self.teller.charged(self.connection, seat)

    async def _all(self) -> tuple[Any, Any]:
        run_id, shard_id = self.teller.run.run_id, self.teller.world.shard(1)
        batches = await sent_batches(self.connection, run_id, Kind.DEBIT)
        standing = await read_standing(self.connection, shard_id, run_id, Kind.DEBIT, batches=batches)
        shard = await shard_of(self.connection, shard_id)
        where = f"starts_with(journals.idempotency_key, 'run:{run_id}:')"
        return await amounts_under(self.connection, shard, Account.CONTRIBUTIONS_RECEIVABLE, where), standing.state

    async def _breaks(self, code: Code, seat: int, amount: int, *, on_suspense: bool = True) -> None:
        await self.teller.breaks(self.connection, code, [seat], amount, on_suspense=on_suspense)

    async def _value(self, query: str, **values: object) -> Any:
        return await self.connection.scalar(text(query), values)


@pytest.fixture
async def teller(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Teller]:
    yield await sent(engine, tmp_path, alike(SEATS), aid_minor=300)
    assert SEEN.total() > 10, f"lives in which next to nothing was carried out: {SEEN}"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(played=STEPS)
async def test_books_and_breaks_hold_over_any_life(
    teller: Teller, engine: AsyncEngine, played: list[tuple[str, int, int]]
) -> None:
    async with engine.connect() as connection:
        world = World(teller, connection)
        await connection.execute(text("SELECT 1"))
        for what, first, second in played:
            step = await connection.begin_nested()
            try:
                await getattr(world, what)(first, second)
            except (BreakRefused, InvalidInput):
                await step.rollback()
            await world.check()
        await connection.rollback()
