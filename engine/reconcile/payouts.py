"""The aid of a run is paid to its claimants: proposed by one, carried out once another approves (I13).

What is still to be paid is what the run's journals leave on aid payable, claim by claim: what a payout took off, and
what came back of it, are there. So a payout that came back is simply proposed again, as another attempt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files import Batch
from engine.custodian.desk import Desk
from engine.custodian.reference import Kind as Asked
from engine.custodian.registered import Custodian, custodian_of_plan
from engine.decisions import Decision, Kind, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post
from engine.members.shards import Amounts, Shard, amounts_under, shard_of
from engine.money import BIGINT_MAX
from engine.plans.aid_rules import PayoutWhen
from engine.reconcile.locking import first_open_day
from engine.reconcile.paying import accounts_of, begin_attempt, part_of, refuse_second
from engine.reconcile.writing import Part, write_batches
from engine.roster.plan import rules_of
from engine.runs.run import Run, lock_run_or_wait
from engine.runs.states import NotNow, RunState
from engine.store.tables import IN_THE_BOOKS, SHARD_SEATS, claims, run_cases, share_runs

_FROM = {
    PayoutWhen.SEALED: tuple(RunState(state) for state in IN_THE_BOOKS),
    PayoutWhen.SETTLED: (RunState.SETTLED, RunState.CLOSED),
}


class Payable(NamedTuple):
    """What a run owes one claimant, in minor units.

    `claim`: its number in the plan. `set_off_minor`: what was recovered before it was ever paid out; it stays.
    """

    claim: int
    pay_minor: int
    set_off_minor: int


async def propose_payouts(connection: AsyncConnection, run_id: int, *, on: date, actor: str) -> Decision:
    """Propose to pay all aid of a run that is not paid yet, on the day `on` or the next the custodian can be reached.

    Raises NotNow before the state that the plan's rule asks for (`payout.when`), InvalidInput when nothing is to be
    paid, while another proposal is open, for a day before the debit day, and while no custodian holds the money.
    """
    run = await lock_run_or_wait(connection, run_id)
    await custodian_of_plan(connection, run.plan_id)
    found = await _payable_now(connection, run, on)
    await refuse_second(connection, run.plan_id, Kind.PAYOUT, run.name)
    detail = {"run": run_id, "claims": [list(each) for each in found], **_sums(found)}
    return await propose(connection, run.plan_id, Kind.PAYOUT, run.name, detail, on=on, actor=actor)


async def pay_out(
    connection: AsyncConnection, decision: Decision, desk: Desk, *, now: datetime, actor: str
) -> dict[str, Any]:
    """Post the aid as on its way, and write the files that ask for it; what that came to.

    Raises InvalidInput where what is to be paid is no longer what was proposed, and for claimants whose account nobody
    knows; NotNow as `propose_payouts` does.
    """
    run = await lock_run_or_wait(connection, int(decision.detail["run"]))
    found = await _payable_now(connection, run, decision.effective_on)
    if found != [Payable(*each) for each in decision.detail["claims"]]:
        raise InvalidInput(
            f"what {run.name} owes its claimants changed since {decision.name}: refuse it, propose again"
        )
    on = await first_open_day(connection, run.plan_id, decision.effective_on)
    await _post_set_off(connection, decision, run, found, on)
    paid = [each for each in found if each.pay_minor]
    if not paid:
        return _sums(found)
    custodian = await custodian_of_plan(connection, run.plan_id)
    batch = await begin_attempt(
        connection, custodian, decision, Asked.PAYOUT, run.run_id, files=1, now=now, actor=actor
    )
    parts = _parts(connection, run, custodian, batch, paid, desk, on)
    files = await write_batches(connection, custodian.profile, batch, parts, desk)
    return {**_sums(found), "attempt": batch.attempt, "pay_on": batch.debit_on.isoformat(), "files": len(files)}


async def aid_owed(connection: AsyncConnection, run: Run) -> dict[int, int]:
    """By the claim's number what the run's journals leave on aid payable, in minor units, where that is not 0."""
    owed = await _aid_payable(connection, run.plan_id, f"starts_with(journals.idempotency_key, '{run.name}:')")
    return {claim: amount for claim, amount in enumerate(owed.tolist()) if amount}


async def _payable_now(connection: AsyncConnection, run: Run, on: date) -> list[Payable]:
    if run.kind != "share":
        raise InvalidInput(
            f"{run.name} gave its members a surplus; `fentan reconcile refund {run.plan_code} --as NAME` pays that"
        )
    when = (await rules_of(connection, run.plan_id, run.rules_version)).payout.when
    if run.state not in _FROM[when]:
        raise NotNow(f"{run.name} is {run.state}; {run.plan_code} pays aid once the run is {when} (payout.when)")
    if on < run.debit_on:
        raise InvalidInput(f"--on {on}: {run.name} is debited on {run.debit_on}; its aid is not paid before that")
    found = await payable(connection, run)
    if not found:
        raise InvalidInput(f"all aid of {run.name} is paid, or on its way to be")
    return found


async def payable(connection: AsyncConnection, run: Run) -> list[Payable]:
    """What the run still owes each claimant, by the claims' numbers.

    Aid that was recovered before it was paid out never left: so much of it is set off.
    """
    await shard_of(connection, plan_shard(run.plan_id))  # what is read is still so when it is posted
    owed = await aid_owed(connection, run)
    if not owed:
        return []
    left_in_all = await _aid_payable(connection, run.plan_id, "true")
    of_claim = (
        select(claims.c.number, claims.c.recovered_minor, func.sum(run_cases.c.aid_paid_minor).label("shared_minor"))
        .join(run_cases, run_cases.c.claim_id == claims.c.claim_id)
        .join(share_runs, share_runs.c.run_id == run_cases.c.run_id)
        .where(claims.c.plan_id == run.plan_id, claims.c.number.in_(list(owed)), share_runs.c.state.in_(IN_THE_BOOKS))
        .group_by(claims.c.claim_id)
    )
    found = []
    for row in await connection.execute(of_claim.order_by(claims.c.number)):
        paid = int(row.shared_minor) - int(left_in_all[row.number])
        set_off = min(max(row.recovered_minor - paid, 0), owed[row.number])
        found.append(Payable(row.number, owed[row.number] - set_off, set_off))
    return found


async def _aid_payable(connection: AsyncConnection, plan_id: int, where: str) -> Amounts:
    """int64[n] minor units by the claim's number: what the journals that `where` picks leave to be paid."""
    last = await connection.scalar(select(func.max(claims.c.number)).where(claims.c.plan_id == plan_id))
    by_claim = Shard(plan_shard(plan_id), first_seat=0, seats=int(last or 0) + 1, seq=BIGINT_MAX)
    return -await amounts_under(connection, by_claim, Account.AID_PAYABLE, where)


def _sums(found: Sequence[Payable]) -> dict[str, int]:
    return {
        "claimants": len(found),
        "amount_minor": sum(each.pay_minor for each in found),
        "set_off_minor": sum(each.set_off_minor for each in found),
    }


async def _parts(
    connection: AsyncConnection,
    run: Run,
    custodian: Custodian,
    batch: Batch,
    paid: Sequence[Payable],
    desk: Desk,
    on: date,
) -> AsyncIterator[Part]:
    """The one part there is, on the plan's shard 0; posted before it is asked for."""
    numbers = np.array([each.claim for each in paid], np.int32)
    amounts = np.array([each.pay_minor for each in paid], np.int64)
    key = f"{run.name}:payout:{batch.attempt}"
    await _post_off_aid(connection, run, numbers, amounts, Account.PAYOUTS_IN_TRANSIT, key, "settlement", on)
    accounts = await _claimants_accounts(connection, run.plan_id, numbers.tolist(), custodian, desk)
    yield part_of(batch, plan_shard(run.plan_id), numbers, numbers.astype(np.int64), amounts, accounts)


async def _claimants_accounts(
    connection: AsyncConnection, plan_id: int, numbers: Sequence[int], custodian: Custodian, desk: Desk
) -> pa.StringArray:
    """string[k]: the account of each claim's seat. Raises InvalidInput that names the claims without one."""
    rows = (
        await connection.execute(
            select(claims.c.number, claims.c.claim_id, claims.c.shard_id, claims.c.seat)
            .where(claims.c.plan_id == plan_id, claims.c.number.in_(numbers))
            .order_by(claims.c.number)
        )
    ).all()
    known = {
        shard_id: await accounts_of(connection, shard_id, custodian.profile, desk)
        for shard_id in sorted({row.shard_id for row in rows})
    }
    accounts = [known[row.shard_id][row.seat % SHARD_SEATS].as_py() for row in rows]
    if without := ", ".join(str(row.claim_id) for row, account in zip(rows, accounts, strict=True) if account is None):
        raise InvalidInput(
            f"nobody said on which accounts the claimants of claims {without} are paid; "
            "bring them in with `fentan roster accounts`"
        )
    return pa.array(accounts, pa.string())


async def _post_set_off(
    connection: AsyncConnection, decision: Decision, run: Run, found: Sequence[Payable], on: date
) -> None:
    """Aid that was recovered before it was paid: what the recovery booked as back with the custodian never left it."""
    kept = [each for each in found if each.set_off_minor]
    if not kept:
        return
    numbers = np.array([each.claim for each in kept], np.int32)
    amounts = np.array([each.set_off_minor for each in kept], np.int64)
    key = f"{run.name}:set-off:{decision.decision_id}"
    await _post_off_aid(connection, run, numbers, amounts, Account.CUSTODIAN_CASH, key, "recovery", on)


async def _post_off_aid(
    connection: AsyncConnection,
    run: Run,
    numbers: NDArray[np.int32],
    amounts: Amounts,
    account: Account,
    key: str,
    kind: str,
    on: date,
) -> None:
    """Take amounts off aid payable, by the claims' numbers, and put them on another account of the plan."""
    aid = Segment(account_id(run.plan_id, Account.AID_PAYABLE), amounts, numbers)
    lines = {aid.account_id: aid.total, account_id(run.plan_id, account): -aid.total}
    await post(connection, Journal(plan_shard(run.plan_id), key, kind, on, lines, (aid,)))
