"""A quote of an event plan is what its run would play."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from engine.apportion import Case, Histogram, play
from engine.cli.quote import Pool, answer_to
from engine.errors import InvalidInput
from engine.money import to_minor
from engine.plans import NoSharers, case_cap, terms
from engine.roster.presets import load_plan

RULES = load_plan("waterdrop")
HOLDS = RULES.share.no_sharers is NoSharers.HOLD


@given(
    members=st.integers(1, 2_000),
    balance=st.integers(100, 2_000),
    aids=st.lists(st.integers(1, 500_000), min_size=1, max_size=6),
    carry_in=st.integers(0, 5_000),
)
@example(members=3, balance=100, aids=[200, 200], carry_in=0)
def test_a_quote_plays_the_rounds_of_a_run(members: int, balance: int, aids: list[int], carry_in: int) -> None:
    cases = [Case(aid, 0, case_cap(RULES)) for aid in aids]
    played = play(Histogram.alike(members, balance), (0,), cases, terms(RULES), carry_in, floor=100)
    pool = Pool(tuple(aids), carry_in, balance=balance)
    try:
        answer = answer_to(RULES, {0: members}, pool)
    except InvalidInput:
        assert HOLDS
        assert played.no_sharers
        return
    assert not played.no_sharers
    money = {name: to_minor(answer[name]) for name in ("share", "charged", "sponsor", "fee", "carry_out", "aid_paid")}
    assert money == {
        "share": int(played.charges[0]),
        "charged": played.charged,
        "sponsor": played.sponsor,
        "fee": sum(played.fees),
        "carry_out": played.carry_out,
        "aid_paid": sum(played.aids),
    }
    assert ("per_case" in answer["caps_hit"], "balance" in answer["caps_hit"]) == (
        played.case_capped > 0,
        played.allowance_capped > 0,
    )
