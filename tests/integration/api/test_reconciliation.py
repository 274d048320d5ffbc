"""Reconciliation over HTTP: what statements and books come to, and money out that one person only proposes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.money import to_minor
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.money_out import held
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

SHARE = 10
NEXT = BOOKED_ON + timedelta(days=1)


async def told(served: Served, folder: Path) -> Asked:
    """Four seats were asked for 0.10: one paid twice, one came back and was refused, two are out; over two days."""
    found = await asked(served.service.engine, folder)
    await found.takes(Line(SHARE, found.reference(0)), Line(SHARE, found.reference(0)), Line(SHARE, found.reference(1)))
    late = Line(-SHARE, found.reference(1), "return", NEXT, "AM04", SHARE)
    await found.takes(late, Line(SHARE - 1, "no such thing", "other", NEXT), opening=3 * SHARE)
    return found


async def test_I11_each_day_has_its_proof(served: Served, tmp_path: Path) -> None:
    found = await told(served, tmp_path)
    path = f"/v1/custodians/{found.custodian.code}/proofs"
    said = (await served.viewer.get(f"{path}/{NEXT}")).said
    assert {name: said[name] for name in ("opening", "credits", "debits", "closing", "book", "difference")} == {
        "opening": "0.30", "credits": "0.09", "debits": "0.10", "closing": "0.29", "book": "0.29", "difference": "0.00",
    }  # fmt: skip
    assert (said["custodian"], said["day"], said["suspense"]) == (found.custodian.code, NEXT.isoformat(), "0.19")
    assert said["breaks"] == {
        "MISSING_IN_LEDGER": {"count": 1, "amount": "0.09", "suspense": "0.09"},
        "DUPLICATE_AT_BANK": {"count": 1, "amount": "0.10", "suspense": "0.10"},
    }
    assert said["in_transit"] == {"count": 2, "amount": "0.20"}
    assert said["coverage"] == {
        "first_on": BOOKED_ON.isoformat(), "last_on": NEXT.isoformat(), "missing_days": 0, "missing": [], "parked": 0,
    }  # fmt: skip
    later = (await served.viewer.get(f"{path}/2019-12-31")).said["coverage"]
    assert (later["missing_days"], len(later["missing"]), later["missing"][0]) == (120, 31, "2019-07-17")
    strip: list[Any] = []
    following: str | None = f"{path}?first={DEBIT}&last=2019-07-20&limit=2"
    while following:
        page = (await served.viewer.get(following)).said
        strip, following = [*strip, *page["items"]], page["next"]
    assert [(each["day"], each["closing"], each["difference"]) for each in strip] == [
        (f"2019-07-{day}", closing, "0.00")
        for day, closing in ((14, "0.00"), (15, "0.30"), *((day, "0.29") for day in range(16, 21)))
    ]
    assert strip[2] == said
    short = f"{path.removesuffix('proofs')}days?first={DEBIT}&last=2019-07-20&limit=6"
    days = (await served.viewer.get(short)).said
    assert days["items"] == [{name: each[name] for name in days["items"][0]} for each in strip[:6]]
    assert [each["day"] for each in (await served.viewer.get(days["next"])).said["items"]] == [strip[6]["day"]]
    today = (await served.viewer.get(f"{path}?first=2026-01-01&limit=1")).said
    assert (today["items"][0]["day"], today["next"] is None) == ("2026-01-01", False)
    for query, status in (
        ("?first=2019-07-16&last=2019-07-15", 409),
        ("?first=2019-07-16&last=9999-12-31", 409),
        ("?first=9999-12-31", 409),
        ("?first=0001-01-01&last=0001-01-02", 409),
        ("?first=2019-07-14&last=2019-07-15&after=999999999999999999", 200),
        ("?first=2019-07-14&limit=101", 422),
        ("", 422),
        ("/9999-12-31", 409),
        ("/0001-01-01", 409),
        ("/2019-02-30", 422),
    ):
        assert (await served.viewer.get(path + query)).status == status, query
    assert (await served.viewer.get(f"/v1/custodians/nobody/proofs/{NEXT}")).status == 404


async def test_I10_every_line_is_somewhere(served: Served, tmp_path: Path) -> None:
    found = await told(served, tmp_path)
    said = (await served.viewer.get(f"/v1/custodians/{found.custodian.code}/reconciled")).said
    last = said.pop("last")
    assert said == {
        "custodian": found.custodian.code, "lines": 5, "matched": 3, "pending": 0, "ignored": 0, "in_breaks": 2,
        "breaks": {"DUPLICATE_AT_BANK": 1, "MISSING_IN_LEDGER": 1},
    }  # fmt: skip
    assert (last["day"], last["difference"]) == (NEXT.isoformat(), "0.00")


async def test_I12_the_funnel_of_a_run(served: Served, tmp_path: Path) -> None:
    found = await told(served, tmp_path)
    run = found.run.run_id
    funnel = (await served.viewer.get(f"/v1/runs/{run}/funnel")).said
    expected = {"assessed": (4, "0.40"), "settled": (1, "0.10"), "in_flight": (2, "0.20"), "returned": (1, "0.10")}
    for name, said in expected.items():
        assert tuple(funnel[name].values()) == said, name
    assert funnel["by_reason"] == {"AM04": {"count": 1, "amount": "0.10"}}
    assert funnel["posted"] == {"custodian cash": "0.10"}
    whole = (await served.viewer.get(f"/v1/runs/{run}/reconciliation")).said
    assert (whole["funnel"], whole["state"], whole["payouts"]) == (funnel, "collecting", {})
    assert whole["breaks"] == {"DUPLICATE_AT_BANK": {"found": 1, "unresolved": 1, "amount": "0.10"}}
    nothing: dict[str, Any] = {"count": None, "amount": None, "claims": [], "breaks": None}
    at_work, aid, broken = whole["missing"]
    assert at_work == {
        **nothing, "lack": "not settled", "text": "it is collecting: its debits are not all through",
    }  # fmt: skip
    assert (aid["lack"], aid["count"], aid["amount"]) == ("aid unpaid", 1, "100.00")
    assert (broken["lack"], broken["count"], broken["breaks"]) == ("breaks unresolved", 1, "DUPLICATE_AT_BANK")
    await found.world.claim()
    planned = await found.world.planned(date(2019, 7, 28))
    for path, status in ((planned.run_id, 409), (999, 404), ("x", 422)):
        for what in ("funnel", "reconciliation"):
            assert (await served.viewer.get(f"/v1/runs/{path}/{what}")).status == status, (path, what)
    refused = await served.finance.post(f"/v1/runs/{run}/close")
    assert (refused.status, refused.said["detail"]) == (
        409, f"run:{run} is collecting; a run is closed once it is settled"
    )  # fmt: skip


async def test_the_custody_report_of_a_quarter(served: Served, tmp_path: Path) -> None:
    found = await told(served, tmp_path)
    path = f"/v1/plans/{found.world.plan.code}/custody"
    said = (await served.viewer.get(f"{path}?quarter=2019Q3")).said
    assert said["inflow"] == {"shares collected": "0.20", "unknown receipts": "0.19"}
    assert said["outflow"] == {"debits that came back": "0.10"}
    assert [said[name] for name in ("opening", "inflow_total", "outflow_total", "closing", "book", "difference")] == [
        "0.00", "0.39", "0.10", "0.29", "0.29", "0.00"
    ]  # fmt: skip
    assert (said["quarter"], said["first_on"], said["last_on"]) == ("2019Q3", "2019-07-01", "2019-09-30")
    after = (await served.viewer.get(f"{path}?quarter=2199Q4")).said
    assert (after["opening"], after["inflow"], after["closing"]) == ("0.29", {}, "0.29")
    for quarter in ("2019Q5", "2019-Q3", "0000Q1", ""):
        assert (await served.viewer.get(f"{path}?quarter={quarter}")).status == 422, quarter


async def sealed(served: Served) -> World:
    """A hundred members share two claims of 100.00 of the seats 0 and 1; a custodian holds the plan's money."""
    plan: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}, "payout": {"when": "sealed"}}
    world = await held(await build(served.service.engine, rules_of_preset(**plan), alike(100)))
    for _ in range(2):
        await world.claim(100_00)
    await world.sealed(DEBIT)
    return world


async def test_what_the_sponsor_owes(served: Served) -> None:
    world = await sealed(served)
    said = (await served.viewer.get(f"/v1/plans/{world.plan.code}/sponsor")).said
    assert said["sponsor"] == world.rules.share.sponsor
    assert to_minor(said["owed"]) == (await world.accounts()).get(Account.SPONSOR_RECEIVABLE, 0)
    assert said["reference"].startswith("S")


async def test_payouts_are_proposed_once(served: Served) -> None:
    world = await sealed(served)
    path = "/v1/runs/1/payouts"
    for caller, body, status, word in (
        (served.scheduler, {}, 403, "finance"),
        (served.finance, {"on": "2019-07-13"}, 409, "is debited on"),
        (served.finance, {"on": "9999-12-31"}, 409, "still to come"),
        (served.finance, {"on": "0001-01-01"}, 409, "give a day"),
        (served.finance, {"on": "soon"}, 422, "on"),
    ):
        answer = await caller.post(path, body)
        assert (answer.status, word in answer.said["detail"]) == (status, True), answer.said
    before = await world.accounts()
    answer = await served.finance.post(path, {"on": "2019-07-15"}, Idempotency_Key="payouts-of-1")
    assert (answer.status, answer.said["kind"], answer.said["effective_on"]) == (201, "payout", "2019-07-15")
    assert await world.accounts() == before, "nothing is posted by proposing"
    again = await served.finance.post(path, {"on": "2019-07-15"}, Idempotency_Key="payouts-of-1")
    assert (again.status, again.said) == (201, answer.said)
    twice = await served.finance.post(path, {"on": "2019-07-15"})
    assert (twice.status, "proposes a payout of run:1 already" in twice.said["detail"]) == (409, True)
    detail = await world.value("SELECT detail FROM decisions")
    assert (detail["claimants"], detail["amount_minor"]) == (2, 200_00)


async def test_refunds_are_proposed_of_what_is_owed(served: Served) -> None:
    world = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/refunds"
    nothing = await served.finance.post(path, {})
    assert (nothing.status, "owes no member anything back" in nothing.said["detail"]) == (409, True)
    owed, cash = (account_id(world.plan_id, code) for code in (Account.REFUNDS_PAYABLE, Account.CUSTODIAN_CASH))
    segment = Segment.of(owed, np.array([-5, 0, -7], np.int64))
    lines = {owed: segment.total, cash: -segment.total}
    async with world.engine.begin() as connection:
        await post(connection, Journal(world.shard(1), "owed", "settlement", DEBIT, lines, (segment,)))
    answer = await served.finance.post(path, {})
    assert (answer.status, answer.said["subject"]) == (201, f"plan:{world.plan.code}")
    assert await world.value("SELECT detail ->> 'amount_minor' FROM decisions") == "12"
    assert (await served.finance.post(path, {})).status == 409


async def test_seats_are_corrected_by_their_numbers(served: Served) -> None:
    world = await sealed(served)
    path = "/v1/runs/1/corrections"
    change = {"seat": 3, "amount": "-1.00"}
    body = {"reason": "counted twice", "against": "sponsor", "seats": [change, {"seat": 5, "amount": "-0.50"}]}
    for caller, given, status, word in (
        (served.scheduler, body, 403, "finance"),
        (served.finance, body | {"seats": [change, change]}, 409, "named twice"),
        (served.finance, body | {"seats": [{"seat": 3, "amount": "-0.00"}]}, 409, "changes nothing"),
        (served.finance, body | {"seats": [{"seat": 100, "amount": "-0.01"}]}, 409, "has no seat 100"),
        (served.finance, body | {"seats": [{"seat": 2**31 - 1, "amount": "-0.01"}]}, 409, "has no seat"),
        (served.finance, body | {"seats": [{"seat": 3, "amount": "-2.41"}]}, 409, "seat 3: 2.41 back of"),
        (served.finance, body | {"seats": []}, 422, "seats"),
        (served.finance, body | {"seats": [{"seat": 3, "amount": "1.001"}]}, 422, "amount"),
        (served.finance, body | {"against": "nobody"}, 422, "against"),
    ):
        answer = await caller.post(path, given)
        assert (answer.status, word in answer.said["detail"]) == (status, True), answer.said
    answer = await served.finance.post(path, body)
    assert (answer.status, answer.said["kind"], answer.said["subject"]) == (201, "correction", "run:1")
    shard = world.shard(1)
    assert await world.value("SELECT detail -> 'seats' FROM decisions") == [[shard, 3, -100], [shard, 5, -50]]
    again = await served.finance.post(path, body)
    assert again.said["decision_id"] == answer.said["decision_id"], "the same again is the decision it was"
    assert (await served.finance.post("/v1/runs/999/corrections", body)).status == 404


async def test_a_run_is_closed_once_nothing_is_left(served: Served) -> None:
    world = await sealed(served)
    await world.sql("UPDATE share_runs SET state = 'settled'")
    refused = await served.finance.post("/v1/runs/1/close")
    assert refused.status == 409
    assert "of aid is not paid, of 2 claims" in refused.said["detail"]
    assert (await served.viewer.get("/v1/runs/1")).said["state"] == "settled"
    assert (await served.approver.post("/v1/runs/1/close")).status == 403
    assert (await served.finance.post("/v1/runs/1/close", If_Match=f'"{"0" * 32}"')).status == 412
