"""The end of a plan: who is refunded what, books that explain every fen, and nothing after it."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from engine.decisions import Decision, DecisionState, FourEyes, Kind, NotOpen, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import COVER, CURRENCY, Account, account_id
from engine.ledger.balances import read_balance
from engine.ledger.books import BookedAccount, books, difference_of
from engine.members.collection import collect, exit_unpaid
from engine.members.deposits import open_deposits, take_top_ups
from engine.plans import PlanRules, day_number
from engine.roster.plan import register_plan
from engine.runs.credit import plan_credit_run
from engine.runs.decided import carry_out
from engine.runs.ending import propose_wind_down
from engine.runs.run import Run
from engine.runs.slots import skip
from engine.runs.states import RunState
from tests.integration.worlds import (
    APPROVER,
    AUGUST,
    AUGUST_DEBIT,
    DEBIT,
    LATE_DEBIT,
    LATE_JULY,
    PLANNER,
    Claimant,
    World,
    alike,
    build,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

LAST = date(2019, 8, 31)
WINDOW_ENDS = date(2019, 9, 30)
CLOSING = date(2019, 10, 1)
"""The day after the window for claims, and the first on which the plan can end."""


def ending(refund: str, **tables: Any) -> PlanRules:
    """Xianghubao without caps, had it ended in August 2019; announced between the run of July and that of August."""
    end = {"announced_on": "2019-08-10", "claims_within_days": 30, "refund": refund}
    return rules_of_preset(
        **{"ends_on": str(LAST), "wind_down": end, "caps": {"per_case": None, "per_year": None}}
        | {"exits": {"at_age": None, "after_aid": None}}
        | tables
    )


async def proposed(world: World, on: date = CLOSING) -> Decision:
    async with world.engine.begin() as connection:
        return await propose_wind_down(connection, world.plan, world.rules, on=on, actor=PLANNER)


async def approved(world: World, decision: Decision, actor: str = APPROVER) -> Decision:
    async with world.engine.begin() as connection:
        return await carry_out(connection, decision.decision_id, actor=actor)


async def ended(world: World) -> dict[str, Any]:
    """What the end came to."""
    decision = await approved(world, await proposed(world))
    assert decision.state is DecisionState.DONE
    return dict(decision.outcome or {})


async def booked(world: World) -> dict[Account, BookedAccount]:
    """The books; asserts that they balance, and that each closing is the sum of what made it."""
    async with world.engine.connect() as connection:
        found = await books(connection, world.plan_id, sponsor=world.rules.share.sponsor)
    assert difference_of(found) == 0
    return {each.account: each for each in found}


async def said(world: World) -> dict[str, tuple[int, str]]:
    """Account → closing, and what that is; accounts at 0 left out."""
    return {
        code.title: (each.closing, each.explanation) for code, each in (await booked(world)).items() if each.closing
    }


async def refunds(world: World, number: int) -> list[int]:
    """What each seat of a shard is to be paid back."""
    shard_id, seats = (await world.shards())[number - 1]
    payable = account_id(world.plan_id, Account.REFUNDS_PAYABLE)
    async with world.engine.connect() as connection:
        found = await read_balance(connection, shard_id, payable, through_seq=2**40, seats=seats)
    return [-amount for amount in found.amounts.tolist()]


async def paid(world: World, run: Run, *shards: tuple[int, list[int] | None]) -> None:
    """These seats of these shards pay what they owe for the run; None: all."""
    async with world.engine.begin() as connection:
        for number, positions in shards:
            chosen = None if positions is None else np.array(positions, dtype=np.int32)
            await collect(connection, run.run_id, world.shard(number), chosen, on=run.debit_on + timedelta(days=1))


async def written_off(world: World, run: Run, number: int, positions: list[int]) -> None:
    async with world.engine.begin() as connection:
        await exit_unpaid(connection, run.run_id, world.shard(number), np.array(positions, dtype=np.int32))


async def lived(engine: AsyncEngine, refund: str) -> World:
    """Ten members, two shards. July: 100.03 and a fee of 8.00, 10.81 from each and 0.07 carried. Nine pay, one of them
    late; shard 2's last does not and leaves, written off; its third owes still. August: the platform pays.
    """
    world = await build(engine, ending(refund), alike(6), alike(4))
    await world.claim(100_03)
    run = await world.sealed(DEBIT)
    await paid(world, run, (1, None), (2, [0, 1]))
    await written_off(world, run, 2, [3])
    await world.claim(50_00, AUGUST)
    await world.sealed(AUGUST_DEBIT)
    return world


LEFT = {
    "custodian cash": (8 * 10_81, "held by the custodian"),
    "aid payable": (-150_03, "aid to be paid out for 2 claims"),
    "retained result": (-(8_00 + 4_00 - 10_81), "earned over the plan's life"),
}
"""What the life leaves whatever is refunded."""


async def test_nothing_is_refunded_and_what_is_left_is_explained(engine: AsyncEngine) -> None:
    world = await lived(engine, "nothing")
    before = await booked(world)
    assert (before[Account.CARRY].closing, before[Account.CARRY].explanation) == (0, "settled"), "August used it up"
    assert await ended(world) == {
        "seats_ended": 9, "seats_refunded": 0, "refunded_minor": 0, "set_off_minor": 0, "carry_to_sponsor_minor": 0,
        "retained_minor": 1_19, "aid_never_billed_minor": 0,
    }  # fmt: skip
    assert await said(world) == LEFT | {
        "contributions receivable": (10_81, "owed by 1 member"),
        "sponsor receivable": (54_00 - 7, "the platform still to pay"),
    }
    assert await world.problems() == []


async def test_all_shares_ever_paid_are_refunded_by_the_sponsor(engine: AsyncEngine) -> None:
    world = await lived(engine, "shares")
    assert await ended(world) == {
        "seats_ended": 9, "seats_refunded": 8, "refunded_minor": 8 * 10_81, "set_off_minor": 10_81,
        "carry_to_sponsor_minor": 0, "retained_minor": 1_19, "aid_never_billed_minor": 0,
    }  # fmt: skip
    assert await refunds(world, 1) == [10_81] * 6
    assert await refunds(world, 2) == [10_81, 10_81, 0, 0], "one owes its share no more, one was written off"
    assert await said(world) == LEFT | {
        "sponsor receivable": (54_00 - 7 + 9 * 10_81, "the platform still to pay"),
        "refunds payable": (-8 * 10_81, "to be paid back to 8 members"),
    }
    assert (await booked(world))[Account.CONTRIBUTIONS_RECEIVABLE].by_kind == {
        "charge": 10 * 10_81, "collection": -8 * 10_81, "write-off": -10_81, "wind-down": -10_81,
    }  # fmt: skip
    assert await world.problems() == []


async def test_each_balance_is_refunded(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset("waterdrop", **WATERDROP), alike(3), alike(2))
    async with engine.begin() as connection:
        for number, amounts in ((1, [9_00, 0, 4_50]), (2, [1, 100_00])):
            await open_deposits(
                connection, world.plan, world.shard(number), np.array(amounts, dtype=np.int64),
                on=date(2019, 1, 1), key="opening",
            )  # fmt: skip
    outcome = await ended(world)
    assert (outcome["seats_ended"], outcome["seats_refunded"], outcome["refunded_minor"]) == (5, 4, 113_51)
    assert [await refunds(world, 1), await refunds(world, 2)] == [[9_00, 0, 4_50], [1, 100_00]]
    assert await said(world) == {
        "custodian cash": (113_51, "held by the custodian"),
        "refunds payable": (-113_51, "to be paid back to 4 members"),
    }
    deposits = (await booked(world))[Account.MEMBER_DEPOSITS]
    assert (deposits.by_kind, deposits.holders) == ({"deposit": -113_51, "wind-down": 113_51}, 0)
    assert deposits.explanation == "settled"
    with pytest.raises(InvalidInput, match="plan waterdrop ended on 2019-10-01, and its books are closed"):
        async with engine.begin() as connection:
            await take_top_ups(connection, world.plan, Path("none.csv"), on=date(2019, 8, 1), actor="cashier")
    assert await world.problems() == []


WATERDROP: dict[str, Any] = {
    "ends_on": str(LAST),
    "wind_down": {"announced_on": "2019-08-10", "claims_within_days": 30, "refund": "balances"},
}


async def test_carry_that_is_left_goes_to_the_sponsor(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(10))
    await world.claim(100_03)
    await world.sealed(DEBIT)
    assert (await booked(world))[Account.CARRY].explanation == "collected beyond the pools; it lowers the next"
    assert (await ended(world))["carry_to_sponsor_minor"] == 7
    assert (await said(world))["sponsor receivable"] == (-7, "owed to the platform, or paid by it for what it bears")
    assert (await booked(world))[Account.CARRY].by_kind == {"seal": -7, "wind-down": 7}
    assert await world.problems() == []


async def test_a_voided_run_is_no_share_paid(engine: AsyncEngine) -> None:
    world = await build(engine, ending("shares"), alike(10))
    await world.claim(100_03)
    await world.claim(20_00, LATE_JULY)
    first = await world.sealed(DEBIT)
    await world.voided(first)
    await world.worked(first)
    run = await world.sealed(LATE_DEBIT)
    await paid(world, run, (1, None))
    charged = (await world.charged(run))[0]
    await ended(world)
    assert await refunds(world, 1) == charged.tolist()


CREDITS: dict[str, Any] = {
    "ends_on": str(LAST),
    "wind_down": {"announced_on": "2019-08-10", "claims_within_days": 30, "refund": "nothing"},
}
SLOTS = (date(2019, 7, 15), date(2019, 10, 15))


async def test_no_surplus_is_forgotten_at_the_end(engine: AsyncEngine) -> None:
    """Of a credit plan nothing waits that could be counted: each period is given, or skipped by decision."""
    world = await build(engine, rules_of_preset("zhonghui-surplus", **CREDITS), alike(3))
    await surplus(world, 1_00, SLOTS[0])
    closing = date(2019, 10, 16)
    with pytest.raises(InvalidInput, match="zhonghui-surplus cannot end yet: the slot of 2019-10-15 was missed: run "):
        await proposed(world, closing)
    async with engine.begin() as connection:
        await skip(connection, world.plan, world.rules, SLOTS[1], reason="a loss", actor=PLANNER, on=closing)
    assert (await approved(world, await proposed(world, closing))).state is DecisionState.DONE
    assert await said(world) == {
        "custodian cash": (1_00, "held by the custodian"),
        "refunds payable": (-99, "to be paid back to 3 members"),
        "sponsor receivable": (-1, "owed to the insurer, or paid by it for what it bears"),
    }
    assert await world.problems() == []


async def test_cover_that_rounding_left_goes_back_into_what_the_surplus_bought(engine: AsyncEngine) -> None:
    rules = rules_of_preset("zhonghui-surplus", surplus={"benefit": "cover", "cover_per_unit": 2}, **CREDITS)
    world = await build(engine, rules, alike(3))
    await surplus(world, 1_00, SLOTS[0])
    await ended(world)
    async with engine.connect() as connection:
        found = await books(connection, world.plan_id, sponsor="the insurer")
    assert {(each.unit, each.account): each.closing for each in found if each.closing} == {
        (CURRENCY, Account.CUSTODIAN_CASH): 1_00,
        (CURRENCY, Account.SURPLUS_RESERVE): -1_00,
        (COVER, Account.SURPLUS_RESERVE): 1_98,
        (COVER, Account.MEMBER_COVER): -1_98,
    }
    assert await world.problems() == []


async def surplus(world: World, premiums_minor: int, on: date) -> None:
    """A credit run from plan to seal."""
    async with world.engine.begin() as connection:
        run = await plan_credit_run(
            connection, world.plan, on, premiums_minor=premiums_minor, claims_minor=0, costs_minor=0, actor=PLANNER
        )
    run = await world.worked(await world.approved(await world.worked(run)))
    assert run.state is RunState.SEALED, run.failure


async def test_who_approves_second_finds_it_done(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(5))
    decision = await proposed(world)
    found = await asyncio.gather(
        *(approved(world, decision, actor=actor) for actor in ("bo", "carl")), return_exceptions=True
    )
    assert [type(each) for each in found if isinstance(each, Exception)] == [NotOpen]
    assert await world.value("SELECT count(*) FROM audit_log WHERE act = 'approve wind-down'") == 1


async def test_memberships_end_with_the_plan_and_earlier_ends_stay(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(5), alike(3))
    early = day_number(date(2019, 5, 5))
    await world.exits(1, early)
    assert (await ended(world))["seats_ended"] == 7
    last = day_number(LAST) + 1
    assert (await world.columns(1)).ended_on.tolist() == [last, early, last, last, last]
    assert (await world.columns(2)).ended_on.tolist() == [last] * 3
    assert await world.value("SELECT ended_on FROM plans") == CLOSING


async def test_it_is_proposed_by_one_and_approved_once_by_another(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(5))
    decision = await proposed(world)
    assert (decision.kind, decision.subject) == (Kind.WIND_DOWN, "plan:xianghubao")
    assert decision.detail == {"rules_version": 1, "ends_on": str(LAST), "refund": "nothing"}
    with pytest.raises(FourEyes):
        await approved(world, decision, actor=PLANNER.upper())
    assert await world.value("SELECT ended_on FROM plans") is None
    await approved(world, decision)
    with pytest.raises(NotOpen, match="is done, by bo"):
        await approved(world, decision)
    with pytest.raises(InvalidInput, match="plan xianghubao ended on 2019-10-01, and its books are closed"):
        await proposed(world)


async def test_an_end_that_is_killed_leaves_nothing_behind(engine: AsyncEngine) -> None:
    """It is one transaction: shards and books are posted together, or not at all."""
    world = await lived(engine, "shares")
    decision = await proposed(world)
    before = await world.accounts()
    async with engine.connect() as connection:
        await carry_out(connection, decision.decision_id, actor=APPROVER)
        await connection.rollback()
    assert await world.accounts() == before
    assert (await approved(world, decision)).state is DecisionState.DONE
    assert await world.problems() == []


# What has to be done first.


async def a_claim_filed(world: World) -> None:
    async with world.engine.begin() as connection:
        await claims.file(
            connection, world.plan_id, world.rules, Claimant(world.shard(1)),
            diagnosed_on=LAST, on=WINDOW_ENDS, actor="intake",
        )  # fmt: skip


async def a_claim_passed_and_one_in_a_run(world: World) -> None:
    await world.claim(10_00)
    await world.planned(DEBIT)
    await world.claim(10_00, AUGUST)


async def another_decision(world: World) -> None:
    async with world.engine.begin() as connection:
        await propose(connection, world.plan_id, Kind.RECOVERY, "claim:1", {}, on=CLOSING, actor=PLANNER)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (a_claim_filed, r"claims are under way \(1 filed\): share, reject or withdraw them$"),
        (
            a_claim_passed_and_one_in_a_run,
            (
                r"claims are under way \(1 passed, 1 sharing\): share, reject or withdraw them; run 1 is planned: "
                "let it be sealed, or void it$"
            ),
        ),
        (another_decision, r"decision 1 \(recovery\) is open: approve or refuse it$"),
    ],
)
async def test_what_is_under_way_is_finished_first(engine: AsyncEngine, first: Any, message: str) -> None:
    world = await build(engine, ending("nothing"), alike(5))
    await first(world)
    with pytest.raises(InvalidInput, match=f"xianghubao cannot end yet: {message}"):
        await proposed(world)


async def test_what_came_up_since_the_proposal_stops_the_end(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(5))
    decision = await proposed(world)
    await a_claim_filed(world)
    with pytest.raises(InvalidInput, match="cannot end yet: claims are under way"):
        await approved(world, decision)
    await world.sql("UPDATE claims SET state = 'withdrawn'")
    async with engine.begin() as connection:
        await register_plan(connection, ending("shares"))
    with pytest.raises(InvalidInput, match="the rules of xianghubao changed since decision:1; refuse it, and propose"):
        await approved(world, decision)


@pytest.mark.parametrize("on", [LAST, WINDOW_ENDS])
async def test_a_plan_does_not_end_while_it_takes_claims(engine: AsyncEngine, on: date) -> None:
    world = await build(engine, ending("nothing"), alike(5))
    with pytest.raises(InvalidInput, match=f"xianghubao takes claims until 2019-09-30; .* after that, not on {on}"):
        await proposed(world, on)


async def test_a_plan_whose_rules_know_no_end_has_none(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(wind_down=None, ends_on=None), alike(5))
    with pytest.raises(InvalidInput, match="the rules of xianghubao do not say how it ends; give them ends_on and"):
        await proposed(world)


async def test_an_ended_plan_plans_and_files_nothing_and_voids_no_run(engine: AsyncEngine) -> None:
    world = await build(engine, ending("nothing"), alike(10))
    await world.claim(100_03)
    run = await world.sealed(DEBIT)
    await ended(world)
    for late in (world.planned(AUGUST_DEBIT), a_claim_filed(world), world.voided(run)):
        with pytest.raises(InvalidInput, match="plan xianghubao ended on 2019-10-01, and its books are closed"):
            await late
    assert await world.problems() == []
