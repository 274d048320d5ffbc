"""Whether the rows of a file can be true of a member of the plan: whole columns at a time."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.money import to_major, to_minor
from engine.plans import NEVER, PlanRules, TierBy, day_number, tier_at
from engine.roster.amounts import amounts_of
from engine.roster.files import Problems, days_of, is_null
from engine.roster.members import REF_RULE, wrong_refs

EARLIEST_BIRTH = date(1880, 1, 1)

_MONTHS_PER_YEAR = 12


def check_refs(batch: pa.RecordBatch, problems: Problems) -> None:
    """Every reference follows REF_RULE."""
    for name in ("member_ref", "payer_ref"):
        if name in batch.schema.names:
            problems.add_where(batch, name, wrong_refs(batch[name]), f"must be {REF_RULE}")


def check_spells(batch: pa.RecordBatch, rules: PlanRules, problems: Problems) -> None:
    """Births, joins and ends follow one another inside the plan's life, nobody is too old to join, tiers exist."""
    joined_on, ended_on = days_of(batch["joined_on"], -NEVER), days_of(batch["ended_on"], NEVER)
    joined = ~is_null(batch["joined_on"])
    check_births(batch, "joined_on", rules, problems)
    check_in_plan(batch, "joined_on", rules, problems)
    problems.add_where(
        batch, "ended_on", joined & (ended_on <= joined_on), "is not after joined_on; it is the first day not covered"
    )
    check_tiers(batch, "joined_on", rules, problems)


def check_births(batch: pa.RecordBatch, joined: str, rules: PlanRules, problems: Problems) -> None:
    """`born_on` lies between EARLIEST_BIRTH and the day in the column `joined`, by then of an age the plan takes."""
    known = ~(is_null(batch["born_on"]) | is_null(batch[joined]))
    born_on, joined_on = days_of(batch["born_on"], 0), days_of(batch[joined], 0)
    early, late = known & (born_on < day_number(EARLIEST_BIRTH)), known & (born_on > joined_on)
    problems.add_where(batch, "born_on", early, f"is before {EARLIEST_BIRTH}")
    problems.add_where(batch, "born_on", late, f"is after {joined}")
    youngest, oldest = rules.claims.minimum_age_years, rules.claims.maximum_age_years
    ages, sound = completed_years(born_on, joined_on), known & ~early & ~late
    young, old = sound & (ages < youngest), sound & (ages > oldest)
    problems.add_where(batch, "born_on", young, f"is not {youngest} years before {joined}; {rules.code} begins there")
    problems.add_where(batch, "born_on", old, f"is more than {oldest} years before {joined}; {rules.code} ends there")


def check_in_plan(batch: pa.RecordBatch, joined: str, rules: PlanRules, problems: Problems) -> None:
    """The day in the column `joined` is not after the plan's end.

    It may be before its start: members of the plan before it bring the day they joined that one, and the waiting time
    they have behind them (SCHEMES: xianghubao-2018 to xianghubao).
    """
    if rules.ends_on is not None:
        late = days_of(batch[joined], -NEVER) > day_number(rules.ends_on)
        problems.add_where(batch, joined, late, f"is after {rules.code} ended on {rules.ends_on}")


def check_tiers(batch: pa.RecordBatch, joined: str, rules: PlanRules, problems: Problems) -> None:
    """`tier` counts the plan's tiers from 0; empty is 0, or the tier of the age at joining, and no other is taken."""
    stated, last = batch["tier"].fill_null(0).to_numpy(), len(rules.tiers) - 1
    outside = (stated < 0) | (stated > last)
    problems.add_where(batch, "tier", outside, f"is no tier of {rules.code}; they are 0 to {last}")
    known = ~(is_null(batch["tier"]) | is_null(batch["born_on"]) | is_null(batch[joined]))
    other = known & ~outside & (stated != tiers_of(batch, joined, rules))
    problems.add_where(batch, "tier", other, f"is not the tier of the age on {joined}; leave it empty, the plan knows")


def read_deposits(batch: pa.RecordBatch, rules: PlanRules, problems: Problems) -> pa.RecordBatch:
    """The batch with its `deposit` in minor units, no less than a member begins with; 0: nothing was paid in yet."""
    entry = 0 if rules.prepaid is None else rules.prepaid.entry

    def begun_with(text: str) -> int:
        amount = to_minor(text)
        if amount < entry:
            raise InvalidInput(f"is less than {to_major(entry)}, with which a member begins")
        return amount

    amounts = pa.array(amounts_of(batch, "deposit", problems, begun_with))
    return batch.set_column(batch.schema.get_field_index("deposit"), "deposit", amounts)


def tiers_of(batch: pa.RecordBatch, joined: str, rules: PlanRules) -> NDArray[np.int16]:
    """int16[n]: the tier of each membership, from the age on the day in the column `joined` where the plan goes by it.

    Lines that `check_births` or `check_tiers` finds wrong get any tier.
    """
    if rules.tier_by is TierBy.CHOICE:
        stated: NDArray[np.int16] = batch["tier"].fill_null(0).to_numpy()
        return stated
    return tiers_at(rules, completed_years(days_of(batch["born_on"], 0), days_of(batch[joined], 0)))


def tiers_at(rules: PlanRules, ages: NDArray[np.int64]) -> NDArray[np.int16]:
    """int16[n] tiers of who joins at these ages in completed years; ages the plan does not take go by the nearest."""
    youngest, oldest = rules.claims.minimum_age_years, rules.claims.maximum_age_years
    by_age = np.array([tier_at(rules, age) for age in range(youngest, oldest + 1)], np.int16)
    return by_age.take(ages - youngest, mode="clip")


def completed_years(born_on: NDArray[np.int32], on: NDArray[np.int32]) -> NDArray[np.int64]:
    """int64[n] ages in completed years, as `engine.plans.completed_years` has them: a leapling's is on 1 March."""
    born, then = born_on.astype("datetime64[D]"), on.astype("datetime64[D]")
    born_month, then_month = born.astype("datetime64[M]"), then.astype("datetime64[M]")
    # Whole months between, one less when the day of the month is still to come.
    months: NDArray[np.int64] = (then_month - born_month).astype(np.int64)
    months -= (then - then_month.astype("datetime64[D]")) < (born - born_month.astype("datetime64[D]"))
    years: NDArray[np.int64] = months // _MONTHS_PER_YEAR
    return years
