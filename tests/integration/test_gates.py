"""Who is counted at a run's gates: who was kept, who is above the floor, nobody in a wind-down; and when they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger.accounts import Account
from engine.plans import day_number
from engine.reconcile.run_report import report_of
from engine.roster.columns import to_bytes
from engine.runs.planning import today_in
from engine.runs.run import Run
from engine.runs.states import RunState
from tests.integration.test_caps import FREE, PREPAID, pay_in
from tests.integration.worlds import (
    DEBIT,
    JOINED,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    World,
    alike,
    build,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

BEFORE = day_number(date(2019, 6, 28))
"""The debit day before the gate of 7 July; the one before that of 21 July is 14 July."""


async def test_a_kept_gate_leaves_out_who_came_since_the_debit_before(engine: AsyncEngine) -> None:
    """SCHEMES: kangai, members kept from the last period. Two claims in one run, each at its own gate."""
    rules = rules_of_preset(share={"gate": "kept_from_last_period", "fee": "0"}, caps=FREE, waivers=None)
    joined = np.array([JOINED, BEFORE, BEFORE + 1, day_number(DEBIT), day_number(DEBIT) + 1], dtype=np.int32)
    ended = alike(5).ended_on.copy()
    ended[0] = day_number(JULY) + 1
    world = await build(engine, rules, replace(alike(5), shares_from=joined, ended_on=ended))
    await world.claim(aid_minor=200, notice_on=JULY)
    await world.claim(aid_minor=300, notice_on=LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    # The first claim is shared by two, the second by the three who were there on 14 July and still are on the 21st.
    assert [each.tolist() for each in await world.charged(run)] == [[100, 200, 100, 100, 0]]
    assert await world.problems() == []


async def test_a_seat_below_the_floor_is_not_counted(engine: AsyncEngine) -> None:
    """SCHEMES: waterdrop, a balance under 1 yuan is frozen and not counted in N."""
    world = await build(engine, rules_of_preset(share={"fee": "0"}, caps=FREE, waivers=None, **PREPAID), alike(4))
    await pay_in(world, 1, [100, 99, 0, 500])
    await world.claim(aid_minor=180)
    run = await world.sealed()
    assert [each.tolist() for each in await world.charged(run, Account.MEMBER_DEPOSITS)] == [[90, 0, 0, 90]]
    assert run.preview is not None
    assert (run.preview["sharers"], run.preview["caps_hit"]) == (2, {"balance": 0})


async def test_what_was_paid_in_after_the_freeze_does_not_count_in_the_run(engine: AsyncEngine) -> None:
    """I7: the balance is pinned with the shard's seq."""
    world = await build(engine, rules_of_preset(share={"fee": "0"}, caps=FREE, waivers=None, **PREPAID), alike(2))
    await pay_in(world, 1, [100, 500])
    await world.claim(aid_minor=600)
    run = await world.previewed()
    await pay_in(world, 1, [900, 900], key="top-up")
    run = await world.worked(await world.approved(run))
    assert [each.tolist() for each in await world.charged(run, Account.MEMBER_DEPOSITS)] == [[100, 300]]
    assert await world.problems() == []


@pytest.mark.parametrize("over_cap", ["sponsor", "reduce_aid"])
async def test_nobody_shares_a_run_debited_after_the_notice_of_the_wind_down(
    engine: AsyncEngine, over_cap: str
) -> None:
    end = {"announced_on": JULY.isoformat(), "claims_within_days": 180, "refund": "nothing"}
    rules = rules_of_preset(share={"fee": "0", "over_cap": over_cap}, waivers=None, wind_down=end)
    world = await build(engine, rules, alike(3))
    await world.claim(aid_minor=300)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[0, 0, 0]]
    line = await world.tied_out(run)
    assert (line["charged"], line["sponsor"], line["aid"]) == (0, 300, 300)
    assert run.preview is not None
    assert (run.preview["sharers"], set(run.preview["caps_hit"].values())) == (0, {0})


async def test_who_comes_of_age_by_the_debit_day_is_swept_out_before_the_freeze(engine: AsyncEngine) -> None:
    """SCHEMES: xianghubao, exit at 60. On the gate's own day the birthday is the first day not covered."""
    world = await build(engine, rules_of_preset(exits={"at_age": 60}, waivers=None), alike(4))
    born = [date(1990, 5, 5), date(1959, 7, 7), date(1959, 7, 8), date(1959, 7, 15)]
    days = to_bytes(np.array([day_number(day) for day in born], dtype=np.int32))
    await world.sql("UPDATE member_columns SET born_on = :days", days=days)
    await world.claim()
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[10, 0, 10, 10]]
    assert await world.rows("SELECT seat, from_day, reason FROM roster_changes ORDER BY seat") == [
        (1, day_number(date(2019, 7, 7)), "age"),
        (2, day_number(date(2019, 7, 8)), "age"),
    ]


async def waits_for(world: World, run: Run) -> str | None:
    async with world.engine.connect() as connection:
        return (await report_of(connection, run.run_id)).waits_for


async def in_days(world: World, days: int) -> date:
    async with world.engine.connect() as connection:
        return await today_in(connection, world.rules.time_zone) + timedelta(days=days)


async def test_a_settlement_day_run_is_frozen_once_its_day_has_begun(engine: AsyncEngine) -> None:
    every_day: dict[str, Any] = {"days_of_month": list(range(1, 32))}
    world = await build(engine, rules_of_preset("jd-hubao", notice=every_day, debit=every_day), alike(3))
    debit_on = await in_days(world, 4)
    await world.claim(aid_minor=300, notice_on=debit_on - timedelta(days=3))
    run = await world.worked(await world.planned(debit_on))
    assert run.state is RunState.PLANNED
    said = f"{debit_on}, 00:00 in Asia/Shanghai: who is covered then shares"
    assert await waits_for(world, run) == said
    # No test can wait for days: the run's own day comes nearer instead.
    await world.sql("UPDATE run_cases SET gate_day = gate_day - 4")
    await world.sql("UPDATE share_runs SET debit_on = debit_on - 4")
    run = await world.worked(run)
    assert run.state is RunState.PREVIEWED, run.failure
    assert await waits_for(world, run) is None
