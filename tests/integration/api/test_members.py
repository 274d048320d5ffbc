"""Members over HTTP: found by what stands in a body, known by their seats, proved offline."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger import seal
from engine.money import to_minor
from engine.plans import NEVER, day_number
from tests.integration.prepaid import held_by, known, opened, prepaid
from tests.integration.worlds import DEBIT, JULY, LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

HERE = "/v1/plans/xianghubao/members"
FROZEN_ON = day_number(date(2019, 7, 1))


async def charged(engine: AsyncEngine, seats: int = 3, payers: list[int] | None = None) -> World:
    """A plan whose members shared 0.10 each of a sealed run; seats may have payers."""
    columns = alike(seats)
    if payers is not None:
        columns = replace(columns, payer=np.array(payers, np.int32))
    world = await known(await build(engine, rules_of_preset(), columns))
    await world.claim(notice_on=JULY)
    await world.sealed(DEBIT)
    return world


async def test_a_member_is_found_by_what_stands_in_the_body(served: Served, engine: AsyncEngine) -> None:
    world = await charged(engine)
    found = await served.viewer.post(f"{HERE}/find", {"member_ref": "M2"})
    assert found.said == {"plan": "xianghubao", "spells": [{"spell": 1, "seat": 2}]}
    nobody = await served.viewer.post(f"{HERE}/find", {"member_ref": "Somebody/Else"})
    assert (nobody.status, "Somebody" in str(nobody.said)) == (404, False)
    assert (await served.viewer.post("/v1/plans/nowhere/members/find", {"member_ref": "M2"})).status == 404
    for wrong in ("", "M" * 65, "M\x00"):
        assert (await served.viewer.post(f"{HERE}/find", {"member_ref": wrong})).status == 422
    kept = await world.rows(
        "SELECT subject || detail::text FROM audit_log UNION SELECT encode(body, 'escape') FROM idempotency_keys"
    )
    assert kept
    assert not any("M2" in text for (text,) in kept), "neither the audit log nor a kept answer knows who was looked for"


async def test_who_has_a_seat_is_told_to_the_desks_alone(served: Served, engine: AsyncEngine) -> None:
    await charged(engine)
    assert (await served.finance.get(f"{HERE}/1/reference")).said == {
        "plan": "xianghubao", "seat": 1, "member_ref": "M1",
    }  # fmt: skip
    assert (await served.viewer.get(f"{HERE}/1/reference")).status == 403
    assert (await served.finance.get(f"{HERE}/9/reference")).status == 404


async def test_how_a_member_stands(served: Served, engine: AsyncEngine) -> None:
    await charged(engine, 4, [-1, 0, 0, -1])
    shown = (await served.viewer.get(f"{HERE}/0")).said
    assert "M0" not in str(shown)
    assert shown == {
        "plan": "xianghubao", "seat": 0, "spell": 1, "tier": "member", "shares_from": "2019-01-01",
        "claims_from": "2019-01-01", "ends_on": None, "in_force": True, "frozen_from": None, "frozen_until": None,
        "balance": None, "owed": "0.10", "refund": "0.00", "payer_seat": None, "pays_for": [1, 2],
    }  # fmt: skip
    paid_for = (await served.viewer.get(f"{HERE}/1")).said
    assert (paid_for["payer_seat"], paid_for["pays_for"], paid_for["owed"]) == (0, [], "0.10")
    early = (await served.viewer.get(f"{HERE}/1?on=2018-12-31")).said
    assert not early["in_force"]
    for none in ("4", "2147483647"):
        for what in ("", "/statement", "/proofs/1"):
            assert (await served.viewer.get(f"{HERE}/{none}{what}")).status == 404, (none, what)
    assert (await served.viewer.get(f"{HERE}/-1")).status == 422


async def test_a_statement_in_parts_says_the_same_balances(served: Served, engine: AsyncEngine) -> None:
    world = await charged(engine, 3, [-1, 0, -1])
    for notice_on, debit_on in ((LATE_JULY, LATE_DEBIT),):
        await world.claim(notice_on=notice_on)
        await world.sealed(debit_on)
    whole = (await served.viewer.get(f"{HERE}/1/statement")).said["items"]
    assert [(entry["run_id"], entry["effective_on"], entry["amount"], entry["balance"]) for entry in whole] == [
        (1, "2019-07-14", "0.10", "0.10"), (2, "2019-07-28", "0.10", "0.20"),
    ]  # fmt: skip
    assert {(entry["account_name"], entry["kind"], entry["paid_by_seat"]) for entry in whole} == {
        ("contributions receivable", "charge", 0)
    }
    first = await served.viewer.get(f"{HERE}/1/statement?limit=1")
    rest = await served.viewer.get(first.said["next"])
    assert [*first.said["items"], *rest.said["items"]] == whole
    assert rest.said["next"] is None
    assert (await served.viewer.get(f"{HERE}/1/statement?after=999999999999999999:99999")).said["items"] == []


def proved(said: dict[str, Any]) -> str:
    """The root that an answer leads to, with nothing but SHA-256 and engine.ledger.seal's rules."""
    amounts = np.array([to_minor(amount) for amount in said["leaf"]["amounts"]], np.int64)
    leaf = seal.leaf_hash(seal.leaf_content(amounts, bytes.fromhex("".join(said["leaf"]["tags"])), 0))
    steps = [seal.Step(bytes.fromhex(step["sibling"]), step["is_left"]) for step in said["steps"]]
    previous = bytes.fromhex(said["previous_root"]) if said["previous_root"] else None
    return seal.sealed_root(previous, seal.climb(leaf, steps)).hex()


async def test_a_proof_leads_to_the_seal(served: Served, engine: AsyncEngine) -> None:
    world = await charged(engine, 300)
    said = (await served.viewer.get(f"{HERE}/200/proofs/1")).said
    assert (said["amount"], said["leaf"]["first_seat"], len(said["leaf"]["amounts"])) == ("0.10", 128, 128)
    assert said["tag"] == said["leaf"]["tags"][200 - 128]
    run = await world.run(1)
    assert run.root is not None
    assert proved(said) == said["root"] == run.root.hex()
    said["leaf"]["amounts"][0] = "0.11"
    assert proved(said) != said["root"]
    assert (await served.viewer.get(f"{HERE}/200/proofs/2")).status == 404


async def test_a_seat_has_a_share_in_each_sealed_run(served: Served, engine: AsyncEngine) -> None:
    world = await charged(engine, 300)
    await world.claim(notice_on=LATE_JULY)
    await world.sealed(LATE_DEBIT)
    latest = (await served.viewer.get(f"{HERE}/200/shares?limit=1")).said
    run = await world.run(2)
    assert run.root is not None
    assert latest["items"] == [
        {
            "run_id": 2, "kind": "share", "unit": "CNY", "debit_on": "2019-07-28", "share": "0.10", "waived": "0.00",
            "root": run.root.hex(),
        }
    ]  # fmt: skip
    before = (await served.viewer.get(latest["next"])).said
    assert ([share["run_id"] for share in before["items"]], before["next"]) == ([1], None)
    await world.sql("UPDATE run_shards SET seats = 200 WHERE run_id = 1")
    shares = (await served.viewer.get(f"{HERE}/200/shares")).said["items"]
    assert [share["share"] for share in shares] == ["0.10", None], "it was not there when the first was frozen"
    assert (await served.viewer.get(f"{HERE}/300/shares")).status == 404


async def test_what_the_sponsor_pays_for_a_seat_is_in_its_share(served: Served, engine: AsyncEngine) -> None:
    waiver = {"name": "all", "reason": "new", "joined_by": "2019-12-31", "gates_from": "2019-01-01"}
    rules = rules_of_preset(waivers=[waiver | {"gates_to": "2019-12-31"}])
    world = await known(await build(engine, rules, alike(3)))
    await world.claim()
    await world.sealed()
    (share,) = (await served.viewer.get(f"{HERE}/1/shares")).said["items"]
    assert (share["share"], share["waived"]) == ("0.10", "0.10")
    assert (await served.viewer.get(f"{HERE}/1/proofs/1")).said["amount"] == "0.10"


async def frozen(engine: AsyncEngine) -> World:
    """A prepaid plan, its second member frozen below the floor since the first of July, with a run missed."""
    columns = replace(
        alike(3),
        frozen_from=np.array([0, FROZEN_ON, 0], np.int32),
        frozen_to=np.array([0, NEVER, 0], np.int32),
    )
    world = await known(await build(engine, prepaid(), columns))
    await opened(world, [20_00, 50, 20_00])
    await world.claim(aid_minor=2_00, notice_on=JULY)
    await world.sealed(DEBIT)
    return world


async def test_a_frozen_member_returns(served: Served, engine: AsyncEngine) -> None:
    world = await frozen(engine)
    there = "/v1/plans/waterdrop/members/1"
    cost = (await served.viewer.get(f"{there}/owed?on=2019-07-20")).said
    assert (cost["frozen_from"], cost["return_by"], cost["balance"]) == ("2019-07-01", "2019-07-31", "0.50")
    assert to_minor(cost["needed"]) == to_minor(cost["floor"]) + to_minor(cost["missed"]) - 50
    assert [run["run_id"] for run in cost["runs"]] == [1]
    late = await served.viewer.get(f"{there}/owed?on=2019-08-01")
    assert (late.status, "M1" in str(late.said)) == (409, False), "a problem names the seat, not the member"
    asked = {"amount": cost["needed"], "on": "2019-07-20"}
    assert (await served.scheduler.post(f"{there}/return", asked)).status == 403
    short = await served.finance.post(f"{there}/return", asked | {"amount": "0.01"})
    assert (short.status, short.said["detail"].startswith("seat 1 needs to pay in")) == (409, True)
    seen = (await served.viewer.get(there)).headers["ETag"]
    made = await served.finance.post(f"{there}/return", asked, If_Match=seen)
    assert (made.status, made.said["missed"], made.said["balance"]) == (200, cost["missed"], cost["floor"])
    assert (await held_by(world))[1] == to_minor(cost["floor"])
    assert made.headers["ETag"] != seen
    assert (await served.finance.post(f"{there}/return", asked, If_Match=seen)).status == 412
    ((actor, detail),) = await world.rows("SELECT actor, detail FROM audit_log WHERE act = 'return member'")
    assert (actor, "M1" in str(detail)) == ("finance", False)
    assert [detail[when]["balance"] for when in ("before", "after")] == ["0.50", cost["floor"]]
