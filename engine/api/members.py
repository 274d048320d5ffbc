"""Members, known by their seats: how each stands, every entry in their name, proofs of their shares, and returns."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE, FINANCE, SCHEDULERS
from engine.api.days import happened_on
from engine.api.endpoint import Endpoints
from engine.api.fields import Amount, Code, Day, Id, Model, Money, Numbered, Page, Paged, Seat, minor
from engine.api.plans import DayOf, OfPlan, plan_and_rules
from engine.api.service import Call
from engine.errors import NotFound
from engine.ledger.accounts import seat_shard
from engine.ledger.proof import Proof, SeatShare, prove, shares_of_seat
from engine.ledger.statement import Entry, read_statement
from engine.members.member import Member, member_of, no_member
from engine.members.returning import Owed, come_back, owed
from engine.roster.members import find_seats, ref_of, seat_taken
from engine.roster.plan import Plan, plan_of
from engine.runs.instructions import is_debited, payers_of_seat
from engine.runs.periods import Period, periods
from engine.store.tables import PLAN_STRIDE

endpoints = Endpoints("members", "Members by their seats: how each stands, their statements, proofs of their shares.")

MemberRef = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""The member's reference in the roster: in bodies alone, never in an address."""


class OfMember(OfPlan):
    """One seat of a plan."""

    seat: Seat


class MemberOn(DayOf):
    """One seat of a plan on a day; today unless one is given."""

    seat: Seat


class StatementPart(Paged):
    """Which part of a seat's statement."""

    plan: Code
    seat: Seat
    after: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}:[0-9]{1,5}$")] = None


class SharePart(Paged):
    """Which of a seat's shares."""

    plan: Code
    seat: Seat
    after: Numbered = None


class OfProof(OfMember):
    """One seat's share in a sealed run."""

    run_id: Id


class Reference(Model):
    """Who is looked for."""

    member_ref: MemberRef


class Spell(Model):
    """A time as a member, which has a seat of its own: 1 is the first."""

    spell: int
    seat: int


class Spells(Model):
    """The seats of one member."""

    plan: str
    spells: list[Spell]


class Known(Model):
    """Who has a seat."""

    plan: str
    seat: int
    member_ref: str


class MemberView(Model):
    """A member as they stand on a day. `ends_on`: the first day not covered; null: no end in sight.

    `frozen_until`: null for a freeze without end. `balance`: null where nothing is prepaid. `refund`: owed to them.
    `payer_seat`: who pays for them; `pays_for`: the seats whose shares they pay.
    """

    plan: str
    seat: int
    spell: int
    tier: str
    shares_from: Day
    claims_from: Day
    ends_on: Day | None
    in_force: bool
    frozen_from: Day | None
    frozen_until: Day | None
    balance: Money | None
    owed: Money
    refund: Money
    payer_seat: int | None
    pays_for: list[int]


class EntryView(Model):
    """One amount on one of the member's accounts, debits positive, and the account's balance after it.

    `shard_id`, `seq`: where its journal stands. `paid_by_seat`: whose bank account the share is debited to, where it is
    not the member's.
    """

    shard_id: int
    seq: int
    effective_on: Day
    kind: str
    run_id: int | None
    account: int
    account_name: str
    amount: Money
    balance: Money
    paid_by_seat: int | None


class Missed(Model):
    """What a run would have charged."""

    run_id: int
    share: Money


class OwedView(Model):
    """What it costs a frozen member to return. `needed`: the least to pay in, so that `floor` is left."""

    plan: str
    seat: int
    frozen_from: Day
    return_by: Day
    balance: Money
    floor: Money
    missed: Money
    needed: Money
    runs: list[Missed]


class ShareView(Model):
    """A seat's share in a sealed run, charged or given; null: the run was frozen before the seat was there.

    `waived`: the part that the sponsor paid. `root`: of the run's seal, under which the share stands.
    """

    run_id: int
    kind: str
    unit: str
    debit_on: Day
    share: Money | None
    waived: Money | None
    root: str


class Leaf(Model):
    """128 consecutive seats, fewer at the end of a shard: their amounts, and their member tags in hexadecimal."""

    first_seat: int
    amounts: list[Money]
    tags: list[str]


class Step(Model):
    """A hash on the way up, and whether it stands on the left."""

    sibling: str
    is_left: bool


class ProofView(Model):
    """That a share stands under a run's seal: the leaf it is in, the steps up to the root, the root before.

    A leaf's hash is SHA-256(00 ‖ amounts in minor units as little-endian int64 ‖ tags), a node's SHA-256(01 ‖ left ‖
    right), the seal SHA-256(02 ‖ the previous root, 32 zero bytes for none ‖ the top node).
    """

    plan: str
    run_id: int
    seat: int
    amount: Money
    tag: str
    leaf: Leaf
    steps: list[Step]
    previous_root: str | None
    root: str


class Return(Model):
    """What a frozen member pays in to come back, from a day on; today unless one is given."""

    amount: Amount
    on: Day | None = None


class ReturnView(Model):
    """A return that was made: paid in, paid for the shares missed, and left."""

    plan: str
    seat: int
    on: Day
    paid: Money
    missed: Money
    balance: Money


async def _seated(call: Call, code: str, seat: int) -> Plan:
    """The plan, of which somebody has the seat. Raises NotFound."""
    plan = await plan_of(call.connection, code)
    if not await seat_taken(call.connection, plan.plan_id, seat):
        raise no_member(plan, seat)
    return plan


@endpoints.post("/plans/{plan}/members/find", EVERYONE)
async def find_member(call: Call, params: OfPlan, body: Reference) -> Spells:
    """Which seats a member has: each time they joined gave them one."""
    plan = await plan_of(call.connection, params.plan)
    seats = [seat for _, seat in await find_seats(call.connection, plan.plan_id, body.member_ref)]
    if not seats:
        raise NotFound(f"{plan.code} has no such member; check the reference")
    return Spells(plan=plan.code, spells=[Spell(spell=spell, seat=seat) for spell, seat in enumerate(seats, start=1)])


@endpoints.get("/plans/{plan}/members/{seat}", EVERYONE)
async def show_member(call: Call, params: MemberOn) -> MemberView:
    """How a member stands: cover, freeze, balance, debts, and who pays for whom."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = params.on or call.today(rules.time_zone)
    return _member(await member_of(call.connection, plan, rules, params.seat, on=on))


async def _standing(call: Call, params: OfMember) -> MemberView:
    return await show_member(call, MemberOn(plan=params.plan, seat=params.seat))


def _member(member: Member) -> MemberView:
    return MemberView(
        plan=member.plan,
        seat=member.seat,
        spell=member.spell,
        tier=member.tier,
        shares_from=member.shares_from,
        claims_from=member.claims_from,
        ends_on=member.ends_on,
        in_force=member.in_force,
        frozen_from=member.frozen_from,
        frozen_until=member.frozen_until,
        balance=member.balance_minor,
        owed=member.owed_minor,
        refund=member.refund_minor,
        payer_seat=member.payer.seat if member.payer else None,
        pays_for=[each.seat for each in member.pays_for],
    )


@endpoints.get("/plans/{plan}/members/{seat}/reference", SCHEDULERS | FINANCE)
async def show_reference(call: Call, params: OfMember) -> Known:
    """Who has a seat: the one answer that says a member's reference."""
    plan = await plan_of(call.connection, params.plan)
    ref = await ref_of(call.connection, plan.plan_id, params.seat)
    return Known(plan=plan.code, seat=params.seat, member_ref=ref)


@endpoints.get("/plans/{plan}/members/{seat}/statement", EVERYONE)
async def show_member_statement(call: Call, params: StatementPart) -> Page[EntryView]:
    """Every entry in a member's name with the balance after it, in the order they were posted."""
    plan = await _seated(call, params.plan, params.seat)
    shard_id = seat_shard(plan.plan_id, params.seat)
    statement = await read_statement(call.connection, shard_id, params.seat)
    seq, code = map(int, params.after.split(":")) if params.after else (-1, 0)
    # Balances are of all that came before; so all of it is read, and a part of it shown.
    following = (row for row in statement.running() if _place(row[0]) > (seq, code))
    shown = list(islice(following, params.limit + 1))
    paid_by: dict[int, int] = {}
    if any(is_debited(entry) for entry, _ in shown):
        paid_by = await payers_of_seat(call.connection, shard_id, params.seat)
    return call.page(
        shown,
        params.limit,
        lambda row: _entry(*row, paid_by),
        lambda row: ":".join(map(str, _place(row[0]))),
    )


def _place(entry: Entry) -> tuple[int, int]:
    """Where an entry stands in its statement: by journal and by account."""
    return entry.seq, entry.account_id % PLAN_STRIDE


def _entry(entry: Entry, balance: int, paid_by: dict[int, int]) -> EntryView:
    return EntryView(
        shard_id=entry.shard_id,
        seq=entry.seq,
        effective_on=entry.effective_on,
        kind=entry.kind,
        run_id=entry.run_id,
        account=int(entry.account),
        account_name=entry.account.title,
        amount=entry.amount,
        balance=balance,
        paid_by_seat=paid_by.get(entry.run_id) if entry.run_id is not None and is_debited(entry) else None,
    )


@endpoints.get("/plans/{plan}/members/{seat}/owed", EVERYONE)
async def show_owed(call: Call, params: MemberOn) -> OwedView:
    """What it costs a frozen member to return: the shares missed, and the floor."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = params.on or call.today(rules.time_zone)
    return _owed(plan, await owed(call.connection, plan, rules, params.seat, on=on))


def _owed(plan: Plan, cost: Owed) -> OwedView:
    return OwedView(
        plan=plan.code,
        seat=cost.seat,
        frozen_from=cost.frozen_from,
        return_by=cost.return_by,
        balance=cost.balance_minor,
        floor=cost.floor_minor,
        missed=cost.missed_minor,
        needed=cost.needed_minor,
        runs=[Missed(run_id=run_id, share=share) for run_id, share in cost.missed.items()],
    )


@endpoints.get("/plans/{plan}/members/{seat}/shares", EVERYONE)
async def list_of_shares(call: Call, params: SharePart) -> Page[ShareView]:
    """What a seat was charged by each sealed run of its plan, or given, newest first; each has a proof."""
    plan = await _seated(call, params.plan, params.seat)
    before = int(params.after) if params.after else None
    found = await periods(call.connection, plan.plan_id, before=before, limit=params.limit + 1)
    shard_id = seat_shard(plan.plan_id, params.seat)
    shares = await shares_of_seat(call.connection, shard_id, params.seat, (each.run_id for each in found))
    return call.page(found, params.limit, lambda each: _share(each, shares.get(each.run_id)), lambda each: each.run_id)


def _share(period: Period, share: SeatShare | None) -> ShareView:
    return ShareView(
        run_id=period.run_id,
        kind=period.kind,
        unit=period.unit,
        debit_on=period.debit_on,
        share=share.amount if share else None,
        waived=share.waived if share else None,
        root=period.root.hex(),
    )


@endpoints.get("/plans/{plan}/members/{seat}/proofs/{run_id}", EVERYONE)
async def show_proof(call: Call, params: OfProof) -> ProofView:
    """That a member's share stands under a run's seal, for who wants to check it."""
    plan = await _seated(call, params.plan, params.seat)
    shard_id = seat_shard(plan.plan_id, params.seat)
    return _proof(plan, await prove(call.connection, params.run_id, shard_id, params.seat))


def _proof(plan: Plan, proof: Proof) -> ProofView:
    return ProofView(
        plan=plan.code,
        run_id=proof.run_id,
        seat=proof.seat,
        amount=proof.amount,
        tag=proof.tag.hex(),
        leaf=Leaf(
            first_seat=proof.first_seat,
            amounts=proof.amounts.tolist(),
            tags=[tag.hex() for tag in proof.leaf_tags],
        ),
        steps=[Step(sibling=step.sibling.hex(), is_left=step.is_left) for step in proof.steps],
        previous_root=proof.previous_root.hex() if proof.previous_root else None,
        root=proof.root.hex(),
    )


@endpoints.post("/plans/{plan}/members/{seat}/return", FINANCE, moves_money=True, changes=_standing)
async def return_member(call: Call, params: OfMember, body: Return) -> ReturnView:
    """Let a frozen member return: what they pay in covers the shares missed, and the freeze ends."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = happened_on(call, rules.time_zone, body.on)
    made = await come_back(call.connection, plan, rules, params.seat, minor(body.amount), on=on, actor=call.actor)
    return ReturnView(
        plan=plan.code,
        seat=made.seat,
        on=on,
        paid=made.paid_minor,
        missed=made.missed_minor,
        balance=made.balance_minor,
    )
