"""What a seat would have been charged in runs that it was not counted in: pure, read off their outcomes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction

from engine.apportion.outcome import Outcome
from engine.apportion.played import Played
from engine.apportion.seats import spans
from engine.apportion.solution import Solution


def missed_minor(outcome: Outcome, gates: Sequence[int], missed: Iterable[int], tier: int) -> int:
    """What a seat of the tier, with balance enough, was asked for some cases of a run, in minor units.

    `gates`: the day number of each case's gate, in the run's order; `missed`: indexes of the cases, all those between
    the first and the last gate among them. Event plans: the sum of the rounds' shares. Otherwise the cases' share
    together, rounded once as the run rounds.
    """
    cases = list(missed)
    if isinstance(outcome, Played):
        return sum(outcome.share_of(case, tier) for case in cases)
    if not cases:
        return 0
    distinct = sorted(set(gates))
    at = [distinct.index(gates[case]) for case in cases]
    return outcome.rounding.of(_share_between(outcome, tier, min(at), max(at) + 1))


def missed_below_floor(
    played: Played, covered: Collection[int], tier: int, balance_minor: int, floor_minor: int
) -> int:
    """What the rounds of one run asked after a seat of this balance fell below the floor in it, in minor units.

    `covered`: indexes of the cases whose gates it covered.
    """
    missed = 0
    for each in played.rounds:
        share = each.shares.get(tier, 0) if each.case in covered else 0
        if balance_minor < floor_minor:
            missed += share
        else:
            balance_minor -= min(share, balance_minor)
    return missed


def _share_between(solution: Solution, tier: int, start: int, stop: int) -> Fraction:
    """S of the tier over the gates `start` ≤ g < `stop` (indexes), from the shares of those who covered other ranges.

    What is between two gates is the same on every way there: each range somebody covered is a step. Where no steps
    lead from one to the other, it is the most that anybody paid inside the range, which asks for too little at worst.
    """
    steps = [
        (*covered[0], group.share)
        for group in solution.groups
        if group.tier == tier and len(covered := spans(group.class_)) == 1
    ]
    reached, ahead = {start: Fraction(0)}, [start]
    while ahead and stop not in reached:
        here = ahead.pop()
        for low, high, share in steps:
            for there, distance in ((high, share),) if low == here else ((low, -share),) if high == here else ():
                if there not in reached:
                    reached[there] = reached[here] + distance
                    ahead.append(there)
    if stop in reached:
        return reached[stop]
    return max((share for low, high, share in steps if start <= low and high <= stop), default=Fraction(0))
