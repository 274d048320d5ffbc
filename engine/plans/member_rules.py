"""Rules about one member: what is paid in beforehand, when a seat freezes or ends, levies, and how a plan ends."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from engine.plans.fields import Age, Amount, Code, Day, Days, Part


class Funding(StrEnum):
    """Where a member's shares come from (SCHEMES §1, funding)."""

    MANDATE = "mandate"
    """Nothing is prepaid: each run is a debit."""

    PREPAID = "prepaid"
    """Each run draws on the balance the member paid in."""


class AutoTopUp(Part):
    """Whoever agreed is debited `amount` when the balance is below `below`, at most `per_month_at_most` a month."""

    below: Amount
    amount: Amount
    per_month_at_most: Amount


class Prepaid(Part):
    """Balances (SCHEMES: waterdrop, the prepaid convention in full).

    `entry`: the least a member begins with. Below `floor` a seat is frozen and not counted; it has `return_days` to
    come back, which means paying every share missed meanwhile and ending at `floor` or more.
    """

    entry: Amount
    floor: Amount
    return_days: Days
    auto_top_up: AutoTopUp | None = None


class Unpaid(Part):
    """A debit that failed is tried again daily for `retry_days`; then the member leaves.

    Absent `retry_days`: until the day before the next debit (SCHEMES: meituan).
    """

    retry_days: Days | None = None


class Exits(Part):
    """When a membership ends by itself: on the birthday of `at_age`, and once aid was received."""

    at_age: Age | None = None
    after_aid: bool = False


class CoverChange(Part):
    """A member may choose another tier; its weight counts from the next debit day on (SCHEMES: sina).

    A lower cover holds for claims at once, the raised part of a higher one `raise_waiting_days` later.
    """

    raise_waiting_days: Days


class LevyOn(StrEnum):
    """Who owes a levy, and when."""

    JOINING = "joining"
    """Each who joins, once (SCHEMES: jd-hubao, entry premium)."""

    DORMANT_QUARTER = "dormant_quarter"
    """Each who was covered through a calendar quarter without any share (SCHEMES §1: 轻松's dormant fee)."""


class Levy(Part):
    """An amount apart from the shares, which no cap counts.

    The ages are those at joining, both included; absent, anybody.
    """

    name: Code
    on: LevyOn
    amount: Amount
    from_age: Age | None = None
    to_age: Age | None = None


class RefundAtEnd(StrEnum):
    """What members get back when the plan ends."""

    NOTHING = "nothing"
    BALANCES = "balances"
    """Each their own (SCHEMES: waterdrop)."""

    SHARES = "shares"
    """All shares ever paid, from the sponsor (SCHEMES: meituan)."""


class WindDown(Part):
    """How a plan ends, at 24:00 of the plan's `ends_on`.

    From `announced_on` no member shares: the sponsor pays every run debited on that day or later. A diagnosis made by
    `ends_on` may be filed until `claims_within_days` after it (SCHEMES: xianghubao).
    """

    announced_on: Day
    claims_within_days: Days
    refund: RefundAtEnd


class Benefit(StrEnum):
    """What a credit run gives (SCHEMES: zhonghui-surplus)."""

    MONEY = "money"
    COVER = "cover"
    """Units of cover, kept in a second unit of the plan's ledger."""


class Surplus(Part):
    """A quarter's premiums − claims − costs go back to the members; `cover_per_unit`: cover bought by one of money."""

    benefit: Benefit
    cover_per_unit: Annotated[int, Field(ge=1)] = 1


class Direction(StrEnum):
    """Whether a run takes from the members or gives to them."""

    DEBIT = "debit"
    CREDIT = "credit"
