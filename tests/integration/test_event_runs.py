"""Event plans and prepaid ones: rounds played on balances, drawn from them, voided, and computed again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.apportion import Histogram, Played, Round, Seats, charge, measure, merge, unpack
from engine.apportion.rounds import play_seats
from engine.ledger.accounts import Account, account_id
from engine.ledger.balances import read_balance
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.proof import prove, verify_proof
from engine.ledger.seal import leaf_hashes, sealed_root, tree_root
from engine.members.deposits import open_deposits
from engine.plans import PlanRules, day_number
from engine.plans.answers import floor_minor, terms
from engine.roster.columns import Columns, read_columns, read_tags
from engine.runs.allowance import seats_of
from engine.runs.conductor import WorkRules
from engine.runs.preview import solved
from engine.runs.run import Inputs, Run, inputs_of
from engine.runs.shards import Phase, ShardClaim
from engine.runs.states import RunState
from engine.store.tables import SHARD_SEATS, run_shards
from tests.integration.worlds import (
    APPROVER,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    ONE,
    World,
    alike,
    build,
    motley,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

OPENED = date(2019, 6, 1)
MIDDLE = date(2019, 7, 12)
Amounts = NDArray[np.int64]


def event(**tables: Any) -> PlanRules:
    """An event plan whose members pay 3 yuan a case at most and are frozen below 1 yuan; nobody leaves by rule."""
    usual: dict[str, Any] = {"starts_on": "2016-05-01", "exits": None}
    code = tables.pop("code", "waterdrop")
    return rules_of_preset("waterdrop", **usual | tables).model_copy(update={"code": code})


def periodic(**tables: Any) -> PlanRules:
    """The same, shared once a period; what balances keep from the members the platform pays."""
    share = {"trigger": "calendar", "over_cap": "sponsor"} | tables.pop("share", {})
    return event(share=share, notice={"days_of_month": [7, 21]}, debit={"days_of_month": [14, 28]}, **tables)


async def paid_in(engine: AsyncEngine, rules: PlanRules, *shards: tuple[Columns, Sequence[int] | Amounts]) -> World:
    """A plan with these seats and what they paid in, a shard for each."""
    world = await build(engine, rules, *(columns for columns, _ in shards))
    async with engine.begin() as connection:
        for number, (_, deposits) in enumerate(shards, 1):
            amounts = np.array(deposits, dtype=np.int64)
            await open_deposits(connection, world.plan, world.shard(number), amounts, on=OPENED, key="opening")
    return world


async def alike_with(engine: AsyncEngine, *deposits: Sequence[int], **tables: Any) -> World:
    """Seats that share every case, with these deposits."""
    return await paid_in(engine, event(**tables), *((alike(len(amounts)), amounts) for amounts in deposits))


def some(seats: int, seed: int, tiers: int = 1) -> tuple[Columns, Amounts]:
    """Seats in every shape with up to 15 yuan each, some with nothing."""
    deposits = np.random.default_rng(seed).integers(0, 1_500, size=seats)
    return motley(seats, seed, tiers), np.where(deposits < 60, 0, deposits)


async def left(world: World, number: int = 1, through_seq: int = 2**40) -> list[int]:
    """What the seats of a shard have paid in and not used."""
    shard_id, seats = (await world.shards())[number - 1]
    deposits = account_id(world.plan_id, Account.MEMBER_DEPOSITS)
    async with world.engine.connect() as connection:
        found = await read_balance(connection, shard_id, deposits, through_seq=through_seq, seats=seats)
    return [-amount for amount in found.amounts.tolist()]


async def held(world: World, run: Run) -> list[list[int]]:
    """What the seats had paid in and not used when the run was frozen; who left before it was refunded."""
    query = "SELECT ledger_seq FROM run_shards WHERE run_id = :run ORDER BY shard_id"
    seqs = await world.rows(query, run=run.run_id)
    return [await left(world, number, seq) for number, (seq,) in enumerate(seqs, 1)]


async def drawn(world: World, run: Run) -> list[list[int]]:
    return [amounts.tolist() for amounts in await world.charged(run, Account.MEMBER_DEPOSITS)]


async def inputs(world: World, run: Run) -> Inputs:
    async with world.engine.connect() as connection:
        return await inputs_of(connection, await world.run(run.run_id))


async def by_hand(world: World, run: Run) -> tuple[tuple[Round, ...], list[list[int]]]:
    """The run's rounds and charges, played member by member on the rosters and the balances it pinned."""
    pinned, shards = await inputs(world, run), []
    deposits = await held(world, run)
    async with world.engine.connect() as connection:
        for number, (shard_id, _) in enumerate(await world.shards()):
            version = await world.value(
                "SELECT roster_version FROM run_shards WHERE run_id = :run AND shard_id = :shard",
                run=run.run_id,
                shard=shard_id,
            )
            roster = await read_columns(connection, shard_id, version)
            seats = roster.seats(0, on_day=day_number(run.debit_on))
            shards.append(replace(seats, allowance=np.array(deposits[number], dtype=np.int64)))

    def joined(name: str) -> NDArray[Any]:
        assert all(getattr(each, name) is not None for each in shards), "motley shards have every column"
        return np.concatenate([getattr(each, name) for each in shards])

    names = ("shares_from", "ended_on", "tier", "frozen_from", "frozen_to", "allowance")
    columns: dict[str, Any] = {name: joined(name) for name in names}
    everyone = Seats(**columns)
    rounds, charges = play_seats(
        everyone, pinned.cases, terms(pinned.rules), run.carry_in or 0, floor=floor_minor(pinned.rules)
    )
    edges = np.cumsum([len(each) for each in shards])[:-1]
    return rounds, [part.tolist() for part in np.split(charges.amounts, edges)]


# Rounds.


@pytest.mark.parametrize("over_cap", ["sponsor", "reduce_aid", "redistribute"])
async def test_an_event_run_draws_from_each_what_playing_member_by_member_draws(
    engine: AsyncEngine, over_cap: str
) -> None:
    tiers = [{"code": code, "weight": weight} for code, weight in (("one", 1), ("two", 2), ("three", 3))]
    rules = event(share={"over_cap": over_cap, "fee": "0.07"}, tiers=tiers)
    shards = [some(311, 1, tiers=3), some(207, 2, tiers=3)]
    world = await paid_in(engine, rules, *shards)
    for aid, notice_on in ((300_00, JULY), (1_234_56, LATE_JULY), (77_77, JULY), (900_00, MIDDLE)):
        await world.claim(aid, notice_on)
    run = await world.sealed(LATE_DEBIT)
    rounds, charges = await by_hand(world, run)
    played = unpack(run.solution or b"")
    assert isinstance(played, Played)
    assert played.rounds == rounds
    assert [each.case for each in rounds] == [0, 2, 3, 1]
    assert await drawn(world, run) == charges
    before = await held(world, run)
    assert [await left(world, number) for number in (1, 2)] == [
        [had - paid for had, paid in zip(*each, strict=True)] for each in zip(before, charges, strict=True)
    ]
    line = await world.tied_out(run)
    assert line["charged"] == sum(map(sum, charges)) > 0
    assert await world.problems() == []


async def test_the_carry_of_a_round_lowers_the_next_and_the_last_goes_on(engine: AsyncEngine) -> None:
    world = await alike_with(engine, [900] * 7)
    for _ in range(3):
        await world.claim(1_00)
    run = await world.sealed()
    assert run.preview is not None
    rounds = run.preview["rounds"]
    # 100 over 7 is 15 each and 5 over; 95 is 14 and 3 over; 97 is 14 and 1 over.
    assert [(each["shares"], each["charged"], each["carry"]) for each in rounds] == [
        ({"member": "0.15"}, "1.05", "0.05"),
        ({"member": "0.14"}, "0.98", "0.03"),
        ({"member": "0.14"}, "0.98", "0.01"),
    ]
    assert (run.preview["share"], run.preview["sharers"], run.preview["charged"]) == ("0.43", 7, "3.01")
    await world.claim(1_00, LATE_JULY)
    after = await world.sealed(LATE_DEBIT)
    assert (after.carry_in, await drawn(world, after)) == (1, [[15] * 7])
    assert await left(world) == [900 - 43 - 15] * 7
    assert await world.problems() == []


async def test_who_falls_below_the_floor_inside_a_run_shares_no_later_case_of_it(engine: AsyncEngine) -> None:
    """3 yuan and 1.50: the first case leaves the second seat 0.50, below the floor of 1 yuan."""
    world = await alike_with(engine, [300, 150, 99])
    claims = [await world.claim(2_00) for _ in range(2)]
    run = await world.previewed()
    assert run.preview is not None
    shown = [(each["claim"], each["sharers"], each["shares"]["member"]) for each in run.preview["rounds"]]
    assert shown == [(claims[0], 2, "1.00"), (claims[1], 1, "2.00")]
    run = await world.worked(await world.approved(run))
    assert (await drawn(world, run), await left(world)) == ([[300, 100, 0]], [0, 50, 99])
    assert await world.problems() == []


async def test_caps_of_rounds_are_counted_by_name(engine: AsyncEngine) -> None:
    """A case asks 4 each: the cap takes 3 of who has it, the balance what is there; the aid falls with it."""
    world = await alike_with(engine, [900, 900, 200, 150])
    await world.claim(16_00)
    run = await world.sealed()
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_case": 4, "balance": 2}
    assert await drawn(world, run) == [[300, 300, 200, 150]]
    assert await world.rows("SELECT aid_minor, aid_paid_minor FROM run_cases") == [(1600, 950)]
    assert await world.accounts() == {
        Account.CUSTODIAN_CASH: 2150,
        Account.MEMBER_DEPOSITS: -1200,
        Account.AID_PAYABLE: -950,
    }


async def test_a_case_that_comes_when_all_are_frozen_holds_the_run_or_is_the_sponsors(engine: AsyncEngine) -> None:
    for no_sharers, state in (("hold", RunState.FAILED), ("sponsor", RunState.PREVIEWED)):
        share = {"no_sharers": no_sharers, "over_cap": "sponsor"}
        world = await alike_with(engine, [100, 100], share=share, code=f"plan-{no_sharers}")
        claims = [await world.claim(2_00) for _ in range(2)]
        run = await world.worked(await world.planned())
        assert run.state is state, run.failure
        if run.failure:
            assert f"Claims: {claims[1]}" in run.failure
        else:
            assert run.preview is not None
            assert run.preview["sponsor"] == "2.00"


async def test_from_the_notice_of_the_end_on_the_sponsor_pays_and_no_rule_holds(engine: AsyncEngine) -> None:
    end = {"announced_on": "2019-07-14", "claims_within_days": 180, "refund": "balances"}
    world = await alike_with(engine, [900, 900], ends_on="2019-07-20", wind_down=end)
    await world.claim(50_00)
    run = await world.sealed()
    line = await world.tied_out(run)
    assert line == {"charged": 0, "sponsor": 5000, "carry_in": 0, "aid": 5000, "fee": 0, "carry_out": 0}
    assert await left(world) == [900, 900]


# Drawn once, never below zero, given back by a void.


async def test_I6_a_balance_that_shrank_since_the_freeze_is_not_drawn_below_zero(engine: AsyncEngine) -> None:
    world = await alike_with(engine, [900, 200], [900, 900])
    await world.claim(8_00)
    run = await world.posting(2)
    deposits, cash = (account_id(world.plan_id, code) for code in (Account.MEMBER_DEPOSITS, Account.CUSTODIAN_CASH))
    one = Segment(deposits, np.array([1], dtype=np.int64), np.array([1], dtype=np.int32))
    async with engine.begin() as connection:
        lines = {deposits: 1, cash: -1}
        await post(connection, Journal(world.shard(1), "refund:test", "refund", OPENED, lines, (one,)))
    run = await world.worked(run)
    assert (run.state, await world.shard_states(run)) == (RunState.POSTING, ["failed", "done"])
    said = await world.value("SELECT error FROM run_shards WHERE state = 'failed'")
    assert "I6" in said or "1 seats have less left than run:1 draws from them" in said
    assert (await left(world, 1), await left(world, 2)) == ([900, 199], [700, 700])
    assert await world.voided(run) is RunState.VOIDING
    run = await world.worked(run)
    assert run.state is RunState.VOIDED
    assert (await left(world, 1), await left(world, 2)) == ([900, 199], [900, 900])
    assert await world.problems() == []


async def test_what_else_was_posted_since_the_freeze_stays_in_the_balance(engine: AsyncEngine) -> None:
    world = await alike_with(engine, [900, 900])
    await world.claim(4_00)
    run = await world.approved(await world.previewed())
    async with engine.begin() as connection:
        more = np.array([500, 0], dtype=np.int64)
        await open_deposits(connection, world.plan, world.shard(1), more, on=OPENED, key="more")
    await world.worked(run)
    assert await left(world) == [1200, 700]
    assert await world.problems() == []


async def test_a_void_gives_every_balance_back_and_the_claims_run_again(engine: AsyncEngine) -> None:
    shards = [some(120, 7), some(80, 8)]
    world = await paid_in(engine, event(), *shards)
    claims = [await world.claim(200_00), await world.claim(150_00, LATE_JULY)]
    first = await world.sealed(LATE_DEBIT)
    charges, before = await drawn(world, first), await held(world, first)
    assert await world.voided(first) is RunState.VOIDING
    first = await world.worked(first)
    assert first.state is RunState.VOIDED
    assert first.void_root is not None
    assert [await left(world, number) for number in (1, 2)] == before
    accounts = await world.accounts()
    assert accounts[Account.MEMBER_DEPOSITS] == -sum(map(sum, before))
    assert set(accounts) == {Account.CUSTODIAN_CASH, Account.MEMBER_DEPOSITS, Account.REFUNDS_PAYABLE}
    assert await world.passed() == claims
    again = await world.sealed(LATE_DEBIT)
    assert await drawn(world, again) == charges
    assert await world.problems() == []


async def test_a_members_share_of_an_event_run_is_proved(engine: AsyncEngine) -> None:
    shards = [some(200, 4), some(150, 5)]
    world = await paid_in(engine, event(), *shards)
    await world.claim(200_00)
    run = await world.sealed()
    charges = await drawn(world, run)
    async with engine.connect() as connection:
        proof = await prove(connection, run.run_id, world.shard(2), SHARD_SEATS + 140)
    assert verify_proof(proof)
    assert proof.amount == charges[1][140]


# The same again.


async def recomputed(world: World, run: Run) -> tuple[bytes, list[list[int]], bytes]:
    """The run once more from what it pinned, by the pure functions: its digest, its charges and its root."""
    pinned = await inputs(world, run)
    async with world.engine.connect() as connection:
        rows = await connection.execute(
            select(run_shards).where(run_shards.c.run_id == run.run_id).order_by(run_shards.c.shard_id)
        )
        held = [
            ShardClaim(run.run_id, row.shard_id, Phase.POST, "anyone", 1, row.seats, row.roster_version, row.ledger_seq)
            for row in rows
        ]
        seats = [(await seats_of(connection, pinned, claim)).seats for claim in held]
        tags = [await read_tags(connection, claim.shard_id, claim.seats) for claim in held]
    counted = [Histogram.from_bytes(measure(each, pinned.gates, clip=run.clip).to_bytes()) for each in seats]
    outcome = solved(pinned, merge(reversed(counted)))
    charges = [charge(each, outcome, pinned.gates).amounts for each in seats]
    roots = [tree_root(leaf_hashes(amounts, names)) for amounts, names in zip(charges, tags, strict=True)]
    root = sealed_root(run.previous_root, tree_root(roots))
    return outcome.digest(), [amounts.tolist() for amounts in charges], root


async def test_I7_a_sealed_event_run_is_computed_again_from_what_it_pinned(engine: AsyncEngine) -> None:
    world = await paid_in(engine, event(share={"over_cap": "sponsor"}), some(131, 1), some(97, 2))
    await world.claim(123_45)
    await world.claim(98_76, LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    charges = await drawn(world, run)
    await world.change(1, alike(131))
    async with engine.begin() as connection:
        later = np.full(97, 5_00, dtype=np.int64)
        await open_deposits(connection, world.plan, world.shard(2), later, on=LATE_DEBIT, key="later")
    digest, again, root = await recomputed(world, run)
    assert digest == unpack(run.solution or b"").digest()
    assert (again, root) == (charges, run.root)


async def test_I7_neither_the_number_of_workers_nor_the_order_of_shards_matters(engine: AsyncEngine) -> None:
    shards = [some(60 + seed, seed) for seed in range(5)]
    roots = []
    for crew in (1, 2):
        world = await paid_in(engine, event(code=f"plan-{crew}"), *shards)
        for aid, notice_on in ((123_45, JULY), (98_76, LATE_JULY), (11_11, MIDDLE)):
            await world.claim(aid, notice_on)
        run = await world.planned(LATE_DEBIT)
        hands: list[WorkRules] = [replace(ONE, worker=str(name), shards_in_hand=2) for name in range(crew)]
        for _ in range(2):
            await asyncio.gather(*(world.worked(run, hand) for hand in hands))
            run = await world.worked(run)
            if run.state is RunState.PREVIEWED:
                run = await world.approved(run)
        assert run.state is RunState.SEALED, run.failure
        roots.append((run.root, await drawn(world, run)))
    assert roots[0] == roots[1]


# Prepaid, shared once a period.


async def test_a_calendar_run_draws_at_most_the_balance_and_the_platform_pays_the_rest(engine: AsyncEngine) -> None:
    """Two cases ask 2.50 each of four seats: 5 yuan; one has 4, one has less than the floor and is not counted."""
    world = await paid_in(engine, periodic(), (alike(3), [900, 900, 99]), (alike(2), [400, 900]))
    for _ in range(2):
        await world.claim(10_00)
    run = await world.sealed()
    assert run.preview is not None
    assert (run.preview["sharers"], run.preview["caps_hit"]) == (4, {"per_case": 0, "balance": 1})
    assert await drawn(world, run) == [[500, 500, 0], [400, 500]]
    line = await world.tied_out(run)
    assert line == {"charged": 1900, "sponsor": 100, "carry_in": 0, "aid": 2000, "fee": 0, "carry_out": 0}
    assert [await left(world, number) for number in (1, 2)] == [[400, 400, 99], [0, 400]]
    assert await world.problems() == []


async def test_waived_shares_are_the_sponsors_and_leave_the_balance(engine: AsyncEngine) -> None:
    waivers = [
        {
            "name": "first",
            "joined_by": "2019-01-01",
            "gates_from": "2019-07-01",
            "gates_to": "2019-07-31",
            "reason": "x",
        }
    ]
    for rules in (event(waivers=waivers, code="plan-event"), periodic(waivers=waivers, code="plan-period")):
        columns = alike(4)
        later = columns.shares_from.copy()
        later[2:] += 9
        world = await paid_in(engine, rules, (replace(columns, shares_from=later), [900] * 4))
        await world.claim(4_00)
        run = await world.sealed()
        assert run.preview is not None
        assert (run.preview["waived_seats"], run.preview["waived"]) == (2, "2.00")
        assert await left(world) == [900, 900, 800, 800]
        assert (await world.tied_out(run))["sponsor"] == 200
        assert await world.voided(run, APPROVER) is RunState.VOIDING
        await world.worked(run)
        assert await left(world) == [900] * 4
        assert await world.problems() == []
