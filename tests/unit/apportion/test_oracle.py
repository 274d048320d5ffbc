"""The engine against the member-by-member oracle, on generated worlds."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.apportion import (
    Charges,
    ClipTooSmall,
    Histogram,
    PoolTooLarge,
    Solution,
    advance,
    charge,
    measure,
    merge,
    offsets,
    solve,
)
from engine.apportion.terms import Case
from engine.apportion.worlds import World, _gates, _seats, apportion_world
from tests.unit.apportion import oracle
from tests.unit.apportion.shards import shards_of
from tests.unit.apportion.strategies import worlds

EXAMPLES = settings(max_examples=150)


def fits(world: dict[str, Any]) -> bool:
    """Whether the engine may refuse the world: the guard of 2^63, of which the oracle knows nothing."""
    try:
        apportion_world(world)
    except PoolTooLarge:
        return False
    return True


def run_in_shards(world: World, cuts: list[int], clip: int, shuffle: random.Random) -> dict[str, Any]:
    """The engine as a run uses it: shards in any order, a clip that grows, bytes in between."""
    cases = [Case(case.aid, case.gate, case.cap) for case in world.cases]
    gates = _gates(cases)
    shards = shards_of(_seats(world.members or ()), cuts)
    while True:
        measured = [measure(shard, gates, clip=clip, pointers=world.pointer) for shard in shards]
        stored = [Histogram.from_bytes(histogram.to_bytes()) for histogram in measured]
        shuffled = shuffle.sample(stored, len(stored))
        assert merge(shuffled).to_bytes() == merge(measured).to_bytes()
        try:
            seed = bytes.fromhex(world.seed_hex)
            solution = solve(merge(shuffled), gates, cases, world.rules.terms(), world.carry_in, seed=seed, clip=clip)
            break
        except ClipTooSmall as error:
            clip = max(2 * clip, error.needed)
    solution = Solution.from_json(solution.to_json())
    starts = offsets(measured, solution)
    charged: list[Charges | None] = [None] * len(shards)
    for number in shuffle.sample(range(len(shards)), len(shards)):
        charged[number] = charge(shards[number], solution, gates, pointers=world.pointer, offset=starts[number])
    done = [each for each in charged if each is not None]
    moved = advance({}, [each.pointer for each in done], world.pointer)
    return {
        "charges": [amount for each in done for amount in each.amounts.tolist()],
        "sponsor": solution.sponsor,
        "carry_out": solution.carry_out,
        "aids": list(solution.aids),
        "fees": list(solution.fees),
        "pointer": {str(tier): position for tier, position in sorted((world.pointer | moved).items())},
    }


@EXAMPLES
@given(worlds())
def test_a_world_is_answered_like_the_oracle(world: dict[str, Any]) -> None:
    assume(fits(world))
    assert apportion_world(world) == oracle.answer(world)


@EXAMPLES
@given(worlds(event=True))
def test_rounds_are_played_like_the_oracle(world: dict[str, Any]) -> None:
    assume(fits(world))
    assert apportion_world(world) == oracle.answer(world)


@EXAMPLES
@given(worlds(), st.lists(st.integers(0, 20), max_size=3), st.integers(0, 500), st.randoms(use_true_random=False))
def test_shards_in_any_order_and_any_clip_give_the_oracles_amounts(
    world: dict[str, Any], cuts: list[int], clip: int, shuffle: random.Random
) -> None:
    assume(fits(world))
    expected = oracle.answer(world)
    got = run_in_shards(World.model_validate(world), cuts, clip, shuffle)
    assert got == {name: expected[name] for name in got}


def test_the_generated_worlds_reach_what_they_are_for() -> None:
    """The strategies are only worth something if caps bind, odd units are dealt and fallbacks pay."""
    seen: set[str] = set()

    @settings(max_examples=300)
    @given(worlds())
    def look(world: dict[str, Any]) -> None:
        if not fits(world):
            seen.add("refused")
            return
        answer = apportion_world(world)
        aids = [case["aid"] for case in world["cases"]]
        seen.update(
            name
            for name, holds in {
                "large": answer["sponsor"] + sum(answer["charges"]) > 2**56,
                "sponsor": answer["sponsor"] > 0,
                "cut": answer["aids"] != aids,
                "rotated": answer["pointer"] != world["pointer"],
                "carried": answer["carry_out"] > 0,
                "waived": answer["waived_total"] > 0,
                "redistributed": world["rules"]["over_cap"] == "redistribute" and sum(answer["charges"]) > 0,
            }.items()
            if holds
        )

    look()
    assert seen == {"refused", "large", "sponsor", "cut", "rotated", "carried", "waived", "redistributed"}
