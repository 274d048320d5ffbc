"""Breaks come to their end: proposed by one person, posted once another approves (I13).

One decision takes one break or all that a selection picks. Which they are is fixed when it is proposed: the breaks bear
its number from then on. What it does is worked out shard by shard, from where the instructions then stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.actions import POSSIBLE, Action, actions_for
from engine.custodian.break_rows import Selection, is_of_run
from engine.custodian.breaks import BreakRefused, Code, Event, State
from engine.custodian.registered import Custodian, list_custodians
from engine.custodian.statement_rows import lock_custodian
from engine.decisions import Decision, Kind, propose
from engine.errors import InvalidInput
from engine.money import grouped
from engine.reconcile.breaks import check_each, clear_missing, refuse_other_number, write_events
from engine.reconcile.effects import Target, post_resolution
from engine.runs.run import load_run
from engine.store.tables import breaks

IDS_SHOWN = 100
"""A decision about no more breaks names them; of more it says how they were chosen."""

_FREE = (State.OPEN, State.ASSIGNED)


class Chosen(NamedTuple):
    """Breaks of one plan, code and run (None: about no run) among those chosen: how many, their sums in minor units."""

    plan_id: int
    code: Code
    run_id: int | None
    number: int
    amount_minor: int
    suspense_minor: int


async def propose_resolution(
    connection: AsyncConnection,
    selection: Selection,
    action: Action,
    *,
    reason: str,
    comment: str = "",
    target: Target | None = None,
    expected: int | None = None,
    on: date,
    actor: str,
) -> Decision:
    """Propose what is to be done about the breaks chosen, effective `on`; nothing is posted yet.

    Of a selection without numbers all that are open or assigned; those nobody had are then the proposer's. `target`:
    whose the money is, where the breaks do not say; `expected`: how many were seen to be chosen. Raises InvalidInput
    where nothing is chosen or no reason is given, BreakRefused where a break is decided already, other breaks are
    chosen by now, or a code does not allow the action, with what does.
    """
    if not reason.strip():
        raise InvalidInput("--reason is empty: say why, for who approves and for the record")
    if selection.ids:
        await _check_free(connection, selection.ids)
    custodians = await list_custodians(connection)
    where = selection.where(custodians, on) & breaks.c.state.in_(_FREE)
    chosen = await _chosen(connection, where)
    number = sum(each.number for each in chosen)
    refuse_other_number(expected, number)
    _check_action(action, chosen, target)
    detail: dict[str, Any] = {
        "action": action,
        "reason": reason,
        "number": number,
        "amount_minor": sum(each.amount_minor for each in chosen),
        "suspense_minor": sum(each.suspense_minor for each in chosen),
        "codes": ", ".join(sorted({each.code for each in chosen})),
        **({} if not comment else {"comment": comment}),
        **({} if target is None else {"for": asdict(target)}),
        **await _named(connection, where, number, selection),
    }
    plan_id, subject = await _about(connection, chosen, where, custodians)
    decision = await propose(connection, plan_id, Kind.RESOLUTION, subject, detail, on=on, actor=actor)
    unassigned = where & (breaks.c.state == State.OPEN)
    await write_events(connection, unassigned, Event.ASSIGN, on=on, actor=actor, reason=f"to {actor}")
    moved = await connection.execute(
        update(breaks)
        .where(where)
        .values(
            state=State.PROPOSED,
            decision_id=decision.decision_id,
            assigned_to=func.coalesce(breaks.c.assigned_to, actor),
        )
    )
    if moved.rowcount != number:
        raise BreakRefused("other breaks were opened or decided at the same moment; propose it again")
    why = f"{action}: {reason}"
    await _note(connection, decision, Event.PROPOSE, actor, why, comment)
    return decision


async def plan_of_target(connection: AsyncConnection, plan_id: int | None, run_id: int | None) -> int:
    """The plan of a seat that somebody names: that of the run, if one is given. Raises InvalidInput, NotFound."""
    if run_id is not None:
        return (await load_run(connection, run_id)).plan_id
    if plan_id is None:
        raise InvalidInput("whose seat it is nobody knows: give the run, or the plan")
    return plan_id


async def resolve(connection: AsyncConnection, decision: Decision, *, actor: str) -> dict[str, Any]:
    """Do what was proposed about the decision's breaks, all of them or none; what it came to.

    Raises BreakRefused where they, or the instructions they are about, are no longer what was decided on.
    """
    detail, on = decision.detail, decision.effective_on
    action = Action(detail["action"])
    where = _of(decision)
    # What a statement says of the same instructions is taken before this, or after.
    held = await connection.scalars(
        select(breaks.c.custodian_id).where(where).distinct().order_by(breaks.c.custodian_id)
    )
    for custodian_id in held.all():
        await lock_custodian(connection, custodian_id)
    chosen = await _chosen(connection, where)
    sums = {name: sum(getattr(each, name) for each in chosen) for name in ("number", "amount_minor", "suspense_minor")}
    if any(sums[name] != detail[name] for name in sums):
        raise BreakRefused(f"the breaks of {decision.name} are not those proposed; refuse it and propose again")
    target = Target(**detail["for"]) if "for" in detail else None
    outcome = await post_resolution(connection, decision, action, target)
    written_off = action is Action.WRITE_OFF
    end, last = (State.WRITTEN_OFF, Event.WRITE_OFF) if written_off else (State.RESOLVED, Event.RESOLVE)
    for event in (Event.APPROVE, last):
        await _note(connection, decision, event, actor, f"{action}: {detail['reason']}")
    await connection.execute(update(breaks).where(where).values(state=end, closed_on=on))
    return {"number": detail["number"], **outcome}


async def let_go(connection: AsyncConnection, decision: Decision, *, reason: str, actor: str) -> None:
    """Its breaks are free again once a decision is refused; those that a statement explained meanwhile are cleared."""
    on, where = decision.effective_on, _of(decision)
    await _note(connection, decision, Event.REJECT, actor, reason)
    runs = list(
        await connection.scalars(select(breaks.c.run_id).where(where, breaks.c.code == Code.MISSING_AT_BANK).distinct())
    )
    await connection.execute(update(breaks).where(where).values(state=State.ASSIGNED, decision_id=None))
    for run_id in sorted(runs):
        await clear_missing(connection, run_id, on=on, actor=actor)


def _of(decision: Decision) -> ColumnElement[bool]:
    """The breaks that a decision holds, or ended."""
    return breaks.c.decision_id == decision.decision_id


async def _note(
    connection: AsyncConnection, decision: Decision, event: Event, actor: str, reason: str, comment: str = ""
) -> None:
    """One more step in the life of every break of a decision."""
    on, decision_id = decision.effective_on, decision.decision_id
    await write_events(
        connection,
        _of(decision),
        event,
        on=on,
        actor=actor,
        reason=reason,
        comment=comment,
        decision_id=decision_id,
    )


async def _check_free(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Every one is there, and nobody decided or proposes about it. Raises InvalidInput, BreakRefused."""
    await check_each(connection, ids)
    taken = (
        await connection.execute(
            select(breaks.c.break_id, breaks.c.state, breaks.c.decision_id)
            .where(breaks.c.break_id.in_(ids), breaks.c.state.not_in(_FREE))
            .order_by(breaks.c.break_id)
            .limit(1)
        )
    ).one_or_none()
    if taken is not None:
        by = f" by decision {taken.decision_id}" if taken.decision_id is not None else ""
        raise BreakRefused(f"break {taken.break_id} is {taken.state}{by}; leave it out, or refuse that decision first")


async def _chosen(connection: AsyncConnection, where: ColumnElement[bool]) -> list[Chosen]:
    """The breaks by plan, code and run, locked until the transaction ends."""
    locked = select(breaks).where(where).with_for_update().subquery()
    run_id = case((is_of_run(locked.c.kind), locked.c.run_id))
    columns = (locked.c.plan_id, locked.c.code, run_id)
    sums = (func.count(), func.sum(locked.c.amount_minor), func.sum(locked.c.suspense_minor))
    found = await connection.execute(select(*columns, *sums).group_by(*columns).order_by(*columns))
    return [Chosen(plan_id, Code(code), run, *map(int, numbers)) for plan_id, code, run, *numbers in found]


def _check_action(action: Action, chosen: Sequence[Chosen], target: Target | None) -> None:
    """Raises InvalidInput where nothing is chosen, BreakRefused where a code does not allow the action."""
    if not chosen:
        raise InvalidInput("no open break is so; `fentan reconcile breaks` shows those there are")
    for each in chosen:
        if each.code not in POSSIBLE[action]:
            instead = " or ".join(actions_for(each.code))
            raise BreakRefused(f"{each.code} cannot be ended by {action!s}; possible: {instead}")
    if action is Action.MATCH and target is None:
        raise InvalidInput("match needs to know whose debit it is: give --run RUN and --seat SEAT (or --member REF)")
    if target is not None and action not in (Action.MATCH, Action.GIVE_BACK):
        raise InvalidInput(f"a seat is given for match and give back, not for {action!s}; leave it out")
    if action is Action.EXPLAIN:
        for plan_id in {each.plan_id for each in chosen}:
            left = sum(each.suspense_minor for each in chosen if each.plan_id == plan_id)
            if left:
                raise BreakRefused(
                    f"{grouped(left)} stands on suspense for these breaks and has to go somewhere; "
                    "choose an action that posts it, or name the breaks that cancel each other"
                )


async def _named(
    connection: AsyncConnection, where: ColumnElement[bool], number: int, selection: Selection
) -> dict[str, Any]:
    """How a decision says which breaks it is about: their numbers, or the words they were chosen by."""
    if number <= IDS_SHOWN:
        ids = await connection.scalars(select(breaks.c.break_id).where(where).order_by(breaks.c.break_id))
        return {"breaks": list(ids)}
    given = {name: value for name, value in asdict(selection).items() if value not in (None, ()) and name != "ids"}
    return {"chosen_by": ", ".join(f"{name.removesuffix('_id')} {value!s}" for name, value in given.items())}


async def _about(
    connection: AsyncConnection,
    chosen: Sequence[Chosen],
    where: ColumnElement[bool],
    custodians: Sequence[Custodian],
) -> tuple[int, str]:
    """The plan in whose name it is decided, and the subject: the break, the run, or the custodian."""
    plan_ids, runs = {each.plan_id for each in chosen}, {each.run_id for each in chosen}
    if sum(each.number for each in chosen) == 1:
        break_id = await connection.scalar(select(breaks.c.break_id).where(where))
        return chosen[0].plan_id, f"break:{break_id}"
    (run_id,) = runs if len(runs) == 1 else (None,)
    if run_id is not None and len(plan_ids) == 1:
        return chosen[0].plan_id, f"run:{run_id}"
    held = set(await connection.scalars(select(breaks.c.custodian_id).where(where).distinct()))
    (custodian, *others) = (each for each in custodians if each.custodian_id in held)
    if others:
        raise InvalidInput("these breaks are of several custodians; give --custodian CODE")
    return min(plan_ids) if len(plan_ids) == 1 else custodian.home_plan, f"custodian:{custodian.code}"
