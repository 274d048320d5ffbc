"""The rules of a plan, as its TOML file states them and as a run pins them."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from engine.apportion.rate import Rate
from engine.apportion.terms import CapBasis, OverCap, Rounding
from engine.errors import InvalidInput
from engine.money import to_major, to_minor


def _minor(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('write the amount as text in major units, like "0.10"')  # noqa: TRY004 - pydantic gathers these
    try:
        amount = to_minor(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if amount < 0:
        raise ValueError("an amount is not negative here")
    return amount


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError('name a time zone like "Asia/Shanghai"') from None
    return name


def _rising(days: tuple[int, ...]) -> tuple[int, ...]:
    if any(one >= other for one, other in pairwise(days)):
        raise ValueError("list the days in order, each once")
    return days


Amount = Annotated[int, BeforeValidator(_minor), PlainSerializer(to_major)]
"""Minor units; in files text in major units."""

Days = Annotated[int, Field(ge=0, le=36_525)]
Age = Annotated[int, Field(ge=0, le=150)]
Year = Annotated[int, Field(ge=1, le=9999)]
MonthDays = Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(min_length=1), AfterValidator(_rising)]


TIERS_MAX = 2**15
"""A roster keeps a seat's tier in 16 bits."""


class Part(BaseModel):
    """A table of a plan file: every key is known, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Gate(StrEnum):
    """The instant that decides who shares a case."""

    NOTICE_DAY = "notice_day"
    """00:00, in the plan's zone, of the day the notice begins."""

    SETTLEMENT_DAY = "settlement_day"
    """00:00, in the plan's zone, of the day members are debited: a run is to be frozen on that day or later."""


class ShareKey(StrEnum):
    """What members share in proportion to (SCHEMES §1, share key)."""

    WEIGHT = "weight"
    """Of the tier: the same for all is equal per head; cover chosen, premium × coefficient are weights too."""

    OWN_CAP = "own_cap"
    """The tier's own yearly cap (SCHEMES: jd-hubao)."""


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
    """How long a claim is published, and on which days of the month notices begin."""

    length_days: Days
    days_of_month: MonthDays


class Roll(StrEnum):
    """Where a debit day goes that is no business day."""

    FOLLOWING = "following"
    PRECEDING = "preceding"


class BusinessDays(Part):
    """Weekdays but `holidays`, and the weekend days that are `worked`; any other debit day moves as `roll` says."""

    roll: Roll
    holidays: tuple[date, ...] = ()
    worked: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if set(self.holidays) & set(self.worked):
            raise ValueError("a day is a holiday and worked; leave it in one list")
        return self


class Debit(Part):
    """On which days of the month members are debited; without `business_days` on any day of the week."""

    days_of_month: MonthDays
    business_days: BusinessDays | None = None


class Share(Part):
    """How the pool is shared; the words are those of DESIGN §5. `sponsor`: who that is, in the words of a sentence."""

    gate: Gate
    key: ShareKey = ShareKey.WEIGHT
    fee: Rate
    rounding: Rounding
    over_cap: OverCap
    sponsor: Annotated[str, Field(min_length=1)] = "the sponsor"
    fallback: OverCap = OverCap.SPONSOR
    surplus_first: bool | None = None
    no_sharers: NoSharers = NoSharers.HOLD

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.fallback is OverCap.REDISTRIBUTE:
            raise ValueError("fallback takes what redistribute cannot place: sponsor or reduce_aid")
        return self


class Tier(Part):
    """A kind of membership, what it weighs and is charged at most for a calendar year.

    `weight` stands where the share key is `weight`, the ages (both included) where the age at joining gives the tier.
    """

    code: Annotated[str, Field(min_length=1)]
    weight: Annotated[int, Field(ge=0)] | None = None
    per_year: Amount | None = None
    from_age: Age | None = None
    to_age: Age | None = None


class YearCap(Part):
    """The most a seat is charged for one calendar year, for the years stated."""

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


class Eligibility(Part):
    """Whose claims a plan takes: the wait after joining, and the ages at first diagnosis; nobody joins at others.

    `minimum_age_days` holds at diagnosis only: a child may join before.
    """

    waiting_days: Days
    minimum_age_days: Days
    minimum_age_years: Age = 0
    maximum_age_years: Age


class AidBand(Part):
    """The aid for ages `from_age` to `to_age`, both included, in completed years at first diagnosis."""

    from_age: Age
    to_age: Age
    amount: Amount


class Waiver(Part):
    """Members who joined by a day owe nothing for gates of a period; the sponsor pays their part."""

    name: Annotated[str, Field(min_length=1)]
    joined_by: date
    gates_from: date
    gates_to: date
    reason: Annotated[str, Field(min_length=1)]


class PlanRules(Part):
    """One plan's rules. Amounts are minor units in memory and text in major units in files."""

    code: Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: Annotated[str, Field(min_length=1)]
    currency: Literal["CNY", "EUR"]  # those of MINOR_DIGITS decimal places: the books are kept in no other
    time_zone: Annotated[str, AfterValidator(_known_zone)]
    starts_on: date
    ends_on: date | None = None
    notice: Notice
    debit: Debit
    share: Share
    tier_by: TierBy = TierBy.CHOICE
    tiers: tuple[Tier, ...] = (Tier(code="member", weight=1),)
    caps: Caps = Caps()
    claims: Eligibility
    aid: tuple[AidBand, ...]
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = []
        if not 1 <= len(self.tiers) <= TIERS_MAX:
            wrong.append(f"tiers: give 1 to {TIERS_MAX}")
        if not self.aid:
            wrong.append("aid: give at least one band")
        if self.ends_on is not None and self.ends_on < self.starts_on:
            wrong.append("ends_on is before starts_on")
        wrong += _wrong_tiers(self)
        if self.claims.maximum_age_years < self.claims.minimum_age_years:
            wrong.append("claims: maximum_age_years is below minimum_age_years")
        if any(band.to_age < band.from_age for band in self.aid):
            wrong.append("aid: a band ends before it begins")
        if any(other.from_age <= one.to_age for one, other in pairwise(sorted(self.aid, key=lambda b: b.from_age))):
            wrong.append("aid: two bands hold for the same age")
        if any(waiver.gates_to < waiver.gates_from for waiver in self.waivers):
            wrong.append("waivers: gates_to is before gates_from")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _wrong_tiers(rules: PlanRules) -> list[str]:
    wrong = []
    tiers, by_age = rules.tiers, rules.tier_by is TierBy.AGE_AT_JOINING
    if len({tier.code for tier in tiers}) < len(tiers):
        wrong.append("tiers: two tiers have the same code")
    if rules.share.key is ShareKey.WEIGHT and any(tier.weight is None for tier in tiers):
        wrong.append("tiers: give each a weight")
    if rules.share.key is ShareKey.OWN_CAP and any(tier.weight is not None or tier.per_year is None for tier in tiers):
        wrong.append("tiers: with share.key own_cap give each per_year, which is what it weighs, and no weight")
    if any((tier.from_age is not None, tier.to_age is not None) != (by_age, by_age) for tier in tiers):
        wrong.append("tiers: give each from_age and to_age with tier_by age_at_joining, and only then")
    elif by_age:
        ages = sorted(age for tier in tiers for age in range(tier.from_age or 0, (tier.to_age or 0) + 1))
        if ages != list(range(rules.claims.minimum_age_years, rules.claims.maximum_age_years + 1)):
            wrong.append("tiers: give each age that claims allows, from minimum to maximum_age_years, one tier")
    return wrong
