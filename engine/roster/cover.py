"""Which cover a member has who chose another tier: pure (SCHEMES: sina, lower at once, higher after a wait)."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import InvalidInput
from engine.plans import PlanRules, date_of, day_number, next_debit_day, weights


def size_of(rules: PlanRules, tier: int) -> tuple[int, int]:
    """What tiers are higher or lower by: what the plan's share key measures, and for equal ones their cover."""
    return weights(rules)[tier], rules.tiers[tier].cover or 0


def claims_from(rules: PlanRules, before: int, chosen: int, asked: int) -> int:
    """The day number from which claims go by another tier, chosen on the day number `asked`.

    At once by a lower tier, after the plan's wait by a higher one. Raises InvalidInput where the plan has no
    `cover_change`.
    """
    if rules.cover_change is None:
        raise InvalidInput(f"{rules.code} has no cover_change: the tier of joining stays")
    is_raise = size_of(rules, chosen) > size_of(rules, before)
    return asked + rules.cover_change.raise_waiting_days if is_raise else asked


def weighs_from(rules: PlanRules, asked: int) -> int:
    """The day number from which another tier weighs that was chosen on `asked`: the next debit day, or this one."""
    return day_number(next_debit_day(rules, date_of(asked)))


def tier_on(rules: PlanRules, joined: int, chosen: Iterable[tuple[int, int]], day: int) -> int:
    """By which tier a claim of `day` goes: the least that held at any time of the wait before it.

    `joined`: the tier of joining. `chosen`: what was chosen since, in order: the tier, and the day number from which
    claims go by it; so a raise not yet waited out counts as what was before, and a lower tier in between stays the
    measure of a later raise until that was waited out too.
    """
    held, now = [], joined
    for tier, claims_from in chosen:
        is_raise = size_of(rules, tier) > size_of(rules, now)
        if claims_from > day and not is_raise:
            break  # not yet chosen on that day, nor what came after
        if claims_from > day:
            held.append(now)
        now = tier
    return min([now, *held], key=lambda tier: size_of(rules, tier))
