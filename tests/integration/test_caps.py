"""Caps through whole runs: each alone and all together by their names, and whose year a yearly cap is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.plans import PlanRules, day_number
from engine.roster.columns import Columns
from engine.runs.measuring import USAGE_SEGMENTS
from engine.runs.states import RunState
from tests.integration.books import charge
from tests.integration.worlds import (
    AUGUST,
    AUGUST_DEBIT,
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    World,
    alike,
    build,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

TIERS = [{"code": "light", "weight": 1}, {"code": "heavy", "weight": 2}]
FREE: dict[str, Any] = {"per_case": None, "per_year": [], "per_run": None}
PREPAID: dict[str, Any] = {
    "funding": "prepaid",
    "wind_down": {"refund": "balances"},
    "prepaid": {"entry": "1", "floor": "1", "return_days": 30},
    "unpaid": None,
    "family_payers": False,
}


def rules_with(caps: dict[str, Any], **tables: Any) -> PlanRules:
    """A plan of two weights without a fee, and no caps but these."""
    share = {"fee": "0", **tables.pop("share", {})}
    return rules_of_preset(tiers=TIERS, waivers=None, caps=FREE | caps, share=share, **tables)


def four_light_two_heavy() -> Columns:
    return replace(alike(6), tier=np.array([0, 0, 0, 0, 1, 1], dtype=np.int16))


async def posted(world: World, number: int, journal: Journal) -> None:
    async with world.engine.begin() as connection:
        await post(connection, journal)


async def pay_in(world: World, number: int, amounts: Sequence[int], key: str = "deposit") -> None:
    """First deposits of a shard's seats."""
    deposits, cash = (account_id(world.plan_id, code) for code in (Account.MEMBER_DEPOSITS, Account.CUSTODIAN_CASH))
    segment = Segment.of(deposits, -np.array(amounts, dtype=np.int64))
    lines = {cash: -segment.total, deposits: segment.total}
    await posted(world, number, Journal(world.shard(number), key, "deposit", date(2019, 1, 2), lines, (segment,)))


YEAR = [{"amount": "3", "from_year": 2019}]
USED = [0, 150, 0, 0, 290, 0]
PAID_IN = [120, 900, 50, 900, 900, 305]


@pytest.mark.parametrize(
    ("caps", "is_prepaid", "charged", "hit"),
    [
        pytest.param({}, False, [160, 160, 160, 160, 320, 320], {}, id="none"),
        pytest.param({"per_case": "3.10"}, False, [160, 160, 160, 160, 310, 310], {"per_case": 2}, id="per case"),
        pytest.param({"per_run": "2"}, False, [160, 160, 160, 160, 200, 200], {"per_run": 2}, id="per run"),
        pytest.param({"per_year": YEAR}, False, [160, 150, 160, 160, 10, 300], {"per_year": 3}, id="per year"),
        pytest.param({}, True, [120, 160, 0, 160, 320, 305], {"balance": 2}, id="balance; below the floor is no cap"),
        pytest.param(
            {"per_run": "2", "per_year": YEAR},
            False,
            [160, 150, 160, 160, 10, 200],
            {"per_run": 2, "per_year": 3},
            id="a seat that two stop counts in both",
        ),
        pytest.param(
            {"per_case": "3.10", "per_run": "2", "per_year": YEAR},
            True,
            [120, 150, 0, 160, 10, 200],
            {"per_case": 2, "per_run": 2, "per_year": 3, "balance": 2},
            id="all together",
        ),
        pytest.param(
            {"per_run": "9", "per_year": [{"amount": "99", "from_year": 2019}]},
            False,
            [160, 160, 160, 160, 320, 320],
            {"per_run": 0, "per_year": 0},
            id="none of two",
        ),
    ],
)
async def test_every_cap_is_reported_by_its_name(
    engine: AsyncEngine, caps: dict[str, Any], charged: list[int], hit: dict[str, int], *, is_prepaid: bool
) -> None:
    world = await build(engine, rules_with(caps, **(PREPAID if is_prepaid else {})), four_light_two_heavy())
    if "per_year" in caps:
        await world.used(1, USED)
    if is_prepaid:
        await pay_in(world, 1, PAID_IN)
    # Whoever is below the floor is not counted: the others weigh 7, all weigh 8.
    await world.claim(aid_minor=1_120 if is_prepaid else 1_280)
    run = await world.previewed()
    assert run.preview is not None
    assert run.preview["caps_hit"] == hit
    several = await world.value("SELECT count(*) FROM run_shards WHERE cap_histograms IS NOT NULL")
    assert several == (len(set(hit) - {"per_case"}) > 1), "one cap is known from the solution alone"
    run = await world.worked(await world.approved(run))
    assert run.state is RunState.SEALED, run.failure
    account = Account.MEMBER_DEPOSITS if is_prepaid else Account.CONTRIBUTIONS_RECEIVABLE
    assert [each.tolist() for each in await world.charged(run, account)] == [charged]
    line = await world.tied_out(run)
    assert line["charged"] + line["sponsor"] == line["aid"]


async def test_what_several_caps_stop_is_summed_over_shards_and_gates(engine: AsyncEngine) -> None:
    """Seats of the second shard joined between the gates, so that their share is smaller and meets other caps."""
    late = replace(alike(3), shares_from=np.full(3, day_number(JULY) + 1, dtype=np.int32))
    caps = {"per_run": "1.50", "per_year": [{"amount": "2", "from_year": 2019}]}
    world = await build(engine, rules_with(caps), alike(3), late)
    await world.used(1, [0, 60, 0])
    await world.used(2, [0, 110, 150])
    await world.claim(aid_minor=300, notice_on=JULY)
    await world.claim(aid_minor=600, notice_on=LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[150, 140, 150], [100, 90, 50]]
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_run": 3, "per_year": 3}


async def test_who_pours_out_to_the_brim_is_stopped_by_what_made_the_brim(engine: AsyncEngine) -> None:
    """Redistributed: the pool is more than all can pay, so that everybody is stopped, at different caps."""
    caps = {"per_run": "2", "per_year": [{"amount": "3", "from_year": 2019}]}
    world = await build(engine, rules_with(caps, share={"over_cap": "redistribute"}), alike(3))
    await world.used(1, [0, 100, 150])
    await world.claim(aid_minor=10_000)
    run = await world.sealed()
    assert [each.tolist() for each in await world.charged(run)] == [[200, 200, 150]]
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_run": 3, "per_year": 2}


# Whose year it is.


A, B, C, D = (date(2018, 7, 14), date(2018, 7, 15), date(2019, 1, 1), date(2016, 2, 29))
CHARGED = [
    (date(2018, 3, 1), "charge", [9, 9, 0, 9]),
    (date(2018, 12, 28), "charge", [40, 40, 0, 40]),
    (date(2019, 3, 14), "charge", [30, 30, 30, 30]),
    (date(2019, 3, 28), "charge", [20, 20, 20, 20]),
    (date(2019, 3, 28), "void", [-20, -20, -20, -20]),
    (date(2019, 4, 14), "correction", [-10, -10, -10, -10]),
    (date(2019, 5, 14), "levy", [50, 50, 50, 50]),
    (date(2019, 7, 28), "charge", [5, 5, 5, 5]),
]


async def of_joiners(engine: AsyncEngine, caps: dict[str, Any], *joined: date) -> World:
    """A world whose seats joined on these days."""
    days = np.array([day_number(day) for day in joined], dtype=np.int32)
    rules = rules_with(caps, starts_on="2016-01-01", ends_on=None, wind_down=None)
    return await build(engine, rules, replace(alike(len(joined)), shares_from=days, claims_from=days))


@pytest.mark.parametrize(
    ("year", "left"),
    [
        # A's year began today. B's ends today, and the run of the 28th was of the next. D's began on 1 March.
        pytest.param("membership", [95, 40, 75, 75], id="of the membership"),
        pytest.param("calendar", [75, 75, 75, 75], id="of the calendar"),
    ],
)
async def test_a_yearly_cap_counts_what_its_own_year_charged(engine: AsyncEngine, year: str, left: list[int]) -> None:
    """Voids and corrections give room back, levies take none, and a later period may have been run before."""
    world = await of_joiners(engine, {"year": year, "per_year": [{"amount": "1", "from_year": 2016}]}, A, B, C, D)
    for number, (on, kind, amounts) in enumerate(CHARGED):
        await posted(world, 1, charge(world.shard(1), amounts, run_id=900 + number, kind=kind, effective_on=on))
    await world.claim(aid_minor=1_000)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [left]
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_year": 4}
    assert await world.problems() == []


async def test_a_membership_year_has_the_cap_of_the_year_it_began_in(engine: AsyncEngine) -> None:
    yearly = [{"amount": "1", "from_year": 2018, "until_year": 2018}, {"amount": "2", "from_year": 2019}]
    world = await of_joiners(engine, {"year": "membership", "per_year": yearly}, A, B, date(2017, 12, 31))
    await world.claim(aid_minor=1_000)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[200, 100, 100]]


async def test_a_cap_before_the_first_year_that_has_one_does_not_bind(engine: AsyncEngine) -> None:
    world = await of_joiners(engine, {"year": "membership", "per_year": [{"amount": "1", "from_year": 2019}]}, A, B)
    await world.claim(aid_minor=1_000)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[100, 500]]
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_year": 1}


async def test_a_membership_year_goes_on_from_run_to_run_and_begins_anew(engine: AsyncEngine) -> None:
    """Seat 1's anniversary lies between the second run and the third; seat 0's year goes on."""
    world = await of_joiners(
        engine, {"year": "membership", "per_year": [{"amount": "1", "from_year": 2016}]}, C, date(2018, 8, 1)
    )
    charged = []
    for notice_on, debit_on in ((JULY, DEBIT), (LATE_JULY, LATE_DEBIT), (AUGUST, AUGUST_DEBIT)):
        await world.claim(aid_minor=120, notice_on=notice_on)
        charged += [each.tolist() for each in await world.charged(await world.sealed(debit_on))]
    assert charged == [[60, 60], [40, 40], [0, 60]]
    assert await world.problems() == []


async def test_a_voided_run_gives_its_room_back(engine: AsyncEngine) -> None:
    world = await of_joiners(engine, {"year": "membership", "per_year": [{"amount": "1", "from_year": 2016}]}, B, C)
    await world.claim(aid_minor=160)
    run = await world.sealed(DEBIT)
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED
    again = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(again)] == [[80, 80]]
    assert await world.problems() == []


async def test_the_years_usage_is_kept_with_corrections_in_it(engine: AsyncEngine) -> None:
    """So many charges are summed once, and verify finds the sum to be theirs (I14)."""
    world = await of_joiners(engine, {"per_year": [{"amount": "1", "from_year": 2016}]}, C, C)
    for number in range(USAGE_SEGMENTS):
        kind, amounts = ("correction", [-3, 2]) if number == 4 else ("charge", [5, 1])
        on = date(2019, 2, 1 + number)
        await posted(world, 1, charge(world.shard(1), amounts, run_id=900 + number, kind=kind, effective_on=on))
    await world.claim(aid_minor=1_000)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[68, 91]]
    assert await world.rows("SELECT year, amounts FROM year_usage") == [(2019, [32, 9])]
    assert await world.problems() == []


@pytest.mark.parametrize("year", ["calendar", "membership"])
async def test_a_waiver_does_not_use_up_the_cap(engine: AsyncEngine, year: str) -> None:
    waiver = {
        "name": "first period", "joined_by": "2019-01-01", "reason": "a test",
        "gates_from": JULY.isoformat(), "gates_to": JULY.isoformat(),
    }  # fmt: skip
    rules = rules_of_preset(
        caps=FREE | {"year": year, "per_year": [{"amount": "1", "from_year": 2019}]},
        share={"fee": "0"},
        waivers=[waiver],
    )
    later = np.array([day_number(C), day_number(date(2019, 2, 1))], dtype=np.int32)
    world = await build(engine, rules, replace(alike(2), shares_from=later))
    charged = []
    for notice_on, debit_on in ((JULY, DEBIT), (LATE_JULY, LATE_DEBIT)):
        await world.claim(aid_minor=120, notice_on=notice_on)
        run = await world.sealed(debit_on)
        charged += [each.tolist() for each in await world.charged(run)]
    assert charged == [[0, 60], [60, 40]]
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_year": 1}
    assert await world.problems() == []
