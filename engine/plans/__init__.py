"""Plans: the rules of a mutual-aid plan as data, and what they say."""

from __future__ import annotations

from engine.plans.aid import Accident, Aid, Application, Deduction, aid_of
from engine.plans.answers import (
    case_cap,
    completed_years,
    run_cap,
    terms,
    tier_at,
    waiver_for,
    weights,
    year_cap,
    year_caps,
)
from engine.plans.calendar import Slot, gate_day, is_debit_day, is_notice_day, next_debit_day, notice_end, slots
from engine.plans.days import NEVER, date_of, day_number
from engine.plans.reading import digest, from_json, parse, to_json
from engine.plans.rules import Gate, NoSharers, PlanRules, ShareKey, TierBy, Waiver

__all__ = [
    "NEVER",
    "Accident",
    "Aid",
    "Application",
    "Deduction",
    "Gate",
    "NoSharers",
    "PlanRules",
    "ShareKey",
    "Slot",
    "TierBy",
    "Waiver",
    "aid_of",
    "case_cap",
    "completed_years",
    "date_of",
    "day_number",
    "digest",
    "from_json",
    "gate_day",
    "is_debit_day",
    "is_notice_day",
    "next_debit_day",
    "notice_end",
    "parse",
    "run_cap",
    "slots",
    "terms",
    "tier_at",
    "to_json",
    "waiver_for",
    "weights",
    "year_cap",
    "year_caps",
]
