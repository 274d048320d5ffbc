"""Runs planned by the clock: when, in whose name, once however many look, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.decisions import FourEyes
from engine.errors import InvalidInput, NotFound
from engine.runs.preview import approve
from engine.runs.scheduling import Standing, end_schedule, list_schedules, plan_due, schedule_of, set_schedule
from engine.runs.slots import skip
from tests.integration.test_credit_runs import surplus
from tests.integration.test_event_runs import event
from tests.integration.worlds import (
    APPROVER,
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

NINE = time(9, 0)


def at(on: date, hour: int = 9, minute: int = 0) -> datetime:
    """A time in Shanghai, which is eight hours ahead, as a moment."""
    return datetime(on.year, on.month, on.day, hour, minute, tzinfo=UTC) - timedelta(hours=8)


async def scheduled(world: World, actor: str = PLANNER) -> World:
    async with world.engine.begin() as connection:
        await set_schedule(connection, world.plan, plans_at=NINE, now=at(JULY), actor=actor)
    return world


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """A plan whose runs the clock plans at nine, with a claim that waits for its run of 14 July."""
    world = await scheduled(await build(engine, rules_of_preset(), alike(10)))
    await world.claim()
    return world


async def planned(world: World, now: datetime) -> list[date]:
    return [run.debit_on for run in await plan_due(world.engine, now=now)]


async def standing(world: World, now: datetime) -> Standing:
    async with world.engine.connect() as connection:
        (found,) = await list_schedules(connection, now=now)
    return found


async def runs(world: World) -> list[tuple[Any, ...]]:
    return await world.rows("SELECT debit_on, planned_by, state FROM share_runs ORDER BY run_id")


async def refusal(world: World) -> tuple[datetime | None, str | None]:
    async with world.engine.connect() as connection:
        found = await schedule_of(connection, world.plan)
    return found.tried_at, found.refusal


# When.


@pytest.mark.parametrize(
    ("now", "days"),
    [
        (at(DEBIT - timedelta(days=1), 23, 59), []),
        (at(DEBIT, 8, 59), []),
        (at(DEBIT, 9), [DEBIT]),
        (at(DEBIT, 23, 59), [DEBIT]),
        (at(DEBIT + timedelta(days=1), 0), [DEBIT]),  # missed: late as it is, at once
        (at(LATE_DEBIT, 9), [DEBIT]),
    ],
)
async def test_a_slot_is_planned_once_its_time_has_come_in_the_plans_zone(
    world: World, now: datetime, days: list[date]
) -> None:
    assert await planned(world, now) == days
    assert await runs(world) == [(day, PLANNER, "planned") for day in days]
    assert await planned(world, now) == []


async def test_nothing_is_planned_where_nothing_waits_or_nobody_asked(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(10))
    await world.claim()
    assert await planned(world, at(DEBIT)) == []  # nobody asked the clock
    idle = await scheduled(await build(engine, rules_of_preset().model_copy(update={"code": "idle"}), alike(10)))
    assert await planned(idle, at(DEBIT)) == []  # nothing waits


async def test_missed_slots_are_planned_in_their_order_one_a_look(world: World) -> None:
    await world.claim(notice_on=LATE_JULY)
    assert await planned(world, at(LATE_DEBIT)) == [DEBIT]
    assert await planned(world, at(LATE_DEBIT)) == [LATE_DEBIT]
    assert await planned(world, at(LATE_DEBIT)) == []


async def test_a_skipped_slot_is_let_be_and_its_claims_go_with_the_next(world: World) -> None:
    async with world.engine.begin() as connection:
        await skip(connection, world.plan, world.rules, DEBIT, reason="a test", actor=APPROVER, on=DEBIT)
    assert await planned(world, at(DEBIT)) == []
    assert await planned(world, at(LATE_DEBIT)) == [LATE_DEBIT]


async def test_where_any_day_will_do_a_run_is_planned_once_a_day(engine: AsyncEngine) -> None:
    world = await scheduled(await build(engine, event(), alike(10)))
    await world.claim()
    day = (await waits_from(world)) + timedelta(days=3)
    assert await planned(world, at(day, 8, 59)) == []
    assert await planned(world, at(day)) == [day]
    await world.claim()
    assert await planned(world, at(day, 18)) == []
    assert await planned(world, at(day + timedelta(days=1))) == [day + timedelta(days=1)]


async def waits_from(world: World) -> date:
    found: date = await world.value("SELECT max(ends_on) FROM notices")
    return found


# In whose name.


async def test_who_set_the_schedule_planned_its_runs_and_does_not_approve_them(world: World) -> None:
    (run,) = await plan_due(world.engine, now=at(DEBIT))
    await world.worked(run)
    with pytest.raises(FourEyes, match="planned by anna"):
        async with world.engine.begin() as connection:
            await approve(connection, run.run_id, actor=PLANNER)
    await world.approved(run)
    assert (await world.worked(run)).state == "sealed"
    acts = await world.rows(
        "SELECT actor, act, detail FROM audit_log WHERE subject = 'run:1' ORDER BY audit_id LIMIT 2"
    )
    assert acts == [
        (PLANNER, "plan run", {"cases": 1, "debit_on": str(DEBIT)}),
        ("fentan", "plan by schedule", {"debit_on": str(DEBIT), "for": PLANNER}),
    ]


async def test_many_workers_plan_once(world: World) -> None:
    found = await asyncio.gather(*(plan_due(world.engine, now=at(DEBIT)) for _ in range(12)))
    assert sum(len(each) for each in found) == 1
    assert len(await runs(world)) == 1
    assert await refusal(world) == (None, None)


# What a person decided, and what is refused.


async def test_what_a_person_voided_is_not_planned_again_by_the_clock(world: World) -> None:
    (run,) = await plan_due(world.engine, now=at(DEBIT))
    await world.voided(run)
    assert await world.passed() == [1]
    assert await planned(world, at(DEBIT, 12)) == []
    assert await refusal(world) == (None, None)
    # Nor is it passed over in silence, once the next one comes.
    assert await planned(world, at(LATE_DEBIT)) == []
    tried_at, said = await refusal(world)
    assert tried_at == at(LATE_DEBIT)
    assert said is not None
    assert said.startswith("xianghubao would go past its slot of 2019-07-14, for which 1 passed claim waits")


async def test_a_refusal_is_written_down_tried_again_later_and_forgotten_once_it_went(world: World) -> None:
    (run,) = await plan_due(world.engine, now=at(DEBIT))
    await world.voided(run)
    first = at(LATE_DEBIT)
    assert await planned(world, first) == []
    assert (await standing(world, first)).schedule.refusal is not None
    async with world.engine.begin() as connection:
        await skip(connection, world.plan, world.rules, DEBIT, reason="a test", actor=APPROVER, on=LATE_DEBIT)
    assert await planned(world, first + timedelta(minutes=9)) == []
    assert (await refusal(world))[0] == first
    assert await planned(world, first + timedelta(minutes=10)) == [LATE_DEBIT]
    assert await refusal(world) == (None, None)


async def test_a_refusal_that_is_about_nothing_any_more_is_forgotten(world: World) -> None:
    await world.sql("UPDATE schedules SET refusal = 'no', tried_at = :at", at=at(JULY))
    async with world.engine.begin() as connection:
        await skip(connection, world.plan, world.rules, DEBIT, reason="a test", actor=APPROVER, on=DEBIT)
    assert await planned(world, at(DEBIT, 12)) == []
    assert await refusal(world) == (None, None)


async def test_one_plan_that_is_refused_or_broken_keeps_no_other_waiting(engine: AsyncEngine, world: World) -> None:
    (run,) = await plan_due(engine, now=at(DEBIT))
    await world.voided(run)  # the first plan: refused at the next slot
    broken = await scheduled(await build(engine, rules_of_preset().model_copy(update={"code": "broken"}), alike(10)))
    await broken.claim()
    await broken.sql(
        "INSERT INTO plan_rules (plan_id, version, digest, rules) VALUES (:plan, 2, sha256('no rules'), '{}')",
        plan=broken.plan_id,
    )
    other = await scheduled(await build(engine, rules_of_preset().model_copy(update={"code": "other"}), alike(10)))
    await other.claim()
    assert [run.plan_code for run in await plan_due(engine, now=at(LATE_DEBIT))] == ["other"]
    said = await world.rows("SELECT split_part(refusal, ' ', 2) FROM schedules ORDER BY plan_id")
    assert said == [("would",), ("broken:",), (None,)]


async def test_a_plan_that_is_held_by_an_import_is_left_for_the_next_look(world: World) -> None:
    async with world.engine.begin() as connection:
        await connection.execute(text("SELECT 1 FROM plans FOR UPDATE"))
        assert await planned(world, at(DEBIT)) == []
    assert await refusal(world) == (None, None)
    assert await planned(world, at(DEBIT)) == [DEBIT]


async def test_an_ended_plan_is_planned_no_more(world: World) -> None:
    await world.sql("UPDATE plans SET ended_on = '2019-07-13'")
    assert await planned(world, at(DEBIT)) == []
    with pytest.raises(InvalidInput, match="ended on 2019-07-13"):
        await scheduled(world)


# Setting and ending.


async def test_a_schedule_is_set_anew_listed_and_ended(world: World) -> None:
    await world.sql("UPDATE schedules SET refusal = 'no', tried_at = now()")
    async with world.engine.begin() as connection:
        await set_schedule(connection, world.plan, plans_at=time(18, 30), now=at(DEBIT), actor=APPROVER)
    found = await standing(world, at(DEBIT + timedelta(days=1)))
    assert (found.schedule.plans_at, found.schedule.set_by, found.schedule.refusal) == (time(18, 30), APPROVER, None)
    assert (found.next_slot, found.missed, found.claims) == (LATE_DEBIT, 1, 1)
    async with world.engine.begin() as connection:
        await end_schedule(connection, world.plan, actor=PLANNER)
    assert await planned(world, at(DEBIT, 19)) == []
    with pytest.raises(NotFound, match="the clock plans no runs of xianghubao; `fentan schedule set xianghubao"):
        async with world.engine.begin() as connection:
            await end_schedule(connection, world.plan, actor=PLANNER)
    acts = await world.rows("SELECT actor, act FROM audit_log WHERE act LIKE '%schedule' ORDER BY audit_id")
    assert acts == [(PLANNER, "set schedule"), (APPROVER, "set schedule"), (PLANNER, "end schedule")]


@pytest.mark.parametrize(
    ("now", "next_slot", "missed"),
    [
        (at(DEBIT, 8), DEBIT, 0),
        (at(DEBIT, 10), LATE_DEBIT, 0),  # it has its run
    ],
)
async def test_the_next_slot_is_one_without_a_run(world: World, now: datetime, next_slot: date, missed: int) -> None:
    await plan_due(world.engine, now=now)
    found = await standing(world, now)
    assert (found.next_slot, found.missed) == (next_slot, missed)


async def test_schedules_are_listed_by_plan_with_as_many_queries_for_many(engine: AsyncEngine) -> None:
    for code in ("c", "a", "b"):
        await scheduled(await build(engine, rules_of_preset().model_copy(update={"code": code}), alike(3)))
    async with engine.connect() as connection:
        every = await list_schedules(connection, now=at(DEBIT))
        some = await list_schedules(connection, now=at(DEBIT), after="a", limit=1)
    assert [each.schedule.plan_code for each in every] == ["a", "b", "c"]
    assert [each.schedule.plan_code for each in some] == ["b"]


async def test_a_plan_that_gives_a_surplus_is_planned_by_people(engine: AsyncEngine) -> None:
    world = await build(engine, surplus(), alike(1))
    with pytest.raises(InvalidInput, match="zhonghui-surplus gives its members a surplus, and only a person knows"):
        await scheduled(world)
