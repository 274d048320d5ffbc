"""Worked worlds: the shared examples, our own golden ones, and what is said of a world that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.apportion import PoolTooLarge, TooManyDraws
from engine.apportion.shares import DRAWS_MAX
from engine.apportion.worlds import apportion_world, apportion_worlds
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX
from tests.unit.apportion import oracle

SHARED = Path(__file__).parents[4] / "shared" / "vectors" / "apportionment.json"
GOLDEN = json.loads((Path(__file__).parent / "worlds.json").read_text("utf-8"))

MEMBERS_KEYS = ["name", "charges", "sponsor", "carry_out", "aids", "fees", "waived_total", "pointer"]
GROUPS_KEYS = ["name", "share_by_tier", "charges_total", "sponsor", "carry_out", "fees_total"]


def named(worlds: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(world, id=world["name"]) for world in worlds]


@pytest.mark.parametrize("world", named(GOLDEN))
def test_golden_world(world: dict[str, Any]) -> None:
    assert apportion_world(world) == {"name": world["name"], **world["expect"]}


@pytest.mark.parametrize("world", named([world for world in GOLDEN if "members" in world]))
def test_the_oracle_knows_the_golden_worlds_too(world: dict[str, Any]) -> None:
    assert oracle.answer(world) == {"name": world["name"], **world["expect"]}


def test_the_shared_worlds_are_answered_as_expected() -> None:
    if not SHARED.is_file():
        pytest.skip("the shared examples are not beside this checkout; worlds.json holds the same kinds")
    worlds = json.loads(SHARED.read_text("utf-8"))
    answers = apportion_worlds(worlds)
    assert len(answers) == len(worlds) > 0
    for world, answer in zip(worlds, answers, strict=True):
        expected = {name: value for name, value in world["expect"].items() if name != "exact_shares"}
        assert {name: answer[name] for name in expected} == expected, world["name"]
        assert list(answer) == (MEMBERS_KEYS if "members" in world else GROUPS_KEYS)


def test_what_is_absent_has_the_plainest_value() -> None:
    world = {"cases": [{"aid": 100, "gate": 5}], "members": [{}, {}, {"frozen": True}]}
    assert apportion_world(world) == {
        "name": "",
        "charges": [50, 50, 0],
        "sponsor": 0,
        "carry_out": 0,
        "aids": [100],
        "fees": [0],
        "waived_total": 0,
        "pointer": {},
    }


def test_a_floor_may_stand_in_the_rules_or_beside_them() -> None:
    cases = [{"aid": 60, "gate": 1}, {"aid": 60, "gate": 2}]
    world = {"cases": cases, "members": [{"allowance": 30}, {"allowance": 200}]}
    assert apportion_world(world)["charges"] == [30, 60]
    assert apportion_world({**world, "floor": 0})["charges"] == [30, 60]
    # Below 10 the first seat is frozen after its first event, and the second bears the next alone.
    assert apportion_world({**world, "floor": 10})["charges"] == [30, 90]
    assert apportion_world({**world, "rules": {"floor": 10}})["charges"] == [30, 90]


BARE: dict[str, Any] = {"name": "x", "cases": [{"aid": 1, "gate": 1}], "members": [{}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"rules": {"fee": 0.08}},
            'world 0 (x): rules.fee: write the rate as exact text that is not negative, like "2/',
        ),
        ({"rules": {"fee": "a lot"}}, "rules.fee: write the rate"),
        ({"rules": {"fee": "-1/2"}}, "rules.fee: write the rate"),
        ({"rules": {"fee": "1/0"}}, "rules.fee: write the rate"),
        *(({"rules": {"fee": fee}}, "rules.fee: write the rate") for fee in ("1e5000", "1e999999999", "1001", "1e-19")),
        ({"rules": {"fee": f"1/{10**18 + 1}"}}, "at most 1000 and with at most 18 decimals"),
        ({"rules": {"rounding": "sideways"}}, "rules.rounding: Input should be 'up', 'half_up', 'down' or 'exact'"),
        ({"rules": {"over_cap": "x"}}, "rules.over_cap: Input should be 'sponsor', 'redistribute' or 'reduce_aid'"),
        ({"rules": {"fallback": "redistribute"}}, "rules: fallback takes what redistribute cannot place"),
        ({"rules": {"weights": []}}, "rules.weights: "),
        ({"rules": {"weights": [-1]}}, "rules.weights.0: "),
        ({"rules": {"cap_unit": 0}}, "rules.cap_unit: "),
        ({"cases": [{"aid": 1.5, "gate": 1}]}, "cases.0.aid: "),
        ({"cases": [{"aid": -1, "gate": 1}]}, "cases.0.aid: "),
        ({"cases": [{"aid": 2**63, "gate": 1}]}, "cases.0.aid: "),
        ({"cases": [{"aid": True, "gate": 1}]}, "cases.0.aid: "),
        ({"cases": [{"aid": 1, "gate": 2**31}]}, "cases.0.gate: "),
        ({"cases": [{"aid": 1}]}, "cases.0.gate: Field required"),
        ({"members": [{"tier": 1}]}, "tier 1 has no weight"),
        ({"members": [{"allowance": "7"}]}, "members.0.allowance: "),
        ({"members": None}, "give either members (one object per seat) or groups"),
        ({"groups": [{"seats": 1}]}, "give either members (one object per seat) or groups"),
        ({"waived": [1]}, "waived names seat 1; there are 1 members"),
        ({"seed_hex": "abc"}, "seed_hex: "),
        ({"pointer": {"first": 1}}, "pointer.first.[key]: "),
        ({"carry_in": -1}, "carry_in: "),
        ({"charges": []}, "charges: Extra inputs are not permitted"),
        (
            {"members": None, "groups": [{"seats": 1}], "floor": 1, "rules": {"rounding": "exact"}},
            "an event world with rounding exact needs members",
        ),
    ],
)
def test_a_wrong_world_is_refused_naming_the_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        apportion_worlds([BARE | change])
    assert said in str(refused.value)
    assert str(refused.value).startswith("world 0 (x): ")


def test_every_wrong_field_of_a_world_is_named_at_once() -> None:
    wrong = {"rules": {"rounding": "x"}, "cases": [{"aid": "y", "gate": "z"}]}
    with pytest.raises(InvalidInput) as refused:
        apportion_worlds([BARE, BARE | wrong])
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["world 1 (x)", "rules.rounding"],
        ["world 1 (x)", "cases.0.aid"],
        ["world 1 (x)", "cases.0.gate"],
    ]


@pytest.mark.parametrize("worlds", [{}, "worlds", None, [3]])
def test_anything_but_a_list_of_worlds_is_refused(worlds: object) -> None:
    with pytest.raises(InvalidInput):
        apportion_worlds(worlds)


@pytest.mark.parametrize(("fee", "exact"), [("2/25", 8), ("8e-2", 8), (".08", 8), (0, 0), (1_000, 100_000)])
def test_a_rate_is_exact_text_of_moderate_length(fee: object, exact: int) -> None:
    assert apportion_world(BARE | {"cases": [{"aid": 100, "gate": 1}], "rules": {"fee": fee}})["fees"] == [exact]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cases": [{"aid": BIGINT_MAX, "gate": 1}]}, f"a pool of {BIGINT_MAX} minor units and 1 seats"),
        ({"cases": [{"aid": BIGINT_MAX, "gate": 1}] * 2}, f"aid and fees of {2 * BIGINT_MAX} minor units"),
        ({"carry_in": BIGINT_MAX}, f"a carry-in of {BIGINT_MAX} minor units and 1 seats"),
    ],
)
def test_a_world_too_large_is_named_with_what_is_too_large(change: dict[str, Any], said: str) -> None:
    with pytest.raises(PoolTooLarge) as refused:
        apportion_worlds([BARE, BARE | {"name": "huge"} | change])
    assert str(refused.value).startswith(f"world 1 (huge): {said}")


def test_a_world_of_too_many_draws_is_named() -> None:
    rules = {"over_cap": "redistribute"}
    cases = [{"aid": 1, "gate": 1, "cap": 1}] * (DRAWS_MAX + 1)
    with pytest.raises(TooManyDraws, match=r"^world 0 \(x\): "):
        apportion_worlds([BARE | {"rules": rules, "cases": cases}])


def test_more_seats_than_the_ledger_counts_are_refused() -> None:
    world = {"cases": [{"aid": BIGINT_MAX, "gate": 1}], "groups": [{"seats": 1}]}
    with pytest.raises(InvalidInput, match="more seats than"):
        apportion_world({**world, "groups": [{"seats": 2**62}, {"seats": 2**62}]})
