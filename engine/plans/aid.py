"""How much aid one claim is given, by the plan's rules, and the steps that lead there in words: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from engine.errors import InvalidInput
from engine.money import floor, grouped, half_up
from engine.plans.aid_rules import AidBand
from engine.plans.answers import completed_years
from engine.plans.days import day_number
from engine.plans.phrases import listed, percent
from engine.plans.rules import PlanRules


class Deduction(NamedTuple):
    """What comes off the aid, in minor units, and why: `paid by the state`."""

    amount_minor: int
    reason: str


@dataclass(frozen=True, slots=True)
class Accident:
    """What the fault-share formula needs; amounts in minor units, `fault_share` above 0 and at most 1."""

    award_minor: int
    fault_share: Fraction
    compulsory_minor: int = 0
    third_party_minor: int = 0


@dataclass(frozen=True, slots=True)
class Application:
    """What an aid is worked out from.

    `member_from`: the first day of the membership. `tier`: the one that claims go by on the day of diagnosis.
    `part_minor`: the part of the plan's aid that is asked for, where the case is a milder one; None: all.
    """

    born_on: date
    member_from: date
    diagnosed_on: date
    tier: int = 0
    severity: str | None = None
    accident: Accident | None = None
    part_minor: int | None = None
    deductions: tuple[Deduction, ...] = ()


class Aid(NamedTuple):
    """The aid in minor units, and the steps that led there: `("aid from 0 to 39: 300,000.00",)`."""

    amount_minor: int
    steps: tuple[str, ...]


def aid_of(rules: PlanRules, application: Application) -> Aid:
    """The aid that the plan gives for an application.

    First the age band or the fault share, then the tenure ladder, then the part that is asked for, then what is
    deducted. Raises InvalidInput where the plan takes no claim of the age, where the application does not fit the
    plan, and where nothing is left to pay, with the arithmetic.
    """
    age_years = _age(rules, application)
    amount, steps = (_by_band if rules.fault_share is None else _by_fault)(rules, application, age_years)
    if rules.aid_tenure:
        years = max(0, completed_years(application.member_from, application.diagnosed_on))
        rate = [step.rate for step in rules.aid_tenure if step.from_years <= years][-1]
        amount = floor(rate * amount)
        steps += (f"tenure {years} years: {percent(rate)}, {grouped(amount)}",)
    _something_left(amount, steps)
    part = application.part_minor
    if part is not None:
        if not 0 < part <= amount:
            raise InvalidInput(f"aid {grouped(part)}: give more than 0 and at most the plan's {grouped(amount)}")
        amount = part
        steps += (f"asked for: {grouped(part)}",)
    for deduction in application.deductions:
        _not_negative("deduction", deduction.amount_minor)
        amount -= deduction.amount_minor
        steps += (f"deducted {grouped(deduction.amount_minor)}: {deduction.reason}",)
    _something_left(amount, steps)
    return Aid(amount, steps)


def _age(rules: PlanRules, application: Application) -> int:
    """The age at diagnosis in completed years, one of which the plan takes claims."""
    born_on, diagnosed_on, eligible = application.born_on, application.diagnosed_on, rules.claims
    age_days = day_number(diagnosed_on) - day_number(born_on)
    age_years = completed_years(born_on, diagnosed_on)
    if age_days < eligible.minimum_age_days:
        raise InvalidInput(
            f"{age_days} days old at diagnosis; {rules.code} takes claims from {eligible.minimum_age_days} days on"
        )
    if age_years < eligible.minimum_age_years:
        raise InvalidInput(
            f"{age_years} years old at diagnosis; {rules.code} takes claims from {eligible.minimum_age_years} on"
        )
    if age_years > eligible.maximum_age_years:
        raise InvalidInput(
            f"{age_years} years old at diagnosis; {rules.code} takes claims to the age of {eligible.maximum_age_years}"
        )
    return age_years


def _by_band(rules: PlanRules, application: Application, age_years: int) -> tuple[int, tuple[str, ...]]:
    """SCHEMES §1: by age at first diagnosis, by severity, a part of the cover."""
    if application.accident is not None:
        raise InvalidInput(f"{rules.code} gives aid by age, not by an award and a fault share; leave these out")
    severity = _severity(rules, application.severity)
    for band in rules.aid:
        if band.from_age <= age_years <= band.to_age and band.severity == severity:
            amount = _of_band(rules, band, application.tier)
            kind = f"aid from {band.from_age} to {band.to_age}" + (f", {severity}" if severity else "")
            part = "" if band.of_cover is None else f" {percent(band.of_cover)} of the cover chosen,"
            return amount, (f"{kind}:{part} {grouped(amount)}",)
    raise InvalidInput(
        f"{age_years} years old at diagnosis; {rules.code} has no aid band for that age"
        + (f" and severity {severity}" if severity else "")
    )


def _severity(rules: PlanRules, named: str | None) -> str | None:
    known = list(dict.fromkeys(band.severity for band in rules.aid if band.severity is not None))
    if known and named not in known:
        raise InvalidInput(f"give --severity: {rules.code} knows {listed(known)}" + (f", not {named}" if named else ""))
    if named is not None and not known:
        raise InvalidInput(f"{rules.code} gives the same aid for every severity; leave --severity out")
    return named


def _of_band(rules: PlanRules, band: AidBand, tier: int) -> int:
    if band.of_cover is None:
        return band.amount or 0
    return floor(band.of_cover * (rules.tiers[tier].cover or 0))


def _by_fault(rules: PlanRules, application: Application, _age_years: int) -> tuple[int, tuple[str, ...]]:
    """SCHEMES: quark-driving: award × fault share − compulsory cover − third-party cover, at most a limit."""
    accident, limit = application.accident, rules.fault_share
    assert limit is not None
    if application.severity is not None:
        raise InvalidInput(f"{rules.code} gives aid by the fault share, not by severity; leave --severity out")
    if accident is None:
        raise InvalidInput(f"give --award and --fault-share: {rules.code} gives aid by them")
    for name in ("award", "compulsory", "third_party"):
        _not_negative(name.replace("_", "-"), getattr(accident, f"{name}_minor"))
    if not 0 < accident.fault_share <= 1:
        raise InvalidInput(f"--fault-share {accident.fault_share}: give more than 0 and at most 1, like 0.7")
    owed = half_up(accident.fault_share * accident.award_minor)
    left = owed - accident.compulsory_minor - accident.third_party_minor
    steps: tuple[str, ...] = (
        f"award {grouped(accident.award_minor)} × fault share {percent(accident.fault_share)}: {grouped(owed)}",
        f"compulsory cover pays {grouped(accident.compulsory_minor)}",
        f"third-party cover pays {grouped(accident.third_party_minor)}",
    )
    if left > limit.at_most:
        steps += (f"at most {grouped(limit.at_most)}",)
    return min(left, limit.at_most), steps


def _something_left(amount_minor: int, steps: tuple[str, ...]) -> None:
    if amount_minor <= 0:
        raise InvalidInput(f"there is no aid to pay: {'; '.join(steps)}; that leaves {grouped(amount_minor)}")


def _not_negative(name: str, amount_minor: int) -> None:
    if amount_minor < 0:
        raise InvalidInput(f"{name} {grouped(amount_minor)}: give an amount that is not negative")
