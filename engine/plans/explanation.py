"""What a plan's rules say, in words a finance person reads, and in which of them two plans differ."""

from __future__ import annotations

from typing import NamedTuple

from engine.plans.explained_aid import aid_in_words, claims_in_words, waivers_in_words
from engine.plans.explained_members import end_in_words, members_in_words
from engine.plans.explained_runs import calendar_in_words, caps_in_words, sharing_in_words
from engine.plans.phrases import unit
from engine.plans.rules import PlanRules


class Difference(NamedTuple):
    """A rule that two plans do not share: what the old and the new one say; None where it says nothing."""

    topic: str
    old: str | None
    new: str | None


def explain(rules: PlanRules) -> dict[str, str]:
    """Every rule of a plan as a sentence, by its topic, in reading order."""
    return dict(
        [
            ("plan", f"{rules.name} ({rules.code}), in {unit(rules)}"),
            (
                "life",
                f"from {rules.starts_on} until {rules.ends_on or 'further notice'}, by the days of {rules.time_zone}",
            ),
            *calendar_in_words(rules),
            *sharing_in_words(rules),
            *caps_in_words(rules),
            *members_in_words(rules),
            *claims_in_words(rules),
            *aid_in_words(rules),
            *waivers_in_words(rules),
            *end_in_words(rules),
        ]
    )


def differences(old: PlanRules, new: PlanRules) -> list[Difference]:
    """Every topic on which two plans say different things, in reading order."""
    before, after = explain(old), explain(new)
    topics = [*after, *(topic for topic in before if topic not in after)]
    return [
        Difference(topic, before.get(topic), after.get(topic))
        for topic in topics
        if before.get(topic) != after.get(topic)
    ]
