"""Aid on real PostgreSQL: what filing writes down, and claims that are paid in stages, run by run."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from engine.claims import Claim, ClaimRefused, Event, Passed, State
from engine.errors import InvalidInput
from engine.plans import NEVER, Accident, Deduction, PlanRules, day_number
from engine.runs.run import Run
from engine.runs.states import RunState
from tests.integration.worlds import Claimant, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

FIRST, FIRST_DEBIT = date(2019, 7, 6), date(2019, 7, 9)
SECOND, SECOND_DEBIT = date(2019, 7, 15), date(2019, 7, 18)
THIRD, THIRD_DEBIT = date(2019, 7, 24), date(2019, 7, 27)
"""Notice days of meituan, and when it debits them."""

WHOLE, AT_ONCE = 300_000_00, 60_000_00


@pytest.fixture
async def staged(engine: AsyncEngine) -> World:
    """A plan that pays a fifth at once, and no rules of exit that would change who shares."""
    return await build(engine, rules_of_preset("meituan", aid_stages={"first": "0.2"}, exits=None), alike(120))


async def claim_of(world: World, claim_id: int) -> Claim:
    async with world.engine.connect() as connection:
        return await claims.claim_of(connection, claim_id)


async def waiting(world: World) -> list[Passed]:
    async with world.engine.connect() as connection:
        return await claims.passed_claims(connection, world.plan_id)


async def billed(world: World, claim_id: int, amount_minor: int, on: date) -> Claim:
    async with world.engine.begin() as connection:
        return await claims.bill(connection, claim_id, world.rules, amount_minor, on=on, actor="intake")


async def withdrawn(world: World, claim_id: int, on: date = THIRD) -> Claim:
    async with world.engine.begin() as connection:
        return await claims.withdraw(connection, claim_id, reason="a typing error", on=on, actor="intake")


async def voided(world: World, run: Run) -> None:
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED


async def events(world: World, claim_id: int) -> list[str]:
    async with world.engine.connect() as connection:
        return [decision.event for decision in await claims.history(connection, claim_id)]


def stages(claim: Claim) -> tuple[State, int, int, int]:
    """Where it stands, what is shared, what its next run carries, what is left for bills."""
    return claim.state, claim.shared_minor, claim.next_minor, claim.unbilled_minor


SEVERE: dict[str, Any] = {
    "aid": [
        {"from_age": 0, "to_age": 59, "severity": "mild", "amount": "50000"},
        {"from_age": 0, "to_age": 59, "severity": "severe", "of_cover": "1/2"},
    ],
    "tiers": [{"code": "low", "weight": 1, "cover": "100000"}, {"code": "high", "weight": 2, "cover": "200000"}],
    "aid_tenure": [{"from_years": 0, "rate": "0.5"}, {"from_years": 1, "rate": "1"}],
}


@pytest.mark.parametrize(
    ("rules", "given", "aid_minor", "steps"),
    [
        (
            rules_of_preset(),
            {"deductions": [Deduction(20_000_00, "paid by the state")]},
            280_000_00,
            ["aid from 0 to 39: 300,000.00", "deducted 20,000.00: paid by the state"],
        ),
        (
            rules_of_preset(**SEVERE),
            {"severity": "mild"},
            25_000_00,
            ["aid from 0 to 59, mild: 50,000.00", "tenure 0 years: 50 %, 25,000.00"],
        ),
        (
            rules_of_preset(**SEVERE),
            {"severity": "severe", "cover": {"tier": 1, "shares_from": day_number(date(2018, 6, 1))}},
            100_000_00,
            ["aid from 0 to 59, severe: 50 % of the cover chosen, 100,000.00", "tenure 1 years: 100 %, 100,000.00"],
        ),
    ],
)
async def test_filing_writes_down_how_the_aid_came_about(
    engine: AsyncEngine, rules: PlanRules, given: dict[str, Any], aid_minor: int, steps: list[str]
) -> None:
    world = await build(engine, rules, alike(1))
    on, cover = date(2019, 7, 1), Claimant(world.shard(1), **given.pop("cover", {}))
    async with engine.begin() as connection:
        claim = await claims.file(
            connection, world.plan_id, rules, cover, diagnosed_on=on, on=on, actor="anna", **given
        )
        (filed,) = await claims.history(connection, claim.claim_id)
    assert (claim.aid_minor, claim.severity, claim.next_minor) == (aid_minor, given.get("severity"), aid_minor)
    assert filed.detail["steps"] == steps


async def test_a_fault_share_claim(engine: AsyncEngine) -> None:
    rules = rules_of_preset("xianghubao", aid=None, fault_share={"at_most": "300000"})
    world = await build(engine, rules, alike(1))
    on, cover = date(2019, 7, 1), Claimant(world.shard(1))
    async with engine.begin() as connection:
        filing = {"diagnosed_on": on, "on": on, "actor": "anna"}
        with pytest.raises(InvalidInput, match="give --award and --fault-share: xianghubao gives aid by them"):
            await claims.file(connection, world.plan_id, rules, cover, **filing)  # type: ignore[arg-type]
        accident = Accident(1_000_00, rules.share.fee * 10, 100_00)
        claim = await claims.file(connection, world.plan_id, rules, cover, accident=accident, **filing)  # type: ignore[arg-type]
    assert claim.aid_minor == 700_00


PREPAID = {
    "funding": "prepaid",
    "family_payers": False,
    "prepaid": {"entry": "9", "floor": "1", "return_days": 30},
    "unpaid": None,
    "wind_down": {"refund": "balances"},
}
JUNE, AUGUST = day_number(date(2019, 6, 1)), day_number(date(2019, 8, 1))


@pytest.mark.parametrize(
    ("frozen", "stands"),
    [
        pytest.param((JUNE, NEVER), False, id="frozen and not back"),
        pytest.param((day_number(date(2019, 7, 1)), NEVER), False, id="frozen that day"),
        pytest.param((day_number(date(2019, 7, 2)), NEVER), True, id="frozen the day after"),
        pytest.param((JUNE, AUGUST), True, id="back since"),
        pytest.param((0, 0), True, id="never frozen"),
    ],
)
async def test_a_claim_that_arises_while_frozen_stands_only_after_the_return(
    engine: AsyncEngine, frozen: tuple[int, int], stands: bool
) -> None:
    rules = rules_of_preset("xianghubao", **PREPAID)
    world = await build(engine, rules, alike(1))
    cover = Claimant(world.shard(1), frozen_from=frozen[0], frozen_to=frozen[1])
    async with engine.begin() as connection:
        filing = claims.file(
            connection, world.plan_id, rules, cover, diagnosed_on=date(2019, 7, 1), on=date(2019, 9, 1), actor="anna"
        )
        if stands:
            assert (await filing).state is State.FILED
        else:
            with pytest.raises(ClaimRefused, match="while frozen stands only if the member returns; file it again"):
                await filing


async def test_one_claim_in_three_runs_and_a_void_of_the_second(staged: World) -> None:
    claim_id = await staged.claim(WHOLE, FIRST)
    assert await waiting(staged) == [(claim_id, 1, AT_ONCE, FIRST)]
    with pytest.raises(ClaimRefused, match="its first stage waits for a run"):
        await billed(staged, claim_id, 1, SECOND)

    first = await staged.sealed(FIRST_DEBIT)
    assert (await staged.tied_out(first))["aid"] == AT_ONCE
    assert stages(await claim_of(staged, claim_id)) == (State.SHARED, AT_ONCE, 0, WHOLE - AT_ONCE)
    assert await waiting(staged) == []

    await billed(staged, claim_id, 90_000_00, SECOND)
    assert await waiting(staged) == [(claim_id, 1, 90_000_00, SECOND)]
    second = await staged.sealed(SECOND_DEBIT)
    assert (await staged.tied_out(second))["aid"] == 90_000_00

    await voided(staged, second)
    assert stages(await claim_of(staged, claim_id)) == (State.PASSED, AT_ONCE, 90_000_00, 150_000_00)
    assert await waiting(staged) == [(claim_id, 1, 90_000_00, SECOND)]
    again = await staged.sealed(SECOND_DEBIT)
    assert (await staged.tied_out(again))["aid"] == 90_000_00

    await billed(staged, claim_id, 150_000_00, THIRD)
    third = await staged.sealed(THIRD_DEBIT)
    assert (await staged.tied_out(third))["aid"] == 150_000_00
    assert stages(await claim_of(staged, claim_id)) == (State.SHARED, WHOLE, 0, 0)
    with pytest.raises(ClaimRefused, match=r"nothing is left to bill of its aid of 300,000\.00"):
        await billed(staged, claim_id, 1, date(2019, 8, 6))
    assert await staged.problems() == []
    assert (await events(staged, claim_id))[3:] == [
        *("share", "seal", "bill", "share", "seal", "release", "share", "seal", "bill", "share", "seal")
    ]


async def test_a_bill_since_is_shared_with_what_a_void_gives_back(staged: World) -> None:
    claim_id = await staged.claim(WHOLE, FIRST)
    await staged.sealed(FIRST_DEBIT)
    await billed(staged, claim_id, 90_000_00, SECOND)
    second = await staged.sealed(SECOND_DEBIT)
    await billed(staged, claim_id, 10_000_00, THIRD)
    await voided(staged, second)
    assert stages(await claim_of(staged, claim_id)) == (State.PASSED, AT_ONCE, 100_000_00, 140_000_00)
    assert await waiting(staged) == [(claim_id, 1, 100_000_00, THIRD)]
    third = await staged.sealed(THIRD_DEBIT)
    assert (await staged.tied_out(third))["aid"] == 100_000_00
    assert await staged.problems() == []


async def test_what_a_void_gives_back_beside_a_planned_run_waits_for_the_next(staged: World) -> None:
    claim_id = await staged.claim(WHOLE, FIRST)
    await staged.sealed(FIRST_DEBIT)
    await billed(staged, claim_id, 90_000_00, SECOND)
    second = await staged.sealed(SECOND_DEBIT)
    await billed(staged, claim_id, 10_000_00, THIRD)
    planned = await staged.planned(THIRD_DEBIT)
    await voided(staged, second)
    assert (await claim_of(staged, claim_id)).state is State.SHARING
    third = await staged.worked(await staged.approved(await staged.worked(planned)))
    assert (await staged.tied_out(third))["aid"] == 10_000_00
    assert stages(await claim_of(staged, claim_id)) == (State.PASSED, 70_000_00, 90_000_00, 140_000_00)
    assert (await events(staged, claim_id))[-3:] == ["release", "seal", "bill"]
    assert (await staged.tied_out(await staged.sealed(date(2019, 8, 9))))["aid"] == 90_000_00
    assert stages(await claim_of(staged, claim_id)) == (State.SHARED, 160_000_00, 0, 140_000_00)
    assert await staged.problems() == []


async def test_bills_that_wait_add_up_and_are_taken_back(staged: World) -> None:
    claim_id = await staged.claim(WHOLE, FIRST)
    first = await staged.sealed(FIRST_DEBIT)
    for amount in (1_00, 2_00):
        await billed(staged, claim_id, amount, SECOND)
    for other in (FIRST, THIRD):
        with pytest.raises(ClaimRefused, match=f"its stage with the gate of {SECOND} waits for a run; bill with the"):
            await billed(staged, claim_id, 3_00, other)
    assert await waiting(staged) == [(claim_id, 1, 3_00, SECOND)]
    taken_back = await withdrawn(staged, claim_id)
    assert stages(taken_back) == (State.SHARED, AT_ONCE, 0, WHOLE - AT_ONCE)
    assert taken_back.run_id == first.run_id
    await billed(staged, claim_id, 5_00, SECOND)  # the gate before is the first run's again
    second = await staged.previewed(SECOND_DEBIT)
    assert stages(await withdrawn(staged, claim_id)) == (State.SHARED, AT_ONCE, 0, WHOLE - AT_ONCE)
    with pytest.raises(Exception, match=f"claims {claim_id} of run:{second.run_id} were withdrawn"):
        await staged.approved(second)
    async with staged.engine.connect() as connection:
        (*_, last) = await claims.history(connection, claim_id)
    assert (last.event, last.detail) == (
        Event.TAKE_BACK,
        {"reason": "a typing error", "run_id": second.run_id, "amount": "5.00"},
    )


@pytest.mark.parametrize(
    ("amount_minor", "on", "refusal", "why"),
    [
        (0, SECOND, InvalidInput, r"a bill of 0\.00; give more than 0 and at most 240,000\.00, which is left"),
        (240_000_01, SECOND, InvalidInput, r"at most 240,000\.00"),
        (1, date(2019, 7, 16), ClaimRefused, "2019-07-16 is not a notice day of meituan"),
        (1, FIRST, ClaimRefused, "its stage before had its gate on 2019-07-06; give a notice day after it"),
        (1, date(2019, 6, 24), ClaimRefused, "give a notice day after it"),
    ],
)
async def test_a_bill_is_refused(
    staged: World, amount_minor: int, on: date, refusal: type[Exception], why: str
) -> None:
    claim_id = await staged.claim(WHOLE, FIRST)
    await staged.sealed(FIRST_DEBIT)
    with pytest.raises(refusal, match=why):
        await billed(staged, claim_id, amount_minor, on)
    assert stages(await claim_of(staged, claim_id)) == (State.SHARED, AT_ONCE, 0, WHOLE - AT_ONCE)
    await billed(staged, claim_id, WHOLE - AT_ONCE, SECOND)


async def test_a_plan_without_stages_shares_all_at_once(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(caps={"per_year": None}), alike(100))
    claim_id = await world.claim(100_00)
    run = await world.sealed()
    assert stages(await claim_of(world, claim_id)) == (State.SHARED, 100_00, 0, 0)
    with pytest.raises(ClaimRefused, match="nothing is left to bill"):
        await billed(world, claim_id, 1, date(2019, 7, 21))
    await voided(world, run)
    assert stages(await claim_of(world, claim_id)) == (State.PASSED, 0, 100_00, 0)
    assert stages(await withdrawn(world, claim_id)) == (State.WITHDRAWN, 0, 100_00, 0)


async def test_the_smallest_first_stage_is_a_fen(staged: World) -> None:
    claim_id = await staged.claim(4, FIRST)
    assert (await claim_of(staged, claim_id)).next_minor == 1


async def test_what_a_cut_took_from_a_stage_is_not_carried_again(engine: AsyncEngine) -> None:
    rules = rules_of_preset(
        "meituan",
        aid_stages={"first": "0.2"}, exits=None,
        share={"over_cap": "reduce_aid"}, caps={"per_case": "0.10"},
    )  # fmt: skip
    world = await build(engine, rules, alike(100))
    claim_id = await world.claim(1_000_00, FIRST)
    run = await world.sealed(FIRST_DEBIT)
    assert (await world.tied_out(run))["aid"] < 10_00
    assert stages(await claim_of(world, claim_id)) == (State.SHARED, 200_00, 0, 800_00)
