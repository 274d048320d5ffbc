"""I5 and I6 hold, and their guards fire when they do not."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from engine.apportion import (
    UNLIMITED,
    Case,
    DoesNotAddUp,
    OverCharged,
    PoolTooLarge,
    Rounding,
    Seats,
    Terms,
    charge,
    measure,
    solve,
)
from engine.apportion.seats import cover
from engine.apportion.solve import _assert_sound
from engine.apportion.worlds import apportion_world
from engine.money import BIGINT_MAX
from tests.unit.apportion.oracle import covers
from tests.unit.apportion.strategies import worlds

GATES = (10,)


def seats(allowance: list[int], shares_from: int = 0, tier: int = 0) -> Seats:
    n = len(allowance)
    return Seats(
        shares_from=np.full(n, shares_from, dtype=np.int32),
        ended_on=np.full(n, 99, dtype=np.int32),
        tier=np.full(n, tier, dtype=np.int16),
        allowance=np.array(allowance, dtype=np.int64),
    )


def answered(world: dict[str, Any]) -> dict[str, Any]:
    try:
        return apportion_world(world)
    except PoolTooLarge:
        assume(False)
        raise


@settings(max_examples=100)
@given(worlds() | worlds(event=True))
def test_I5_charges_sponsor_and_carry_in_are_aid_fee_and_carry_out(world: dict[str, Any]) -> None:
    answer = answered(world)
    collected = sum(answer["charges"]) + answer["sponsor"] + world["carry_in"]
    assert collected == sum(answer["aids"]) + sum(answer["fees"]) + answer["carry_out"]
    assert min(answer["sponsor"], answer["carry_out"], *answer["aids"], *answer["fees"], 0) == 0


@settings(max_examples=100)
@given(worlds() | worlds(event=True))
def test_I6_no_seat_is_charged_above_its_allowance_its_caps_or_uncovered(world: dict[str, Any]) -> None:
    answer, rules = answered(world), world["rules"]
    for member, amount in zip(world["members"], answer["charges"], strict=True):
        shared = [case for case in world["cases"] if covers(member, case["gate"])]
        weight = rules["weights"][member["tier"]]
        caps = [case["cap"] for case in shared]
        if rules["cap_basis"] == "weight":
            caps = [None if cap is None else cap * weight // rules["cap_unit"] for cap in caps]
        assert 0 <= amount <= (UNLIMITED if member["allowance"] is None else member["allowance"])
        if None not in caps:
            assert amount <= sum(cap for cap in caps if cap is not None)
        if not shared:
            assert amount == 0


def test_I5_guard_refuses_a_solution_whose_sponsor_was_changed() -> None:
    solution = solve(measure(seats([10, 20]), GATES, clip=None), GATES, [Case(100, 10)], Terms(), 0)
    assert solution.sponsor == 70
    with pytest.raises(DoesNotAddUp, match=r"charges \+ sponsor \+ carry-in = 99, .* = 100 \[I5\]"):
        _assert_sound(replace(solution, sponsor=69))


def test_I6_guard_refuses_a_group_charged_above_its_allowance() -> None:
    solution = solve(measure(seats([10, 20]), GATES, clip=None), GATES, [Case(100, 10)], Terms(), 0)
    groups = (replace(solution.groups[0], charge=11), replace(solution.groups[1], charge=19))
    with pytest.raises(OverCharged, match=r"charge of 11 is above the allowance 10 \[I6\]"):
        _assert_sound(replace(solution, groups=groups))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        pytest.param(seats([50], tier=1), "not measured", id="another tier"),
        pytest.param(seats([50], tier=-1), "tier is negative", id="no tier"),
    ],
)
def test_I6_guard_refuses_a_shard_the_solution_never_measured(other: Seats, why: str) -> None:
    solution = solve(measure(seats([50, 60]), GATES, clip=None), GATES, [Case(20, 10)], Terms((1, 1)), 0)
    with pytest.raises(Exception, match=why):
        charge(other, solution, GATES)


def test_I6_guard_refuses_amounts_on_a_seat_that_covers_no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads the days again, so a wrong coverage does not pass it."""
    solution = solve(measure(seats([50, 60]), GATES, clip=None), GATES, [Case(20, 10)], Terms(), 0)
    wrong = seats([50, 60])
    # The package's `charge` is the function, so its module is asked for by name.
    monkeypatch.setattr(sys.modules["engine.apportion.charge"], "cover", lambda _, gates: cover(wrong, gates))
    with pytest.raises(OverCharged, match=r"covers no gate would be charged \[I6\]"):
        charge(seats([50, 60], shares_from=11), solution, GATES)


@pytest.mark.parametrize(
    ("aid", "seat_count", "carry_in", "fits"),
    [
        pytest.param(BIGINT_MAX - 2, 2, 0, True, id="pool + N = 2^63 - 1"),
        pytest.param(BIGINT_MAX - 1, 2, 0, False, id="pool + N = 2^63"),
        pytest.param(100, 2, BIGINT_MAX - 2, True, id="carry + N = 2^63 - 1"),
        pytest.param(100, 2, BIGINT_MAX - 1, False, id="carry + N = 2^63"),
    ],
)
def test_amounts_near_two_to_the_63_fit_or_are_refused(aid: int, seat_count: int, carry_in: int, fits: bool) -> None:
    shard = seats([UNLIMITED] * seat_count)
    histogram = measure(shard, GATES, clip=None)
    if not fits:
        with pytest.raises(PoolTooLarge):
            solve(histogram, GATES, [Case(aid, 10)], Terms(), carry_in)
        return
    solution = solve(histogram, GATES, [Case(aid, 10)], Terms(), carry_in)
    amounts = charge(shard, solution, GATES).amounts.tolist()
    assert sum(amounts) + carry_in == aid + solution.carry_out


def test_a_fee_can_carry_the_cost_beyond_two_to_the_63_and_is_refused() -> None:
    histogram = measure(seats([UNLIMITED]), GATES, clip=None)
    with pytest.raises(PoolTooLarge):
        solve(histogram, GATES, [Case(2**62, 10)], Terms(fee=Fraction(1)), 0)


def test_every_rounding_keeps_the_charge_within_one_unit_of_the_share() -> None:
    histogram = measure(seats([UNLIMITED] * 7), GATES, clip=None)
    for rounding in Rounding:
        (group,) = solve(histogram, GATES, [Case(100, 10)], Terms(rounding=rounding), 0).groups
        assert abs(group.charge - group.share) < 1
