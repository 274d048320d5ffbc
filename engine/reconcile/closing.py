"""A run's last states: settled once its debits are through, closed once nothing of it is left to be done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import UNRESOLVED, of_run
from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.standing import read_standing, sent_batches
from engine.errors import InvalidInput
from engine.ledger.accounts import plan_shard
from engine.money import grouped
from engine.reconcile.funnel import FunnelLeaks, funnel_of
from engine.reconcile.overpaid import owe_back
from engine.reconcile.payouts import aid_owed
from engine.roster.plan import rules_of
from engine.runs.run import Run, lock_run_or_wait, move
from engine.runs.states import NotNow, RunEvent, RunState
from engine.store.audit import record
from engine.store.tables import breaks, run_shards

UNDER_WAY = (State.ASSESSED, State.SENT, State.DISPUTED)
"""What may still become anything: nobody settles over it."""

_NAMED = 5


class Lack(StrEnum):
    """What keeps a run from being closed."""

    NOT_SETTLED = "not settled"
    FUNNEL_LEAKS = "funnel leaks"
    DEBITS_OWED = "debits owed"
    DEBITS_RETURNED = "debits returned"
    AID_UNPAID = "aid unpaid"
    PAYOUTS_UNDER_WAY = "payouts under way"
    BREAKS_UNRESOLVED = "breaks unresolved"


@dataclass(frozen=True)
class Missing:
    """One thing that is still to be done. `text`: it in a sentence; `count` and `amount_minor`: of what there is such.

    `claims`: the first numbers of the claims it is about; `breaks`: the code of the breaks it is about.
    """

    lack: Lack
    text: str
    count: int | None = None
    amount_minor: int | None = None
    claims: tuple[int, ...] = ()
    breaks: Code | None = None


async def settle_if_done(
    connection: AsyncConnection, run_id: int, *, on: date, actor: str, to_ask_again: int = 0
) -> RunState:
    """Move a collecting run on to settled once none of its debits is under way; the state it then has.

    `to_ask_again`: how many of those that came back will be asked for again, which is for the collecting to say; above
    0 the run goes on collecting. What corrections left overpaid is owed back then. A run in another state is let be.
    """
    run = await lock_run_or_wait(connection, run_id)
    if run.state is not RunState.COLLECTING or to_ask_again or await debits_under_way(connection, run):
        return run.state
    await owe_back(connection, run.plan_id, run.name, on=on)
    await record(connection, actor, "settle run", run.name, {"on": on.isoformat()})
    return await move(connection, run, RunEvent.SETTLE)


async def debits_under_way(connection: AsyncConnection, run: Run) -> bool:
    """Whether any debit of the run is asked for, and neither paid, nor back, nor written off."""
    files = await sent_batches(connection, run.run_id, Kind.DEBIT)
    shards = select(run_shards.c.shard_id).where(run_shards.c.run_id == run.run_id).order_by(run_shards.c.shard_id)
    for shard_id in await connection.scalars(shards):
        standing = await read_standing(connection, shard_id, run.run_id, Kind.DEBIT, batches=files)
        if standing.where(*UNDER_WAY).size:
            return True
    return False


async def close_run(
    connection: AsyncConnection, run_id: int, *, on: date, actor: str, reason: str | None = None
) -> RunState:
    """Close a settled run: its aid is paid, its breaks are resolved, its funnel ties (I12).

    Closed already is as good. Raises NotNow for a run that is not settled, InvalidInput that lists what is missing.
    """
    run = await lock_run_or_wait(connection, run_id)
    if run.state is RunState.CLOSED:
        return run.state
    if run.state is not RunState.SETTLED:
        raise NotNow(f"{run.name} is {run.state}; a run is closed once it is settled")
    if missing := await missing_to_close(connection, run):
        raise InvalidInput("\n".join([f"{run.name} cannot be closed yet:", *(each.text for each in missing)]))
    await record(connection, actor, "close run", run.name, {"on": on.isoformat()}, reason=reason)
    return await move(connection, run, RunEvent.CLOSE)


async def missing_to_close(connection: AsyncConnection, run: Run) -> list[Missing]:
    """What is still to be done before a run can be closed; nothing of a run that is closed.

    Of a settled run every debit is looked at, a shard at a time.
    """
    if run.state not in (RunState.SEALED, RunState.COLLECTING, RunState.SETTLED):
        return []
    if run.state is RunState.SETTLED:
        missing = [each async for each in _debits_left(connection, run)]
    else:
        missing = [Missing(Lack.NOT_SETTLED, f"it is {run.state}: its debits are not all through")]
    missing += [each async for each in _aid_left(connection, run)]
    return missing + [each async for each in _breaks_left(connection, run)]


async def _debits_left(connection: AsyncConnection, run: Run) -> AsyncIterator[Missing]:
    """By the funnel's amounts; a plan without the table unpaid lets who was asked and did not pay go on owing."""
    try:
        funnel = await funnel_of(connection, run.run_id)
    except FunnelLeaks as error:
        yield Missing(Lack.FUNNEL_LEAKS, str(error))
        return
    is_written_off = (await rules_of(connection, run.plan_id, run.rules_version)).unpaid is not None
    if (part := funnel.in_flight).count or part.amount_minor:
        said = f"{grouped(part.amount_minor)} is owed and not in yet, {part.count:,} debits are in flight"
        yield Missing(Lack.DEBITS_OWED, said, part.count, part.amount_minor)
    if (part := funnel.returned).amount_minor and is_written_off:
        said = f"{part.count:,} debits of {grouped(part.amount_minor)} came back, and are not written off"
        yield Missing(Lack.DEBITS_RETURNED, said, part.count, part.amount_minor)


async def _aid_left(connection: AsyncConnection, run: Run) -> AsyncIterator[Missing]:
    owed = await aid_owed(connection, run)
    if owed:
        claims, amount = "claim" if len(owed) == 1 else "claims", sum(owed.values())
        said = (
            f"{grouped(amount)} of aid is not paid, of {len(owed):,} {claims}; "
            f"`fentan reconcile pay {run.run_id} --as NAME` proposes it"
        )
        yield Missing(Lack.AID_UNPAID, said, len(owed), amount)
    files = await sent_batches(connection, run.run_id, Kind.PAYOUT)
    standing = await read_standing(connection, plan_shard(run.plan_id), run.run_id, Kind.PAYOUT, batches=files)
    if (under_way := standing.where(*UNDER_WAY)).size:
        numbers = under_way.tolist()
        said = f"on no statement yet: the payouts to claims {_listed(numbers)}"
        yield Missing(Lack.PAYOUTS_UNDER_WAY, said, len(numbers), claims=tuple(numbers[:_NAMED]))


async def _breaks_left(connection: AsyncConnection, run: Run) -> AsyncIterator[Missing]:
    found = await connection.execute(
        select(breaks.c.code, func.count())
        .where(of_run(run.run_id), breaks.c.state.in_(UNRESOLVED))
        .group_by(breaks.c.code)
        .order_by(breaks.c.code)
    )
    for code, count in found:
        said = f"{count:,} × {code} not resolved; `fentan reconcile breaks --run {run.run_id}` shows them"
        yield Missing(Lack.BREAKS_UNRESOLVED, said, count, breaks=Code(code))


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_NAMED])) + (", …" if len(numbers) > _NAMED else "")
