"""The share run as a row: load, lock, move, and the inputs it pins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Row, Select, Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import Case, Outcome, unpack
from engine.errors import FentanError, NotFound
from engine.ledger.accounts import Account, account_id, share_account, share_unit
from engine.plans.member_rules import Direction
from engine.plans.rules import PlanRules
from engine.roster.plan import rules_of
from engine.runs.states import RunEvent, RunState, after
from engine.store.outbox import Event, announce
from engine.store.tables import plan_rules, plans, run_cases, run_shards, share_runs


class PreviewChanged(FentanError):
    """What would be posted is not what was approved; plan a new run."""

    invariant = "I13"


@dataclass(frozen=True)
class Run:
    """One share run. Amounts in minor units; `moments` says when each state began.

    `kind`: share or credit; of a credit run `surplus` says what it gives and where that comes from, and `debit_on` is
    the day members are credited.
    """

    run_id: int
    plan_id: int
    plan_code: str
    rules_version: int
    kind: str
    debit_on: date
    surplus: Mapping[str, Any] | None
    state: RunState
    paused: bool
    planned_by: str
    approved_by: str | None = None
    freeze_expires_at: datetime | None = None
    members: int | None = None
    carry_in: int | None = None
    ledger_seq: int | None = None
    clip: int | None = None
    pointers: Mapping[str, int] | None = None
    sealed_pointers: Mapping[str, int] | None = None
    solution: bytes | None = None
    preview: Mapping[str, Any] | None = None
    preview_digest: bytes | None = None
    approved_digest: bytes | None = None
    previous_root: bytes | None = None
    root: bytes | None = None
    void_root: bytes | None = None
    moments: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None

    @property
    def name(self) -> str:
        """How it is called in keys and logs: `run:7`."""
        return f"run:{self.run_id}"


@dataclass(frozen=True)
class Inputs:
    """What a run pinned, and what every step of it is a pure function of, with the shard's roster.

    `claims`, `claim_numbers`: of each case; none in a credit run.
    """

    run: Run
    rules: PlanRules
    cases: tuple[Case, ...]
    claims: tuple[int, ...]
    claim_numbers: tuple[int, ...]
    solution: Outcome | None

    @property
    def is_credit(self) -> bool:
        """Whether members are given something, rather than charged."""
        return self.rules.direction is Direction.CREDIT

    @property
    def unit(self) -> int:
        """The unit the run is kept in: the plan's currency, or cover."""
        return share_unit(self.rules)

    @property
    def shares_on(self) -> int:
        """The account each seat's share is posted on."""
        return self.account(share_account(self.rules))

    def account(self, code: Account) -> int:
        """The id of the plan's account in the run's unit."""
        return account_id(self.run.plan_id, code, self.unit)

    @property
    def gates(self) -> tuple[int, ...]:
        """Sorted distinct day numbers."""
        return tuple(sorted({case.gate for case in self.cases}))

    @property
    def pointers(self) -> dict[int, int]:
        """Tier → seat where the rotation of odd units stands."""
        return {int(tier): seat for tier, seat in (self.run.pointers or {}).items()}

    @property
    def seed(self) -> bytes:
        """Where exact rounding starts: the plan and the day, so that a run planned anew starts alike."""
        return f"{self.run.plan_code}:{self.run.debit_on.isoformat()}".encode()


def _run(row: Row[Any]) -> Run:
    values = row._asdict()
    return Run(**values | {"state": RunState(values["state"])})


_RUNS = select(share_runs, plans.c.code.label("plan_code")).join(plans, plans.c.plan_id == share_runs.c.plan_id)


async def load_run(connection: AsyncConnection, run_id: int) -> Run:
    """The run. Raises InvalidInput when there is none."""
    row = (await connection.execute(_RUNS.where(share_runs.c.run_id == run_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}; `fentan run list` shows those there are")
    return _run(row)


async def lock_run(connection: AsyncConnection, run_id: int, *, against_posting: bool = False) -> Run | None:
    """The run, locked until the transaction ends; None while another holds it.

    `against_posting` also waits for the shards being posted, and keeps new ones out.
    """
    query = _RUNS.where(share_runs.c.run_id == run_id)
    if against_posting:
        query = query.with_for_update(of=share_runs)
    else:
        query = query.with_for_update(of=share_runs, key_share=True, skip_locked=True)
    row = (await connection.execute(query)).one_or_none()
    return _run(row) if row is not None else None


async def lock_run_or_wait(connection: AsyncConnection, run_id: int) -> Run:
    """The run, locked until the transaction ends, for a person's decision. Raises InvalidInput."""
    await load_run(connection, run_id)
    row = (await connection.execute(_RUNS.where(share_runs.c.run_id == run_id).with_for_update(of=share_runs))).one()
    return _run(row)


class RunKind(StrEnum):
    """What a run does to its members."""

    SHARE = "share"
    """It charges them."""

    CREDIT = "credit"
    """It gives them a surplus."""


@dataclass(frozen=True)
class Which:
    """Which runs: of a plan, in a state, of a kind, debited from one day to another; all of them where None."""

    plan_id: int | None = None
    state: RunState | None = None
    kind: RunKind | None = None
    first: date | None = None
    last: date | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """What the row of each of them fulfils."""
        of = share_runs.c
        return [
            *(column == wanted for column, wanted in self._equal(of) if wanted is not None),
            *([] if self.first is None else [of.debit_on >= self.first]),
            *([] if self.last is None else [of.debit_on <= self.last]),
        ]

    def _equal(self, of: Any) -> tuple[tuple[Any, object], ...]:
        return (of.plan_id, self.plan_id), (of.state, self.state), (of.kind, self.kind)


ALL_RUNS = Which()

_LEFT_OUT = ("solution", "preview")
_SHORT = share_runs.c.preview.op("-", return_type=JSONB)(cast(["classes", "rounds", "spread"], ARRAY(Text)))
# What is large of a run, and of its preview, is no matter in a list.
_LISTED: Select[Any] = select(
    *(column for column in share_runs.c if column.name not in _LEFT_OUT),
    _SHORT.label("preview"),
    plans.c.code.label("plan_code"),
).join(plans, plans.c.plan_id == share_runs.c.plan_id)


async def list_runs(
    connection: AsyncConnection, which: Which = ALL_RUNS, *, before: int | None = None, limit: int = 50
) -> list[Run]:
    """The latest runs, newest first, those before the run of a number; without their solutions and who pays what."""
    query = _LISTED.where(*which.conditions).order_by(share_runs.c.run_id.desc()).limit(limit)
    if before is not None:
        query = query.where(share_runs.c.run_id < before)
    return [_run(row) for row in await connection.execute(query)]


async def count_runs(connection: AsyncConnection, which: Which) -> dict[RunState, int]:
    """How many of the runs are in each state that any of them is in, in the order of a run's life."""
    query = select(share_runs.c.state, func.count().label("runs")).where(*which.conditions).group_by(share_runs.c.state)
    found = {row.state: row.runs for row in await connection.execute(query)}
    return {state: found[state] for state in RunState if state in found}


_TOLD = {
    RunState.SEALED: Event.RUN_SEALED,
    RunState.SETTLED: Event.RUN_SETTLED,
    RunState.CLOSED: Event.RUN_CLOSED,
}


async def move(connection: AsyncConnection, run: Run, event: RunEvent, **values: Any) -> RunState:
    """Move a locked run by `event`, writing `values` with it; who wants to know is told. Raises NotNow."""
    state = after(run.state, event)
    await connection.execute(
        update(share_runs)
        .where(share_runs.c.run_id == run.run_id, share_runs.c.state == run.state)
        .values(state=state, moments=share_runs.c.moments.op("||")(_moment(state)), **values)
    )
    if state in _TOLD:
        root: bytes | None = values.get("root", run.root)
        said = {"run_id": run.run_id, "plan": run.plan_code, "kind": run.kind, "debit_on": run.debit_on.isoformat()}
        await announce(connection, _TOLD[state], run.name, said | {"root": root.hex() if root else None})
    return state


def frozen_at() -> ColumnElement[datetime]:
    """When a run was frozen: the order in which runs of a plan stand on each other, whatever their numbers."""
    return cast(share_runs.c.moments["frozen"].astext, DateTime(timezone=True))


async def note_moment(connection: AsyncConnection, run: Run, moment: str) -> None:
    """Write down when a step inside a state began."""
    await connection.execute(
        update(share_runs)
        .where(share_runs.c.run_id == run.run_id)
        .values(moments=share_runs.c.moments.op("||")(_moment(moment)))
    )


def _moment(name: str) -> Any:
    return func.jsonb_build_object(str(name), func.clock_timestamp(), type_=JSONB)  # a StrEnum binds without a type


async def inputs_of(connection: AsyncConnection, run: Run) -> Inputs:
    """Everything the run pinned but the rosters, which each shard reads for itself."""
    rules = await rules_of(connection, run.plan_id, run.rules_version)
    rows = (
        await connection.execute(select(run_cases).where(run_cases.c.run_id == run.run_id).order_by(run_cases.c.number))
    ).all()
    return Inputs(
        run=run,
        rules=rules,
        cases=tuple(Case(row.aid_minor, row.gate_day, row.cap_minor) for row in rows),
        claims=tuple(row.claim_id for row in rows if row.claim_id is not None),
        claim_numbers=tuple(row.claim_number for row in rows if row.claim_id is not None),
        solution=unpack(run.solution) if run.solution is not None else None,
    )


async def digest_of(connection: AsyncConnection, inputs: Inputs) -> bytes:
    """SHA-256 of everything an approval stands for: rules, roster versions, cases, carry, seqs, and the solution."""
    if inputs.solution is None:
        raise PreviewChanged(f"{inputs.run.name} has no solution")
    run = inputs.run
    # The digest of the rules as they were registered: a later release may know rules that these did not state.
    rules = (
        await connection.execute(
            select(plan_rules.c.digest).where(
                plan_rules.c.plan_id == run.plan_id, plan_rules.c.version == run.rules_version
            )
        )
    ).scalar_one()
    shards = await connection.execute(
        select(run_shards.c.shard_id, run_shards.c.roster_version, run_shards.c.ledger_seq)
        .where(run_shards.c.run_id == inputs.run.run_id)
        .order_by(run_shards.c.shard_id)
    )
    pinned: Sequence[object] = [
        rules.hex(),
        inputs.run.debit_on.isoformat(),
        [tuple(row) for row in shards],
        [(case.aid, case.gate, case.cap) for case in inputs.cases],
        inputs.claims,
        [inputs.run.carry_in, inputs.run.ledger_seq, inputs.run.clip, sorted(inputs.pointers.items())],
        inputs.solution.digest().hex(),
        *([] if run.surplus is None else [sorted(run.surplus.items())]),
    ]
    return hashlib.sha256(json.dumps(pinned, separators=(",", ":")).encode()).digest()
