"""Generated worlds: small ones in every shape, and ones with amounts near 2^63."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

GATES = st.integers(0, 6)
DAYS = st.integers(-1, 8)


@st.composite
def worlds(draw: st.DrawFn, *, event: bool = False, roundings: tuple[str, ...] = ()) -> dict[str, Any]:
    """A world with members, in the form of the shared examples."""
    tiers = draw(st.integers(1, 3))
    scale = draw(st.sampled_from([1, 1, 1, 10**4, 2**54]))
    amounts = st.integers(0, 400).map(lambda amount: amount * scale // draw(st.sampled_from([1, 1, 3])))
    rules = {
        "weights": draw(st.lists(st.sampled_from([1, 1, 2, 3, 7, 0]), min_size=tiers, max_size=tiers)),
        "fee": draw(st.sampled_from(["0", "0", "2/25", "1/10", "1/3"])),
        "rounding": draw(st.sampled_from(roundings or ("up", "half_up", "down", "exact"))),
        "over_cap": draw(st.sampled_from(["sponsor", "redistribute", "reduce_aid"])),
        "fallback": draw(st.sampled_from(["sponsor", "reduce_aid"])),
        "cap_basis": draw(st.sampled_from(["head", "weight"])),
        "cap_unit": draw(st.sampled_from([1, 2, 3])),
        "surplus_first": draw(st.sampled_from([None, True, False])),
    }
    cap = st.none() | st.integers(0, 60).map(lambda amount: amount * scale)
    case = st.fixed_dictionaries({"aid": amounts, "gate": GATES, "cap": cap})
    allowance = st.none() | st.integers(0, 120).map(lambda amount: amount * scale)
    member = st.fixed_dictionaries(
        {
            "shares_from": st.just(-1) | DAYS,
            "ended_on": st.just(9) | DAYS,
            "frozen": st.sampled_from([False] * 5 + [True]),
            "frozen_from": DAYS,
            "frozen_to": st.just(-1) | DAYS,
            "tier": st.integers(0, tiers - 1),
            "allowance": allowance,
        }
    )
    members = draw(st.lists(member, max_size=12))
    seats = st.integers(0, max(0, len(members) - 1))
    world = {
        "name": "generated",
        "rules": rules,
        "cases": draw(st.lists(case, max_size=4 if event else 5)),
        "carry_in": draw(st.just(0) | amounts),
        "members": members,
        "waived": draw(st.lists(seats, max_size=3, unique=True)) if members else [],
        "seed_hex": draw(st.sampled_from(["", "00", "676f6c64656e", "ff17"])),
        "pointer": draw(st.dictionaries(st.integers(0, tiers - 1).map(str), st.integers(0, 13))),
    }
    if event:
        world["floor"] = draw(st.sampled_from([0, 1, 20 * scale]))
    return world
