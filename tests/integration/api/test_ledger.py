"""The ledger over HTTP: what finance reads adds up, page by page, and says nobody's name."""

from __future__ import annotations

import csv
import io
from datetime import date
from typing import Any

import pytest
from aiohttp import ClientError
from sqlalchemy import func, insert

from engine.ledger.accounts import Account
from engine.ledger.books import books
from engine.ledger.entries import read_entries
from engine.money import to_major, to_minor
from engine.runs.run import Run
from engine.store.tables import SHARD_SEATS, statements
from tests.integration.held import hold, profile_of
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset
from tests.serving import Caller, Served

pytestmark = pytest.mark.integration

AID = 100_00
SEATS = 7


async def sealed(served: Served) -> tuple[World, Run]:
    """Two shards of seven seats share a claim of 100.00; a second plan has shared another."""
    plan: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}}
    world = await build(served.service.engine, rules_of_preset(**plan), alike(SEATS), alike(SEATS))
    await world.claim(AID)
    run = await world.sealed(DEBIT)
    other = await build(served.service.engine, rules_of_preset(**plan).model_copy(update={"code": "other"}), alike(3))
    await other.claim(AID)
    await other.sealed(DEBIT)
    return world, run


async def all_of(caller: Caller, path: str) -> list[Any]:
    """The items of all pages, as the links between them go."""
    items, following = [], path
    while following:
        answer = await caller.get(following)
        assert answer.status == 200, answer.said
        items += answer.said["items"]
        assert answer.said["next"] is None or answer.headers["Link"] == f'<{answer.said["next"]}>; rel="next"'
        following = answer.said["next"]
    return items


async def test_the_chart_of_accounts(served: Served) -> None:
    world, _ = await sealed(served)
    answer = await served.viewer.get(f"/v1/plans/{world.plan.code}/accounts")
    assert answer.status == 200
    by_code = {each["code"]: each for each in answer.said["accounts"]}
    assert set(by_code) == {int(each) for each in Account}
    assert by_code[1210] == {
        "account_id": world.plan_id * 1_000_000 + 1210, "code": 1210, "name": "contributions receivable",
        "unit": "currency", "has_detail": True,
    }  # fmt: skip
    assert (await served.viewer.get("/v1/plans/nowhere/accounts")).status == 404


async def test_the_trial_balance_as_of_a_day(served: Served) -> None:
    world, _ = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/trial-balance"
    answer = await served.viewer.get(path)
    held = {Account(each["code"]): to_minor(each["debit"]) - to_minor(each["credit"]) for each in answer.said["lines"]}
    assert {account: amount for account, amount in held.items() if amount} == await world.accounts()
    assert held[Account.AID_PAYABLE] == -AID
    assert answer.said["debit"] == answer.said["credit"] != "0.00"
    assert answer.said["difference"] == "0.00"
    assert (await served.viewer.get(f"{path}?as_of={DEBIT}")).said["lines"] == answer.said["lines"]
    for before in (date(2019, 7, 13), date.min):
        assert (await served.viewer.get(f"{path}?as_of={before.isoformat()}")).said["lines"] == []
    assert (await served.viewer.get(f"{path}?as_of=9999-12-31")).said["lines"] == answer.said["lines"]
    assert (await served.viewer.get(f"{path}?as_of=yesterday")).status == 422


async def test_journals_by_pages_and_filters(served: Served) -> None:
    world, run = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/journals"
    everything = await all_of(served.viewer, path)
    assert [each["key"] for each in everything] == [
        f"run:{run.run_id}:seal", f"run:{run.run_id}:charge", f"run:{run.run_id}:charge"
    ]  # fmt: skip
    assert all(sum(to_minor(line["amount"]) for line in each["lines"]) == 0 for each in everything)
    assert await all_of(served.viewer, f"{path}?limit=1") == everything
    assert await all_of(served.viewer, f"{path}?kind=charge&limit=1") == everything[1:]
    for query, number in (
        (f"run_id={run.run_id}", 3),
        (f"run_id={run.run_id + 1}", 0),
        ("kind=nothing", 0),
        ("account=1210", 2),
        (f"account=2210&run_id={run.run_id}&first={DEBIT}", 1),
        ("account=1210&unit=cover", 0),
        ("account=1011", 0),
        (f"first={DEBIT}&last={DEBIT}", 3),
        ("first=2019-07-15", 0),
        ("last=2019-07-13", 0),
        ("first=0001-01-01&last=9999-12-31", 3),
        ("after=999999999999999999:999999999999999999", 0),
    ):
        assert len(await all_of(served.viewer, f"{path}?{query}")) == number, query
    on_it = await all_of(served.viewer, f"{path}?account=1210&limit=1")
    assert on_it == [each for each in everything if 1210 in {line["code"] for line in each["lines"]}]
    for query in ("after=1", "account=1", "account=receivable", "unit=gold"):
        assert (await served.viewer.get(f"{path}?{query}")).status == 422, query


async def test_one_journal_with_what_lies_under_its_lines(served: Served) -> None:
    world, run = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/journals"
    answer = await served.viewer.get(f"{path}/{world.shard(1)}/1")
    said = answer.said
    assert (said["kind"], said["run_id"], said["effective_on"]) == ("charge", run.run_id, DEBIT.isoformat())
    (segment,) = said["segments"]
    (line,) = [each for each in said["lines"] if each["account_id"] == segment["account_id"]]
    assert (segment["code"], segment["is_sparse"], segment["places"], segment["entries"]) == (1210, False, 7, 7)
    assert segment["total"] == line["amount"]
    head, previous, digest = (
        await world.rows(
            "SELECT encode(shards.head, 'hex'), encode(prev_digest, 'hex'), encode(segment.digest, 'hex') FROM journals"
            " JOIN posting_segments AS segment USING (shard_id, seq) JOIN shards USING (shard_id)"
            " WHERE shard_id = :shard",
            shard=world.shard(1),
        )
    )[0]
    assert (said["digest"], said["previous_digest"], segment["digest"]) == (head, previous, digest)
    listed = (await served.viewer.get(path)).said["items"]
    assert {name: said[name] for name in listed[1]} == listed[1]
    for missing in (f"{world.shard(1)}/2", f"{2**63 - 1}/{2**63 - 1}", f"{world.shard(1) + 1_000_000}/1"):
        assert (await served.viewer.get(f"{path}/{missing}")).status == 404, missing


async def test_entries_by_pages_and_as_a_file(served: Served) -> None:
    world, run = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/entries"
    async with world.engine.connect() as connection:
        stand = [each async for each in read_entries(connection, world.plan_id, limit=1000)]
    assert len(stand) == 2 * SEATS + 1
    everything = await all_of(served.viewer, path)
    names = ("shard_id", "seq", "code", "seat", "amount")
    assert [tuple(each[name] for name in names) for each in everything] == [
        (each.shard_id, each.seq, each.account, each.seat, to_major(each.amount)) for each in stand
    ]
    assert {each["seat"] for each in everything} >= {0, SHARD_SEATS + SEATS - 1}
    assert await all_of(served.viewer, f"{path}?limit=2") == everything
    assert await all_of(served.viewer, f"{path}?run_id={run.run_id + 1}") == []
    assert await all_of(served.viewer, f"{path}?run_id={run.run_id}&limit=4") == everything
    foreign = f"{world.shard(1) + 1_000_000}:1:{world.plan_id * 1_000_000 + 1_001_210}:0"
    assert await all_of(served.viewer, f"{path}?after={foreign}") == []

    answer = await served.viewer.get(f"{path}.csv")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="entries-{world.plan.code}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.said.decode())))
    assert rows == [
        {
            "shard": str(each.shard_id), "seq": str(each.seq), "date": str(each.effective_on), "kind": each.kind,
            "run": str(each.run_id), "account": str(int(each.account)), "name": each.account.title,
            "seat": str(each.seat), "amount": to_major(each.amount),
        }
        for each in stand
    ]  # fmt: skip
    empty = await served.viewer.get(f"{path}.csv?run_id={run.run_id + 1}")
    assert empty.said == b"shard,seq,date,kind,run,account,name,seat,amount\n"


async def test_a_file_that_cannot_be_ended_is_broken_off(served: Served) -> None:
    world, _ = await sealed(served)
    served.service.closing.set()
    with pytest.raises(ClientError):
        await served.viewer.get(f"/v1/plans/{world.plan.code}/entries.csv")


async def test_what_an_account_holds_by_shard(served: Served) -> None:
    world, _ = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/balances"
    shards = await all_of(served.viewer, f"{path}?account=1210&limit=1")
    assert [(each["number"], each["first_seat"], each["seats"], each["seq"]) for each in shards] == [
        (0, 0, 0, 1), (1, 0, SEATS, 1), (2, SHARD_SEATS, SEATS, 1)
    ]  # fmt: skip
    held = (await world.accounts())[Account.CONTRIBUTIONS_RECEIVABLE]
    assert [to_minor(each["amount"]) for each in shards] == [0, held // 2, held // 2]
    for query in ("", "?account=1", "?account=1210.0", "?account=1210&unit=gold", "?account=1210&after=x"):
        assert (await served.viewer.get(path + query)).status == 422, query
    cover = await all_of(served.viewer, f"{path}?account=1210&unit=cover&after=0")
    assert [each["amount"] for each in cover] == ["0.00"] * 3


async def test_a_run_ties_out(served: Served) -> None:
    world, run = await sealed(served)
    answer = await served.viewer.get(f"/v1/runs/{run.run_id}/tie-out")
    line = await world.tied_out(run)
    assert {name: to_minor(answer.said[name]) for name in line} == line
    assert answer.said["money_in"] == answer.said["money_out"]
    assert (answer.said["difference"], answer.said["aid"]) == ("0.00", to_major(AID))
    await world.claim(AID)
    planned = await world.planned(date(2019, 7, 28))
    assert (await served.viewer.get(f"/v1/runs/{planned.run_id}/tie-out")).status == 409
    assert (await served.viewer.get("/v1/runs/999/tie-out")).status == 404


async def test_the_books_say_what_each_balance_is(served: Served) -> None:
    world, _ = await sealed(served)
    answer = await served.viewer.get(f"/v1/plans/{world.plan.code}/books")
    async with world.engine.connect() as connection:
        booked = await books(connection, world.plan_id, sponsor=world.rules.share.sponsor)
    assert [(each["code"], each["explanation"], each["closing"]) for each in answer.said["accounts"]] == [
        (each.account, each.explanation, to_major(each.closing)) for each in booked
    ]  # fmt: skip
    owed = next(each for each in answer.said["accounts"] if each["code"] == 1210)
    assert owed["explanation"] == f"owed by {2 * SEATS} members"
    assert owed["by_kind"] == {"charge": owed["closing"]}
    assert answer.said["difference"] == "0.00"


async def test_a_lock_is_proposed_only_for_what_is_proved(served: Served) -> None:
    world, _ = await sealed(served)
    path = f"/v1/plans/{world.plan.code}/periods"
    assert (await served.viewer.get(path)).said == {"plan": world.plan.code, "locked_through": None}
    for caller, through, status, word in (
        (served.scheduler, "2019-07-13", 403, "finance"),
        (served.finance, "2019-07-13", 409, "no custodian"),
        (served.finance, "9999-12-31", 409, "not over"),
        (served.finance, "soon", 422, "through"),
    ):
        answer = await caller.post(f"{path}/lock", {"through": through})
        assert (answer.status, word in answer.said["detail"]) == (status, True), answer.said
    await hold(world, profile_of())
    unproved = await served.finance.post(f"{path}/lock", {"through": "2019-07-13"})
    assert (unproved.status, unproved.said["invariant"]) == (409, "I11")
    still = {"message": "camt.053", "file": "f", "sha256": b"", "number": 1, "identity": "1", "books": True, "lines": 0}
    friday = {"from_on": date(2019, 7, 12), "to_on": date(2019, 7, 12), "opening_minor": 0, "closing_minor": 0}
    taken = {"credits_minor": 0, "debits_minor": 0, "state": "taken", "imported_by": "fay", "taken_at": func.now()}
    async with world.engine.begin() as connection:
        await connection.execute(insert(statements).values(custodian_id=1, **still, **friday, **taken))
    answer = await served.finance.post(f"{path}/lock", {"through": "2019-07-12"})
    assert answer.status == 201, answer.said
    assert answer.headers["Location"] == f"/v1/decisions/{answer.said['decision_id']}"
    assert (answer.said["kind"], answer.said["state"], answer.said["proposed_by"]) == (
        "period lock", "proposed", "finance"
    )  # fmt: skip
    detail = await world.value("SELECT detail ->> 'through' FROM decisions")
    assert detail == "2019-07-12"
    assert (await served.viewer.get(path)).said["locked_through"] is None, "nobody has approved it"
    acts = await world.rows("SELECT actor, act, subject FROM audit_log WHERE actor = 'finance' ORDER BY audit_id")
    assert acts == [
        ("finance", "propose period lock", f"plan:{world.plan.code}"),
        ("finance", "lock periods", f"plans/{world.plan.code}/periods/lock"),
    ]
