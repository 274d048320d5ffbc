"""Event plans: the rounds as stored charge every seat what it played, and fast."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.apportion import (
    Case,
    Histogram,
    OverCap,
    OverCharged,
    Played,
    PoolTooLarge,
    Rounding,
    Seats,
    Terms,
    charge,
    measure,
    merge,
    pack,
    play,
    unpack,
)
from engine.apportion.histogram import collect
from engine.apportion.rounds import play_seats
from engine.apportion.worlds import Member, World, _gates, _seats
from engine.errors import InvalidInput
from tests.unit.apportion.shards import shards_of
from tests.unit.apportion.strategies import worlds


@settings(max_examples=150)
@given(worlds(event=True, roundings=("up", "half_up", "down")), st.lists(st.integers(0, 12), max_size=3))
def test_a_shard_charged_by_the_table_pays_what_its_seats_played(world: dict[str, Any], cuts: list[int]) -> None:
    """Measured and charged in shards, stored in between, the rounds and every seat's amount are the same."""
    parsed = World.model_validate(world)
    cases, terms = [Case(case.aid, case.gate, case.cap) for case in parsed.cases], parsed.rules.terms()
    seats, gates, floor = _seats(parsed.members or ()), _gates(cases), parsed.least or 0
    try:
        rounds, charges = play_seats(seats, cases, terms, parsed.carry_in, floor=floor)
    except PoolTooLarge:
        assume(False)
    shards = shards_of(seats, cuts)
    histogram = merge(measure(shard, gates, clip=None) for shard in shards)
    played = unpack(pack(play(histogram, gates, cases, terms, parsed.carry_in, floor=floor)))
    assert isinstance(played, Played)
    assert played.rounds == rounds
    charged = [charge(shard, played, gates).amounts for shard in shards]
    assert np.concatenate(charged).tolist() == charges.amounts.tolist()
    assert sum(played.aids) + sum(played.fees) + played.carry_out == (played.charged + played.sponsor + parsed.carry_in)
    assert played.cut == sum(c.aid + terms.fee_on(c.aid) for c in cases) - sum(played.aids) - sum(played.fees)


@settings(max_examples=100)
@given(worlds(event=True, roundings=("up", "half_up")), st.integers(0, 30))
def test_balances_no_cap_can_use_up_need_not_be_told_apart(world: dict[str, Any], cap: int) -> None:
    """A clip at the sum of the caps and the floor changes nothing."""
    world["rules"] |= {"cap_basis": "head"}
    world["cases"] = [case | {"cap": cap} for case in world["cases"]]
    parsed = World.model_validate(world)
    cases, terms = [Case(case.aid, case.gate, case.cap) for case in parsed.cases], parsed.rules.terms()
    seats, gates, floor = _seats(parsed.members or ()), _gates(cases), parsed.least or 0
    clip = cap * len(cases) + floor
    try:
        whole = play(measure(seats, gates, clip=None), gates, cases, terms, parsed.carry_in, floor=floor)
    except PoolTooLarge:
        assume(False)
    clipped = play(measure(seats, gates, clip=clip), gates, cases, terms, parsed.carry_in, floor=floor, clip=clip)
    assert clipped.rounds == whole.rounds
    assert charge(seats, clipped, gates).amounts.tolist() == charge(seats, whole, gates).amounts.tolist()


def test_rounds_come_back_from_bytes_and_their_digest_moves_with_them() -> None:
    played = play(prepaid_histogram(300), (0,), [Case(2_000_000, 0, 300)] * 3, Terms((1, 1, 2)), 7, floor=100)
    back = Played.from_bytes(played.to_bytes())
    assert (back.to_bytes(), back.digest(), back.rounds) == (played.to_bytes(), played.digest(), played.rounds)
    other = replace(played, charges=played.charges + 1)
    assert other.digest() != played.digest()
    with pytest.raises(InvalidInput, match="not the rounds"):
        Played.from_bytes(b"{}")


def test_what_a_seat_pays_for_each_case_can_be_asked() -> None:
    columns = [np.array(column, dtype=np.int64) for column in ([0, 0], [0, 1], [500, 700], [0, 0], [10, 10])]
    cases = [Case(300, 0), Case(0, 0), Case(33, 0)]
    played = play(collect(*columns), (0,), cases, Terms((1, 2, 1)), 0, floor=100)
    assert [[played.share_of(case, tier) for tier in range(3)] for case in range(3)] == [
        [10, 20, 0],
        [0, 0, 0],
        [2, 3, 0],
    ]
    assert played.share == 23
    assert played.charges.tolist() == [12, 23]


def test_a_case_whose_seats_are_all_frozen_is_said_to_have_no_sharers() -> None:
    """The first round leaves every balance below the floor; the platform pays the second."""
    played = play(Histogram.alike(10, 100), (0,), [Case(900, 0), Case(900, 0)], Terms(), 0, floor=100)
    assert played.no_sharers == (1,)
    assert [each.sponsor for each in played.by_case] == [0, 900]
    assert played.charges.tolist() == [90]


@settings(max_examples=100)
@given(worlds(event=True, roundings=("up", "half_up", "down")))
def test_seats_a_cap_or_their_balance_stopped_are_counted_once_over_all_rounds(world: dict[str, Any]) -> None:
    """By hand for rounds that are shared in proportion: whoever paid less than asked was stopped by one of the two."""
    world["rules"] |= {"over_cap": "sponsor"}
    world["cases"] = world["cases"][:1]
    parsed = World.model_validate(world)
    cases, terms = [Case(case.aid, case.gate, case.cap) for case in parsed.cases], parsed.rules.terms()
    histogram = measure(_seats(parsed.members or ()), _gates(cases), clip=None)
    floor = parsed.least or 0
    played = play(histogram, _gates(cases), cases, terms, parsed.carry_in, floor=floor)
    live = [
        (weight, tier, allowance, seats)
        for tier, allowance, seats in zip(
            *(c.tolist() for c in (histogram.tiers, histogram.allowances, histogram.seats)), strict=True
        )
        if (weight := terms.weights[tier]) and allowance >= floor
    ]
    whole = sum(weight * seats for weight, _, _, seats in live)
    case_capped = allowance_capped = 0
    for case in cases:
        cost = case.aid + terms.fee_on(case.aid)
        burden = cost - min(parsed.carry_in, cost)
        for weight, tier, allowance, seats in live:
            cap, asked = terms.cap_of(case.cap, tier), Fraction(burden * weight, whole)
            case_capped += seats if cap is not None and cap < asked else 0
            allowance_capped += seats if allowance < min(asked, asked if cap is None else cap) else 0
    assert (played.case_capped, played.allowance_capped) == (case_capped, allowance_capped)
    assert played.sharers == (sum(seats for *_, seats in live) if cases else 0)


def test_seats_nobody_measured_are_not_charged() -> None:
    seats = replace(_seats((Member(allowance=500), Member(allowance=501))), first_seat=65_536)
    played = play(Histogram.alike(2, 500), (0,), [Case(10, 0)], Terms(), 0, floor=0)
    with pytest.raises(OverCharged, match="shard at seat 65536 holds seats that were not measured"):
        charge(seats, played, (0,))


def test_rounds_that_charge_more_than_63_bits_together_are_refused_with_words() -> None:
    with pytest.raises(PoolTooLarge, match="number 2 charge more than fits into 63 bits; split the run"):
        play(Histogram.alike(1, None), (0,), [Case(2**62, 0), Case(2**62, 0)], Terms(), 0, floor=0)


def test_a_full_shard_is_charged_from_a_large_table_in_milliseconds() -> None:
    """Measured: 15 ms on 300,000 rows; the bound only catches a change of order."""
    rng = np.random.default_rng(3)
    zeros = np.zeros(300_000, dtype=np.int64)
    tiers, allowances = np.divmod(np.arange(300_000), 100_000)
    histogram = Histogram(zeros, tiers, allowances, zeros, rng.integers(1, 5_000, 300_000))
    played = play(histogram, (0,), [Case(50_000_000_00, 0, 300)] * 3, Terms((1, 1, 2)), 0, floor=100)
    days = np.zeros(65_536, dtype=np.int32)
    tier = rng.integers(0, 3, 65_536, dtype=np.int16)
    seats = Seats(days, days + 9, tier, allowance=rng.integers(0, 100_000, 65_536))
    charge(seats, played, (0,))
    began = time.perf_counter()
    charge(seats, played, (0,))
    assert time.perf_counter() - began < 0.5


def prepaid_histogram(rows: int) -> Any:
    rng, zeros = np.random.default_rng(5), np.zeros(rows, dtype=np.int64)
    return collect(zeros, rng.integers(0, 3, rows), rng.integers(100, 9_000, rows), zeros, rng.integers(1, 5_000, rows))


@pytest.mark.parametrize("over_cap", list(OverCap))
def test_three_thousand_events_solve_in_seconds(over_cap: OverCap) -> None:
    """DESIGN: 0.3 s; the bound only catches a change of order, whatever else the machine does."""
    terms = Terms((1, 1, 2), over_cap=over_cap)
    began = time.perf_counter()
    played = play(prepaid_histogram(300), (0,), [Case(2_000_000, 0, 300)] * 3_000, terms, 0, floor=100)
    assert time.perf_counter() - began < 10
    assert len(played.rounds) == 3_000
    assert sum(each.charged for each in played.rounds) > 0


def test_a_frozen_group_is_not_counted_and_its_balance_stays() -> None:
    columns = [np.array(column, dtype=np.int64) for column in ([0, 0], [0, 0], [99, 500], [0, 0], [10, 10])]
    played = play(collect(*columns), (0,), [Case(1_000, 0), Case(1_000, 0)], Terms(), 0, floor=100)
    assert [each.sharers for each in played.rounds] == [10, 10]
    assert [each.shares for each in played.rounds] == [{0: 100}, {0: 100}]
    assert played.charges.tolist() == [0, 200]


def test_exact_rounding_on_a_histogram_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seat by seat"):
        play(prepaid_histogram(3), (0,), [Case(1, 0)], Terms((1, 1, 1), rounding=Rounding.EXACT), 0, floor=0)
