"""What a balance is, in words."""

from __future__ import annotations

import pytest

from engine.ledger.accounts import COVER, CURRENCY, Account
from engine.ledger.books import BookedAccount, difference_of, explanation


@pytest.mark.parametrize(
    ("account", "closing", "debtors", "creditors", "words"),
    [
        (Account.CONTRIBUTIONS_RECEIVABLE, 12_00, 12, 0, "owed by 12 members"),
        (Account.CONTRIBUTIONS_RECEIVABLE, 11_00, 12, 1, "owed by 12 members, owed to 1 member"),
        (Account.CONTRIBUTIONS_RECEIVABLE, 0, 1, 1, "owed by 1 member, owed to 1 member"),
        (Account.CONTRIBUTIONS_RECEIVABLE, 0, 0, 0, "settled"),
        (Account.MEMBER_DEPOSITS, -9_00, 0, 1_234, "paid in by 1,234 members and not drawn"),
        (Account.AID_PAYABLE, -5, 0, 3, "aid to be paid out for 3 claims"),
        (Account.SPONSOR_RECEIVABLE, 1, 0, 0, "the insurer still to pay"),
        (Account.SPONSOR_RECEIVABLE, -1, 0, 0, "owed to the insurer, or paid by it for what it bears"),
        (Account.SPONSOR_WAIVERS, 7, 2, 0, "borne by the insurer, in place of 2 members"),
        (Account.RETAINED_RESULT, 1, 0, 0, "lost over the plan's life"),
    ],
)
def test_a_balance_is_explained(account: Account, closing: int, debtors: int, creditors: int, words: str) -> None:
    assert explanation(account, closing, debtors, creditors, "the insurer") == words


@pytest.mark.parametrize("unit", [CURRENCY, COVER])
@pytest.mark.parametrize("account", Account)
def test_every_account_has_words_for_both_sides(account: Account, unit: int) -> None:
    counts = [(1, 0), (0, 1)] if account.is_control else [(0, 0), (0, 0)]
    in_debit, in_credit = (
        explanation(account, closing, *count, "the sponsor", unit)
        for closing, count in zip((1, -1), counts, strict=True)
    )
    assert len({in_debit, in_credit, "settled"}) == 3
    assert "{" not in in_debit + in_credit


def test_the_closings_come_to_nothing_or_the_books_are_broken() -> None:
    def booked(account: Account, **by_kind: int) -> BookedAccount:
        return BookedAccount(account, CURRENCY, by_kind, 0, 0, "")

    carry = booked(Account.CARRY, seal=-7, void=7, recovery=-3)
    assert (carry.closing, carry.holders) == (-3, 0)
    assert difference_of([carry, booked(Account.CUSTODIAN_CASH, recovery=3)]) == 0
    assert difference_of([carry]) == -3
