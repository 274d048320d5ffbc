"""Statements over HTTP: uploaded, taken once or parked and why, their open lines and where these stand in the file."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.api.asked import upload, worked
from tests.integration.api.test_custodians import BANK, world_of
from tests.integration.bank_statement import Line, statement
from tests.serving import Served

pytestmark = pytest.mark.integration

STATEMENTS = f"{BANK}/statements"
QUERY = "?name=july-2019-07-15.csv&on=2019-07-20"


async def taken(served: Served, *lines: Line, **how: Any) -> dict[str, Any]:
    """The job of a statement of these lines."""
    return await worked(served, await upload(served.finance, f"{STATEMENTS}{QUERY}", statement(lines, **how)))


async def test_a_statement_is_taken_once(served: Served) -> None:
    world = await world_of(served)
    lines = (Line(10, world.reference(0)), Line(3_00, "Zhang San 6222000011112222"))
    job = await taken(served, *lines)
    assert job["outcome"] == {"taken": 1, "parked": 0, "repeated": 0, "lines": 2, "statements": [1]}
    again = await taken(served, *lines)
    assert (again["outcome"]["repeated"], again["outcome"]["statements"]) == (1, [1])
    found = (await served.viewer.get("/v1/statements/1")).said
    assert (found["file"], found["state"], found["lines"]) == ("july-2019-07-15.csv", "taken", 2)
    assert [found[name] for name in ("opening", "credits", "debits", "closing")] == ["0.00", "3.10", "0.00", "3.10"]
    assert {each["outcome"]: (each["count"], each["amount"]) for each in found["tally"]} == {
        "matched": (1, "0.10"), "break": (1, "3.00"),
    }  # fmt: skip
    assert (found["imported_by"], found["problems"], found["sha256"]) == ("finance", [], job["detail"]["sha256"])
    assert (await served.viewer.get("/v1/statements")).said["items"] == [found]


async def test_open_lines_are_veiled_and_the_file_is_not(served: Served) -> None:
    await world_of(served)
    names = "Zhang San 6222000011112222"
    await taken(served, Line(3_00, names), Line(4_00, "another"), Line(5_00, ""))
    lines = await served.viewer.get("/v1/statements/1/lines?limit=2")
    first, second = lines.said["items"]
    assert (first["ordinal"], first["amount"], first["outcome"], first["place"]) == (1, "3.00", "break", "line 3")
    assert first["reference"].startswith("#")
    assert "6222000011" not in str(lines.said)
    assert second["ordinal"] == 2
    [third] = (await served.viewer.get(lines.said["next"])).said["items"]
    assert third["ordinal"] == 3
    raw = await served.finance.get("/v1/statements/1/lines/1/raw")
    assert raw.said["place"] == "line 3"
    assert names in raw.said["text"]
    (file,) = (served.service.desk.files / "generic-csv" / "statements").iterdir()
    first = raw.said["offset"]
    assert file.read_bytes()[first : first + raw.said["bytes"]].decode() == raw.said["text"]
    assert (await served.viewer.get("/v1/statements/1/lines/1/raw")).status == 403
    assert (await served.finance.get("/v1/statements/1/lines/9/raw")).status == 404
    for kept in (served.service.desk.files / "generic-csv" / "statements").iterdir():
        kept.unlink()
    assert (await served.finance.get("/v1/statements/1/lines/1/raw")).status == 409


async def test_each_line_says_what_it_is_and_what_was_posted(served: Served) -> None:
    world = await world_of(served)
    await taken(served, Line(10, world.reference(3)), Line(3_00, "who is this"), Line(10, world.reference(1)))
    pages = await served.viewer.get("/v1/statements/1/lines?which=all&limit=2")
    items = [*pages.said["items"], *(await served.viewer.get(pages.said["next"])).said["items"]]
    run = world.run.run_id
    assert [(each["ordinal"], each["outcome"], each["stage"], each["amount"]) for each in items] == [
        (1, "matched", None, "0.10"), (2, "break", "known", "3.00"), (3, "matched", None, "0.10"),
    ]  # fmt: skip
    assert items[0]["about"] == {"kind": "debit", "run_id": run, "attempt": 1, "seat": 3}
    assert items[1]["reference"].startswith("#")
    line = (await served.viewer.get("/v1/statements/1/lines/1")).said
    assert {name: value for name, value in line.items() if name in items[0]} == items[0]
    assert (line["breaks"], line["charges"], line["count"]) == ([], "0.00", 1)
    key = f"run:{run}:statement:1:2019-07-15"
    assert [(each["key"], each["account"], each["amount"], each["own"]) for each in line["postings"]] == [
        (key, "custodian cash", "0.20", None), (key, "contributions receivable", "-0.20", "-0.10"),
    ]  # fmt: skip
    unknown = (await served.viewer.get("/v1/statements/1/lines/2")).said
    assert [(each["key"], each["account"], each["amount"]) for each in unknown["postings"]] == [
        ("statement:1:2019-07-15", "custodian cash", "3.00"), ("statement:1:2019-07-15", "suspense", "-3.00"),
    ]  # fmt: skip
    assert unknown["breaks"] == [1]
    assert world.reference(1) in (await served.finance.get("/v1/statements/1/lines/3/raw")).said["text"]
    for ordinal in (4, 10**15):
        assert (await served.viewer.get(f"/v1/statements/1/lines/{ordinal}")).status == 404
    for kept in (served.service.desk.files / "generic-csv" / "statements").iterdir():
        kept.unlink()
    assert (await served.viewer.get("/v1/statements/1/lines/1")).status == 409
    assert (await served.viewer.get("/v1/statements/1/lines/2")).status == 200


async def test_of_a_parked_statement_nothing_became_anything(served: Served) -> None:
    world = await world_of(served)
    await taken(served, Line(10, world.reference(0)), closing=99_00)
    (line,) = (await served.viewer.get("/v1/statements/1/lines?which=all")).said["items"]
    assert (line["outcome"], line["amount"]) == (None, "0.10")
    assert (await served.viewer.get("/v1/statements/1/lines/1")).said["postings"] == []


async def test_a_statement_that_does_not_add_up_is_parked(served: Served) -> None:
    world = await world_of(served)
    job = await taken(served, Line(10, world.reference(0)), closing=99_00)
    assert (job["state"], job["outcome"]["parked"]) == ("done", 1)
    found = (await served.viewer.get("/v1/statements?state=parked")).said["items"]
    assert [(each["statement_id"], each["taken_at"]) for each in found] == [(1, None)]
    assert found[0]["problems"][0]["code"] == "BALANCE_BREAK"
    assert (await served.viewer.get("/v1/statements?state=taken")).said["items"] == []


async def test_one_that_cannot_be_read_fails_without_its_numbers(served: Served) -> None:
    world = await world_of(served)
    path = f"{STATEMENTS}?name=daily.txt"
    job = await worked(served, await upload(served.finance, path, "6222000011112222 owes us\n"))
    assert (job["state"], job["outcome"]) == ("failed", None)
    assert job["error"].startswith("daily.txt: line 1: is neither XML nor MT940")
    assert "6222000011" not in job["error"]
    assert await world.world.rows("SELECT count(*) FROM statements") == [(0,)]


async def test_names_of_files_may_begin_with_a_day(served: Served) -> None:
    await world_of(served)
    for name in ("2019-07-15-0001.csv", "20190715.csv"):  # the first as `fentan simulate custodian` writes it
        assert (await upload(served.finance, f"{STATEMENTS}?name={name}", name)).status == 202, name


async def test_names_of_files_hold_no_accounts(served: Served) -> None:
    await world_of(served)
    for name in ("6222000011112222.csv", "622200001.csv", "a-622200001.csv", "62220000", "..", "a/b", "", "a%00"):
        assert (await upload(served.finance, f"{STATEMENTS}?name={name}", "x")).status == 422, name
    assert (await upload(served.finance, f"{STATEMENTS}?on=2999-01-01", "x")).status == 409
    assert (await upload(served.finance, "/v1/custodians/nobody/statements", "x")).status == 404


async def test_they_are_listed_in_parts(served: Served) -> None:
    world = await world_of(served)
    await taken(served, Line(10, world.reference(0)))
    await taken(served, Line(10, world.reference(1)), opening=10)
    listed = await served.viewer.get("/v1/statements?limit=1&custodian=generic-csv")
    assert [each["statement_id"] for each in listed.said["items"]] == [2]
    later = await served.viewer.get(listed.said["next"])
    assert ([each["statement_id"] for each in later.said["items"]], later.said["next"]) == ([1], None)
    assert (await served.viewer.get("/v1/statements?custodian=nobody")).status == 404
    assert (await served.viewer.get("/v1/statements/99")).status == 404
    assert (await served.viewer.get("/v1/statements/99/lines")).status == 404


async def test_nothing_of_members_is_stored_beside_the_file(served: Served) -> None:
    await world_of(served)
    await taken(served, Line(3_00, "Zhang San 6222000011112222"))
    await served.finance.get("/v1/statements/1/lines/1/raw")
    async with served.service.engine.connect() as connection:
        for table in ("jobs", "audit_log", "idempotency_keys", "statement_lines", "statements"):
            for row in await connection.execute(text(f"SELECT * FROM {table}")):
                assert "6222000011" not in str(row), table
                assert "Zhang" not in str(row), table
