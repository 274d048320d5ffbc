"""Breaks over HTTP: the queue and its filters, one break with all there is about it, and what people do about many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.custodian.actions import Action
from engine.custodian.breaks import Code
from engine.custodian.reference import Kind, Reference
from engine.custodian.tokens import Tokens, write_tokens
from engine.reconcile.instructing import instruct
from engine.reconcile.taking import take
from tests.integration.bank_statement import HEAD, TODAY, Line
from tests.integration.broken import DAY, Teller, holds, resolve, sent
from tests.integration.held import ACTOR, NOW, ON, profile_of
from tests.integration.reconciling import asked
from tests.integration.worlds import alike
from tests.serving import Caller, Served

pytestmark = pytest.mark.integration


@pytest.fixture
async def teller(served: Served, tmp_path: Path) -> Teller:
    return await sent(served.service.engine, tmp_path, alike(8))


async def numbers(caller: Caller, query: str) -> list[int]:
    """The breaks of all pages of two."""
    found: list[int] = []
    following: str | None = f"/v1/breaks?limit=2&{query}"
    while following:
        answer = await caller.get(following)
        assert answer.status == 200, answer.said
        found += [each["break_id"] for each in answer.said["items"]]
        following = answer.said["next"]
    return found


async def some(teller: Teller) -> tuple[int, int, int, int]:
    """Three duplicates of 0.50 each, one of them closed, and 20,000.00 that nobody knows."""
    async with teller.world.engine.begin() as connection:
        mine, other, closed = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2, 3], 50)
        (foreign,) = await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 20_000_00)
        await resolve(connection, [closed], Action.GIVE_BACK)
    return mine, other, closed, foreign


async def test_the_queue_is_what_is_asked_for(teller: Teller, served: Served) -> None:
    mine, other, closed, foreign = await some(teller)
    assert (await served.finance.post(f"/v1/breaks/{mine}/assign", {"to": "cara"})).status == 200
    run = teller.run.run_id
    for query, expected in (
        ("", [mine, other, foreign]),
        ("assigned_to=cara", [mine]),
        ("state=open", [other, foreign]),
        ("state=resolved", [closed]),
        ("code=MISSING_IN_LEDGER", [foreign]),
        (f"run_id={run}", [mine, other]),
        (f"run_id={run + 1}", []),
        (f"plan={teller.world.plan.code}", [mine, other, foreign]),
        (f"custodian={teller.custodian.code}", [mine, other, foreign]),
        ("severity=critical", [mine, other, foreign]),
        ("age=>30", [mine, other, foreign]),
        ("age=0-1", []),
        (f"ids={other},{closed}", [other, closed]),
        (f"ids={other},{closed}&state=resolved", [closed]),
        (f"text={foreign}", [foreign]),
        ("text=20,000", [foreign]),
        (f"text={Reference(Kind.DEBIT, run, 2, 1)}", [mine]),
        ("text=nothing%20like%20it", []),
        (f"after={other}", [foreign]),
        ("after=999999999999999999", []),
    ):
        assert await numbers(served.viewer, query) == expected, query
    for query, status in (
        ("plan=nowhere", 404),
        ("custodian=nobody", 404),
        ("state=lost", 422),
        ("age=31", 422),
        ("after=x", 422),
        ("run_id=0", 422),
        ("ids=1,,2", 422),
    ):
        assert (await served.viewer.get(f"/v1/breaks?{query}")).status == status, query
    (first, *_) = (await served.viewer.get("/v1/breaks")).said["items"]
    assert first.pop("business_days") > 30
    assert first == {
        "break_id": mine, "custodian": teller.custodian.code, "plan": teller.world.plan.code,
        "code": "DUPLICATE_AT_BANK", "meaning": "the custodian booked again what it had booked or returned before",
        "state": "assigned", "severity": "critical", "age": ">30", "amount": "0.50", "suspense": "0.50",
        "opened_on": DAY.isoformat(), "closed_on": None, "assigned_to": "cara", "decision_id": None,
        "statement_id": None, "ordinal": None, "run_id": run, "kind": "debit", "attempt": 1, "seat": 1,
    }  # fmt: skip
    counts = (await served.viewer.get("/v1/breaks/counts")).said["counts"]
    assert counts == [
        {"code": code, "state": state, "number": 1, "amount": amount, "suspense": amount}
        for code, state, amount in (
            ("MISSING_IN_LEDGER", "open", "20000.00"),
            ("DUPLICATE_AT_BANK", "open", "0.50"),
            ("DUPLICATE_AT_BANK", "assigned", "0.50"),
        )
    ]
    severities = (await served.viewer.get("/v1/breaks/severities")).said["items"]
    code = teller.custodian.code
    assert severities == [{"custodian": code, "severity": "critical", "number": 3, "suspense": "20001.00"}]
    # What is closed is as old as it was when it was closed.
    (low,) = (await served.viewer.get("/v1/breaks/severities?state=resolved")).said["items"]
    assert (low["severity"], low["number"]) == ("low", 1)
    assert (await served.viewer.get("/v1/breaks/severities?custodian=nobody")).status == 404
    (counted,) = (await served.viewer.get("/v1/breaks/counts?state=resolved")).said["counts"]
    assert (counted["number"], counted["amount"]) == (1, "0.50")


async def test_one_break_with_all_there_is_about_it(served: Served, tmp_path: Path) -> None:
    found = await asked(served.service.engine, tmp_path)
    await found.takes(Line(10, found.reference(0)), Line(10, found.reference(0)), Line(9, "no such thing", "other"))
    twice, unknown = (each["break_id"] for each in (await served.viewer.get("/v1/breaks")).said["items"])
    said = (await served.viewer.get(f"/v1/breaks/{twice}")).said
    assert (said["code"], said["reference"], said["seat"]) == ("DUPLICATE_AT_BANK", found.reference(0), 0)
    assert said["actions"] == ["give back", "write off", "explain"]
    assert {name: said["line"][name] for name in ("file", "amount", "reference", "kind", "charges", "original")} == {
        "file": "statement.csv", "amount": "0.10", "reference": found.reference(0), "kind": "debit",
        "charges": "0.00", "original": None,
    }  # fmt: skip
    assert [(each["account"], each["amount"]) for each in said["postings"]] == [
        ("custodian cash", "0.19"), ("suspense", "-0.19")
    ]  # fmt: skip
    assert said["history"] == []
    assert said["asked"] == {"attempt": 1, "amount": "0.10", "state": "booked"}
    assert [(each["severity"], each["from_on"]) for each in said["worsening"]] == [
        ("low", "2019-07-15"), ("medium", "2019-07-19"), ("high", "2019-07-25"), ("critical", "2019-08-27")
    ]  # fmt: skip
    unknown_too = (await served.viewer.get(f"/v1/breaks/{unknown}")).said
    assert (unknown_too["run_id"], unknown_too["asked"]) == (None, None)
    # Another's reference is stored veiled; who has it finds it all the same, and who has a part of it does not.
    shown = unknown_too["line"]["reference"].replace("#", "%23")
    for text, found_by in (
        ("no such thing", [unknown]),
        ("no such", []),
        (shown, [unknown]),
        (said["line"]["reference"], [twice]),
    ):
        assert await numbers(served.viewer, f"text={text}") == found_by, text
    assert (await served.viewer.get("/v1/breaks/999")).status == 404
    assert (await served.viewer.get(f"/v1/breaks/{2**63 - 1}")).status == 404


async def test_one_break_is_taken_on_and_remarked_on_by_who_saw_it(teller: Teller, served: Served) -> None:
    mine, *_ = await some(teller)
    path = f"/v1/breaks/{mine}"
    seen = (await served.finance.get(path)).headers["ETag"]
    assert (await served.viewer.post(f"{path}/assign", {"to": "cara"})).status == 403
    taken = await served.finance.post(f"{path}/assign", {"to": "cara"}, If_Match=seen)
    assert (taken.status, taken.said["state"], taken.said["assigned_to"]) == (200, "assigned", "cara")
    assert taken.headers["ETag"] == (await served.finance.get(path)).headers["ETag"] != seen
    stale = await served.finance.post(f"{path}/comment", {"text": "mine"}, If_Match=seen)
    assert stale.status == 412
    words = "“查过了” – it's 'cara' & <the bank>"
    commented = await served.finance.post(f"{path}/comment", {"text": words}, If_Match=taken.headers["ETag"])
    assert [(each["event"], each["actor"], each["reason"], each["comment"]) for each in commented.said["history"]] == [
        ("assign", "finance", "to cara", ""), ("comment", "finance", "", words)
    ]  # fmt: skip
    for verb, body, status in (
        ("comment", {"text": " "}, 409),
        ("comment", {"text": ""}, 422),
        ("comment", {"text": "a\x00b"}, 422),
        ("assign", {"to": "cara\n"}, 422),
        ("assign", {}, 422),
    ):
        assert (await served.finance.post(f"{path}/{verb}", body)).status == status, (verb, body)
    before, after = (
        await teller.world.rows(
            "SELECT detail ->> 'before', detail ->> 'after' FROM audit_log WHERE act = 'comment on break'"
            " AND subject LIKE 'breaks/%'"
        )
    )[0]
    assert words not in before
    assert words in after


async def test_what_is_proposed_waits_for_somebody_else(teller: Teller, served: Served) -> None:
    mine, _, closed, foreign = await some(teller)
    path = f"/v1/breaks/{mine}/propose"
    body = {"action": "give back", "reason": "it was paid twice"}
    for caller, given, status, word in (
        (served.scheduler, body, 403, "finance"),
        (served.finance, body | {"action": "ask again"}, 409, "possible: give back"),
        (served.finance, body | {"reason": " "}, 409, "empty"),
        (served.finance, body | {"action": "keep"}, 422, "action"),
        (served.finance, body | {"target": {"seat": 1}}, 409, "give the run, or the plan"),
        (served.finance, body | {"target": {"seat": 1, "run_id": 999}}, 404, "no run 999"),
        (served.finance, body | {"target": {"seat": 1, "plan": "nowhere"}}, 404, "no plan"),
        (served.finance, body | {"target": {"seat": "1", "run_id": 1}}, 422, "seat"),
    ):
        answer = await caller.post(path, given)
        assert (answer.status, word in answer.said["detail"]) == (status, True), answer.said
    keyless = await served.finance.send("POST", path, json=body)
    assert keyless.status == 400
    answer = await served.finance.post(path, body)
    decision = answer.said["decision_id"]
    assert (answer.status, answer.headers["Location"]) == (201, f"/v1/decisions/{decision}")
    assert (answer.said["kind"], answer.said["subject"], answer.said["state"]) == (
        "resolution", f"break:{mine}", "proposed"
    )  # fmt: skip
    said = (await served.viewer.get(f"/v1/breaks/{mine}")).said
    assert (said["state"], said["decision_id"], said["assigned_to"]) == ("proposed", decision, "finance")
    assert said["history"][-1]["reason"] == "give back: it was paid twice"
    for again in (mine, closed):
        assert (await served.finance.post(f"/v1/breaks/{again}/propose", body)).status == 409
    target = {"seat": 2, "run_id": teller.run.run_id}
    matched = await served.finance.post(
        f"/v1/breaks/{foreign}/propose", {"action": "match", "reason": "he said so", "target": target}
    )
    assert matched.status == 201, matched.said
    detail = await teller.world.value(
        "SELECT detail -> 'for' FROM decisions WHERE decision_id = :id", id=matched.said["decision_id"]
    )
    assert detail == {"plan_id": teller.world.plan_id, "seat": 2, "run_id": teller.run.run_id}


async def test_many_at_once_only_if_they_are_as_many_as_were_seen(teller: Teller, served: Served) -> None:
    mine, other, closed, foreign = await some(teller)
    all_open: dict[str, Any] = {"matching": {"code": "DUPLICATE_AT_BANK"}}
    path = "/v1/breaks/selection"
    for body, status, word in (
        ({"breaks": all_open, "expected": 3, "to": "cara"}, 409, "2 breaks are chosen by now, and not 3"),
        ({"breaks": {"ids": [mine, closed]}, "expected": 2, "to": "cara"}, 409, "resolved"),
        ({"breaks": {"ids": [mine, 999]}, "expected": 2, "to": "cara"}, 404, "no break 999"),
        ({"breaks": {"ids": []}, "expected": 0, "to": "cara"}, 422, "ids"),
        ({"breaks": {}, "expected": 2, "to": "cara"}, 422, "breaks"),
        ({"breaks": all_open, "to": "cara"}, 409, "expected"),
        ({"breaks": {"ids": [mine]}, "expected": 2, "to": "cara"}, 409, "1 breaks are chosen by now"),
    ):
        answer = await served.finance.post(f"{path}/assign", body)
        assert (answer.status, word in answer.said["detail"]) == (status, True), answer.said
    assert await numbers(served.viewer, "assigned_to=cara") == []
    done = await served.finance.post(f"{path}/assign", {"breaks": all_open, "expected": 2, "to": "cara"})
    assert (done.status, done.said) == (200, {"number": 2, "to": "cara"})
    assert await numbers(served.viewer, "assigned_to=cara") == [mine, other]
    done = await served.finance.post(f"{path}/assign", {"breaks": {"ids": [mine, mine]}, "to": "dan"})
    assert done.said == {"number": 1, "to": "dan"}

    body = {"breaks": all_open, "action": "give back", "reason": "paid twice"}
    refused = await served.finance.post(f"{path}/propose", body | {"expected": 1})
    assert (refused.status, await numbers(served.viewer, "state=proposed")) == (409, [])
    everything = await served.finance.post(f"{path}/propose", body | {"breaks": {"matching": {}}, "expected": 3})
    assert everything.status == 201, everything.said
    assert await numbers(served.viewer, "state=proposed") == [mine, other, foreign]
    assert (await served.finance.post(f"{path}/propose", body | {"expected": 2})).status == 409
    async with teller.world.engine.connect() as connection:
        await holds(connection)


async def test_what_a_line_might_be_is_suggested(served: Served, tmp_path: Path) -> None:
    engine, desk = served.service.engine, served.service.desk
    found = await asked(
        engine, desk.files, alike(4), profile=profile_of(payer_known_by="account"), is_asked=False
    )  # fmt: skip
    accounts = [f"62220000000{seat}" for seat in range(4)]
    async with engine.begin() as connection:
        await write_tokens(connection, found.world.shard(1), Tokens(pa.array(accounts)), desk.account_key)
    async with engine.begin() as connection:
        await instruct(connection, found.run.run_id, desk, on=ON, now=NOW, actor=ACTOR)
    await found.world.sql("UPDATE debit_batches SET sent_at = now(), sent_on = '2019-07-14' WHERE sent_at IS NULL")
    path = tmp_path / "statement.csv"
    lines = [f"{Line(10, 'lost', 'other').row()},{accounts[2]}", f"{Line(7, 'lost', 'other').row()},{accounts[1]}"]
    foot = ["#entries,2", "#credits,0.17", "#debits,0.00", "#closing,0.17", ""]
    path.write_text("\n".join(["#opening,0.00", f"{HEAD},payer", *lines, *foot]), "utf-8")
    (taken,) = await take(engine, found.custodian, path, files=desk.files, actor=ACTOR, on=TODAY)
    assert taken.state == "taken", taken.problems
    first, second = await numbers(served.viewer, "")
    said = (await served.viewer.get(f"/v1/breaks/{first}/suggestions")).said
    (candidate,) = said["candidates"]
    assert (candidate["run_id"], candidate["seat"], candidate["score"], candidate["amount"]) == (
        found.run.run_id, 2, 100, "0.10"
    )  # fmt: skip
    assert (candidate["reference"], candidate["business_days"], candidate["is_late"], candidate["among"]) == (
        found.reference(2), 1, False, 1
    )  # fmt: skip
    assert accounts[2] not in str(said)
    assert (await served.viewer.get(f"/v1/breaks/{second}/suggestions")).said == {
        "break_id": second, "candidates": []
    }  # fmt: skip
    assert (await served.viewer.get("/v1/breaks/999/suggestions")).status == 404


async def test_a_selection_may_be_of_one_state(teller: Teller, served: Served) -> None:
    mine, other, _, foreign = await some(teller)
    assert (await served.finance.post(f"/v1/breaks/{mine}/assign", {"to": "cara"})).status == 200
    said = {"breaks": {"matching": {"state": "open"}}, "expected": 2, "to": "dan"}
    assert (await served.finance.post("/v1/breaks/selection/assign", said)).said == {"number": 2, "to": "dan"}
    assert await numbers(served.viewer, "assigned_to=dan") == [other, foreign]


async def test_what_a_break_may_be_settled_with(teller: Teller, served: Served) -> None:
    mine, other, closed, foreign = await some(teller)
    async with teller.world.engine.begin() as connection:
        (same,) = await teller.breaks(connection, Code.AMOUNT_MISMATCH, [1], 7)
        (back,) = await teller.breaks(connection, Code.FEE_UNEXPECTED, [None], -50)
    for of, expected in ((mine, [same, back]), (other, [back]), (back, [mine, other]), (foreign, []), (closed, [back])):
        items = (await served.viewer.get(f"/v1/breaks/{of}/belonging")).said["items"]
        assert [each["break_id"] for each in items] == expected, of
    assert (await served.viewer.get("/v1/breaks/999/belonging")).status == 404


async def test_no_custodian_no_breaks(served: Served) -> None:
    assert (await served.viewer.get("/v1/breaks")).said == {"items": [], "next": None}
    assert (await served.viewer.get("/v1/breaks/counts?severity=low&age=0-1")).said == {"counts": []}
    body = {"breaks": {"matching": {}}, "expected": 1, "to": "cara"}
    assert (await served.finance.post("/v1/breaks/selection/assign", body)).status == 409
