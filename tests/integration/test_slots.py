"""Debit slots as a scheduler sees them: run, skipped, missed, empty or open; no way past a miss in silence."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.runs.planning import plan_run
from engine.runs.run import Run
from engine.runs.slots import DueSlot, SlotState, Waiting, overdue, skip, slots_due
from engine.runs.states import RunState
from tests.integration.worlds import (
    APPROVER,
    AUGUST_DEBIT,
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    PLANNER,
    World,
    alike,
    build,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)


async def due(world: World, on: date) -> list[DueSlot]:
    async with world.engine.connect() as connection:
        return await slots_due(connection, world.plan, world.rules, on=on)


async def states(world: World, on: date) -> list[tuple[str, str, int]]:
    """(day of July or later, state, claims) of each slot."""
    return [(f"{slot.debit_on:%m-%d}", str(slot.state), slot.claims) for slot in await due(world, on)]


async def planned(world: World, debit_on: date) -> Run:
    """As a scheduler plans: nothing is skipped for them."""
    async with world.engine.begin() as connection:
        return await plan_run(connection, world.plan, debit_on, actor=PLANNER)


async def skipped(world: World, debit_on: date = DEBIT, on: date = LATE_DEBIT) -> DueSlot:
    async with world.engine.begin() as connection:
        return await skip(
            connection, world.plan, world.rules, debit_on, reason="the bank was closed", actor=APPROVER, on=on
        )


async def small(engine: AsyncEngine, **tables: Any) -> World:
    return await build(engine, rules_of_preset(**tables), alike(10))


async def test_a_plan_without_runs_or_claims_has_its_next_slot_only(engine: AsyncEngine) -> None:
    assert await states(await small(engine), DEBIT) == [("07-14", "open", 0)]


@pytest.mark.parametrize(
    ("on", "found"),
    [
        (DEBIT - DAY, [("07-14", "open", 1)]),
        (DEBIT, [("07-14", "open", 1)]),
        (DEBIT + DAY, [("07-14", "missed", 1), ("07-28", "open", 1)]),
        (LATE_DEBIT + DAY, [("07-14", "missed", 1), ("07-28", "missed", 1), ("08-14", "open", 1)]),
    ],
)
async def test_a_slot_is_open_until_its_day_is_over_and_then_missed(
    engine: AsyncEngine, on: date, found: list[tuple[str, str, int]]
) -> None:
    world = await small(engine)
    await world.claim()
    assert await states(world, on) == found


async def test_a_slot_that_nothing_waited_for_is_no_miss(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim(notice_on=LATE_JULY)
    assert await states(world, AUGUST_DEBIT - DAY) == [("07-28", "missed", 1), ("08-14", "open", 1)]
    await world.claim()  # filed before the slot of 14 July, which it could have gone with
    assert await states(world, LATE_DEBIT) == [("07-14", "missed", 1), ("07-28", "open", 2)]
    await world.sql("UPDATE claims SET state = 'withdrawn' WHERE claim_id = 2")
    assert await states(world, LATE_DEBIT) == [("07-14", "empty", 0), ("07-28", "open", 1)]


async def test_a_claim_whose_objection_was_open_did_not_wait_for_the_slot(engine: AsyncEngine) -> None:
    world = await small(engine)
    claim_id = await world.claim()
    await world.sql(
        "INSERT INTO objections (claim_id, number, raised_on, reason, resolved_on, resolution)"
        " VALUES (:claim, 1, '2019-07-08', 'a question', '2019-07-20', 'answered')",
        claim=claim_id,
    )
    assert await states(world, LATE_DEBIT) == [("07-14", "empty", 0), ("07-28", "open", 1)]
    assert (await planned(world, LATE_DEBIT)).state is RunState.PLANNED


async def test_no_later_slot_is_planned_over_a_missed_one(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim()
    await world.claim(notice_on=LATE_JULY)
    with pytest.raises(InvalidInput) as refusal:
        await planned(world, LATE_DEBIT)
    assert str(refusal.value) == (
        "xianghubao would go past its slot of 2019-07-14, for which 1 passed claim waits; run that first, late as it "
        "may be (`fentan run plan --plan xianghubao --debit-on 2019-07-14 --as NAME`), or skip it by decision "
        "(`fentan run skip --plan xianghubao --debit-on 2019-07-14 --reason TEXT --as NAME`), "
        "after which what waits goes with the next"
    )
    assert await world.rows("SELECT * FROM share_runs") == []


async def test_a_missed_slot_is_run_late_with_its_own_claims(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim()
    await world.claim(notice_on=LATE_JULY)
    late = await planned(world, DEBIT)
    assert await world.passed() == [2], "the claim of the later notice waits for its own slot"
    assert await due(world, LATE_DEBIT) == [
        DueSlot(DEBIT, SlotState.RUN, 1, run_id=late.run_id, run_state=RunState.PLANNED),
        DueSlot(LATE_DEBIT, SlotState.OPEN, 1),
    ]
    assert (await planned(world, LATE_DEBIT)).debit_on == LATE_DEBIT
    assert await states(world, LATE_DEBIT) == [("07-14", "run", 1), ("07-28", "run", 1)]


async def test_what_waited_for_a_skipped_slot_goes_with_the_next(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim()
    await world.claim(notice_on=LATE_JULY)
    slot = DueSlot(DEBIT, SlotState.SKIPPED, 1, skipped_by=APPROVER, reason="the bank was closed")
    assert await skipped(world) == slot
    assert await due(world, LATE_DEBIT) == [slot, DueSlot(LATE_DEBIT, SlotState.OPEN, 2)]
    run = await planned(world, LATE_DEBIT)
    assert await world.rows("SELECT run_id, claim_id FROM run_cases") == [(run.run_id, 1), (run.run_id, 2)]
    (decided,) = await world.rows("SELECT actor, act, subject, detail FROM audit_log WHERE act = 'skip slot'")
    detail = {"debit_on": "2019-07-14", "reason": "the bank was closed", "claims": 1}
    assert decided == (APPROVER, "skip slot", "plan:xianghubao", detail)


async def test_a_skipped_slot_may_still_be_run(engine: AsyncEngine) -> None:
    """A skip lets the plan go past; it does not shut the door."""
    world = await small(engine)
    await world.claim()
    await skipped(world)
    await planned(world, DEBIT)
    assert await states(world, DEBIT) == [("07-14", "run", 1)]


async def test_a_voided_run_leaves_its_slot_missed(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim()
    run = await planned(world, DEBIT)
    await world.voided(run)
    assert await states(world, LATE_DEBIT) == [("07-14", "missed", 1), ("07-28", "open", 1)]
    with pytest.raises(InvalidInput, match="would go past its slot of 2019-07-14"):
        await planned(world, LATE_DEBIT)


@pytest.mark.parametrize(
    ("debit_on", "message"),
    [
        (date(2019, 7, 15), "2019-07-15 is no debit day of xianghubao; `fentan calendar xianghubao --year 2019`"),
        (date(2018, 11, 14), "2018-11-14 is no debit day of xianghubao"),
        (AUGUST_DEBIT, "2019-08-14 is still to come, it is 2019-07-28; a slot is skipped on its day or later"),
    ],
)
async def test_only_a_slot_that_was_there_is_skipped(engine: AsyncEngine, debit_on: date, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        await skipped(await small(engine), debit_on)


async def test_a_slot_with_a_run_is_not_skipped_and_none_is_skipped_twice(engine: AsyncEngine) -> None:
    world = await small(engine)
    await world.claim()
    run = await planned(world, DEBIT)
    with pytest.raises(InvalidInput, match=rf"xianghubao has run {run.run_id} for 2019-07-14; void it first"):
        await skipped(world)
    await world.voided(run)
    await skipped(world)
    with pytest.raises(InvalidInput, match="the slot of 2019-07-14 was skipped already, by bo"):
        await skipped(world)


EVENT: dict[str, Any] = {
    "share": {"trigger": "event"},
    "notice": {"days_of_month": None},
    "debit": {"days_of_month": None},
    "caps": {"per_case": "3.00", "per_year": None},
}


async def test_where_any_day_will_do_nothing_is_missed_but_what_waits_is_named(engine: AsyncEngine) -> None:
    world = await small(engine, **EVENT)
    ends_on = JULY + 3 * DAY
    await world.claim()
    await world.claim(notice_on=LATE_JULY)

    async def late(on: date) -> list[Waiting]:
        async with engine.connect() as connection:
            return await overdue(connection, world.plan, world.rules, on=on)

    assert await due(world, LATE_DEBIT) == []
    assert await late(ends_on + DAY) == []
    assert await late(ends_on + 2 * DAY) == [Waiting(1, 1, ends_on)]
    assert [claim.claim_id for claim in await late(AUGUST_DEBIT)] == [1, 2]
    assert (await planned(world, date(2019, 8, 2))).debit_on == date(2019, 8, 2)
    assert await late(AUGUST_DEBIT) == []
    with pytest.raises(InvalidInput, match="xianghubao debits on any day and has no slots"):
        await skipped(world)


async def test_slots_end_with_the_plan_unless_something_waits(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(wind_down=None, ends_on="2019-07-31"), alike(10))
    await world.claim(notice_on=LATE_JULY)
    assert await states(world, AUGUST_DEBIT) == [("07-28", "missed", 1), ("08-14", "open", 1)]
    await world.sealed(LATE_DEBIT)
    assert await states(world, date(2019, 12, 1)) == [("07-28", "run", 1), ("08-14", "empty", 0)]


async def test_slots_go_on_for_the_claims_of_a_plan_that_winds_down(engine: AsyncEngine) -> None:
    end = {"announced_on": "2019-07-25", "claims_within_days": 20, "refund": "nothing"}
    world = await build(engine, rules_of_preset(ends_on="2019-07-31", wind_down=end), alike(10))
    await world.claim()
    found = await states(world, date(2020, 1, 1))
    assert [day for day, *_ in found][:5] == ["07-14", "07-28", "08-14", "08-28", "09-14"]
    await world.sql("UPDATE claims SET state = 'withdrawn'")
    assert [day for day, *_ in await states(world, date(2020, 1, 1))] == ["07-14", "07-28", "08-14", "08-28"]


async def test_a_credit_plans_period_is_missed_without_claims(engine: AsyncEngine) -> None:
    """Its surplus waited."""
    world = await build(engine, rules_of_preset("zhonghui-surplus"), alike(10))
    await world.sql(
        "INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, kind, surplus)"
        " VALUES (:plan, 1, '2020-01-15', 'sealed', 'anna', 'credit', '{}')",
        plan=world.plan_id,
    )
    assert await states(world, date(2020, 7, 15)) == [
        ("01-15", "run", 0), ("04-15", "missed", 0), ("07-15", "open", 0),
    ]  # fmt: skip
    await skipped(world, date(2020, 4, 15), date(2020, 7, 15))
    assert (await states(world, date(2020, 7, 15)))[1] == ("04-15", "skipped", 0)
