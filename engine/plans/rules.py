"""The rules of a plan, as its TOML file states them and as a run pins them."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.apportion.rate import Rate
from engine.apportion.terms import CapBasis, OverCap, Rounding
from engine.plans.aid_rules import AidBand, AidStages, Eligibility, FaultShare, Payout, RecoveredTo, TenureStep
from engine.plans.fields import Age, Amount, Code, Day, Days, MonthDays, Months, Name, Part, Year, Zone
from engine.plans.member_rules import (
    CoverChange,
    Direction,
    Exits,
    Funding,
    Levy,
    Prepaid,
    Surplus,
    Unpaid,
    WindDown,
)

TIERS_MAX = 2**15
"""A roster keeps a seat's tier in 16 bits."""


class Gate(StrEnum):
    """The instant that decides who shares a case."""

    NOTICE_DAY = "notice_day"
    """00:00, in the plan's zone, of the day the notice begins."""

    SETTLEMENT_DAY = "settlement_day"
    """00:00, in the plan's zone, of the day members are debited: a run is frozen on that day or later."""

    KEPT_FROM_LAST_PERIOD = "kept_from_last_period"
    """As on the notice day, and covered on the debit day before it already (SCHEMES: kangai)."""


class Trigger(StrEnum):
    """What makes a run (SCHEMES §1, trigger)."""

    CALENDAR = "calendar"
    """A period: its cases are shared together, with one rounding."""

    EVENT = "event"
    """Each claim by itself: its case is a round of its own inside the run that bundles those passed since the last."""


class ShareKey(StrEnum):
    """What members share in proportion to (SCHEMES §1, share key)."""

    WEIGHT = "weight"
    """Of the tier: the same for all is equal per head."""

    OWN_CAP = "own_cap"
    """The tier's own yearly cap (SCHEMES: jd-hubao)."""

    COVER = "cover"
    """The cover that was chosen, which the tier states (SCHEMES: sina)."""

    PREMIUM = "premium"
    """The tier's premium × its coefficient (SCHEMES: zhonghui-surplus)."""


class TierBy(StrEnum):
    """What gives a membership its tier, once and for all at joining."""

    CHOICE = "choice"
    """The roster file says what was chosen."""

    AGE_AT_JOINING = "age_at_joining"
    """In completed years (SCHEMES: jd-hubao)."""


class NoSharers(StrEnum):
    """What becomes of a run with a case that nobody shares (DESIGN §5: W_c = 0)."""

    HOLD = "hold"
    SPONSOR = "sponsor"


class Notice(Part):
    """How long a claim is published, and on which days of the month notices begin; without them on any day.

    `months`: only in these; absent, in all.
    """

    length_days: Days
    days_of_month: MonthDays | None = None
    months: Months | None = None


class Roll(StrEnum):
    """Where a debit day goes that is no business day."""

    FOLLOWING = "following"
    PRECEDING = "preceding"


class BusinessDays(Part):
    """Weekdays but `holidays`, and the weekend days that are `worked`; any other debit day moves as `roll` says."""

    roll: Roll
    holidays: tuple[Day, ...] = ()
    worked: tuple[Day, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if set(self.holidays) & set(self.worked):
            raise ValueError("a day is a holiday and worked; leave it in one list")
        return self


class Debit(Part):
    """On which days of the month members are debited (or credited); without them on any day.

    `months`: only in these; absent, in all. Without `business_days` on any day of the week.
    """

    days_of_month: MonthDays | None = None
    months: Months | None = None
    business_days: BusinessDays | None = None


class Share(Part):
    """How the pool is shared; the words are those of DESIGN §5. `sponsor`: who that is, in the words of a sentence."""

    gate: Gate
    trigger: Trigger = Trigger.CALENDAR
    key: ShareKey = ShareKey.WEIGHT
    fee: Rate
    rounding: Rounding
    over_cap: OverCap
    sponsor: Name = "the sponsor"
    fallback: OverCap = OverCap.SPONSOR
    surplus_first: bool | None = None
    no_sharers: NoSharers = NoSharers.HOLD

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.fallback is OverCap.REDISTRIBUTE:
            raise ValueError("fallback takes what redistribute cannot place: sponsor or reduce_aid")
        return self


class Tier(Part):
    """A kind of membership, what it weighs and is charged at most for a year.

    The share key says which of `weight`, `per_year`, `cover`, or `premium` with `coefficient` weighs; the ages (both
    included) stand where the age at joining gives the tier.
    """

    code: Name
    weight: Annotated[int, Field(ge=0)] | None = None
    per_year: Amount | None = None
    cover: Amount | None = None
    premium: Amount | None = None
    coefficient: Rate | None = None
    from_age: Age | None = None
    to_age: Age | None = None


class CapYear(StrEnum):
    """When the year of a yearly cap begins."""

    CALENDAR = "calendar"
    MEMBERSHIP = "membership"
    """On the day of joining and its anniversaries."""


class YearCap(Part):
    """The most a seat is charged for one year, for the years stated (of a membership year: that it begins in)."""

    amount: Amount
    from_year: Year
    until_year: Year | None = None

    def holds_in(self, year: int) -> bool:
        """Whether this cap is the one of `year`."""
        return self.from_year <= year and (self.until_year is None or year <= self.until_year)


class Caps(Part):
    """The most a seat is charged; what is absent does not bind. Under the basis `weight`, `per_case` is for `unit`."""

    per_case: Amount | None = None
    per_run: Amount | None = None
    per_year: tuple[YearCap, ...] = ()
    year: CapYear = CapYear.CALENDAR
    basis: CapBasis = CapBasis.HEAD
    unit: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _one_a_year(self) -> Self:
        ordered = sorted(self.per_year, key=lambda cap: cap.from_year)
        if any(other.from_year <= (one.until_year or 9999) for one, other in pairwise(ordered)):
            raise ValueError("per_year: two caps hold in the same year; end the first with until_year")
        if any(cap.until_year is not None and cap.until_year < cap.from_year for cap in ordered):
            raise ValueError("per_year: a cap ends before it begins")
        return self


class Waiver(Part):
    """Members who joined by a day owe nothing for gates of a period; the sponsor pays their part."""

    name: Name
    joined_by: Day
    gates_from: Day
    gates_to: Day
    reason: Name


class PlanRules(Part):
    """One plan's rules. Amounts are minor units in memory and text in major units in files."""

    code: Code
    name: Name
    currency: Literal["CNY", "EUR"]  # those of MINOR_DIGITS decimal places: the books are kept in no other
    time_zone: Zone
    starts_on: Day
    ends_on: Day | None = None
    direction: Direction = Direction.DEBIT
    funding: Funding = Funding.MANDATE
    family_payers: bool = False
    notice: Notice
    debit: Debit
    share: Share
    tier_by: TierBy = TierBy.CHOICE
    tiers: tuple[Tier, ...] = (Tier(code="member", weight=1),)
    caps: Caps = Caps()
    prepaid: Prepaid | None = None
    surplus: Surplus | None = None
    unpaid: Unpaid | None = None
    exits: Exits = Exits()
    cover_change: CoverChange | None = None
    claims: Eligibility
    aid: tuple[AidBand, ...] = ()
    aid_tenure: tuple[TenureStep, ...] = ()
    aid_stages: AidStages | None = None
    fault_share: FaultShare | None = None
    payout: Payout = Payout()
    recovered_to: RecoveredTo = RecoveredTo.CARRY
    levies: tuple[Levy, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    wind_down: WindDown | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from engine.plans.soundness import wrong_in  # noqa: PLC0415 - it reads what this module declares

        if wrong := wrong_in(self):
            raise ValueError("\n".join(wrong))
        return self
