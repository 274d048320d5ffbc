"""`fentan queue`: look, pause, resume, see what failed, try it again, let a worker end."""

from __future__ import annotations

import asyncio

import pytest

from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told

pytestmark = pytest.mark.acceptance

OLGA = ("--as", "olga")
WHY = ("--reason", "the bank asked us to wait")


def sql(database_url: str, *statements: str) -> None:
    async def executed() -> None:
        async with engine_on(database_url) as engine, engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    asyncio.run(executed())


def test_pausing_and_resuming(fentan: Fentan) -> None:
    names = [each["pause"]["queue"] for each in told(fentan("queue", "list", "--json"))]
    assert names == ["measure", "post", "reverse", "send", "jobs", "webhooks"]
    assert said(fentan("queue", "pause", "send", *WHY, *OLGA)).startswith("send is paused: by olga at ")
    assert said(fentan("queue", "pause", "send", "--reason", "another", "--as", "otto")).endswith(
        ": the bank asked us to wait"
    )
    paused = {each["pause"]["queue"]: each["pause"] for each in told(fentan("queue", "list", "--json"))}
    assert (paused["send"]["paused_by"], paused["post"]["paused_by"]) == ("olga", None)
    assert "by olga" in said(fentan("queue", "list"))
    everything = said(fentan("queue", "pause", "--all", *WHY, "--as", "otto"))
    assert everything.count("by otto") == 5
    assert said(fentan("queue", "resume", "--all", *OLGA)).count("is worked on") == 6
    assert "by o" not in said(fentan("queue", "list"))


def test_one_or_all(fentan: Fentan) -> None:
    assert "name one queue" in refused(fentan("queue", "pause", *WHY, *OLGA))
    assert "name one queue" in refused(fentan("queue", "resume", "send", "--all", *OLGA))
    assert fentan("queue", "pause", "nothing", *WHY, *OLGA).code == 2


def test_what_failed_is_tried_again(fentan: Fentan, database_url: str) -> None:
    failed = (
        "INSERT INTO jobs (kind, subject, detail, state, asked_by, ended_at, error)"
        " SELECT 'export', 'plan:quark', '{}', 'failed', 'olga', now(), error"
        " FROM unnest(ARRAY['disk full', 'disk full', 'too old']) AS error"
    )
    said(fentan("queue", "list"))  # makes the schema
    sql(database_url, failed)
    shown = said(fentan("queue", "failures", "jobs"))
    assert shown == "2 × disk full job 1 job 2 1 × too old job 3"
    first = told(fentan("queue", "failures", "jobs", "--json"))[0]
    assert (first["error"], first["count"], first["samples"]) == ("disk full", 2, [{"job_id": 1}, {"job_id": 2}])
    assert said(fentan("queue", "retry", "jobs", "--error", "disk full", *WHY, *OLGA)) == "2 of jobs are due again"
    assert said(fentan("queue", "retry", "jobs", "--job", "3", *WHY, *OLGA)) == "1 of jobs are due again"
    assert said(fentan("queue", "failures", "jobs")) == "nothing failed in jobs"
    assert told(fentan("queue", "list", "--json"))[4]["depth"] == 3
    assert "nothing in the queue jobs has run_id" in refused(
        fentan("queue", "retry", "jobs", "--run", "1", *WHY, *OLGA)
    )


def test_letting_a_worker_end(fentan: Fentan, database_url: str) -> None:
    assert "there is no worker nobody" in refused(fentan("queue", "drain", "nobody", *WHY, *OLGA))
    sql(database_url, "INSERT INTO workers (worker, host, pid, version, memory_mib) VALUES ('w:1:a', 'w', 1, '1', 90)")
    assert told(fentan("queue", "workers", "--json"))[0]["draining"] is False
    assert said(fentan("queue", "drain", "w:1:a", *WHY, *OLGA)) == "w:1:a ends after what it has in hand"
    assert "draining" in said(fentan("queue", "workers"))
