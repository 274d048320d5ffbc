"""Answers about who calls, members, claims, runs and schedules."""

from __future__ import annotations

from typing import Any, TypedDict


class Me(TypedDict):
    """Whose token the request came with, and what it may."""

    token_id: int
    name: str
    role: str
    scopes: list[str] | None
    expires_at: str


class Spells(TypedDict):
    """The seats of one member."""

    plan: str
    spells: list[Spell]


class Spell(TypedDict):
    """A time as a member, which has a seat of its own: 1 is the first."""

    spell: int
    seat: int


class Member(TypedDict):
    """A member as they stand on a day."""

    plan: str
    seat: int
    spell: int
    tier: str
    shares_from: str
    claims_from: str
    ends_on: str | None
    in_force: bool
    frozen_from: str | None
    frozen_until: str | None
    balance: str | None
    owed: str
    refund: str
    payer_seat: int | None
    pays_for: list[int]


class StatementEntry(TypedDict):
    """One amount on one of the member's accounts, debits positive, and the account's balance after it."""

    shard_id: int
    seq: int
    effective_on: str
    kind: str
    run_id: int | None
    account: int
    account_name: str
    amount: str
    balance: str
    paid_by_seat: int | None


class Proof(TypedDict):
    """That a share stands under a run's seal: the leaf it is in, the steps up to the root, the root before."""

    plan: str
    run_id: int
    seat: int
    amount: str
    tag: str
    leaf: ProofLeaf
    steps: list[ProofStep]
    previous_root: str | None
    root: str


class ProofLeaf(TypedDict):
    """128 consecutive seats, fewer at the end of a shard: their amounts, and their member tags in hexadecimal."""

    first_seat: int
    amounts: list[str]
    tags: list[str]


class ProofStep(TypedDict):
    """A hash on the way up, and whether it stands on the left."""

    sibling: str
    is_left: bool


class Claim(TypedDict):
    """A claim."""

    claim_id: int
    plan: str
    number: int
    seat: int
    state: str
    diagnosed_on: str
    filed_on: str
    severity: str | None
    aid: str
    due: str
    shared: str
    next: str
    left: str
    recovered: str
    stage_on: str | None
    run_id: int | None
    notice_on: str | None
    notice_ends_on: str | None


class ClaimRecord(Claim):
    """A claim with every objection to it and every decision on it, oldest first."""

    objections: list[Objection]
    history: list[ClaimEvent]


class Objection(TypedDict):
    """An objection to a claim; open until it has a resolution."""

    claim_id: int
    number: int
    raised_on: str
    reason: str
    resolved_on: str | None
    resolution: str | None


class ClaimEvent(TypedDict):
    """One decision on a claim, and what it rested on."""

    event: str
    on: str
    actor: str
    detail: dict[str, Any]


class Passed(TypedDict):
    """The claims that passed, in filing order."""

    plan: str
    on: str
    passed: list[int]


class Run(TypedDict):
    """A run, as it stands."""

    run_id: int
    plan: str
    kind: str
    debit_on: str
    surplus: Surplus | None
    state: str
    is_paused: bool
    planned_by: str
    approved_by: str | None
    members: int | None
    cases: int | None
    share: str | None
    charged: str | None
    sponsor: str | None
    preview_digest: str | None
    previous_root: str | None
    root: str | None
    void_root: str | None
    moments: dict[str, str]
    failure: str | None


class Surplus(TypedDict):
    """What a credit run gives back: a period's premiums less claims and costs."""

    premiums: str
    claims: str
    costs: str


class Preview(TypedDict):
    """What would be charged, to whom, who hits which cap, what the sponsor pays."""

    run_id: int
    digest: str
    plan: str
    debit_on: str
    cases: int
    members: int
    sharers: int
    aid: str
    fee: str
    carry_in: str
    carry_out: str
    charged: str
    sponsor: str
    waived_seats: int
    waived: str
    share: str
    caps_hit: dict[str, int]
    spread: list[Bar]
    tiers: list[TierShares]
    surplus: Surplus | None
    classes: list[ShareClass] | None
    rounds: list[Round] | None


class Bar(TypedDict):
    """How many seats pay from `low` to `high`, both included, and what they come to."""

    low: str
    high: str
    seats: int
    charged: str


class TierShares(TypedDict):
    """What the seats of a tier pay: the least and the most of one seat, and all together."""

    tier: str
    seats: int
    least: str
    most: str
    charged: str


class ShareClass(TypedDict):
    """Seats of one tier that share the same cases up to the same allowance, and what each is charged."""

    tier: str
    gates: list[str]
    allowance: str | None
    seats: int
    exact: str
    charge: str


class Round(TypedDict):
    """One case of an event plan: who shared it, and what each pays by tier."""

    claim: int
    sharers: int
    shares: dict[str, str]
    charged: str
    aid: str
    fee: str
    sponsor: str
    carry: str


class Outcome(TypedDict):
    """What a run came to, and what is still to be done."""

    run_id: int
    plan: str
    debit_on: str
    state: str
    is_paused: bool
    waits_for: str | None
    totals: RunTotals | None
    cases: list[Case]
    phases: dict[str, Phase]
    shards_failed: int
    failed_shards: list[FailedShard]
    missing_to_close: list[str]
    failure: str | None


class RunTotals(TypedDict):
    """What was posted, waived seats with the sponsor; `money_in` and `money_out` tie (I5)."""

    members: int
    sharers: int
    charged: str
    sponsor: str
    carry_in: str
    money_in: str
    aid: str
    fee: str
    carry_out: str
    money_out: str
    ties: bool
    waived: str
    waived_seats: int
    share: str


class Case(TypedDict):
    """A passed claim inside the run; without a claim the surplus of a credit run."""

    claim_id: int | None
    aid: str
    aid_paid: str | None
    fee: str | None


class Phase(TypedDict):
    """How long a phase took."""

    seconds: float
    members_per_second: float


class FailedShard(TypedDict):
    """A shard that waits for a person."""

    shard_id: int
    error: str


class Progress(TypedDict):
    """How far a run is, in shards and seats of the phase under way; the speed is that of the last ten seconds."""

    run_id: int
    state: str
    is_paused: bool
    failure: str | None
    phase: str | None
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


class Standing(TypedDict):
    """A schedule and what it has to do: the next debit day without a run, slots that were missed, claims that wait."""

    plan: str
    plans_at: str | None
    set_by: str | None
    set_at: str | None
    refusal: str | None
    tried_at: str | None
    next_slot: str | None
    missed_slots: int
    claims_waiting: int


class Slot(TypedDict):
    """One debit day."""

    debit_on: str
    state: str
    claims: int
    run_id: int | None
    run_state: str | None
    skipped_by: str | None
    reason: str | None


class Schedule(TypedDict):
    """When the clock plans the runs of a plan, and in whose name; all null where it does not."""

    plan: str
    plans_at: str | None
    set_by: str | None
    set_at: str | None
    refusal: str | None
    tried_at: str | None
