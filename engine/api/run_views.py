"""Runs as answers show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field

from engine.api.fields import Day, Model, Moment, Money
from engine.reconcile.run_report import RunReport
from engine.runs.headway import Headway, PlacedShard, RunShard
from engine.runs.run import Run
from engine.runs.shards import Phase, ShardState
from engine.runs.states import NotNow, RunState
from engine.store.tables import IN_THE_BOOKS

FAILED_SHOWN = 20
"""Failed shards of an outcome; the list of shards has them all."""

WrittenMoney = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{2}$")]
"""Money that is kept as decimal text in major units."""


class SurplusView(Model):
    """What a credit run gives back: a period's premiums less claims and costs."""

    premiums: Money
    claims: Money
    costs: Money


class RunView(Model):
    """A run, as it stands. Before its preview there are no cases counted and no amounts.

    `share`: the most that one seat is charged, or given; `charged`: all that its members pay, or are given, and
    `sponsor` what they do not. `root`: of its seal, which covers the plan's `previous_root`.
    """

    run_id: int
    plan: str
    kind: str
    debit_on: Day
    surplus: SurplusView | None
    state: RunState
    is_paused: bool
    planned_by: str
    approved_by: str | None
    members: int | None
    cases: int | None
    share: WrittenMoney | None
    charged: WrittenMoney | None
    sponsor: WrittenMoney | None
    preview_digest: str | None
    previous_root: str | None
    root: str | None
    void_root: str | None
    moments: Mapping[str, Moment]
    failure: str | None

    @property
    def is_in_the_books(self) -> bool:
        """Whether what it charged stands."""
        return self.state in IN_THE_BOOKS


class ClassView(Model):
    """Seats of one tier that share the same cases up to the same allowance, and what each is charged."""

    tier: str
    gates: list[str]
    allowance: WrittenMoney | None
    seats: int
    exact: str
    charge: WrittenMoney


class RoundView(Model):
    """One case of an event plan: who shared it, and what each pays by tier."""

    claim: int
    sharers: int
    shares: Mapping[str, WrittenMoney]
    charged: WrittenMoney
    aid: WrittenMoney
    fee: WrittenMoney
    sponsor: WrittenMoney
    carry: WrittenMoney


class WrittenSurplus(Model):
    """What a credit run's surplus comes from."""

    premiums: WrittenMoney
    claims: WrittenMoney
    costs: WrittenMoney


class BarView(Model):
    """How many seats pay from `low` to `high`, both included, and what they come to."""

    low: WrittenMoney
    high: WrittenMoney
    seats: int
    charged: WrittenMoney


class TierView(Model):
    """What the seats of a tier pay: the least and the most of one seat, and all together."""

    tier: str
    seats: int
    least: WrittenMoney
    most: WrittenMoney
    charged: WrittenMoney


class PreviewView(Model):
    """What would be charged, to whom, who hits which cap, what the sponsor pays. An approval names its digest.

    `spread`: seats by what they pay, the least first, each amount by itself or in ranges of one width.
    """

    run_id: int
    digest: str
    plan: str
    debit_on: Day
    cases: int
    members: int
    sharers: int
    aid: WrittenMoney
    fee: WrittenMoney
    carry_in: WrittenMoney
    carry_out: WrittenMoney
    charged: WrittenMoney
    sponsor: WrittenMoney
    waived_seats: int
    waived: WrittenMoney
    share: WrittenMoney
    caps_hit: Mapping[str, int]
    spread: tuple[BarView, ...] = ()
    tiers: tuple[TierView, ...] = ()
    surplus: WrittenSurplus | None = None
    classes: list[ClassView] | None = None
    rounds: list[RoundView] | None = None


class CaseView(Model):
    """A passed claim inside the run; without a claim the surplus of a credit run."""

    claim_id: int | None
    aid: WrittenMoney
    aid_paid: WrittenMoney | None
    fee: WrittenMoney | None


class TotalsView(Model):
    """What was posted, waived seats with the sponsor; `money_in` and `money_out` tie (I5)."""

    members: int
    sharers: int
    charged: Money
    sponsor: Money
    carry_in: Money
    money_in: Money
    aid: Money
    fee: Money
    carry_out: Money
    money_out: Money
    ties: bool
    waived: Money
    waived_seats: int
    share: Money


class PhaseView(Model):
    """How long a phase took."""

    seconds: float
    members_per_second: float


class FailedShardView(Model):
    """A shard that waits for a person."""

    shard_id: int
    error: str


class OutcomeView(Model):
    """What a run came to, and what is still to be done."""

    run_id: int
    plan: str
    debit_on: Day
    state: RunState
    is_paused: bool
    waits_for: str | None
    totals: TotalsView | None
    cases: list[CaseView]
    phases: Mapping[str, PhaseView]
    shards_failed: int
    failed_shards: list[FailedShardView]
    missing_to_close: list[str]
    failure: str | None


class ProgressView(Model):
    """How far a run is, in shards and seats of the phase under way; the speed is that of the last ten seconds."""

    run_id: int
    state: RunState
    is_paused: bool
    failure: str | None
    phase: Phase | None
    shards: int
    shards_done: int
    shards_working: int
    shards_failed: int
    shards_due: int
    seats: int
    seats_done: int
    seats_working: int
    seats_failed: int
    members_per_second: int
    seconds_left: float | None


class RunShardView(Model):
    """One shard of a run. `seconds`: it took, or takes so far."""

    shard_id: int
    number: int
    seats: int
    phase: Phase
    state: ShardState
    attempt: int
    failures: int
    worker: str | None
    error: str | None
    claimed_at: Moment | None
    finished_at: Moment | None
    seconds: float | None


class PlacedShardView(Model):
    """A shard by its number in the plan, and where it stands."""

    number: int
    phase: Phase
    state: ShardState


class ShardMap(Model):
    """Every shard of a run, in their order."""

    run_id: int
    shards: list[PlacedShardView]


def run_view(run: Run) -> RunView:
    """A run."""
    surplus = None
    if run.surplus is not None:
        surplus = SurplusView(**{name: run.surplus[f"{name}_minor"] for name in SurplusView.model_fields})
    return RunView(
        run_id=run.run_id,
        plan=run.plan_code,
        kind=run.kind,
        debit_on=run.debit_on,
        surplus=surplus,
        state=run.state,
        is_paused=run.paused,
        planned_by=run.planned_by,
        approved_by=run.approved_by,
        members=run.members,
        **{name: (run.preview or {}).get(name) for name in ("cases", "share", "charged", "sponsor")},
        preview_digest=_hex(run.preview_digest),
        previous_root=_hex(run.previous_root),
        root=_hex(run.root),
        void_root=_hex(run.void_root),
        moments={name: datetime.fromisoformat(moment) for name, moment in run.moments.items()},
        failure=run.failure,
    )


def preview_view(run: Run) -> PreviewView:
    """Its preview. Raises NotNow while there is none."""
    if run.preview is None or run.preview_digest is None:
        raise NotNow(f"run {run.run_id} is {run.state} and has no preview; its progress says how far it is")
    return PreviewView.model_validate({"run_id": run.run_id, "digest": run.preview_digest.hex(), **run.preview})


def outcome_view(report: RunReport) -> OutcomeView:
    """What it came to."""
    run, totals = report.run, None
    if (posted := report.totals) is not None:
        named = {name: getattr(posted, name) for name in TotalsView.model_fields if name != "ties"}
        totals = TotalsView(**named, ties=posted.money_in == posted.money_out)
    return OutcomeView(
        run_id=run.run_id,
        plan=run.plan_code,
        debit_on=run.debit_on,
        state=run.state,
        is_paused=run.paused,
        waits_for=report.waits_for,
        totals=totals,
        cases=[
            CaseView(claim_id=case["claim"], **{name: case[name] for name in ("aid", "aid_paid", "fee")})
            for case in report.cases
        ],
        phases={name: PhaseView(**took) for name, took in report.phases.items()},
        shards_failed=len(report.failed),
        failed_shards=[FailedShardView(shard_id=shard, error=error) for shard, error in report.failed[:FAILED_SHOWN]],
        missing_to_close=[each.text for each in report.missing],
        failure=run.failure,
    )


def progress_view(headway: Headway) -> ProgressView:
    """How far it is."""
    counted, left = headway.shards, headway.seconds_left
    return ProgressView(
        run_id=headway.run_id,
        state=headway.state,
        is_paused=headway.is_paused,
        failure=headway.failure,
        phase=headway.phase,
        shards=counted.shards,
        shards_done=counted.done,
        shards_working=counted.working,
        shards_failed=counted.failed,
        shards_due=counted.due,
        seats=counted.seats,
        seats_done=counted.seats_done,
        seats_working=counted.seats_working,
        seats_failed=counted.seats_failed,
        members_per_second=round(headway.seats_per_second),
        seconds_left=None if left is None else round(left, 1),
    )


def shard_view(shard: RunShard) -> RunShardView:
    """One of its shards."""
    return RunShardView(**{name: getattr(shard, name) for name in RunShardView.model_fields})


def map_view(run_id: int, placed: Sequence[PlacedShard]) -> ShardMap:
    """All of them, in short."""
    return ShardMap(run_id=run_id, shards=[PlacedShardView(**each._asdict()) for each in placed])


def _hex(digest: bytes | None) -> str | None:
    return digest.hex() if digest else None
