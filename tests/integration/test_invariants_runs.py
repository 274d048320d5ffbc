"""The invariants that share runs keep, each by its number, and each guard as it fires (DESIGN §7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from engine.apportion import DoesNotAddUp, Solution, charge, measure, merge, offsets, pack, solve, unpack
from engine.claims import ClaimRefused
from engine.decisions import FourEyes
from engine.ledger.accounts import Account
from engine.ledger.journals import KeyReused, posted_under
from engine.ledger.seal import leaf_hashes, sealed_root, tree_root
from engine.plans import PlanRules, day_number, terms
from engine.roster.columns import read_tags
from engine.runs.allowance import seats_of
from engine.runs.conductor import PHASE_OF, WorkRules, advance, due_runs, work
from engine.runs.posting import Lease, begin_storing, post_shard
from engine.runs.preview import approve
from engine.runs.run import Inputs, PreviewChanged, Run, inputs_of
from engine.runs.sealing import seal
from engine.runs.shards import LeaseLost, Phase, ShardClaim, claim_shards
from engine.runs.states import RunState
from engine.store.tables import run_shards
from tests.integration.worlds import (
    APPROVER,
    AUGUST,
    AUGUST_DEBIT,
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    ONE,
    PLANNER,
    World,
    alike,
    build,
    motley,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

LEASE = Lease(30)


async def small(engine: AsyncEngine, *seats: int, rules: PlanRules | None = None) -> World:
    """A world of one passed claim and shards of so many seats."""
    world = await build(engine, rules or rules_of_preset(), *(alike(count) for count in seats))
    await world.claim()
    return world


async def inputs(world: World, run: Run) -> Inputs:
    async with world.engine.connect() as connection:
        return await inputs_of(connection, await world.run(run.run_id))


async def take(world: World, run: Run, worker: str, lease_seconds: float = 30) -> ShardClaim | None:
    async with world.engine.begin() as connection:
        phase = PHASE_OF[(await world.run(run.run_id)).state]
        claims = await claim_shards(
            connection,
            run.run_id,
            phase,
            clip=(await world.run(run.run_id)).clip,
            worker=worker,
            lease_seconds=lease_seconds,
            limit=1,
        )
        return claims[0] if claims else None


async def tamper(world: World, run: Run, **changed: Any) -> None:
    """Another solution in the place of the one that was approved."""
    packed = (await world.run(run.run_id)).solution
    assert packed is not None
    solution = replace(unpack(packed), **changed)
    await world.sql(
        "UPDATE share_runs SET solution = :packed WHERE run_id = :run", packed=pack(solution), run=run.run_id
    )


async def dearer(world: World, run: Run) -> None:
    """Another solution: everyone pays one unit more."""
    solution = (await inputs(world, run)).solution
    assert isinstance(solution, Solution)
    await tamper(
        world,
        run,
        groups=tuple(replace(group, share=group.share + 1, charge=group.charge + 1) for group in solution.groups),
    )


async def journals(world: World) -> list[tuple[Any, ...]]:
    return await world.rows("SELECT shard_id, idempotency_key FROM journals ORDER BY shard_id, seq")


# I3: a (run, shard, kind) posts at most once, ever.


async def test_I3_a_shard_posted_again_posts_nothing_twice(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    await world.set_shards(run, "pending", [1])
    run = await world.worked(run)
    assert run.state is RunState.SEALED
    assert await journals(world) == [
        (world.shard(0), f"run:{run.run_id}:seal"),
        (world.shard(1), f"run:{run.run_id}:charge"),
        (world.shard(2), f"run:{run.run_id}:charge"),
    ]
    assert [set(await world.owed(number)) for number in (1, 2)] == [{10}, {10}]
    assert await world.problems() == []


async def test_I3_the_same_key_with_other_amounts_is_refused(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    await dearer(world, run)
    await world.set_shards(run, "pending", [1])
    again = await take(world, run, "again")
    assert again is not None
    assert again.shard_id == world.shard(1)
    with pytest.raises(KeyReused, match=r"posted before with other content \[I3\]"):
        await post_shard(engine, await inputs(world, run), again, offset={}, lease=LEASE)
    assert await journals(world) == [(world.shard(1), f"run:{run.run_id}:charge")]
    assert set(await world.owed(1)) == {10}
    assert await world.problems() == []


async def test_I3_a_refused_shard_waits_for_a_person_and_says_why(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    await dearer(world, run)
    await world.set_shards(run, "pending", [1])
    await world.set_shards(run, "failed", [2])
    run = await world.worked(run)
    assert run.state is RunState.POSTING
    assert await world.shard_states(run) == ["failed", "failed"]
    error = await world.value("SELECT error FROM run_shards WHERE shard_id = :shard", shard=world.shard(1))
    assert error.startswith("KeyReused: ")
    assert error.endswith("[I3]")


async def test_I3_only_one_of_two_workers_takes_a_shard(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.posting()
    taken = await asyncio.gather(*(take(world, run, worker) for worker in ("one", "two", "three")))
    assert sorted(claim is None for claim in taken) == [False, True, True]
    assert await take(world, run, "four") is None


@pytest.mark.parametrize("by", ["another", "its other hand"])
async def test_I3_an_expired_lease_is_taken_over_and_the_late_one_is_refused(engine: AsyncEngine, by: str) -> None:
    world = await small(engine, 300)
    run = await world.posting()
    pinned = await inputs(world, run)
    late = await take(world, run, "late", lease_seconds=0)
    swift = await take(world, run, "swift" if by == "another" else "late")
    assert late is not None
    assert swift is not None
    assert (late.attempt, swift.attempt, swift.shard_id) == (1, 2, late.shard_id)
    with pytest.raises(LeaseLost, match=r"\[I3\]"):
        await post_shard(engine, pinned, late, offset={}, lease=LEASE)
    assert await journals(world) == []
    await post_shard(engine, pinned, swift, offset={}, lease=LEASE)
    with pytest.raises(LeaseLost, match=r"\[I3\]"):
        await post_shard(engine, pinned, late, offset={}, lease=LEASE)
    assert await journals(world) == [(world.shard(1), f"run:{run.run_id}:charge")]
    assert (await world.worked(run)).state is RunState.SEALED
    assert await world.problems() == []


async def test_I3_one_claim_in_two_hands_posts_once(engine: AsyncEngine) -> None:
    """As when arq runs a job twice at the same time: both hold the same lease."""
    world = await small(engine, 300)
    run = await world.posting()
    pinned, claim = await inputs(world, run), await take(world, run, "one")
    assert claim is not None
    both = await asyncio.gather(
        *(post_shard(engine, pinned, claim, offset={}, lease=LEASE) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in both) == ["LeaseLost", "NoneType"]
    assert await journals(world) == [(world.shard(1), f"run:{run.run_id}:charge")]


async def test_I3_the_database_ends_a_storing_transaction_before_its_lease(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.posting()
    pinned, claim = await inputs(world, run), await take(world, run, "slow")
    assert claim is not None

    async def store() -> None:
        async with engine.begin() as connection:
            await begin_storing(connection, pinned, claim, RunState.POSTING, Lease(0.25))
            await connection.execute(text("SELECT pg_sleep(0.25)"))

    with pytest.raises(DBAPIError, match="transaction timeout"):
        await store()


# I5: Σ charges + sponsor + carry-in = aid + fee + carry-out, per run, to the minor unit.


VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "to the half": {"share": {"rounding": "half_up"}, "caps": {"per_case": None}},
    "exact": {"share": {"rounding": "exact"}, "caps": {"per_case": None}},
    "nobody is capped": {"caps": {"per_case": None, "per_year": None}},
    "capped by the run": {"caps": {"per_case": None, "per_run": "7.77"}},
    "aid is reduced": {"share": {"over_cap": "reduce_aid"}},
    "others take it over": {"share": {"over_cap": "redistribute"}, "caps": {"per_case": None}},
    "the sponsor waives": {
        "waivers": [
            {
                "name": "July",
                "joined_by": "2019-01-01",
                "gates_from": "2019-07-01",
                "gates_to": "2019-07-31",
                "reason": "a test",
            }
        ]
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
async def test_I5_money_in_is_money_out_run_after_run(engine: AsyncEngine, variant: str) -> None:
    world = await build(engine, rules_of_preset(**VARIANTS[variant]), motley(301, 1), motley(203, 2), motley(101, 3))
    await world.claim(123_456_78)
    await world.claim(1_00)
    await world.claim(50_000_01, LATE_JULY)
    first = await world.tied_out(await world.sealed(DEBIT))
    second = await world.tied_out(await world.sealed(LATE_DEBIT))
    assert second["carry_in"] == first["carry_out"]
    assert first["aid"] or variant == "aid is reduced"
    assert await world.problems() == []


@pytest.mark.parametrize("off", [1, -1])
async def test_I5_a_run_that_does_not_add_up_is_not_sealed(engine: AsyncEngine, off: int) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    solution = (await inputs(world, run)).solution
    assert solution is not None
    await tamper(world, run, charged=solution.charged + off)
    run = await world.worked(run)
    assert (run.state, await world.shard_states(run)) == (RunState.POSTING, ["done", "done"])
    assert run.paused, "it waits for a person"
    assert run.failure == f"{run.name}: the shards were charged 5000, the solution says {5000 + off} [I5]"
    assert [key for _, key in await journals(world)] == [f"run:{run.run_id}:charge"] * 2
    assert await world.rows("SELECT * FROM run_tie_out") == []


async def test_I5_I13_other_shares_of_the_same_sum_are_not_sealed(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    await dearer(world, run)
    await tamper(world, run, charged=300 * 10 + 200 * 11)
    run = await world.worked(run)
    assert (run.state, run.paused, run.root) == (RunState.POSTING, True, None)
    assert run.failure == f"{run.name}: what was posted is not what was approved [I13]"


async def test_I5_an_unposted_shard_is_not_sealed_over(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    with pytest.raises(DoesNotAddUp, match=rf"shards \[{world.shard(2)}\] are not posted"):
        async with engine.begin() as connection:
            await seal(connection, run)


# I6: no seat is charged above any cap, its balance, or when it was not covered at the gate.


async def test_I6_the_yearly_cap_holds_over_runs_and_begins_anew_with_the_year(engine: AsyncEngine) -> None:
    caps = {"per_year": [{"amount": "0.25", "from_year": 2019}]}
    world = await build(engine, rules_of_preset(caps=caps), alike(300), alike(200))
    periods = [
        (JULY, DEBIT, 10), (LATE_JULY, LATE_DEBIT, 10), (AUGUST, AUGUST_DEBIT, 5),
        (date(2019, 8, 21), date(2019, 8, 28), 0), (date(2020, 1, 7), date(2020, 1, 14), 10),
    ]  # fmt: skip
    for notice_on, debit_on, share in periods:
        await world.claim(notice_on=notice_on)
        run = await world.sealed(debit_on)
        assert [set(amounts) for amounts in await world.charged(run)] == [{share}, {share}], debit_on
        line = await world.tied_out(run)
        assert line["sponsor"] == line["aid"] + line["fee"] - 500 * share
    assert set(await world.owed(1)) == {35}
    assert await world.problems() == []


async def test_I6_what_a_voided_run_charged_does_not_use_up_the_year(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(caps={"per_year": [{"amount": "0.15", "from_year": 2019}]}), alike(300))
    await world.claim()
    await world.claim(notice_on=LATE_JULY)
    run = await world.sealed(DEBIT)
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED
    run = await world.sealed(LATE_DEBIT)
    assert set((await world.charged(run))[0]) == {15}
    assert await world.problems() == []


async def test_I6_a_waived_share_does_not_use_up_the_year(engine: AsyncEngine) -> None:
    waiver = {
        "name": "July", "joined_by": "2018-12-31", "reason": "a test",
        "gates_from": "2019-07-01", "gates_to": "2019-07-07",
    }  # fmt: skip
    rules = rules_of_preset(caps={"per_year": [{"amount": "0.15", "from_year": 2019}]}, waivers=[waiver])
    seats = alike(300)
    early = np.where(np.arange(300) < 100, day_number(date(2018, 12, 31)), seats.shares_from).astype(np.int32)
    world = await build(engine, rules, replace(seats, shares_from=early))
    await world.claim()
    await world.claim(notice_on=LATE_JULY)
    run = await world.sealed(DEBIT)
    assert [sum(amounts) for amounts in await world.charged(run)] == [200 * 10]
    assert [sum(amounts) for amounts in await world.charged(run, Account.SPONSOR_WAIVERS)] == [100 * 10]
    line = await world.tied_out(run)
    assert line["charged"] == 2_000
    assert line["sponsor"] == line["aid"] + line["fee"] - 2_000
    run = await world.sealed(LATE_DEBIT)
    assert (await world.charged(run))[0].tolist() == [10] * 100 + [5] * 200
    assert await world.problems() == []


async def test_I6_only_who_was_covered_at_the_gate_pays(engine: AsyncEngine) -> None:
    gate = day_number(JULY)
    spells = [  # shares_from, ended_on, frozen_from, frozen_to, pays
        (gate, gate + 1, 0, 0, True),
        (gate + 1, gate + 99, 0, 0, False),
        (gate - 9, gate, 0, 0, False),
        (gate - 9, gate + 1, 0, 0, True),
        (gate - 9, gate + 99, gate, gate + 1, False),
        (gate - 9, gate + 99, gate + 1, gate + 2, True),
        (gate - 9, gate + 99, gate - 1, gate, True),
    ]
    columns = alike(len(spells))
    shares_from, ended_on, frozen_from, frozen_to, _ = (
        np.array(each, dtype=np.int32) for each in zip(*spells, strict=True)
    )
    world = await build(
        engine,
        rules_of_preset(),
        replace(columns, shares_from=shares_from, ended_on=ended_on, frozen_from=frozen_from, frozen_to=frozen_to),
    )
    await world.claim()
    run = await world.sealed()
    assert (await world.charged(run))[0].tolist() == [10 * pays for *_, pays in spells]


async def test_I6_a_seat_that_was_not_measured_is_not_charged(engine: AsyncEngine) -> None:
    """The guard: a roster version slipped in behind a run that is posting already."""
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    gone = alike(200)
    await world.claim(notice_on=LATE_JULY)
    await world.change(2, replace(gone, tier=np.ones(200, dtype=np.int16)))
    await world.sql("UPDATE run_shards SET roster_version = 2 WHERE shard_id = :shard", shard=world.shard(2))
    run = await world.worked(run)
    assert run.state is RunState.POSTING
    assert await world.shard_states(run) == ["done", "failed"]
    error = await world.value("SELECT error FROM run_shards WHERE shard_id = :shard", shard=world.shard(2))
    assert error.startswith("OverCharged: ")
    assert error.endswith("[I6]")


async def test_I6_an_allowance_that_shrank_behind_the_run_holds_and_the_run_is_not_sealed(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting(1)
    await world.used(2, [188_00 - 3] * 200)
    run = await world.worked(run)
    assert (run.state, [set(each) for each in await world.charged(run)]) == (RunState.POSTING, [{10}, {3}])
    assert run.failure == f"{run.name}: the shards were charged 3600, the solution says 5000 [I5]"


# I7: a sealed run is reproducible bit by bit from its pinned inputs.


async def recomputed(world: World, run: Run) -> tuple[Solution, list[list[int]], bytes]:
    """The run once more from what it pinned, by the pure functions: its solution, its charges and its root."""
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
    money = terms(pinned.rules)
    pointers = pinned.pointers if money.rounding == "exact" else None
    counted = [measure(each, pinned.gates, clip=run.clip, pointers=pointers) for each in seats]
    solution = solve(
        merge(counted), pinned.gates, pinned.cases, money, run.carry_in or 0, seed=pinned.seed, clip=run.clip
    )
    charges = [
        charge(each, solution, pinned.gates, pointers=pinned.pointers, offset=offset).amounts
        for each, offset in zip(seats, offsets(counted, solution), strict=True)
    ]
    roots = [tree_root(leaf_hashes(amounts, names)) for amounts, names in zip(charges, tags, strict=True)]
    return solution, [amounts.tolist() for amounts in charges], sealed_root(run.previous_root, tree_root(roots))


@pytest.mark.parametrize("rounding", ["up", "exact"])
async def test_I7_a_sealed_run_is_computed_again_from_what_it_pinned(engine: AsyncEngine, rounding: str) -> None:
    caps = {"per_case": None, "per_year": [{"amount": "999.99", "from_year": 2019}]}
    rules = rules_of_preset(share={"rounding": rounding, "over_cap": "redistribute"}, caps=caps)
    world = await build(engine, rules, motley(301, 1), motley(203, 2))
    await world.claim(123_456_78)
    await world.claim(98_765_43, LATE_JULY)
    runs = [await world.sealed(DEBIT), await world.sealed(LATE_DEBIT)]
    # What comes later must not matter: another roster, another version of the rules, another run.
    await world.change(1, alike(301))
    world = await build(engine, rules_of_preset(share={"fee": "0.5"}))
    await world.claim(notice_on=AUGUST)
    assert world.plan.version == 2
    await world.sealed(AUGUST_DEBIT)
    for run in runs:
        solution, charges, root = await recomputed(world, run)
        assert solution.digest() == unpack(run.solution or b"").digest()
        assert charges == [amounts.tolist() for amounts in await world.charged(run)]
        assert root == run.root


async def test_I7_neither_the_number_of_workers_nor_the_order_of_shards_matters(engine: AsyncEngine) -> None:
    rules = rules_of_preset(share={"rounding": "exact"}, caps={"per_case": None})
    world = await build(engine, rules, *(motley(100 + seed, seed) for seed in range(6)))
    await world.claim(123_456_78)
    await world.claim(98_765_43, LATE_JULY)

    async def by_one(run: Run) -> None:
        await world.worked(run)

    async def by_three(run: Run) -> None:
        crew: list[WorkRules] = [replace(ONE, worker=name, shards_in_hand=2) for name in ("one", "two", "three")]
        await asyncio.gather(*(world.worked(run, rules) for rules in crew))
        await world.worked(run)

    async def backwards(run: Run) -> None:
        everything = range(1, 7)
        await advance(engine, run.run_id, freeze_hours=1)
        await world.set_shards(run, "failed", everything)
        for number in reversed(everything):
            await world.set_shards(run, "pending", [number])
            await world.worked(run)

    came_to = []
    for way in (by_one, by_three, backwards):
        run = await world.planned(LATE_DEBIT)
        await way(run)
        await way(await world.approved(run))
        run = await world.run(run.run_id)
        assert run.state is RunState.SEALED
        roots = await world.rows("SELECT root FROM run_shards WHERE run_id = :run ORDER BY shard_id", run=run.run_id)
        came_to.append((run.sealed_pointers, roots, [each.tolist() for each in await world.charged(run)]))
        await world.voided(run)
        await world.worked(run)
    assert came_to[0] == came_to[1] == came_to[2]
    assert await world.problems() == []


async def test_I7_verify_sees_a_root_that_is_not_of_what_was_posted(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.sealed()
    await world.sql("UPDATE share_runs SET root = sha256(root) WHERE run_id = :run", run=run.run_id)
    assert {problem.invariant for problem in await world.problems()} == {"I7"}


# I8: Redis holds nothing that cannot be lost.


async def test_I8_a_run_that_nobody_rang_for_is_found_by_the_sweeper(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.planned()

    async def swept() -> None:
        while due := await _due(world):
            for run_id, _ in due:
                await work(engine, run_id, ONE, lambda _: None)

    await swept()
    assert (await world.run(run.run_id)).state is RunState.PREVIEWED
    await world.approved(run)
    await swept()
    assert (await world.run(run.run_id)).state is RunState.SEALED


async def _due(world: World) -> list[tuple[int, int]]:
    async with world.engine.connect() as connection:
        return await due_runs(connection)


async def test_I8_the_sweeper_announces_what_is_due_and_nothing_else(engine: AsyncEngine) -> None:
    world = await small(engine, 300, 200)
    run = await world.posting()
    assert await _due(world) == [(run.run_id, 2)]
    held = await take(world, run, "one")
    assert held is not None
    assert await _due(world) == [(run.run_id, 1)]
    await take(world, run, "two", lease_seconds=0)
    assert await _due(world) == [(run.run_id, 1)], "an expired lease is due"
    await world.set_shards(run, "failed", [2])
    assert await _due(world) == [], "one in hand, one waits for a person"
    await world.set_shards(run, "done", [1, 2])
    assert await _due(world) == [(run.run_id, 0)], "ready to be sealed"
    await world.sql("UPDATE share_runs SET paused = true")
    assert await _due(world) == []


# I13: whoever made a money decision is not the one who approves it; both are in the audit log.


async def test_I13_who_planned_a_run_does_not_approve_it(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.previewed()
    with pytest.raises(FourEyes, match=rf"was planned by {PLANNER}.*\[I13\]"):
        async with engine.begin() as connection:
            await approve(connection, run.run_id, actor=PLANNER)
    assert (await world.run(run.run_id)).state is RunState.PREVIEWED


async def test_I13_the_database_refuses_it_too(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.previewed()
    with pytest.raises(IntegrityError, match="share_runs_four_eyes_check"):
        await world.sql("UPDATE share_runs SET approved_by = planned_by WHERE run_id = :run", run=run.run_id)
    with pytest.raises(IntegrityError, match="share_runs_approved_preview_check"):
        await world.sql(
            "UPDATE share_runs SET approved_digest = sha256(preview_digest), approved_by = :by WHERE run_id = :run",
            run=run.run_id,
            by=APPROVER,
        )
    with pytest.raises(IntegrityError, match="share_runs_approved_by_check"):
        await world.sql("UPDATE share_runs SET approved_digest = preview_digest WHERE run_id = :run", run=run.run_id)


async def test_I13_both_are_in_the_audit_log(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.sealed()
    assert run.preview_digest is not None
    assert await world.rows("SELECT actor, act, subject, detail FROM audit_log ORDER BY audit_id") == [
        (PLANNER, "plan run", run.name, {"cases": 1, "debit_on": DEBIT.isoformat()}),
        (APPROVER, "approve run", run.name, {"digest": run.preview_digest.hex()}),
    ]
    with pytest.raises(DBAPIError, match="I4"):
        await world.sql("UPDATE audit_log SET actor = 'nobody'")


async def test_I13_an_approval_stands_for_one_preview(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.previewed()
    assert run.preview_digest is not None
    with pytest.raises(PreviewChanged, match=r"read it again \[I13\]"):
        async with engine.begin() as connection:
            await approve(connection, run.run_id, actor=APPROVER, digest="00" * 32)
    async with engine.begin() as connection:
        approved = await approve(connection, run.run_id, actor=APPROVER, digest=run.preview_digest.hex())
    assert (approved.state, approved.approved_digest) == (RunState.APPROVED, run.preview_digest)


PINNED = {
    "the solution": None,
    "a roster version": "UPDATE run_shards SET roster_version = 2",
    "where the ledger stood": "UPDATE run_shards SET ledger_seq = 7",
    "the carry": "UPDATE share_runs SET carry_in = 1",
    "an aid": "UPDATE run_cases SET aid_minor = aid_minor + 1",
    "a gate": "UPDATE run_cases SET gate_day = gate_day - 1",
    "a cap": "UPDATE run_cases SET cap_minor = NULL",
    "the rules": "UPDATE share_runs SET rules_version = 2",
    "the day": "UPDATE share_runs SET debit_on = debit_on + 14",
    "the pointers": """UPDATE share_runs SET pointers = '{"0": 5}'""",
    "a shard left out": "DELETE FROM run_shards",
}


@pytest.mark.parametrize("when", ["before approval", "after approval"])
@pytest.mark.parametrize("what", PINNED)
async def test_I13_nothing_but_the_preview_is_approved_or_posted(engine: AsyncEngine, what: str, when: str) -> None:
    world = await small(engine, 300)
    await build(engine, rules_of_preset(share={"fee": "0.5"}))  # version 2 of the rules
    run = await world.previewed()
    if when == "after approval":
        run = await world.approved(run)
    statement = PINNED[what]
    if statement is None:
        await dearer(world, run)
    else:
        await world.sql(statement)
    if when == "before approval":
        with pytest.raises(PreviewChanged, match=r"void it and plan anew \[I13\]"):
            await world.approved(run)
        assert (await world.run(run.run_id)).state is RunState.PREVIEWED
    else:
        run = await world.worked(run)
        assert (run.state, await journals(world)) == (RunState.FAILED, [])
        assert (run.failure or "").endswith("[I13]")
        assert len(await _passed(world)) == 1, "its claim waits for a new run"


async def _passed(world: World) -> list[claims.Passed]:
    async with world.engine.connect() as connection:
        return await claims.passed_claims(connection, world.plan_id)


async def _withdraw(world: World, claim_id: int) -> None:
    async with world.engine.begin() as connection:
        await claims.withdraw(connection, claim_id, reason="recovered", on=DEBIT, actor="cleo")


async def test_I13_a_claim_withdrawn_after_the_preview_forces_a_new_plan(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    second = await world.claim()
    run = await world.previewed()
    await _withdraw(world, second)
    with pytest.raises(PreviewChanged, match=rf"claims {second} of {run.name} were withdrawn; void it"):
        await world.approved(run)
    await world.voided(run)
    run = await world.sealed()
    assert (await world.tied_out(run))["aid"] == 300_000_00


async def test_I13_a_claim_of_an_approved_run_is_not_withdrawn(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    second = await world.claim()
    run = await world.approved(await world.previewed())
    with pytest.raises(ClaimRefused, match=rf"its run {run.run_id} is approved; void the run first"):
        await _withdraw(world, second)
    assert (await world.worked(run)).state is RunState.SEALED


async def test_I13_a_claim_that_left_an_approved_run_stops_its_posting(engine: AsyncEngine) -> None:
    """Behind everybody's back, that is: nothing of ours lets it go."""
    world = await small(engine, 300)
    second = await world.claim()
    run = await world.approved(await world.previewed())
    await world.sql("UPDATE claims SET state = 'withdrawn', run_id = NULL WHERE claim_id = :claim", claim=second)
    run = await world.worked(run)
    assert (run.state, await journals(world)) == (RunState.FAILED, [])
    assert run.failure == f"claims {second} of {run.name} were withdrawn; void it and plan anew [I13]"
    assert [claim.claim_id for claim in await _passed(world)] == [1]


async def test_I13_a_withdrawal_and_an_approval_at_once_do_not_both_succeed(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    claim_id = await world.claim()
    run = await world.previewed()
    both = await asyncio.gather(world.approved(run), _withdraw(world, claim_id), return_exceptions=True)
    refused = [type(result) for result in both if isinstance(result, BaseException)]
    assert refused in ([PreviewChanged], [ClaimRefused])


async def test_the_journal_of_a_shard_says_what_it_is(engine: AsyncEngine) -> None:
    world = await small(engine, 300)
    run = await world.sealed()
    async with engine.connect() as connection:
        journal = await posted_under(connection, world.shard(1), f"{run.name}:charge")
    assert journal is not None
    assert (journal.kind, journal.effective_on, journal.run_id) == ("charge", DEBIT, run.run_id)
    assert journal.lines == {
        world.plan_id * 1_000_000 + Account.CONTRIBUTIONS_RECEIVABLE: 3_000,
        world.plan_id * 1_000_000 + Account.RUN_CLEARING: -3_000,
    }
