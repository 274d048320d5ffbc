"""What actions do: at every position balanced, and suspense left with nothing, whatever stands there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.custodian.actions import OF_DEBTS, POSSIBLE, Action, Stand, actions_for, bars, effect_of
from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.reference import INSTRUCTED, Kind
from engine.ledger.accounts import Account

AMOUNTS = st.integers(-20, 20)

Row = tuple[int, int, int, State, bool, bool]
ROWS = st.lists(
    st.tuples(AMOUNTS, st.integers(1, 20), st.integers(-5, 20), st.sampled_from(State), st.booleans(), st.booleans()),
    min_size=1,
    max_size=6,
)


def stand(kind: Kind, rows: Sequence[Row]) -> Stand:
    suspense, asked, owed, state, last, of_debt = (np.array(column) for column in zip(*rows, strict=True))
    owed = owed if kind.is_debit else np.zeros(len(rows), np.int64)
    return Stand(kind, suspense, asked, owed, state.astype(np.uint8), last, of_debt, np.ones(len(state), np.int32))


def one(kind: Kind, suspense: int, asked: int, state: State, owed: int = 0) -> Stand:
    return stand(kind, [(suspense, asked, owed, state, True, True)])


RAISED_SINCE: Row = (10, 10, 5, State.WRITTEN_OFF, True, True)
"""It comes after it was written off, and a correction raised what the seat owes."""


@given(st.sampled_from(INSTRUCTED), ROWS, st.sampled_from(Action))
@example(Kind.DEBIT, [RAISED_SINCE], Action.ACCEPT)
def test_an_action_balances_at_every_position_and_clears_suspense(kind: Kind, rows: list[Row], action: Action) -> None:
    stood = stand(kind, rows)
    effect = effect_of(action, stood)
    assert np.all(sum(effect.postings.values(), np.zeros(len(rows), np.int64)) == 0)
    barred = np.logical_or.reduce([np.zeros(len(rows), np.bool_), *(where for where, _ in bars(action, stood))])
    taken = effect.postings.get(Account.SUSPENSE, np.zeros(len(rows), np.int64))
    if action is Action.EXPLAIN:
        assert not taken.any()
    else:
        assert np.array_equal(taken[~barred], stood.suspense_minor[~barred])


@given(st.sampled_from([Kind.DEBIT, Kind.LEVY]), ROWS, st.sampled_from(Action))
def test_a_debit_that_is_booked_or_lost_is_owed_no_more(kind: Kind, rows: list[Row], action: Action) -> None:
    stood = stand(kind, rows)
    effect = effect_of(action, stood)
    owed = stood.owed_minor + effect.postings.get(Account.CONTRIBUTIONS_RECEIVABLE, np.zeros(len(rows), np.int64))
    before = stood.is_in(State.WRITTEN_OFF)
    assert np.all(owed[np.isin(effect.state, [State.BOOKED, State.WRITTEN_OFF]) & ~before] <= 0)


def test_what_comes_after_it_was_lost_is_recovered_and_pays_nothing_that_was_never_asked() -> None:
    effect = effect_of(Action.ACCEPT, stand(Kind.DEBIT, [RAISED_SINCE]))
    posted = {account: int(each[0]) for account, each in effect.postings.items() if each[0]}
    assert posted == {Account.SUSPENSE: 10, Account.BAD_DEBT: -10}
    assert effect.state.tolist() == [State.BOOKED]


PAYMENTS = [
    # what came on suspense, asked, state: postings, state after
    (Action.ASK_AGAIN, 0, 10, State.SENT, {"transit": 10, "owed": -10}, State.RETURNED),
    (Action.ACCEPT, -10, 10, State.SENT, {"transit": 10, "suspense": -10}, State.BOOKED),
    (Action.ACCEPT, -12, 10, State.DISPUTED, {"transit": 10, "lost": 2, "suspense": -12}, State.BOOKED),
    (Action.ACCEPT, -7, 10, State.DISPUTED, {"transit": 10, "owed": -3, "suspense": -7}, State.BOOKED),
    (Action.ACCEPT, -10, 10, State.REJECTED, {"owed": 10, "suspense": -10}, State.BOOKED),
    (Action.ACCEPT, 8, 10, State.BOOKED, {"owed": -10, "charges": 2, "suspense": 8}, State.RETURNED),
    (Action.WRITE_OFF, -10, 10, State.BOOKED, {"lost": 10, "suspense": -10}, State.NONE),
]  # fmt: skip


@pytest.mark.parametrize("kind", [Kind.PAYOUT, Kind.REFUND])
@pytest.mark.parametrize(("action", "came", "asked", "state", "posted", "after"), PAYMENTS)
def test_what_an_action_does_to_a_payment(
    kind: Kind, action: Action, came: int, asked: int, state: State, posted: dict[str, int], after: State
) -> None:
    accounts = {
        "transit": Account.PAYOUTS_IN_TRANSIT,
        "owed": Account.AID_PAYABLE if kind is Kind.PAYOUT else Account.REFUNDS_PAYABLE,
        "suspense": Account.SUSPENSE,
        "lost": Account.BAD_DEBT,
        "charges": Account.BANK_CHARGES,
    }
    stood = one(kind, came, asked, state)
    assert [why for where, why in bars(action, stood) if where.any()] == []
    effect = effect_of(action, stood)
    assert {account: int(each[0]) for account, each in effect.postings.items() if each[0]} == {
        accounts[name]: amount for name, amount in posted.items()
    }
    assert State(int(effect.state[0])) is after


@pytest.mark.parametrize(
    ("action", "stood", "why"),
    [
        (Action.ASK_AGAIN, one(Kind.DEBIT, 0, 10, State.BOOKED), "its line came since"),
        (Action.WRITE_OFF, one(Kind.PAYOUT, 0, 10, State.SENT), "ask again instead"),
        (Action.WRITE_OFF, one(Kind.DEBIT, -10, 10, State.BOOKED, owed=-10), "booked once more"),
        (Action.ACCEPT, one(Kind.DEBIT, 10, 10, State.BOOKED), "give the money back"),
        (Action.ACCEPT, one(Kind.DEBIT, -10, 10, State.DISPUTED, owed=10), "never booked"),
        (Action.ACCEPT, one(Kind.DEBIT, 10, 10, State.NONE), "nothing was asked"),
        (Action.MATCH, one(Kind.DEBIT, 9, 10, State.SENT, owed=10), "less than is owed"),
        (Action.MATCH, one(Kind.DEBIT, 10, 10, State.ASSESSED, owed=10), "its file has yet to leave"),
        (Action.GIVE_BACK, one(Kind.DEBIT, -10, 10, State.BOOKED), "nothing to give back"),
        (Action.GIVE_BACK, one(Kind.PAYOUT, 10, 10, State.RETURNED), "--seat"),
        (Action.ACCEPT, stand(Kind.DEBIT, [(9, 10, 10, State.SENT, False, True)]), "asked for again since"),
    ],
)
def test_what_bars_an_action_says_what_to_do(action: Action, stood: Stand, why: str) -> None:
    said = [each for where, each in bars(action, stood) if where.all()]
    assert any(why in each for each in said)


def test_every_code_can_come_to_an_end() -> None:
    assert all(actions_for(code) for code in Code)
    assert {code for codes in POSSIBLE.values() for code in codes} == set(Code)
    assert set(Code) > OF_DEBTS
