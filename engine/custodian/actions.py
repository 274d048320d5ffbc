"""What is done about breaks, and what each does to the books and to the instruction a break is about. No I/O.

Everything is by position: all breaks about one shard of one run at once, whether they are one or a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.ledger.accounts import Account

Amounts = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Action(StrEnum):
    """What is done about a break."""

    ASK_AGAIN = "ask again"
    """The money is not with the custodian and is still owed: it is asked for, or paid, again."""

    ACCEPT = "accept"
    """What the custodian booked stands, though it is not what was asked."""

    GIVE_BACK = "give back"
    """The money belongs to a seat that does not owe it: it is paid back with the next refunds."""

    WRITE_OFF = "write off"
    """The money, or the debt, is given up: a bad debt, or what was recovered of those."""

    EXPLAIN = "explain"
    """There is nothing to post: no money is on suspense, or what is there of all of them together comes to nothing."""

    MATCH = "match"
    """A line without a reference that helps is in truth about the instruction of a seat that a person names."""


_LINES = (Code.AMOUNT_MISMATCH, Code.WRONG_DATE, Code.STATUS_CONFLICT)
_BATCHES = (Code.BATCH_SHORT, Code.BATCH_OVER)
_STATEMENTS = (Code.DUPLICATE_FILE, Code.STATEMENT_GAP, Code.BALANCE_BREAK)
OF_DEBTS = frozenset(
    {
        *(Code.MISSING_AT_BANK, Code.RETURNED_AFTER_SETTLEMENT, Code.REVERSED),
        *(Code.AMOUNT_MISMATCH, Code.WRONG_DATE),
    }
)
"""Codes of breaks that say of an instruction itself where it stands, not of money beside it."""

POSSIBLE: Mapping[Action, frozenset[Code]] = MappingProxyType(
    {
        Action.ASK_AGAIN: frozenset({Code.MISSING_AT_BANK, Code.RETURNED_AFTER_SETTLEMENT, Code.REVERSED}),
        Action.ACCEPT: frozenset({*_LINES, *_BATCHES, Code.FEE_UNEXPECTED}),
        Action.GIVE_BACK: frozenset({*_LINES, Code.DUPLICATE_AT_BANK, Code.MISSING_IN_LEDGER, Code.UNKNOWN_REFERENCE}),
        Action.WRITE_OFF: frozenset(Code) - {*_STATEMENTS, *_BATCHES},
        Action.EXPLAIN: frozenset(Code) - {Code.MISSING_AT_BANK, Code.RETURNED_AFTER_SETTLEMENT, *_BATCHES},
        Action.MATCH: frozenset({Code.MISSING_IN_LEDGER, Code.UNKNOWN_REFERENCE}),
    }
)
"""The codes that each action makes sense for."""


def actions_for(code: Code) -> tuple[Action, ...]:
    """What can be done about a break of this code, in the order of Action."""
    return tuple(action for action in Action if code in POSSIBLE[action])


@dataclass(frozen=True)
class Stand:
    """The instructions of one kind of one shard that breaks are about, an element for each of n positions.

    `suspense_minor` int64[n]: what stands on suspense for each, credits positive; `asked_minor` int64[n]: what its last
    attempt asked for; `owed_minor` int64[n], of debits: what the seat still owes for the run, of auto top-ups
    what of it is not paid in; `state` uint8[n];
    `is_last` bool[n]: the break is about the last attempt; `of_debt` bool[n]: about the debt, not money beside;
    `times` int32[n]: how many of the breaks have money on suspense.
    """

    kind: Kind
    suspense_minor: Amounts
    asked_minor: Amounts
    owed_minor: Amounts
    state: NDArray[np.uint8]
    is_last: Flags
    of_debt: Flags
    times: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.state)

    def is_in(self, *states: State) -> Flags:
        """bool[n]: the instruction is in one of these states."""
        return np.isin(self.state, states)

    @property
    def moved_minor(self) -> Amounts:
        """int64[n]: what was carried out; below 0, what came back."""
        return self.suspense_minor if self.kind.is_debit else -self.suspense_minor

    @property
    def is_debt(self) -> bool:
        """Whether members owe it; an auto top-up that does not come in is nobody's debt."""
        return self.kind in (Kind.DEBIT, Kind.LEVY)

    @property
    def owed_to(self) -> Account:
        """Where what is not carried out stands as owed: by the seat, to the seat, for the claim."""
        return OWED_ON[self.kind]


OWED_ON = {
    Kind.DEBIT: Account.CONTRIBUTIONS_RECEIVABLE,
    Kind.LEVY: Account.CONTRIBUTIONS_RECEIVABLE,
    Kind.AUTO_TOP_UP: Account.MEMBER_DEPOSITS,
    Kind.REFUND: Account.REFUNDS_PAYABLE,
    Kind.PAYOUT: Account.AID_PAYABLE,
}
"""Where it stands, by seat or claim, what instructions of a kind are asked for; of auto top-ups, where it goes."""

_BOOKED = (State.BOOKED, State.SETTLED)


class Effect:
    """What an action does by position: postings, debit positive, that come to 0 at each; and states, NONE as it was.

    `let_go_minor` int64[n]: of what becomes WRITTEN_OFF, how much.
    """

    def __init__(self, n: int) -> None:
        self.postings: dict[Account, Amounts] = {}
        self.state = np.zeros(n, np.uint8)
        self.let_go_minor = np.zeros(n, np.int64)

    def post(self, debit: Account, credit: Account, amounts: Amounts) -> None:
        """Amounts int64[n], 0 where nothing is posted, negative where it goes the other way."""
        for account, each in ((debit, amounts), (credit, -amounts)):
            self.postings[account] = self.postings.get(account, np.zeros(len(self.state), np.int64)) + each

    def become(self, state: State, where: Flags) -> None:
        """The instructions at bool[n] are in this state from now on."""
        self.state[where] = state


def effect_of(action: Action, stand: Stand) -> Effect:
    """What an action comes to where nothing bars it (`bars`)."""
    effect = Effect(len(stand))
    match action:
        case Action.ASK_AGAIN:
            _ask_again(effect, stand)
        case Action.ACCEPT | Action.MATCH:
            _carry_out(effect, stand, stand.moved_minor > 0)
            _take_back(effect, stand, stand.moved_minor < 0)
            nothing_left = (stand.moved_minor == 0) & stand.is_in(State.DISPUTED)
            effect.become(State.RETURNED, nothing_left & ((stand.owed_minor > 0) | (not stand.kind.is_debit)))
        case Action.GIVE_BACK:
            effect.post(Account.SUSPENSE, Account.REFUNDS_PAYABLE, stand.suspense_minor)
            effect.become(State.RETURNED, stand.is_in(State.DISPUTED) & stand.of_debt & (stand.owed_minor > 0))
        case Action.WRITE_OFF:
            _write_off(effect, stand)
        case Action.EXPLAIN:
            disputed = stand.is_in(State.DISPUTED) & stand.of_debt
            if not stand.kind.is_debit:
                effect.post(Account.PAYOUTS_IN_TRANSIT, stand.owed_to, np.where(disputed, stand.asked_minor, 0))
            paid = (stand.owed_minor <= 0) & stand.kind.is_debit
            effect.become(State.BOOKED, disputed & paid)
            effect.become(State.RETURNED, disputed & ~paid)
    return effect


def _carry_out(effect: Effect, stand: Stand, where: Flags) -> None:
    """What came, or went, settles the instruction.

    Of a debit: what is over is the seat's, what is short a bad debt. Of one written off before it is recovered, and
    what the seat was raised by since stays owed. Of a payment: what is over is lost, what is short is still owed.
    """
    moved = np.where(where, np.abs(stand.suspense_minor), 0)
    if stand.kind.is_debit:
        debt, was_lost = np.where(where, np.maximum(stand.owed_minor, 0), 0), stand.is_in(State.WRITTEN_OFF)
        recovered = np.minimum(np.where(was_lost, stand.asked_minor, 0), moved)
        paid = np.minimum(debt, moved - recovered)
        effect.post(Account.SUSPENSE, stand.owed_to, paid)
        effect.post(Account.SUSPENSE, Account.BAD_DEBT, recovered)
        effect.post(Account.SUSPENSE, Account.REFUNDS_PAYABLE, moved - recovered - paid)
        if stand.is_debt:
            effect.post(Account.BAD_DEBT, stand.owed_to, np.where(was_lost, 0, debt - paid))
    else:
        asked = np.where(where, stand.asked_minor, 0)
        # What was refused or came back is owed again already, and no longer under way.
        back = stand.is_in(State.REJECTED, State.RETURNED)
        paid = np.minimum(asked, moved)
        effect.post(Account.PAYOUTS_IN_TRANSIT, Account.SUSPENSE, np.where(back, 0, paid))
        effect.post(Account.PAYOUTS_IN_TRANSIT, stand.owed_to, np.where(back, 0, asked - paid))
        effect.post(stand.owed_to, Account.SUSPENSE, np.where(back, paid, 0))
        effect.post(Account.BAD_DEBT, Account.SUSPENSE, moved - paid)
    effect.become(State.BOOKED, where)


def _take_back(effect: Effect, stand: Stand, where: Flags, times: NDArray[np.int32] | int = 1) -> None:
    """What was booked came back, so many times: it is owed again; what it came back with more, or less, are charges."""
    moved = np.where(where, np.abs(stand.suspense_minor), 0)
    asked = np.where(where, times * stand.asked_minor, 0)
    if stand.kind.is_debit:
        effect.post(stand.owed_to, Account.SUSPENSE, np.minimum(moved, asked))
        effect.post(Account.BANK_CHARGES, Account.SUSPENSE, np.maximum(moved - asked, 0))
    else:
        effect.post(Account.SUSPENSE, stand.owed_to, asked)
        effect.post(Account.BANK_CHARGES, Account.SUSPENSE, asked - moved)
    effect.become(State.RETURNED, where)


def _ask_again(effect: Effect, stand: Stand) -> None:
    """What never came, came back late or was taken back is owed, and free to be asked for, or paid, again.

    What was booked once more since it was taken back stays booked; what was asked again already goes on.
    """
    taken = stand.moved_minor < 0
    _take_back(effect, stand, taken, stand.times)
    effect.become(State.NONE, taken & ~stand.is_in(State.DISPUTED))
    waits = (stand.moved_minor == 0) & stand.is_last & stand.is_in(State.SENT, State.REOPENED, State.RETURNED)
    if not stand.kind.is_debit:
        effect.post(Account.PAYOUTS_IN_TRANSIT, stand.owed_to, np.where(waits, stand.asked_minor, 0))
    effect.become(State.RETURNED, waits)


def _write_off(effect: Effect, stand: Stand) -> None:
    """What is on suspense is lost, or recovered of what was lost before; a debt that a break is about is lost too."""
    effect.post(Account.SUSPENSE, Account.BAD_DEBT, stand.suspense_minor)
    if stand.is_debt:
        ends = stand.of_debt & stand.is_last & ~stand.is_in(*_BOOKED, State.WRITTEN_OFF, State.NONE)
        debt = np.where(ends, np.maximum(stand.owed_minor, 0), 0)
        effect.post(Account.BAD_DEBT, stand.owed_to, debt)
        effect.become(State.WRITTEN_OFF, ends)
        taken_back = np.clip(-stand.suspense_minor, 0, stand.asked_minor)
        effect.let_go_minor = np.where(ends, debt + taken_back, 0)
    elif stand.kind.is_debit:
        effect.become(State.RETURNED, stand.of_debt & stand.is_in(State.DISPUTED))


def bars(action: Action, stand: Stand) -> Iterator[tuple[Flags, str]]:
    """What bars an action: bool[n] where it does, and in words what to do instead."""
    moved, silent = stand.moved_minor, stand.suspense_minor == 0
    debit = stand.kind.is_debit
    match action:
        case Action.ASK_AGAIN | Action.WRITE_OFF:
            came = silent & stand.is_last & stand.is_in(*_BOOKED)
            yield came, "its line came since; refuse the decision, and the break is cleared"
            if action is Action.ASK_AGAIN:
                yield moved > 0, "it was carried out; accept that, or give the money back"
            elif stand.is_debt:
                again = stand.of_debt & (moved < 0) & (stand.owed_minor < 0)
                yield again, "it was booked once more since it was taken back; ask again instead, which posts just that"
            else:
                yield silent, "nobody owes it: what was not paid is simply asked for, or paid, again; ask again instead"
        case Action.ACCEPT | Action.MATCH:
            yield moved.astype(np.bool_) & ~stand.is_last, "it was asked for again since; give the money back instead"
            yield stand.is_in(State.NONE), "nothing was asked of it in that run"
            done = stand.owed_minor <= 0 if debit else stand.is_in(*_BOOKED)
            settled = (moved > 0) & done & ~stand.is_in(State.WRITTEN_OFF)
            yield settled, "nothing of it is open any more; give the money back instead"
            open_ = stand.owed_minor > 0 if debit else ~stand.is_in(*_BOOKED)
            yield (moved < 0) & open_, "what came back was never booked; resolve its booking with it"
            if action is Action.MATCH:
                yield stand.is_in(State.ASSESSED), "its file has yet to leave and asks once more; give the money back"
                short = (moved > 0) & (moved < (stand.owed_minor if debit else stand.asked_minor))
                yield short, "the line is of less than is owed; accept nothing short for a line without a reference"
        case Action.GIVE_BACK:
            yield stand.suspense_minor < 0, "money went out, there is nothing to give back; write it off instead"
            if stand.kind is Kind.PAYOUT:
                yield ~silent, "a payout has no seat; name whose the money is with --seat"
