"""The days after the debits: what is missing, what is asked again, who leaves unpaid, and when a run is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.custodian.events import Event, append
from engine.custodian.instructions import State
from engine.custodian.reference import Kind, encode
from engine.custodian.registered import Custodian
from engine.custodian.tokens import Tokens, write_tokens
from engine.ledger.accounts import Account
from engine.members.collection import Settled, Unpaid
from engine.plans import NEVER, day_number
from engine.reconcile.closing import missing_to_close
from engine.reconcile.collecting import CollectedRun, collect_day
from engine.reconcile.decided import carry_out
from engine.reconcile.funnel import PARTS, funnel_of
from engine.reconcile.payouts import propose_payouts
from engine.reconcile.sending import withdraw
from engine.reconcile.taking import take
from engine.roster.changes import current_columns
from engine.roster.columns import Columns
from engine.roster.plan import lock_roster
from engine.runs.corrections import Against, propose_correction
from engine.runs.run import Run, load_run, lock_run_or_wait
from engine.runs.states import NotNow, RunState
from engine.simulator.lines import Lines
from engine.simulator.statements import CsvForm, StatementFile
from engine.store.tables import SHARD_SEATS
from tests.integration.held import ACTOR, SHANGHAI, desk_in, instructed, lines, profile_of, sealed, standing
from tests.integration.prepaid import known
from tests.integration.worlds import DEBIT, World, alike

SEATS = 8
NOBODY = Unpaid(0, Settled(0, 0))


def day(number: int) -> date:
    """So many days after the debit, which is a Sunday."""
    return DEBIT + timedelta(days=number)


class Life:
    """A run whose debits were asked for, and what its custodian tells of them on statements."""

    def __init__(self, world: World, run: Run, custodian: Custodian, desk: Desk) -> None:
        self.world, self.run, self.custodian, self.desk = world, run, custodian, desk
        self._closing_minor = self._statements = 0

    async def send(self, on: date) -> None:
        """Every file that waits leaves."""
        await self.world.sql(
            "UPDATE debit_batches SET sent_at = :at, sent_on = :on WHERE sent_at IS NULL",
            at=datetime(on.year, on.month, on.day, 9, tzinfo=SHANGHAI),
            on=on,
        )

    async def statement(
        self, on: date, paid: Sequence[int] = (), back: Mapping[int, str | None] = MappingProxyType({})
    ) -> None:
        """A statement says that the last debits of these seats were paid, and that others came back, and why."""
        self._statements += 1
        form = CsvForm(self.custodian.profile, on, "X1")
        with StatementFile(self.desk.files / f"{on}-{self._statements}.csv", form, self._closing_minor) as file:
            for seats, sign, kind in ((paid, 1, "debit"), (back, -1, "return")):
                for seat in seats:
                    there = await standing(self.world, self.run, seat // SHARD_SEATS + 1)
                    at = seat % SHARD_SEATS
                    reference = encode(Kind.DEBIT, self.run.run_id, int(there.attempt[at]), [seat])
                    amount = sign * there.amount_minor[[at]]
                    file.write(Lines(reference, amount, kind, reason=back[seat] if sign < 0 else None))
        self._closing_minor = file.totals.closing_minor
        (taken,) = await take(self.world.engine, self.custodian, file.path, files=self.desk.files, actor=ACTOR, on=on)
        assert taken.state == "taken"

    async def said(self, state: State, *positions: int, source: str, reason: str | None = None) -> None:
        """Something else is written down of debits of the first shard."""
        attempt = (await standing(self.world, self.run)).attempt[positions[0]]
        event = Event(int(attempt), state, source, reason=reason, positions=np.array(positions, np.int32))
        async with self.world.engine.begin() as connection:
            await lock_roster(connection, self.world.plan_id)
            await append(connection, self.run.run_id, Kind.DEBIT, [(self.world.shard(1), event)])

    async def knows(self, accounts: Sequence[str | None]) -> None:
        """Accounts come for the seats of the first shard."""
        async with self.world.engine.begin() as connection:
            await lock_roster(connection, self.world.plan_id)
            tokens = Tokens(pa.array(accounts, pa.string()))
            await write_tokens(connection, self.world.shard(1), tokens, self.desk.account_key)

    async def day(self, on: date, hour: int = 9) -> CollectedRun:
        """The day as the custodian's morning has it."""
        now = datetime(on.year, on.month, on.day, hour, tzinfo=SHANGHAI)
        engine = self.world.engine
        collected = await collect_day(engine, self.custodian, self.desk, on=on, now=now, actor=ACTOR)
        (run,) = (each for each in collected.runs if each.run_id == self.run.run_id)
        return run

    async def corrects(self, on: date, seat: int, amount: str) -> None:
        """A correction of one seat, by decision of two."""
        file = self.desk.files / "correction.csv"
        file.write_text(f"member_ref,amount\nM{seat},{amount}\n", "utf-8")
        async with self.world.engine.begin() as connection:
            decision = await propose_correction(
                connection, self.run.run_id, file, reason="a test", against=Against.SPONSOR, on=on, actor=ACTOR
            )
            await carry_out(connection, decision.decision_id, actor="bo")

    async def funnel(self) -> dict[str, tuple[int, int]]:
        """What is in the funnel, without what is empty."""
        async with self.world.engine.connect() as connection:
            found = await funnel_of(connection, self.run.run_id)
        parts = {name: (getattr(found, name).count, getattr(found, name).amount_minor) for name in PARTS}
        return {name: part for name, part in parts.items() if any(part)}

    async def missing(self) -> list[str]:
        """What of its debits keeps the run from being closed."""
        async with self.world.engine.connect() as connection:
            missing = await missing_to_close(connection, await load_run(connection, self.run.run_id))
        return [each.text for each in missing if "aid" not in each.text]

    async def states(self, number: int = 1) -> list[State]:
        return [State(each) for each in (await standing(self.world, self.run, number)).state]

    async def breaks(self) -> list[tuple[object, ...]]:
        return await self.world.rows(
            "SELECT attempt, seat, amount_minor, suspense_minor, opened_on, state FROM breaks"
            " WHERE run_id = :run AND code = 'MISSING_AT_BANK' ORDER BY attempt, seat",
            run=self.run.run_id,
        )

    async def asked(self) -> list[tuple[int, date, int]]:
        """(attempt, debit day, debits) of every asking."""
        return await self.world.rows(
            "SELECT attempt, debit_on, sum(count)::int FROM attempts JOIN debit_batches USING (run_id, kind, attempt)"
            " WHERE run_id = :run GROUP BY attempt, debit_on ORDER BY attempt",
            run=self.run.run_id,
        )


async def life(
    engine: AsyncEngine, folder: Path, shards: Sequence[int] = (SEATS,), sent_on: date | None = DEBIT, **rules: Any
) -> Life:
    world, run, custodian = await sealed(engine, *(alike(seats) for seats in shards), **rules)
    found = Life(await known(world), run, custodian, desk_in(folder))
    await instructed(world, run, found.desk)
    if sent_on is not None:
        await found.send(sent_on)
    return found


async def test_what_is_on_no_statement_is_a_break_once(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path, (SEATS, 3))
    there = SHARD_SEATS
    await found.statement(DEBIT, paid=[*range(1, SEATS), there, there + 1])
    assert (await found.day(day(3))).missing == 0
    assert (await found.day(day(4))).missing == 2
    assert (await found.day(day(4))).missing == (await found.day(day(5))).missing == 0
    (charge,) = set((await found.world.charged(found.run))[0].tolist())
    assert await found.breaks() == [(1, seat, charge, 0, day(4), "open") for seat in (0, there + 2)]
    assert (await found.day(day(5))).state is RunState.COLLECTING
    await found.statement(day(5), paid=[0])
    await found.day(day(5))
    assert [row[-1] for row in await found.breaks()] == ["resolved", "open"]


async def test_what_came_back_is_asked_again_where_its_reason_allows_it(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(6))
    await found.statement(day(1), back={0: "AM04", 1: "AM04", 2: "AC04", 3: None})
    await found.said(State.REJECTED, 6, source="statement:90", reason="MS03")
    await found.said(State.DISPUTED, 7, source="statement:91")
    run = await found.day(day(1))
    assert run.asked is not None
    assert (run.asked.attempt, run.asked.debit_on, run.asked.instructions) == (2, day(1), 4)
    S = State
    assert await found.states() == [
        *(S.ASSESSED, S.ASSESSED, S.RETURNED, S.ASSESSED, S.BOOKED, S.BOOKED, S.ASSESSED, S.DISPUTED)
    ]
    assert len(lines(found.desk)) == SEATS + 4
    assert (run.state, run.unpaid.ended) == (RunState.COLLECTING, 0)


async def test_one_attempt_a_day_and_none_that_the_days_are_over_for(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(SEATS))
    for number in range(1, 7):
        await found.statement(day(number), back={0: "AM04", 1: "AC04"} if number == 1 else {0: "AM04"})
        run = await found.day(day(number))
        assert await found.day(day(number)) == replace(run, asked=None, unpaid=NOBODY)
        if number < 6:
            assert await found.asked() == [(1, DEBIT, SEATS), *((n + 1, day(n), 1) for n in range(1, number + 1))]
            await found.send(day(number))
            await found.statement(day(number), paid=[0])
    assert len(await found.asked()) == 6
    assert (run.unpaid.ended, run.unpaid.written_off.seats, run.state) == (2, 2, RunState.SETTLED)


async def test_who_has_not_paid_leaves_and_the_debt_is_written_off(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    charge = int((await found.world.charged(found.run))[0][0])
    await found.statement(DEBIT, paid=range(5))
    await found.statement(day(1), back={0: "AC04", 1: "AC04"})
    await found.said(State.DISPUTED, 5, source="statement:91")
    await found.said(State.REJECTED, 6, source="statement:90", reason="AC04")
    early, run = [await found.day(day(number)) for number in (5, 6)]
    assert (early.unpaid, early.state) == (NOBODY, RunState.COLLECTING)
    assert run.unpaid == Unpaid(3, Settled(3, 3 * charge))
    assert run.state is RunState.COLLECTING, "one is disputed, one is sent"
    left = (await current(found)).ended_on == day_number(day(6))
    assert np.flatnonzero(left).tolist() == [0, 1, 6]
    W = State.WRITTEN_OFF
    assert await found.states() == [W, W, *[State.BOOKED] * 3, State.DISPUTED, W, State.SENT]
    assert (await found.world.accounts())[Account.BAD_DEBT] == 3 * charge
    # Who was under way when the days were over leaves once the debit is back.
    await found.statement(day(8), paid=[7])
    await found.statement(day(9), back={7: "AM04"})
    run = await found.day(day(9))
    assert (run.asked, run.unpaid) == (None, Unpaid(1, Settled(1, charge)))
    sources = await found.world.rows("SELECT DISTINCT source FROM instruction_events WHERE state = 9 ORDER BY source")
    assert sources == [("rule:unpaid",), ("rule:unpaid:2",)]
    assert await found.day(day(10)) == replace(run, unpaid=NOBODY)
    assert not await found.world.problems()


async def test_days_to_pay_count_from_the_day_that_was_asked_for(engine: AsyncEngine, tmp_path: Path) -> None:
    """Instructions were made only after the run's debit day."""
    world, run, custodian = await sealed(engine, alike(SEATS))
    found = Life(await known(world), run, custodian, desk_in(tmp_path))
    asking = await instructed(world, run, found.desk, on=day(4), now=datetime.combine(day(4), time(9), SHANGHAI))
    assert asking.debit_on == day(4)
    await found.send(day(4))
    await found.statement(day(4), paid=range(SEATS))
    await found.statement(day(5), back={0: "AC04", 1: "AC04"})
    unpaid = [(await found.day(day(number))).unpaid.ended for number in (6, 9, 10)]
    assert unpaid == [0, 0, 2]
    assert set((await current(found)).ended_on.tolist()) == {day_number(day(10)), NEVER}


async def test_the_write_off_is_posted_in_the_open_period(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.statement(day(8), back={0: "AC04"})
    await found.world.sql("UPDATE plans SET locked_through = :on", on=day(7))
    assert (await found.day(day(9))).unpaid.ended == 1
    effective_on = "SELECT effective_on FROM journals WHERE kind = 'write-off'"
    assert await found.world.value(effective_on) == day(8)


async def test_a_plan_without_the_rule_keeps_what_came_back(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path, unpaid=None)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.statement(day(1), back={0: "AM04"})
    states = [await found.day(day(number)) for number in (1, 3, 4)]
    assert {run.asked for run in states} == {None}
    # Until the days are over in which most come back, a debit that is booked may do so.
    assert [run.state for run in states] == [RunState.COLLECTING, RunState.COLLECTING, RunState.SETTLED]
    assert (await found.states())[0] is State.RETURNED
    assert (await current(found)).ended_on.tolist() == [NEVER] * SEATS


async def test_who_has_no_account_any_more_keeps_nobody_else_from_being_asked(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    accounts = [f"ACC{seat}" for seat in range(SEATS)]
    world, run, custodian = await sealed(engine, alike(SEATS), profile=profile_of(payer_known_by="account"))
    found = Life(await known(world), run, custodian, desk_in(tmp_path))
    await found.knows(accounts)
    await instructed(world, run, found.desk)
    await found.send(DEBIT)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.statement(day(1), back={0: "AM04", 1: "AM04"})
    await found.knows([None, *accounts[1:]])
    asked = (await found.day(day(1))).asked
    assert asked is not None
    assert (asked.attempt, asked.instructions) == (2, 1)
    assert (await found.states())[:2] == [State.RETURNED, State.ASSESSED]
    assert [(await found.day(day(number))).asked for number in (2, 3)] == [None, None]
    await found.knows(accounts)
    asked = (await found.day(day(4))).asked
    assert asked is not None
    assert (asked.attempt, asked.instructions) == (3, 1)


async def test_what_a_person_decides_is_asked_whatever_day_and_state(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(SEATS))
    assert (await found.day(day(4))).state is RunState.SETTLED
    await found.statement(day(20), back={0: "MD06", 1: "AM04"})
    run = await found.day(day(20))
    assert (run.asked, run.unpaid, run.state) == (None, NOBODY, RunState.SETTLED)
    assert (await found.states())[:2] == [State.REOPENED, State.REOPENED]
    await found.said(State.RETURNED, 0, source="decision:9")
    run = await found.day(day(21))
    assert run.asked is not None
    assert (run.asked.attempt, run.asked.debit_on, run.asked.instructions) == (2, day(21), 1)
    await found.send(day(21))
    await found.statement(day(21), paid=[0])
    assert (await found.states())[0] is State.SETTLED


@pytest.mark.parametrize("unpaid", [None, {"retry_days": 2}])
async def test_who_was_never_asked_is_asked_anew_whatever_the_rule_says(
    engine: AsyncEngine, tmp_path: Path, unpaid: dict[str, int] | None
) -> None:
    found = await life(engine, tmp_path, sent_on=None, unpaid=unpaid)
    late = datetime.combine(day(4), time(9), SHANGHAI)
    async with engine.begin() as connection:
        assert await withdraw(connection, found.custodian, now=late, actor=ACTOR) == 1
    run = await found.day(day(4))
    assert (run.unpaid, run.state) == (NOBODY, RunState.COLLECTING)
    assert await found.asked() == [(1, DEBIT, SEATS), (2, day(4), SEATS)]
    assert (await current(found)).ended_on.tolist() == [NEVER] * SEATS


async def test_a_late_return_is_asked_again_while_the_days_last(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.day(day(4))
    await found.statement(day(4), back={0: "AM04", 1: "AC04"})
    run = await found.day(day(4))
    assert run.asked is not None
    assert (run.asked.instructions, run.state) == (1, RunState.SETTLED)
    await found.send(day(4))
    await found.statement(day(4), paid=[0])
    await found.statement(day(5), back={0: "AM04"})
    assert (await found.states())[:2] == [State.REOPENED, State.REOPENED]


async def test_payouts_that_are_on_no_statement_are_breaks_too(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.day(day(4))
    world, run = found.world, found.run
    async with world.engine.begin() as connection:
        decision = await propose_payouts(connection, run.run_id, on=day(4), actor=ACTOR)
    now = datetime(2019, 7, 18, 9, tzinfo=SHANGHAI)
    async with world.engine.begin() as connection:
        await carry_out(connection, decision.decision_id, actor="bo", desk=found.desk, now=now)
    await found.send(day(4))
    assert [(await found.day(day(number))).missing for number in (9, 10, 11)] == [0, 1, 0]
    assert await world.rows("SELECT kind, amount_minor FROM breaks") == [("P", -10_000)]


FREE: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}}


async def test_the_day_and_a_correction_lock_in_one_order(engine: AsyncEngine, tmp_path: Path) -> None:
    """Both want the run and its plan once who did not pay leaves: one waits for the other, neither for both."""
    found = await life(engine, tmp_path)
    await found.statement(DEBIT, paid=range(1, SEATS))
    async with engine.begin() as connection:
        await lock_run_or_wait(connection, found.run.run_id)
        collected = asyncio.create_task(found.day(day(6)))
        while not await found.world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not collected.done()
        await lock_roster(connection, found.world.plan_id)
    assert (await collected).missing == 1


async def test_what_a_booked_debit_is_raised_by_is_asked_for(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path, **FREE)
    charge = int((await found.world.charged(found.run))[0][0])
    whole = SEATS * charge
    await found.statement(DEBIT, paid=range(SEATS))
    await found.corrects(day(1), 0, "0.30")
    # While the debit may still come back, nothing is asked beside it: that would be the last attempt then.
    early = await found.day(day(3))
    assert (early.asked, early.state) == (None, RunState.COLLECTING)
    assert await found.funnel() == {"assessed": (8, whole + 30), "settled": (8, whole), "in_flight": (0, 30)}
    run = await found.day(day(4))
    assert run.asked is not None
    assert (run.asked.attempt, run.asked.debit_on, run.asked.instructions) == (2, day(4), 1)
    assert (run.asked.amount_minor, run.state) == (30, RunState.COLLECTING)
    assert lines(found.desk)[-1][:3] == [encode(Kind.DEBIT, found.run.run_id, 2, [0])[0].as_py(), "M0", "0.30"]
    assert await found.funnel() == {"assessed": (8, whole + 30), "settled": (7, whole), "in_flight": (1, 30)}
    await found.send(day(4))
    await found.statement(day(4), paid=[0])
    assert await found.funnel() == {"assessed": (8, whole + 30), "settled": (8, whole + 30)}
    assert [(await found.day(day(number))).state for number in (9, 10)] == [RunState.COLLECTING, RunState.SETTLED]
    assert len(await found.asked()) == 2
    assert not await found.missing()
    assert not await found.world.problems()


async def test_what_a_settled_debit_is_raised_by_has_days_of_its_own(engine: AsyncEngine, tmp_path: Path) -> None:
    """Asked daily from its own debit day on; then the member leaves, and only the difference is written off."""
    found = await life(engine, tmp_path, **FREE)
    whole = SEATS * int((await found.world.charged(found.run))[0][0])
    await found.statement(DEBIT, paid=range(SEATS))
    assert (await found.day(day(4))).state is RunState.SETTLED
    await found.corrects(day(20), 0, "0.30")
    assert await found.missing() == ["0.30 is owed and not in yet, 0 debits are in flight"]
    for number in range(20, 26):
        run = await found.day(day(number))
        assert run.asked is not None
        assert (run.asked.debit_on, run.asked.amount_minor, run.unpaid) == (day(number), 30, NOBODY)
        assert await found.missing() == ["0.30 is owed and not in yet, 1 debits are in flight"]
        await found.send(day(number))
        await found.statement(day(number), paid=[0])
        await found.statement(day(number), back={0: "AM04"})
        assert await found.funnel() == {"assessed": (8, whole + 30), "settled": (7, whole), "returned": (1, 30)}
        assert await found.missing() == ["1 debits of 0.30 came back, and are not written off"]
    run = await found.day(day(26))
    assert (run.asked, run.unpaid) == (None, Unpaid(1, Settled(1, 30)))
    assert np.flatnonzero((await current(found)).ended_on == day_number(day(26))).tolist() == [0]
    assert (await found.world.accounts())[Account.BAD_DEBT] == 30
    assert await found.funnel() == {"assessed": (8, whole + 30), "settled": (7, whole), "written_off": (1, 30)}
    assert not await found.missing()
    assert (await found.day(day(27))).unpaid == NOBODY
    await found.world.sql("UPDATE share_runs SET state = 'closed'")
    with pytest.raises(NotNow, match="run:1 is closed: nobody is asked"):
        await found.corrects(day(30), 1, "0.30")
    await found.corrects(day(30), 1, "-0.30")
    assert not await found.world.problems()


async def test_who_was_waived_with_everybody_else_and_is_corrected_is_asked_first(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """A run for which nobody owed anything was settled without an attempt."""
    waiver = {
        "name": "all", "joined_by": "2019-07-01", "gates_from": "2019-07-01", "gates_to": "2019-07-31",
        "reason": "the sponsor pays",
    }  # fmt: skip
    found = await life(engine, tmp_path, waivers=[waiver], **FREE)
    assert await found.asked() == []
    await found.corrects(day(1), 0, "0.30")
    run = await found.day(day(1))
    assert run.asked is not None
    assert (run.asked.attempt, run.asked.instructions, run.asked.amount_minor) == (1, 1, 30)
    assert (run.state, (await found.funnel())["in_flight"]) == (RunState.SETTLED, (1, 30))


async def test_a_plan_without_the_rule_asks_once_for_what_is_raised(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path, unpaid=None, **FREE)
    await found.statement(DEBIT, paid=range(SEATS))
    await found.day(day(4))
    await found.corrects(day(20), 0, "0.30")
    assert (await found.day(day(20))).asked is not None
    await found.send(day(20))
    await found.statement(day(20), paid=[0])
    await found.statement(day(21), back={0: "AM04"})
    assert (await found.day(day(21))).asked is None
    assert not await found.missing()


async def test_what_is_raised_after_a_write_off_is_asked_and_counted_apart(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await life(engine, tmp_path, **FREE)
    charge = int((await found.world.charged(found.run))[0][0])
    paid = (SEATS - 1) * charge
    await found.statement(DEBIT, paid=range(SEATS))
    await found.statement(day(1), back={0: "AC04"})
    await found.day(day(6))
    await found.corrects(day(7), 0, "0.30")
    parts = {"assessed": (8, paid + charge + 30), "settled": (7, paid)}
    assert await found.funnel() == parts | {"written_off": (1, charge), "in_flight": (0, 30)}
    await found.day(day(7))
    assert await found.funnel() == parts | {"written_off": (0, charge), "in_flight": (1, 30)}
    await found.send(day(7))
    await found.statement(day(7), paid=[0])
    assert await found.funnel() == parts | {"settled": (8, paid + 30), "written_off": (0, charge)}


async def current(found: Life) -> Columns:
    async with found.world.engine.connect() as connection:
        _, _, columns = await current_columns(connection, found.world.shard(1))
    return columns
