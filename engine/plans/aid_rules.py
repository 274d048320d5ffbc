"""Rules about aid: whose claims a plan takes, how much it pays for one, and in how many parts."""

from __future__ import annotations

from enum import StrEnum

from engine.apportion.rate import Rate
from engine.plans.fields import Age, Amount, Days, Name, Part


class Eligibility(Part):
    """Whose claims a plan takes: the wait after joining, and the ages at first diagnosis; nobody joins at others.

    `minimum_age_days` holds at diagnosis only: a child may join before. Who joins again waits `rejoining_days`
    (absent: as long as anybody).
    """

    waiting_days: Days
    rejoining_days: Days | None = None
    minimum_age_days: Days
    minimum_age_years: Age = 0
    maximum_age_years: Age


class AidBand(Part):
    """The aid for ages `from_age` to `to_age`, both included, in completed years at first diagnosis.

    `amount`, or `of_cover`: a part of the cover that the seat's tier states. `severity`: only for claims of this
    severity (SCHEMES: xianghubao-senior, mild and severe); absent, for any.
    """

    from_age: Age
    to_age: Age
    severity: Name | None = None
    amount: Amount | None = None
    of_cover: Rate | None = None


class TenureStep(Part):
    """From so many completed years of membership at diagnosis on, this part of the aid (SCHEMES §1: tenure ladder)."""

    from_years: Age
    rate: Rate


class AidStages(Part):
    """A claim is paid `first` of its aid at once, the rest as bills come (SCHEMES: meituan)."""

    first: Rate


class FaultShare(Part):
    """aid = award × fault share − compulsory cover − third-party cover, at most `at_most` (SCHEMES: quark-driving)."""

    at_most: Amount


class PayoutWhen(StrEnum):
    """From when on a run's aid may be paid to the claimants."""

    SEALED = "sealed"
    """Once the run is sealed: before its debits are collected, out of what the custodian holds."""

    SETTLED = "settled"
    """Once every debit of the run is paid, or written off."""


class Payout(Part):
    """When the aid is paid out; who pays it is decided by two people each time (I13)."""

    when: PayoutWhen = PayoutWhen.SETTLED


class RecoveredTo(StrEnum):
    """Where wrongly paid aid goes that comes back."""

    CARRY = "carry"
    """It lowers the next pool."""

    SPONSOR = "sponsor"
