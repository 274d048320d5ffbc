"""Changes: what a seat can take, and folding against a plain model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plans import NEVER
from engine.roster.changes import Changes, Kind, apply
from engine.roster.columns import ALONE, NAMES, NO_SEATS, Columns
from engine.roster.standing import Change, Standing, payer_refusal, refusal

STAYS = Standing(shard_id=1, seat=0, spell=1, shares_from=100)
LEAVES = replace(STAYS, ended_on=200)
FROZEN = replace(STAYS, frozen_from=120, frozen_to=130)
FROZEN_FOR_GOOD = replace(STAYS, frozen_from=120, frozen_to=NEVER)
CHOSE = replace(STAYS, tier=1, tier_from=150)
PAID_FOR = replace(STAYS, seat=1, payer=7)


def change(kind: Kind, from_day: int, until_day: int = NEVER, *, tier: int = 0, payer: str | None = None) -> Change:
    return Change(2, kind, "M1", from_day, until_day, 0, tier, payer)


@pytest.mark.parametrize(
    ("standing", "asked", "refused"),
    [
        (None, change(Kind.JOIN, 100), None),
        (STAYS, change(Kind.JOIN, 300), "is a member; to come back"),
        (LEAVES, change(Kind.JOIN, 199), "is a member until 1970-07-20 and can join again"),
        (LEAVES, change(Kind.JOIN, 200), None),
        (None, change(Kind.EXIT, 100), "is no member"),
        (STAYS, change(Kind.EXIT, 100), "joined on 1970-04-11; the first day not covered comes after"),
        (STAYS, change(Kind.EXIT, 101), None),
        (LEAVES, change(Kind.EXIT, 199), None),
        (LEAVES, change(Kind.EXIT, 200), "leaves on 1970-07-20 already"),
        (None, change(Kind.FREEZE, 100), "is no member"),
        (STAYS, change(Kind.FREEZE, 99), "is not covered"),
        (STAYS, change(Kind.FREEZE, 100), None),
        (LEAVES, change(Kind.FREEZE, 200), "is not covered"),
        (FROZEN, change(Kind.FREEZE, 119, 125), "is frozen from 1970-05-01 until 1970-05-11"),
        (FROZEN, change(Kind.FREEZE, 120, 125), None),
        (FROZEN, change(Kind.FREEZE, 121), "is frozen"),
        (FROZEN, change(Kind.FREEZE, 130), "is frozen"),
        (FROZEN, change(Kind.FREEZE, 131), None),
        (FROZEN_FOR_GOOD, change(Kind.FREEZE, 500), "until further notice; give that first day again"),
        (FROZEN_FOR_GOOD, change(Kind.FREEZE, 120, 140), None),
        (None, change(Kind.TIER, 100, tier=1), "is no member"),
        (STAYS, change(Kind.TIER, 99, tier=1), "is not covered on the day it was asked"),
        (STAYS, change(Kind.TIER, 100, tier=0), "is in tier 0 already"),
        (STAYS, change(Kind.TIER, 100, tier=1), None),
        (LEAVES, change(Kind.TIER, 200, tier=1), "is not covered"),
        (FROZEN, change(Kind.TIER, 125, tier=1), None),
        (CHOSE, change(Kind.TIER, 149, tier=2), "chose tier 1, which weighs from 1970-05-31; choose again from then"),
        (CHOSE, change(Kind.TIER, 150, tier=1), "is in tier 1 already"),
        (CHOSE, change(Kind.TIER, 150, tier=2), None),
        (CHOSE, change(Kind.TIER, 150, tier=0), None),
        (None, change(Kind.PAYER, 100, payer="M2"), "is no member"),
        (STAYS, change(Kind.PAYER, 99, payer="M2"), "is not covered on the day it was asked"),
        (STAYS, change(Kind.PAYER, 100), "pays for themself already"),
        (STAYS, change(Kind.PAYER, 100, payer="M2"), None),
        (PAID_FOR, change(Kind.PAYER, 100), None),
        (PAID_FOR, change(Kind.PAYER, 100, payer="M2"), None),
    ],
)
def test_what_a_seat_can_take(standing: Standing | None, asked: Change, refused: str | None) -> None:
    said = refusal(standing, asked)
    assert (said is None) == (refused is None)
    assert (refused or "") in (said or "")


@pytest.mark.parametrize(
    ("payer", "ref", "refused"),
    [
        (STAYS, "M1", "is the member; leave it empty"),
        (None, "M2", "is no member of the plan"),
        (replace(STAYS, shares_from=101), "M2", "is not covered on 1970-04-11"),
        (replace(STAYS, ended_on=100), "M2", "is not covered"),
        (FROZEN_FOR_GOOD, "M2", None),
        (PAID_FOR, "M2", "is paid for by another"),
        (STAYS, "M2", None),
    ],
)
@pytest.mark.parametrize("kind", [Kind.JOIN, Kind.PAYER])
def test_who_can_pay_for_another(payer: Standing | None, ref: str, refused: str | None, kind: Kind) -> None:
    said = payer_refusal(payer, change(kind, 100, payer=ref))
    assert (said is None) == (refused is None)
    assert (refused or "") in (said or "")


def test_what_a_seat_says_after() -> None:
    assert STAYS.after(change(Kind.TIER, 150, tier=2)) == replace(STAYS, tier=2, tier_from=150)
    assert STAYS.after(change(Kind.PAYER, 150, payer="M2")._replace(payer=7)).payer == 7
    assert PAID_FOR.after(change(Kind.PAYER, 150)).payer == ALONE
    assert STAYS.after(change(Kind.EXIT, 150)).ended_on == 150
    frozen = STAYS.after(change(Kind.FREEZE, 110, 120))
    assert (frozen.frozen_from, frozen.frozen_to, frozen.ended_on) == (110, 120, NEVER)


Rows = list[tuple[Kind, int, int, int, int, int]]

DAYS = st.integers(1, 1000)
ROWS = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 9), DAYS, DAYS, st.integers(0, 3), st.integers(ALONE, 3)),
    max_size=30,
)


def as_changes(rows: Rows) -> Changes:
    kinds, position, from_day, until_day, tier, payer = zip(*rows, strict=True) if rows else ((), (), (), (), (), ())
    return Changes(
        np.array(kinds, np.str_),
        np.array(position, np.int32),
        np.array(from_day, np.int32),
        np.array(until_day, np.int32),
        np.array(tier, np.int16),
        np.array(payer, np.int32),
    )


def as_rows(columns: Columns) -> list[list[int]]:
    return [list(map(int, row)) for row in zip(*(columns.filled(name) for name in NAMES), strict=True)]


@given(ROWS, st.integers(0, 30))
def test_folding_does_what_a_plain_model_does_however_it_is_cut(asked: Rows, cut: int) -> None:
    model: list[dict[str, int]] = []
    rows: Rows = []
    for kind, position, from_day, until_day, tier, payer in asked:
        if kind is not Kind.JOIN and position >= len(model):
            continue
        rows.append((kind, len(model) if kind is Kind.JOIN else position, from_day, until_day, tier, payer))
        match kind:
            case Kind.JOIN:
                joined = {"shares_from": from_day, "claims_from": until_day, "tier": tier, "payer": payer}
                model.append(dict.fromkeys(NAMES, 0) | joined | {"ended_on": NEVER})
            case Kind.EXIT:
                model[position]["ended_on"] = from_day
            case Kind.FREEZE:
                model[position] |= {"frozen_from": from_day, "frozen_to": until_day}
            case Kind.TIER:
                before = model[position]
                took_effect = {"tier": before["next_tier"]} if before["next_tier_from"] else {}
                model[position] |= took_effect | {"next_tier": tier, "next_tier_from": from_day}
            case Kind.PAYER:
                model[position]["payer"] = payer
    first = apply(NO_SEATS, as_changes(rows[:cut]))
    kept = as_rows(first)
    second = apply(first, as_changes(rows[cut:]))
    assert as_rows(second) == [[seat[name] for name in NAMES] for seat in model]
    # A version once written never changes.
    assert as_rows(first) == kept


def test_joins_that_leave_a_seat_out_are_refused() -> None:
    with pytest.raises(AssertionError, match="joins take the next seats"):
        apply(NO_SEATS, as_changes([(Kind.JOIN, 1, 0, 0, 0, ALONE)]))


def test_what_nobody_has_keeps_no_columns() -> None:
    columns = apply(NO_SEATS, as_changes([(Kind.JOIN, 0, 1, 2, 0, ALONE), (Kind.EXIT, 0, 5, 0, 0, ALONE)]))
    assert [name for name in NAMES if getattr(columns, name) is None] == [
        "frozen_from", "frozen_to", "next_tier", "next_tier_from", "payer",
    ]  # fmt: skip
