"""Five years of one plan of each kind, every run held against I1 to I7, and books that explain every fen at the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger.accounts import Account
from engine.members.levies import levy
from engine.members.sweep import sweep
from engine.money import to_major
from engine.plans import PlanRules, slots
from engine.plans.calendar import claims_until, last_notice_day
from engine.roster.plan import lock_roster
from tests.integration.lives import BORN, Life, begin, seated
from tests.integration.worlds import build, rules_of_preset

pytestmark = pytest.mark.integration

BEGINS, ENDS = date(2019, 1, 1), date(2023, 12, 31)
SEATS = (30, 15)
WELL_OVER_SIXTY_IN_2021 = date(1961, 6, 15)
_DAY = timedelta(days=1)


def five_years(code: str, **tables: Any) -> PlanRules:
    """A preset that lives from 2019 to 2023 and is announced to end in its last month."""
    end = {"announced_on": "2023-12-05", "claims_within_days": 45, "refund": "nothing"}
    tables["wind_down"] = end | tables.get("wind_down", {})
    tables["claims"] = {"waiting_days": 30} | tables.get("claims", {})
    return rules_of_preset(code, starts_on=BEGINS.isoformat(), ends_on=ENDS.isoformat(), **tables)


async def living(engine: AsyncEngine, rules: PlanRules, folder: Path, seed: int = 1) -> Life:
    random = Random(seed)
    world = await build(engine, rules, *(seated(count, BEGINS, len(rules.tiers), random) for count in SEATS))
    return await begin(world, random, folder)


async def comings_and_goings(life: Life, on: date) -> None:
    """A few join, one leaves, one comes back, one finds a family payer."""
    present = await life.members(on)
    for _ in range(life.random.randrange(3)):
        await life.join(on, BORN if life.random.random() < 0.8 else WELL_OVER_SIXTY_IN_2021)
    if len(present) > 25 and life.random.random() < 0.5:
        gone = life.random.choice(present)
        await life.change({"kind": "exit", "member_ref": gone, "from": on})
        if life.random.random() < 0.3:
            await life.join(on + 3 * _DAY, BORN, gone)
    if life.world.rules.family_payers and life.random.random() < 0.3:
        payer, other = life.random.sample(present, 2)
        await life.change({"kind": "payer", "member_ref": other, "from": on, "payer_ref": payer})


async def claimed(life: Life, notice_on: date, aids: Sequence[int]) -> bool:
    """Members claim these aids; whether any claim passed."""
    present = await life.members(min(notice_on - _DAY, ENDS))
    chosen = life.random.sample(present, min(len(aids), len(present)))
    found = [await life.claim(ref, notice_on, aid) for ref, aid in zip(chosen, aids, strict=False)]
    return any(claim is not None for claim in found)


async def debited(life: Life, aids: tuple[int, int], *, unpaid: float, bills: bool = False) -> None:
    """Every period of a plan that debits: people move, some claim, a run is made, a few do not pay."""
    rules = life.world.rules
    for slot in slots(rules, BEGINS + 40 * _DAY, last_notice_day(rules) or ENDS):
        if slot.notice_on <= ENDS:
            await comings_and_goings(life, slot.notice_on)
        billed = bills and await life.bill(slot.notice_on)
        at_end = abs(slot.notice_on - ENDS) < 30 * _DAY
        drawn = [life.random.randint(*aids) for _ in range(life.random.randint(1, 3))]
        is_claimed = (at_end or life.random.random() < 0.3) and await claimed(life, slot.notice_on, drawn)
        if is_claimed or billed:
            run = await life.run(slot.debit_on)
            await life.settle(run, unpaid, slot.debit_on + _DAY)


async def closed(life: Life) -> dict[Account, int]:
    """The plan ends once no claim can come any more; what its accounts stand at then."""
    rules_made = "SELECT reason, count(*) FROM roster_changes WHERE reason IS NOT NULL GROUP BY reason"
    life.seen.update(dict(await life.world.rows(rules_made)))
    until = claims_until(life.world.rules)
    assert until is not None
    await life.end(until + 60 * _DAY)
    return await life.world.accounts()


async def test_I1_to_I7_five_years_of_a_plan_on_mandate(engine: AsyncEngine, tmp_path: Path) -> None:
    caps = {"per_case": "0.30", "per_year": [{"amount": "2.00", "from_year": 2019}]}
    life = await living(engine, five_years("xianghubao", caps=caps, waivers=[]), tmp_path)
    await debited(life, (300, 2_500), unpaid=0.01)
    accounts = await closed(life)
    for happened in ("join", "exit", "payer", "claim", "unpaid", "cap per_case", "cap per_year"):
        assert life.seen[happened], happened
    assert set(accounts) <= {
        Account.CUSTODIAN_CASH, Account.SPONSOR_RECEIVABLE, Account.AID_PAYABLE, Account.RETAINED_RESULT,
    }  # fmt: skip


async def test_I1_to_I7_five_years_of_shares_by_own_cap(engine: AsyncEngine, tmp_path: Path) -> None:
    life = await living(engine, five_years("jd-hubao", tiers=small_caps()), tmp_path)
    await debited(life, (500, 4_000), unpaid=0.01)
    async with engine.begin() as connection:
        await levy(connection, life.plan, life.world.rules, life.world.rules.levies[0].name, on=ENDS, actor="anna")
    accounts = await closed(life)
    assert life.seen["cap per_year"]
    assert accounts[Account.CONTRIBUTIONS_RECEIVABLE] > 0, "the entry premiums are still owed"


def small_caps() -> list[dict[str, Any]]:
    """The preset's tiers with caps a five-hundredth as high, so that a world of fifty reaches them."""
    return [
        tier.model_dump(include={"code", "from_age", "to_age"}) | {"per_year": to_major((tier.per_year or 0) // 500)}
        for tier in rules_of_preset("jd-hubao").tiers
    ]


async def test_I1_to_I7_five_years_of_stages_and_all_shares_back(engine: AsyncEngine, tmp_path: Path) -> None:
    life = await living(engine, five_years("meituan", waivers=[], wind_down={"refund": "shares"}), tmp_path)
    await debited(life, (300, 2_500), unpaid=0.005, bills=True)
    accounts = await closed(life)
    for happened in ("bill", "claim", "unpaid"):
        assert life.seen[happened], happened
    assert accounts[Account.REFUNDS_PAYABLE] < 0


async def prepaid(life: Life, on: date) -> None:
    """People move, pay in, and some of the frozen come back."""
    await comings_and_goings(life, on)
    async with life.world.engine.begin() as connection:
        await lock_roster(connection, life.world.plan_id)
        await sweep(connection, life.world.plan_id, life.world.rules, on=on)
    frozen = await life.frozen(on)
    for ref in frozen:
        if life.random.random() < 0.5:
            await life.come_back(ref, on)
    paying = [ref for ref in await life.members(on) if ref not in frozen and life.random.random() < 0.15]
    await life.top_up({ref: life.random.randint(100, 1_000) for ref in paying}, on)


async def test_I1_to_I7_five_years_of_events_on_balances(engine: AsyncEngine, tmp_path: Path) -> None:
    rules = five_years("waterdrop", exits={"after_aid": False}, wind_down={"refund": "balances"})
    life = await living(engine, rules, tmp_path)
    await life.top_up({ref: life.random.randint(100, 900) for ref in await life.members(BEGINS)}, BEGINS)
    for month in range(1, 61):
        notice_on = date(2019 + month // 12, month % 12 + 1, 5)
        if notice_on > ENDS:
            break
        await prepaid(life, notice_on - 2 * _DAY)
        found = [
            await claimed(life, notice_on + day * _DAY, [life.random.randint(2_000, 14_000)])
            for day in range(0, 12, 3) if life.random.random() < 0.25
        ]  # fmt: skip
        if any(found):
            await life.run(notice_on + 20 * _DAY)
    accounts = await closed(life)
    for happened in ("top-up", "floor", "returned", "not returned", "claim", "cap balance"):
        assert life.seen[happened], happened
    assert Account.MEMBER_DEPOSITS not in accounts, "every balance is owed back"


async def test_I1_to_I7_five_years_of_periods_on_balances(engine: AsyncEngine, tmp_path: Path) -> None:
    rules = five_years("qingsong", wind_down={"refund": "balances"})
    life = await living(engine, rules, tmp_path)
    await life.top_up({ref: life.random.randint(100, 900) for ref in await life.members(BEGINS)}, BEGINS)
    for slot in slots(rules, BEGINS + 40 * _DAY, ENDS):
        await prepaid(life, slot.notice_on)
        if slot.notice_on.month % 3 == 1 and slot.notice_on.day == 7:
            async with engine.begin() as connection:
                taken = await levy(
                    connection, life.plan, life.world.rules, "dormant-fee", on=slot.notice_on, actor="anna"
                )
            life.seen["levied"] += taken.seats
        if life.random.random() < 0.25 and await claimed(life, slot.notice_on, [life.random.randint(2_000, 14_000)]):
            await life.run(slot.debit_on)
    accounts = await closed(life)
    for happened in ("top-up", "floor", "returned", "levied", "cap balance"):
        assert life.seen[happened], happened
    assert Account.MEMBER_DEPOSITS not in accounts


@pytest.mark.parametrize("benefit", ["money", "cover"])
async def test_I1_to_I7_five_years_of_surpluses(engine: AsyncEngine, tmp_path: Path, benefit: str) -> None:
    surplus = {"benefit": benefit} | ({"cover_per_unit": 7} if benefit == "cover" else {})
    rules = five_years("zhonghui-surplus", surplus=surplus, claims={"waiting_days": 0})
    life = await living(engine, rules, tmp_path)
    for slot in slots(rules, BEGINS + 40 * _DAY, ENDS):
        await comings_and_goings(life, slot.notice_on)
        await life.credit(slot.debit_on, life.random.randint(1, 500_000))
    await life.check_books()
    assert life.seen["run"] == 19
