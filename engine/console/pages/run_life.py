"""The life of a run in order: what it went through, what is ahead, who did what to it and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from engine.api.audit import ActView
from engine.api.run_views import RunView
from engine.runs.states import RunState

COURSE = (
    RunState.PLANNED,
    RunState.FROZEN,
    RunState.MEASURED,
    RunState.PREVIEWED,
    RunState.APPROVED,
    RunState.POSTING,
    RunState.SEALED,
    RunState.COLLECTING,
    RunState.SETTLED,
    RunState.CLOSED,
)
"""What a run goes through when all goes well."""

ENDED = (RunState.CLOSED, RunState.VOIDED, RunState.FAILED)


class Step(TypedDict):
    """One step: as the timeline takes it, `word` still an enum's value."""

    word: str
    moment: str | None
    who: str | None
    note: str | None
    state: str


def life_of(run: RunView, acts: Sequence[ActView]) -> list[Step]:
    """The steps of a run, those ahead too while it can come to them. `acts`: on it, newest first."""
    reached = [name for name in sorted(run.moments, key=lambda name: run.moments[name]) if name in set(RunState)]
    who: dict[str, str | None] = {RunState.PLANNED: run.planned_by, RunState.APPROVED: run.approved_by}
    notes = dict[str, str]()
    voided = next((act for act in acts if act.act == "void run"), None)
    if voided is not None:
        begun = RunState.VOIDING if RunState.VOIDING in reached else RunState.VOIDED
        who[begun], notes[begun] = voided.actor, str(voided.detail.get("reason") or "")
    steps = [
        Step(
            word=name,
            moment=run.moments[name].isoformat(),
            who=who.get(name),
            note=notes.get(name),
            state=_standing(run, name),
        )
        for name in reached
    ]
    if run.state in COURSE:
        ahead = COURSE[COURSE.index(run.state) + 1 :]
        steps += [Step(word=name, moment=None, who=None, note=None, state="ahead") for name in ahead]
    elif run.state is RunState.VOIDING:
        steps.append(Step(word=RunState.VOIDED, moment=None, who=None, note=None, state="ahead"))
    return steps


def _standing(run: RunView, name: str) -> str:
    if name == RunState.FAILED:
        return "bad"
    return "current" if name == run.state and run.state not in ENDED else "done"
