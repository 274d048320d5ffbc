"""Give: a credit run shares a surplus out instead of a cost; what rounding down leaves is carried on."""

from __future__ import annotations

from dataclasses import replace

from engine.apportion.errors import DoesNotAddUp
from engine.apportion.histogram import Histogram
from engine.apportion.solution import Solution
from engine.apportion.solve import solve
from engine.apportion.terms import Case, OverCap, Terms


def give(histogram: Histogram, case: Case, terms: Terms, carry_in: int) -> Solution:
    """Split a surplus (`case.aid`) and what was carried in over the seats by weight, rounding down; minor units.

    Of the Solution `charged` and `aids` are what members are given: surplus + carry-in = given + carry-out.
    Raises PoolTooLarge, TooManyDraws, InvalidInput.
    """
    whole = replace(case, aid=case.aid + carry_in)
    shared = solve(histogram, (case.gate,), [whole], replace(terms, over_cap=OverCap.SPONSOR), 0)
    # What rounding down leaves stands there as the sponsor's, who here keeps it for the next time.
    given, carry_out = shared.charged, shared.sponsor
    if given + carry_out != whole.aid:
        raise DoesNotAddUp(f"given {given} and carried on {carry_out} do not make {whole.aid}")
    return replace(shared, sponsor=0, carry_in=carry_in, carry_out=carry_out, aids=(given,), cut=0)
