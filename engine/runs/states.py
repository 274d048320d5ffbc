"""A share run's life, as one table: (state, event) → state."""

from __future__ import annotations

from enum import StrEnum

from engine.errors import FentanError


class RunState(StrEnum):
    """Where a run stands (DESIGN §6)."""

    PLANNED = "planned"
    FROZEN = "frozen"
    MEASURED = "measured"
    PREVIEWED = "previewed"
    APPROVED = "approved"
    POSTING = "posting"
    SEALED = "sealed"
    COLLECTING = "collecting"
    """The custodian was asked for its debits."""
    SETTLED = "settled"
    """Every debit is paid, or written off."""
    CLOSED = "closed"
    """Its aid is paid out, its breaks are resolved."""
    VOIDING = "voiding"
    VOIDED = "voided"
    FAILED = "failed"


class RunEvent(StrEnum):
    """What moves a run."""

    FREEZE = "freeze"
    MEASURE = "measure"
    MEASURE_AGAIN = "measure again"
    PREVIEW = "preview"
    APPROVE = "approve"
    POST = "post"
    SEAL = "seal"
    COLLECT = "collect"
    SETTLE = "settle"
    CLOSE = "close"
    DROP = "drop"
    REVERSE = "reverse"
    FINISH_VOID = "finish void"
    FAIL = "fail"


class NotNow(FentanError):
    """The run cannot do this in its present state."""


_UNPOSTED = (RunState.PLANNED, RunState.FROZEN, RunState.MEASURED, RunState.PREVIEWED, RunState.APPROVED)

TRANSITIONS: dict[tuple[RunState, RunEvent], RunState] = {
    (RunState.PLANNED, RunEvent.FREEZE): RunState.FROZEN,
    (RunState.FROZEN, RunEvent.MEASURE): RunState.MEASURED,
    (RunState.MEASURED, RunEvent.MEASURE_AGAIN): RunState.FROZEN,
    (RunState.MEASURED, RunEvent.PREVIEW): RunState.PREVIEWED,
    (RunState.PREVIEWED, RunEvent.APPROVE): RunState.APPROVED,
    (RunState.APPROVED, RunEvent.POST): RunState.POSTING,
    (RunState.POSTING, RunEvent.SEAL): RunState.SEALED,
    (RunState.SEALED, RunEvent.COLLECT): RunState.COLLECTING,
    (RunState.SEALED, RunEvent.SETTLE): RunState.SETTLED,  # a run without debits has nothing to collect
    (RunState.COLLECTING, RunEvent.SETTLE): RunState.SETTLED,
    (RunState.SETTLED, RunEvent.CLOSE): RunState.CLOSED,
    **{(state, RunEvent.DROP): RunState.VOIDED for state in _UNPOSTED},
    **{(state, RunEvent.FAIL): RunState.FAILED for state in _UNPOSTED},
    (RunState.POSTING, RunEvent.REVERSE): RunState.VOIDING,
    (RunState.SEALED, RunEvent.REVERSE): RunState.VOIDING,
    (RunState.VOIDING, RunEvent.FINISH_VOID): RunState.VOIDED,
}

HOLDS_THE_PLAN = frozenset(_UNPOSTED[1:]) | {RunState.POSTING, RunState.VOIDING}
"""While a run of the plan is in one of these, the plan's other runs wait: it reserved their allowances."""

AT_WORK = (RunState.PLANNED, RunState.FROZEN, RunState.MEASURED, RunState.APPROVED, RunState.POSTING, RunState.VOIDING)
"""States a worker can move on."""

PAUSABLE = frozenset({*AT_WORK, RunState.PREVIEWED})
"""States in which there is something to do for a run, which can wait."""

VOIDABLE = frozenset(state for state, event in TRANSITIONS if event in (RunEvent.DROP, RunEvent.REVERSE))
"""States from which a run can be voided: until its debits are asked of the custodian."""

RESTS = tuple(state for state in RunState if state not in AT_WORK)
"""States in which nothing moves until a person does something, or at all."""


def after(state: RunState, event: RunEvent) -> RunState:
    """The state that `event` leads to. Raises NotNow."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = sorted(str(known) for at, known in TRANSITIONS if at is state)
        raise NotNow(f"a {state} run cannot {event}; possible: {', '.join(possible) or 'nothing'}") from None
