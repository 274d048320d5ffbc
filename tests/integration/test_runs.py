"""Share runs as lives: what a freeze pins, who waits for whom, pausing, failing, voiding; whole runs by an oracle."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.plans import day_number, year_cap
from engine.roster.plan import lock_roster
from engine.runs.conductor import PHASE_OF, advance, drop_expired, work
from engine.runs.control import retry_failed, set_paused
from engine.runs.posting import Lease, begin_storing, post_shard
from engine.runs.run import Inputs, Run, inputs_of, lock_run
from engine.runs.shards import ShardClaim, claim_shards
from engine.runs.states import NotNow, RunState
from engine.store.tables import SHARD_SEATS
from tests.integration.worlds import (
    AUGUST,
    AUGUST_DEBIT,
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    ONE,
    World,
    alike,
    build,
    motley,
    rules_of_preset,
    until,
)
from tests.unit.apportion.oracle import answer

pytestmark = pytest.mark.integration

GATE = day_number(JULY)


async def small(engine: AsyncEngine, *seats: int, **tables: Any) -> World:
    """A world of one passed claim and shards of so many seats."""
    world = await build(engine, rules_of_preset(**tables), *(alike(count) for count in seats))
    await world.claim()
    return world


async def step(world: World, run: Run) -> Run:
    """The run after one step of its own, no shard touched."""
    await advance(world.engine, run.run_id, freeze_hours=1)
    return await world.run(run.run_id)


async def pause(world: World, run: Run, *, paused: bool = True) -> None:
    async with world.engine.begin() as connection:
        await set_paused(connection, run.run_id, paused=paused, actor="cleo")


async def retried(world: World, run: Run) -> int:
    async with world.engine.begin() as connection:
        return await retry_failed(connection, run.run_id, actor="cleo")


async def in_hand(world: World, run: Run, worker: str = "one") -> tuple[Inputs, ShardClaim]:
    """A shard that a worker has just taken, and what it works by."""
    async with world.engine.begin() as connection:
        pinned = await inputs_of(connection, await world.run(run.run_id))
        (claim,) = await claim_shards(
            connection,
            run.run_id,
            PHASE_OF[pinned.run.state],
            clip=pinned.run.clip,
            worker=worker,
            lease_seconds=30,
            limit=1,
        )
        return pinned, claim


# Planning.


@pytest.mark.parametrize(
    ("debit_on", "message"),
    [
        (
            date(2019, 7, 15),
            "2019-07-15 is no debit day of xianghubao; `fentan calendar xianghubao --year 2019` prints",
        ),
        (date(2019, 6, 28), "no passed claim of xianghubao waits for a run"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_in_words(engine: AsyncEngine, debit_on: date, message: str) -> None:
    world = await small(engine, 10)
    with pytest.raises(InvalidInput, match=message):
        await world.planned(debit_on)


async def test_a_period_has_one_run(engine: AsyncEngine) -> None:
    world = await small(engine, 10)
    await world.planned()
    await world.claim()
    with pytest.raises(InvalidInput, match="has a run for 2019-07-14 already; void it first"):
        await world.planned()
    assert await world.passed() == [2]


async def test_a_claim_is_carried_by_one_run(engine: AsyncEngine) -> None:
    world = await small(engine, 10)
    await world.planned()
    with pytest.raises(InvalidInput, match="no passed claim"):
        await world.planned(LATE_DEBIT)


async def test_a_plan_without_a_roster_holds(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset())
    await world.claim()
    run = await world.worked(await world.planned())
    assert (run.state, run.members) == (RunState.FAILED, 0)
    assert await world.passed() == [1]


# Freezing.


async def test_a_freeze_pins_the_roster_and_later_changes_wait_for_the_next_run(engine: AsyncEngine) -> None:
    world = await small(engine, 4, 3)
    await world.claim(notice_on=LATE_JULY)
    await world.exits(SHARD_SEATS + 1, GATE - 1)
    run = await step(world, await world.planned())
    assert run.state is RunState.FROZEN
    await world.exits(2, GATE - 1)
    run = await world.worked(await world.approved(await world.worked(run)))
    assert run.state is RunState.SEALED
    assert [each.tolist() for each in await world.charged(run)] == [[10, 10, 10, 10], [10, 0, 10]]
    versions = "SELECT roster_version FROM run_shards WHERE run_id = :run ORDER BY shard_id"
    assert await world.rows(versions, run=run.run_id) == [(1,), (2,)]
    run = await world.sealed(LATE_DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[10, 10, 0, 10], [10, 0, 10]]
    assert await world.rows(versions, run=run.run_id) == [(2,), (2,)]


async def test_who_leaves_after_the_gate_still_owes(engine: AsyncEngine) -> None:
    world = await small(engine, 3)
    await world.claim(notice_on=LATE_JULY)
    await world.exits(0, GATE)
    await world.exits(1, GATE + 1)
    run = await world.sealed(DEBIT)
    assert (await world.charged(run))[0].tolist() == [0, 10, 10]
    run = await world.sealed(LATE_DEBIT)
    assert (await world.charged(run))[0].tolist() == [0, 0, 10]


async def test_a_second_run_of_the_plan_waits_until_the_first_ends(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    first = await world.previewed()
    await world.claim(notice_on=LATE_JULY)
    second = await world.worked(await world.planned(LATE_DEBIT))
    assert second.state is RunState.PLANNED
    first = await world.approved(first)
    assert (await world.worked(second)).state is RunState.PLANNED
    first = await world.worked(first)
    second = await world.worked(second)
    assert (first.state, second.state) == (RunState.SEALED, RunState.PREVIEWED)
    assert second.carry_in == (await world.tied_out(first))["carry_out"]


async def test_runs_of_two_plans_do_not_wait_for_each_other(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    await world.previewed()
    other = await build(engine, rules_of_preset("xianghubao-2018", ends_on=None), alike(30))
    await other.claim()
    run = await other.sealed()
    assert [set(each) for each in await other.charged(run)] == [{10}]


async def test_a_freeze_that_nobody_approved_in_time_is_dropped(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    run = await world.previewed()
    await drop_expired(engine)
    assert (await world.run(run.run_id)).state is RunState.PREVIEWED
    await world.sql("UPDATE share_runs SET freeze_expires_at = clock_timestamp() - interval '1 second'")
    await drop_expired(engine)
    assert (await world.run(run.run_id)).state is RunState.VOIDED
    assert await world.passed() == [1]
    assert (await world.sealed()).state is RunState.SEALED


async def test_an_approved_run_does_not_expire(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    run = await world.approved(await world.previewed())
    await world.sql("UPDATE share_runs SET freeze_expires_at = clock_timestamp() - interval '1 second'")
    await drop_expired(engine)
    assert (await world.worked(run)).state is RunState.SEALED


async def test_runs_stand_on_each_other_in_the_order_of_their_freezes(engine: AsyncEngine) -> None:
    """Run 1 is frozen after run 2, so it takes up run 2's carry and pointers, and run 2 is no longer the last."""
    world = await small(engine, 7, share={"rounding": "exact"}, caps={"per_case": None})
    await world.claim(10_00, LATE_JULY)
    late = await world.planned(LATE_DEBIT)
    await world.claim(10_03)
    first = await world.sealed(DEBIT)
    late = await world.worked(await world.approved(await world.worked(late)))
    assert (late.run_id, first.run_id, late.state) == (1, 2, RunState.SEALED)
    assert late.pointers == first.sealed_pointers
    with pytest.raises(InvalidInput, match="run:2 carries over into run 1; void that first"):
        await world.voided(first)
    await world.claim(10_00, AUGUST)
    assert (await world.previewed(AUGUST_DEBIT)).pointers == late.sealed_pointers


# Nobody shares; a clip too small.


async def test_a_case_that_nobody_shares_holds_the_run_and_says_which(engine: AsyncEngine) -> None:
    columns = alike(20)
    gone = replace(columns, ended_on=np.full(20, day_number(LATE_JULY), dtype=np.int32))
    world = await build(engine, rules_of_preset(), gone)
    await world.claim()
    nobody = await world.claim(notice_on=LATE_JULY)
    run = await world.worked(await world.planned(LATE_DEBIT))
    assert run.state is RunState.FAILED
    assert run.failure == (
        f"A case has no member who shares it, and the plan's rule no_sharers is hold. Claims: {nobody}"
    )
    assert await world.passed() == [1, nobody]
    assert await world.rows("SELECT * FROM journals") == []


async def test_a_case_that_nobody_shares_is_the_sponsors_where_the_rule_says_so(engine: AsyncEngine) -> None:
    columns = alike(20)
    gone = replace(columns, ended_on=np.full(20, GATE, dtype=np.int32))
    world = await build(engine, rules_of_preset(share={"no_sharers": "sponsor"}), gone)
    await world.claim(100_00)
    line = await world.tied_out(await world.sealed())
    assert (line["charged"], line["sponsor"], line["aid"], line["fee"]) == (0, 108_00, 100_00, 8_00)
    assert await world.problems() == []


async def test_too_small_a_clip_is_doubled_and_the_shards_are_measured_again(engine: AsyncEngine) -> None:
    world = await build(
        engine,
        rules_of_preset(caps={"per_case": None, "per_year": [{"amount": "99.99", "from_year": 2019}]}),
        alike(300),
        alike(200),
    )
    await world.claim(10_000_00)
    run = await step(world, await world.planned())
    await world.sql("UPDATE share_runs SET clip = 5")
    run = await world.worked(run)
    assert (run.state, run.clip) == (RunState.PREVIEWED, 4_320)
    run = await world.worked(await world.approved(run))
    assert {int(amount) for each in await world.charged(run) for amount in each} == {2_160}
    assert await world.problems() == []


async def test_a_run_whole_but_not_moved_is_looked_at_again(engine: AsyncEngine) -> None:
    """Another worker was just looking when the last shard was done: without a ring it would wait for a sweep."""
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    async with engine.begin() as other:
        assert await lock_run(other, run.run_id) is not None
        assert await work(engine, run.run_id, ONE, lambda _: None)
        assert await world.shard_states(run) == ["done", "done"]
    assert not await work(engine, run.run_id, ONE, lambda _: None)
    assert (await world.run(run.run_id)).state is RunState.SEALED


# Pausing, failing, trying again.


@pytest.mark.parametrize("state", [RunState.PLANNED, RunState.FROZEN, RunState.APPROVED, RunState.POSTING])
async def test_a_paused_run_stands_still_until_it_is_resumed(engine: AsyncEngine, state: RunState) -> None:
    world = await small(engine, 20, 10)
    run = await in_state(world, state)
    await pause(world, run)
    run = await world.worked(run)
    assert (run.state, run.paused) == (state, True)
    await pause(world, run, paused=False)
    run = await world.worked(run)
    expected = RunState.SEALED if state in (RunState.APPROVED, RunState.POSTING) else RunState.PREVIEWED
    assert (run.state, run.paused) == (expected, False)
    acts = await world.rows("SELECT actor, act FROM audit_log WHERE actor = 'cleo' ORDER BY audit_id")
    assert acts == [("cleo", "pause run"), ("cleo", "resume run")]


async def test_what_is_over_is_not_paused_or_tried_again(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    run = await world.sealed()
    with pytest.raises(NotNow, match="run:1 is sealed: there is nothing to pause"):
        await pause(world, run)
    with pytest.raises(NotNow, match="run:1 is sealed: there is nothing to retry"):
        await retried(world, run)


async def test_a_refused_shard_waits_for_a_person_and_goes_on_once_it_is_right(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    tags = await world.value("SELECT tags FROM member_columns WHERE shard_id = :shard", shard=world.shard(2))
    await world.sql("UPDATE member_columns SET tags = '' WHERE shard_id = :shard", shard=world.shard(2))
    run = await world.worked(run)
    found = await world.rows("SELECT state, attempt, error FROM run_shards ORDER BY shard_id")
    assert found[1] == ("failed", 1, f"InvalidInput: shard {world.shard(2)} has no 10 member tags")
    assert (run.state, run.paused) == (RunState.POSTING, False)
    await world.sql("UPDATE member_columns SET tags = :tags WHERE shard_id = :shard", tags=tags, shard=world.shard(2))
    assert await retried(world, run) == 1
    assert (await world.worked(run)).state is RunState.SEALED
    assert await world.problems() == []


async def test_a_shard_that_fails_for_other_reasons_is_tried_so_often_and_no_more(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    await world.sql("ALTER TABLE balances ADD CONSTRAINT weather CHECK (false) NOT VALID")
    run = await world.worked(run)
    found = await world.rows("SELECT state, attempt, error FROM run_shards ORDER BY shard_id")
    assert found[1][:2] == ("failed", ONE.max_attempts)
    assert "weather" in found[1][2]
    assert len(await world.rows("SELECT * FROM journals")) == 1, "what a failed attempt posted went with it"
    await world.sql("ALTER TABLE balances DROP CONSTRAINT weather")
    assert await retried(world, run) == 1
    assert (await world.worked(run)).state is RunState.SEALED


async def test_a_held_run_goes_on_once_it_is_resumed(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    solution = await world.value("SELECT solution FROM share_runs")
    await world.sql("UPDATE run_shards SET charged_minor = charged_minor + 1 WHERE state = 'done'")
    run = await world.worked(run)
    assert (run.state, run.paused) == (RunState.POSTING, True)
    assert run.failure == "run:1: the shards were charged 301, the solution says 300 [I5]"
    await world.sql("UPDATE run_shards SET charged_minor = charged_minor - 1 WHERE seats = 20")
    await pause(world, run, paused=False)
    run = await world.worked(run)
    assert (run.state, run.failure, run.solution) == (RunState.SEALED, None, solution)


# Voiding.


async def in_state(world: World, state: RunState) -> Run:
    match state:
        case RunState.PLANNED:
            return await world.planned()
        case RunState.FROZEN:
            return await step(world, await world.planned())
        case RunState.PREVIEWED:
            return await world.previewed()
        case RunState.APPROVED:
            return await world.approved(await world.previewed())
        case RunState.POSTING:
            return await world.posting(1)
        case RunState.SEALED:
            return await world.sealed()
    raise AssertionError(state)


BEFORE_POSTING = [RunState.PLANNED, RunState.FROZEN, RunState.PREVIEWED, RunState.APPROVED]


@pytest.mark.parametrize("state", BEFORE_POSTING)
async def test_a_run_that_posted_nothing_is_dropped(engine: AsyncEngine, state: RunState) -> None:
    world = await small(engine, 20, 10)
    run = await in_state(world, state)
    assert await world.voided(run) is RunState.VOIDED
    run = await world.worked(run)
    assert (run.state, run.void_root) == (RunState.VOIDED, None)
    assert await world.rows("SELECT * FROM journals") == []
    assert await world.passed() == [1]
    again = await world.sealed()
    assert (again.run_id, again.debit_on, again.previous_root) == (2, run.debit_on, None)
    assert await world.problems() == []


@pytest.mark.parametrize("state", [RunState.POSTING, RunState.SEALED])
@pytest.mark.parametrize("waives", [False, True])
async def test_a_run_that_posted_is_mirrored_under_a_seal_of_its_own(
    engine: AsyncEngine, state: RunState, *, waives: bool
) -> None:
    waiver = {
        "name": "all", "joined_by": "2019-01-01", "reason": "a test",
        "gates_from": "2019-07-01", "gates_to": "2019-07-31",
    }  # fmt: skip
    world = await small(engine, 20, 10, waivers=[waiver] if waives else [])
    run = await in_state(world, state)
    assert await world.voided(run) is RunState.VOIDING
    run = await world.worked(run)
    assert run.state is RunState.VOIDED
    assert run.void_root is not None
    assert await world.accounts() == {}
    assert [set(await world.owed(number)) for number in (1, 2)] == [{0}, {0}]
    posted = 1 if state is RunState.POSTING else 3
    kinds = await world.rows("SELECT kind, count(*) FROM journals GROUP BY kind ORDER BY kind")
    assert dict(kinds) == {"charge": min(posted, 2), "void": posted} | ({"seal": 1} if posted == 3 else {})
    assert await world.passed() == [1]
    again = await world.sealed()
    assert (again.previous_root, again.debit_on) == (run.void_root, run.debit_on)
    await world.tied_out(again)
    assert await world.problems() == []


@pytest.mark.parametrize("state", [RunState.VOIDED, RunState.FAILED])
async def test_what_is_over_is_not_voided(engine: AsyncEngine, state: RunState) -> None:
    world = await small(engine, 20)
    run = await world.previewed()
    await world.voided(run)
    await world.sql("UPDATE share_runs SET state = :state", state=state)
    with pytest.raises(NotNow, match=f"a {state} run cannot drop; possible: nothing"):
        await world.voided(run)


async def test_a_void_is_in_the_audit_log_with_its_reason(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    await world.voided(await world.sealed(), actor="cleo")
    last = await world.rows("SELECT actor, act, subject, detail FROM audit_log ORDER BY audit_id DESC LIMIT 1")
    assert last == [("cleo", "void run", "run:1", {"reason": "a test", "state": "sealed"})]


async def test_a_sealed_run_that_is_not_the_last_is_not_voided(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    await world.claim(notice_on=LATE_JULY)
    first = await world.sealed(DEBIT)
    second = await world.previewed(LATE_DEBIT)
    with pytest.raises(InvalidInput, match="run:1 carries over into run 2; void that first, or refund instead"):
        await world.voided(first)
    await world.voided(second)
    assert await world.voided(first) is RunState.VOIDING


async def test_a_paused_run_that_is_voided_is_reversed(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    await pause(world, run)
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED


async def test_a_run_with_failed_shards_can_be_voided(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    await world.set_shards(run, "failed", [2])
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED
    assert await world.accounts() == {}
    assert await world.problems() == []


async def test_a_shard_in_hand_when_its_run_is_voided_posts_nothing(engine: AsyncEngine) -> None:
    world = await small(engine, 20, 10)
    run = await world.posting(1)
    pinned, claim = await in_hand(world, run)
    await world.voided(run)
    with pytest.raises(NotNow, match="voiding"):
        await post_shard(engine, pinned, claim, offset={}, lease=Lease(30))
    assert (await world.worked(run)).state is RunState.VOIDED
    assert dict(await world.rows("SELECT kind, count(*) FROM journals GROUP BY kind")) == {"charge": 1, "void": 1}


async def test_a_void_waits_for_the_shard_that_is_being_stored(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    run = await world.posting()
    pinned, claim = await in_hand(world, run)

    async def waits() -> bool:
        return bool(await world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with engine.begin() as storing:
        await begin_storing(storing, pinned, claim, RunState.POSTING, Lease(30))
        voiding = asyncio.create_task(world.voided(run))
        await until(waits, "the void waits")
    assert await voiding is RunState.VOIDING


async def test_what_is_voided_posts_no_more(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    run = await world.posting()
    pinned, claim = await in_hand(world, run)
    await world.voided(run)

    async def store() -> None:
        async with engine.begin() as connection:
            await begin_storing(connection, pinned, claim, RunState.POSTING, Lease(30))

    with pytest.raises(NotNow, match="run:1 is voiding, so nothing more is posted for it"):
        await store()


async def test_a_balance_counts_what_was_posted_between_freeze_and_posting(engine: AsyncEngine) -> None:
    """As a correction would be: the checkpoint still is the sum of all segments (I14)."""
    from engine.ledger.journals import Journal, Segment, post

    world = await small(engine, 4)
    run = await world.approved(await world.previewed())
    base = world.plan_id * 1_000_000
    correction = Segment(base + Account.CONTRIBUTIONS_RECEIVABLE, np.array([5, 0, 0, 0], dtype=np.int64))
    async with engine.begin() as connection:
        lines = {base + Account.CONTRIBUTIONS_RECEIVABLE: 5, base + Account.SUSPENSE: -5}
        await post(connection, Journal(world.shard(1), "correction:1", "correction", DEBIT, lines, (correction,)))
    assert (await world.worked(run)).state is RunState.SEALED
    assert (await world.owed(1)).tolist() == [15, 10, 10, 10]
    assert await world.problems() == []


# Whole runs, member by member, by an oracle that shares no code with the engine.


def members_of(world: World, columns: list[Any], used: list[np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    cap = year_cap(world.rules, 2019)
    return [
        {
            "shares_from": int(each.shares_from[seat]), "ended_on": int(each.ended_on[seat]), "frozen": False,
            "frozen_from": int(each.frozen_from[seat]), "frozen_to": int(each.frozen_to[seat]),
            "tier": int(each.tier[seat]), "allowance": None if cap is None else max(0, cap - int(amounts[seat])),
        }
        for each, amounts in zip(columns, used, strict=True)
        for seat in range(len(each))
    ]  # fmt: skip


def dense(pointers: dict[str, int], sizes: list[int]) -> dict[str, int]:
    """Plan-wide seat numbers as places in a list of all members: shards here are not full."""
    return {
        tier: sum(max(0, min(size, seat - number * SHARD_SEATS)) for number, size in enumerate(sizes))
        for tier, seat in pointers.items()
    }


def oracles_world(
    world: World, run: Run, pinned: Inputs, members: list[dict[str, Any]], sizes: list[int]
) -> dict[str, Any]:
    share, caps = world.rules.share, world.rules.caps
    return {
        "rules": {
            "weights": [tier.weight for tier in world.rules.tiers], "fee": str(Fraction(share.fee)),
            "rounding": share.rounding, "over_cap": share.over_cap, "fallback": share.fallback,
            "surplus_first": share.surplus_first, "cap_basis": caps.basis, "cap_unit": caps.unit,
        },
        "cases": [{"aid": case.aid, "gate": case.gate, "cap": case.cap} for case in pinned.cases],
        "carry_in": run.carry_in, "members": members, "seed_hex": pinned.seed.hex(),
        "pointer": dense(dict(run.pointers or {}), sizes),
    }  # fmt: skip


@pytest.mark.parametrize("over_cap", ["sponsor", "reduce_aid", "redistribute"])
@pytest.mark.parametrize("rounding", ["up", "half_up", "exact"])
async def test_three_runs_equal_the_oracle_member_by_member(engine: AsyncEngine, rounding: str, over_cap: str) -> None:
    rules = rules_of_preset(
        share={"rounding": rounding, "over_cap": over_cap},
        caps={"per_case": "9.01", "basis": "weight", "unit": 2, "per_year": [{"amount": "11.11", "from_year": 2019}]},
        tiers=[{"code": "light", "weight": 1}, {"code": "plain", "weight": 2}, {"code": "heavy", "weight": 7}],
    )
    sizes = [41, 29, 17]
    columns = [motley(size, seed, tiers=3) for seed, size in enumerate(sizes, 1)]
    world = await build(engine, rules, *columns)
    used = [np.zeros(size, dtype=np.int64) for size in sizes]
    periods: list[tuple[date, list[tuple[int, date]]]] = [
        (DEBIT, [(123_45, JULY)]), (LATE_DEBIT, [(67_89, JULY), (234_56, LATE_JULY), (1, LATE_JULY)]),
        (AUGUST_DEBIT, [(400_07, AUGUST)]),
    ]  # fmt: skip
    for debit_on, cases in periods:
        for aid_minor, notice_on in cases:
            await world.claim(aid_minor, notice_on)
        run = await world.sealed(debit_on)
        async with engine.connect() as connection:
            pinned = await inputs_of(connection, run)
        expected = answer(oracles_world(world, run, pinned, members_of(world, columns, used), sizes))
        charged = await world.charged(run)
        assert [amount for each in charged for amount in each.tolist()] == expected["charges"]
        line = await world.tied_out(run)
        assert (line["sponsor"], line["carry_out"]) == (expected["sponsor"], expected["carry_out"])
        paid = await world.rows(
            "SELECT aid_paid_minor, fee_minor FROM run_cases WHERE run_id = :run ORDER BY number", run=run.run_id
        )
        assert paid == list(zip(expected["aids"], expected["fees"], strict=True))
        if rounding == "exact":
            assert dense(dict(run.sealed_pointers or {}), sizes) == expected["pointer"]
        used = [before + now for before, now in zip(used, charged, strict=True)]
    assert await world.problems() == []


async def test_exact_rounding_goes_round_and_leaves_nobody_more_than_one_unit_behind(engine: AsyncEngine) -> None:
    """Rotation over shards: after any number of runs the luckiest and the unluckiest seat differ by one unit."""
    rules = rules_of_preset(share={"rounding": "exact"}, caps={"per_case": None, "per_year": None})
    world = await build(engine, rules, alike(SHARD_SEATS), alike(1_000))
    total = [np.zeros(SHARD_SEATS, dtype=np.int64), np.zeros(1_000, dtype=np.int64)]
    days = [(JULY, DEBIT), (LATE_JULY, LATE_DEBIT), (AUGUST, AUGUST_DEBIT), (date(2019, 8, 21), date(2019, 8, 28))]
    for notice_on, debit_on in days:
        await world.claim(800_00, notice_on)
        run = await world.sealed(debit_on)
        total = [before + now for before, now in zip(total, await world.charged(run), strict=True)]
        every = np.concatenate(total)
        assert every.max() - every.min() == 1
        line = await world.tied_out(run)
        assert (line["charged"], line["carry_out"], line["sponsor"]) == (864_00, 0, 0)
    assert await world.problems() == []


async def test_full_shards_of_all_kinds_seal_and_verify(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), motley(SHARD_SEATS, 1), motley(SHARD_SEATS, 2), motley(1_000, 3))
    await world.claim()
    await world.claim(50_000_00, LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    columns = [await world.columns(number) for number in (1, 2, 3)]
    for each, charged in zip(columns, await world.charged(run), strict=True):
        gates = (GATE, day_number(LATE_JULY))
        frozen_from, frozen_to = each.frozen_from, each.frozen_to
        assert frozen_from is not None
        assert frozen_to is not None
        covers = [
            (each.shares_from <= gate) & (gate < each.ended_on) & ~((frozen_from <= gate) & (gate < frozen_to))
            for gate in gates
        ]
        assert (charged == 10 * (covers[0].astype(int) + covers[1])).all()
    await world.tied_out(run)
    assert await world.problems() == []


# What a person's name is worth, and what two decisions at once may not do.


async def test_a_void_of_the_last_run_and_a_freeze_on_its_carry_do_not_pass_each_other(engine: AsyncEngine) -> None:
    world = await small(engine, 20)
    first = await world.sealed()
    async with engine.begin() as freezing:
        await lock_roster(freezing, world.plan.plan_id)  # as a freeze does, before it reads the carry
        voiding = asyncio.create_task(world.voided(first))

        async def waits() -> bool:
            return bool(await world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, "the void waits for the freeze")
    await voiding
