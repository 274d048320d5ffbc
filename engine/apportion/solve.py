"""Solve: one apportionment on the merged histogram, in Python integers and exact fractions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from engine.apportion.errors import ClipTooSmall, DoesNotAddUp, OverCharged, PoolTooLarge
from engine.apportion.histogram import Histogram
from engine.apportion.shares import Load, Row, Shares, poured, proportional, rows_of
from engine.apportion.solution import Group, Odd, Solution
from engine.apportion.terms import Case, OverCap, Rounding, Terms
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, ceiling, cumulative_floor, floor


def solve(
    histogram: Histogram,
    gates: tuple[int, ...],
    cases: Sequence[Case],
    terms: Terms,
    carry_in: int,
    *,
    seed: bytes = b"",
    clip: int | None = None,
) -> Solution:
    """Split the pool of `cases` over the seats of `histogram` (DESIGN §5); `carry_in` in minor units.

    `clip`: what the histogram's allowances were clipped at. `seed`: where exact rounding starts among its
    groups. Raises ClipTooSmall (measure again with `needed`), PoolTooLarge, TooManyDraws, InvalidInput.
    """
    rows = rows_of(histogram, clip)
    _check(rows, gates, cases, terms, carry_in)
    costs = [case.aid + terms.fee_on(case.aid) for case in cases]
    used = min(carry_in, sum(costs))
    loads = _loads(gates, cases, costs, used)
    pool, seats = sum(load.burden for load in loads), sum(row.seats for row in rows)
    _check_fit(sum(costs), pool, carry_in, seats)
    share_out = poured if terms.over_cap is OverCap.REDISTRIBUTE else proportional
    shares = share_out(rows, len(gates), loads, terms)
    groups = _groups(rows, shares, terms, clip)
    excess = pool - sum((group.taken * group.seats for group in groups), Fraction(0))
    short = ceiling(excess)
    odd = _deal(groups, pool - short, seed) if terms.rounding is Rounding.EXACT else ()
    charged = sum(group.charge * group.seats for group in groups) + sum(part.units for part in odd)
    surplus = charged + short - pool
    if surplus < 0:
        short, surplus = short - surplus, 0
    met = min(short, surplus) if terms.surplus_first else 0
    short, surplus = short - met, surplus - met
    aids, fees = [case.aid for case in cases], [terms.fee_on(case.aid) for case in cases]
    sponsor, left_over = short, 0
    if terms.bearer is OverCap.REDUCE_AID:
        sponsor = 0
        aids, fees, left_over = _reduce(short, aids, costs, shares.shortfalls, terms)
    solution = Solution(
        rounding=terms.rounding,
        pool=pool,
        excess=excess,
        charged=charged,
        sponsor=sponsor,
        carry_in=carry_in,
        carry_out=carry_in - used + surplus + left_over,
        surplus=surplus,
        cut=sum(costs) - sum(aids) - sum(fees),
        aids=tuple(aids),
        fees=tuple(fees),
        no_sharers=tuple(number for number, shared in enumerate(shares.shared) if not shared),
        groups=tuple(groups),
        odd=odd,
    )
    _assert_sound(solution)
    return solution


def _check(rows: Sequence[Row], gates: Sequence[int], cases: Sequence[Case], terms: Terms, carry_in: int) -> None:
    strays = sorted({case.gate for case in cases} - set(gates))
    if strays:
        raise InvalidInput(f"cases at gates {strays} that were not measured; measure with every case's gate")
    if carry_in < 0:
        raise InvalidInput(f"a carry-in of {carry_in}: a carry is what was collected too much, never negative")
    highest = max((row.tier for row in rows), default=0)
    if highest >= len(terms.weights):
        raise InvalidInput(f"tier {highest} has no weight; weights are given for tiers 0 to {len(terms.weights) - 1}")


def _check_fit(cost: int, pool: int, carry_in: int, seats: int) -> None:
    """No sum of the run, rounded up by a unit per seat, leaves 63 bits."""
    if cost > BIGINT_MAX:
        raise PoolTooLarge(f"aid and fees of {cost} minor units do not fit into 63 bits; split the run")
    if carry_in + seats > BIGINT_MAX:
        raise PoolTooLarge(f"a carry-in of {carry_in} minor units and {seats} seats do not fit into 63 bits together")
    if pool + seats > BIGINT_MAX:
        raise PoolTooLarge(f"a pool of {pool} minor units and {seats} seats do not fit into 63 bits; split the run")


def _loads(gates: Sequence[int], cases: Sequence[Case], costs: Sequence[int], used: int) -> list[Load]:
    """B by case: what is left of its cost when the carry has been split over all."""
    index = {gate: number for number, gate in enumerate(gates)}
    reliefs = cumulative_floor(used, costs)
    return [
        Load(index[case.gate], cost - relief, case.cap)
        for case, cost, relief in zip(cases, costs, reliefs, strict=True)
    ]


def _groups(rows: Sequence[Row], shares: Shares, terms: Terms, clip: int | None) -> list[Group]:
    groups = []
    for row in sorted(rows, key=lambda row: (row.class_, row.tier, row.allowance is None, row.allowance or 0)):
        kind = (row.class_, row.tier)
        share, allowance = shares.of[kind], row.allowance
        charge = terms.rounding.of(share)
        capped = allowance is not None and (allowance < share or kind in shares.spent)
        groups.append(
            Group(
                class_=row.class_,
                tier=row.tier,
                allowance=allowance,
                seats=row.seats,
                share=share,
                # An allowance is whole, so rounding and capping may change places.
                charge=charge if allowance is None else min(charge, allowance),
                open=allowance is None or allowance > share,
                case_capped=kind in shares.case_capped,
                allowance_capped=capped,
            )
        )
    if clip is not None:
        needed = max((ceiling(group.share) for group in groups if group.allowance is None), default=0)
        if needed > clip:
            raise ClipTooSmall(needed)
    return groups


def _deal(groups: Sequence[Group], whole: int, seed: bytes) -> tuple[Odd, ...]:
    """Deal the odd units that floors leave of `whole` to the kinds, by cumulative rounding from a seeded start."""
    kinds: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
    for group in groups:
        kinds[group.tier, group.class_] += group.seats * (group.share % 1) if group.open else 0
    if not kinds:
        return ()
    order = sorted(kinds)
    start = int.from_bytes(hashlib.sha256(seed).digest(), "big") % len(order)
    odd, reached = [], Fraction(0)
    for tier, class_ in order[start:] + order[:start]:
        units = floor(reached + kinds[tier, class_]) - floor(reached)
        reached += kinds[tier, class_]
        if units:
            odd.append(Odd(class_, tier, units))
    floors = sum(group.charge * group.seats for group in groups)
    if sum(part.units for part in odd) != whole - floors:
        raise DoesNotAddUp(f"{floors} in whole units and the odd ones dealt do not make {whole}")
    return tuple(sorted(odd, key=lambda part: (part.class_, part.tier)))


def _reduce(
    short: int, aids: Sequence[int], costs: Sequence[int], shortfalls: Sequence[Fraction], terms: Terms
) -> tuple[list[int], list[int], int]:
    """Cut the claims by `short`: each by its own shortfall first, the rest in proportion. The fee falls along.

    Returns the aids, the fees and the units that half-up fees leave (they go to the carry).
    """
    own = [floor(shortfall) for shortfall in shortfalls]
    if sum(own) > short:
        own = cumulative_floor(short, own)
    standing = [cost - cut for cost, cut in zip(costs, own, strict=True)]
    rest = cumulative_floor(short - sum(own), standing)
    left = [cost - cut for cost, cut in zip(standing, rest, strict=True)]
    reduced = [min(aid, _largest_aid(limit, terms)) for aid, limit in zip(aids, left, strict=True)]
    fees = [terms.fee_on(aid) for aid in reduced]
    return reduced, fees, sum(left) - sum(reduced) - sum(fees)


def _largest_aid(limit: int, terms: Terms) -> int:
    """The largest aid that with its fee stays within `limit`, in minor units."""
    aid = floor(limit / (1 + terms.fee)) + 1
    return aid if aid + terms.fee_on(aid) <= limit else aid - 1


def _assert_sound(solution: Solution) -> None:
    collected = solution.charged + solution.sponsor + solution.carry_in
    spent = sum(solution.aids) + sum(solution.fees) + solution.carry_out
    if collected != spent:
        raise DoesNotAddUp(f"charges + sponsor + carry-in = {collected}, aid + fee + carry-out = {spent}")
    for group in solution.groups:
        if group.allowance is not None and group.charge + (group.open and bool(solution.odd)) > group.allowance:
            raise OverCharged(f"tier {group.tier}: a charge of {group.charge} is above the allowance {group.allowance}")
