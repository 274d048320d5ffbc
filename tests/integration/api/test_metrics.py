"""The metrics: what each says, that all are documented, and what is there without a database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from engine.custodian.breaks import Code
from engine.store.tables import workers
from tests.integration.api.test_health import shut
from tests.integration.broken import sent
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
NAME = re.compile(r"\b(?:fentan|process)_[a-z0-9_]+\b")
SUFFIXES = ("_bucket", "_sum", "_count")


async def scraped(served: Served, accept: str = "") -> list[Metric]:
    async with served.session.get(f"{served.url}/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200
        openmetrics = answer.content_type == "application/openmetrics-text"
        return list((parse_openmetrics if openmetrics else parse)(await answer.text()))


async def values(served: Served, name: str) -> dict[tuple[str, ...], float]:
    """The numbers of a metric by the values of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in await scraped(served)
        for sample in metric.samples
        if sample.name == name
    }


def samples(metrics: list[Metric]) -> Iterator[tuple[str, str]]:
    """(name as it is asked for in a query, type) of each, of histograms and counters once."""
    for metric in metrics:
        yield metric.name + ("_total" if metric.type == "counter" else ""), metric.type


async def test_every_metric_is_documented_with_its_type_and_labels(served: Served) -> None:
    await served.viewer.get("/v1/runs")
    documented = {name: (kind, labels) for name, kind, labels in ROW.findall((ROOT / "docs/metrics.md").read_text())}
    shown = await scraped(served)
    assert {name: kind for name, (kind, _) in documented.items()} == dict(samples(shown))
    for metric in shown:
        for sample in metric.samples:
            name = metric.name + ("_total" if metric.type == "counter" else "")
            assert set(re.findall(r"`(\w+)`", documented[name][1])) == set(sample.labels) - {"le"}, name


def test_every_alert_is_explained() -> None:
    rules = re.findall(r"alert: (\w+)", (ROOT / "docker/prometheus/alerts.yaml").read_text())
    assert sorted(re.findall(r"^\| `(Fentan\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)) == sorted(
        rules
    )


@pytest.mark.parametrize("file", ["docker/prometheus/alerts.yaml", "docker/grafana/dashboard.json"])
def test_what_is_watched_exists(file: str) -> None:
    known = {name for name, _, _ in ROW.findall((ROOT / "docs/metrics.md").read_text())}
    named = set(NAME.findall((ROOT / file).read_text()))
    assert len(named) > 10
    known |= {name + suffix for name in known for suffix in SUFFIXES}
    assert named - known == set()


def test_the_dashboard_shows_every_figure_but_those_of_the_process() -> None:
    dashboard = json.loads((ROOT / "docker/grafana/dashboard.json").read_text())
    shown = set(NAME.findall(" ".join(t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ()))))
    known = {name for name, _, _ in ROW.findall((ROOT / "docs/metrics.md").read_text()) if name.startswith("fentan")}
    assert {name for name in known if not any(each.startswith(name) for each in shown)} == set()


async def test_both_formats(served: Served) -> None:
    plain, open_ = await scraped(served), await scraped(served, "application/openmetrics-text; version=1.0.0")
    assert {metric.name for metric in plain} == {metric.name for metric in open_}
    assert await scraped(served, "application/openmetrics-text; version=x")


async def test_runs_shards_queues_and_the_ledger(served: Served) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(30), alike(20))
    await world.claim()
    run = await world.posting(1)
    assert (await values(served, "fentan_runs"))["posting",] == 1
    assert sum((await values(served, "fentan_runs")).values()) == 1
    shards = await values(served, "fentan_run_shards")
    assert {key for key, value in shards.items() if value} == {("post", "done"), ("post", "pending")}
    depths = await values(served, "fentan_queue_depth")
    assert depths == {(queue,): float(queue == "post") for queue in
                      ("measure", "post", "reverse", "send", "jobs", "webhooks")}  # fmt: skip
    assert (await values(served, "fentan_queue_done"))["post", "60s"] == 1
    await world.set_shards(run, "failed", [2])
    assert (await values(served, "fentan_queue_failed"))["post",] == 1
    plan = (world.plan.code,)
    assert await values(served, "fentan_trial_balance_difference_minor") == {plan: 0}
    assert await values(served, "fentan_journals") == {plan: await world.value("SELECT count(*) FROM journals")}
    paused = await values(served, "fentan_queue_paused")
    await served.ops.post("/v1/queues/jobs/pause", {"reason": "a test"})
    assert await values(served, "fentan_queue_paused") == paused | {("jobs",): 1}


async def test_a_ledger_that_does_not_balance_is_seen(served: Served) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(30))
    await world.claim()
    await world.sealed()
    async with world.engine.begin() as connection:
        for statement in (
            "ALTER TABLE journals DROP CONSTRAINT journals_balanced_check",
            "ALTER TABLE journals DISABLE TRIGGER USER",
            "UPDATE journals SET amounts[1] = amounts[1] + 5 WHERE idempotency_key = 'run:1:charge'",
        ):
            await connection.exec_driver_sql(statement)
    assert await values(served, "fentan_trial_balance_difference_minor") == {(world.plan.code,): 5}


async def test_breaks_suspense_and_statements(served: Served, tmp_path: Path) -> None:
    teller = await sent(served.service.engine, tmp_path / "custodian", alike(9))
    code, today = teller.custodian.code, datetime.now(ZoneInfo(teller.custodian.profile.time_zone)).date()
    async with served.service.engine.begin() as connection:
        for seats, amount, days in (([1, 2], 5_00, 0), ([3], 2_000_000_00, 0), ([4], 5_00, 400)):
            opened_on = today - timedelta(days=days)
            await teller.breaks(connection, Code.AMOUNT_MISMATCH, seats, amount, opened_on=opened_on)
    breaks = await values(served, "fentan_breaks")
    assert breaks == {(code, "low"): 2, (code, "medium"): 0, (code, "high"): 0, (code, "critical"): 2}
    assert await values(served, "fentan_suspense_minor") == {(code,): 3 * 5_00 + 2_000_000_00}
    async with served.service.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE breaks SET state = 'resolved', closed_on = opened_on WHERE seat = 3")
    assert (await values(served, "fentan_breaks"))[code, "critical"] == 1
    assert await values(served, "fentan_suspense_minor") == {(code,): 3 * 5_00}

    assert await values(served, "fentan_statement_days_behind") == {}
    taken = (
        "INSERT INTO statements (custodian_id, sha256, number, file, message, identity, books, from_on, to_on, lines,"
        " credits_minor, debits_minor, state, imported_by, taken_at)"
        " VALUES (:custodian, :sha256, :number, 'a.csv', 'csv', 'a', true, :day, :day, 1, 0, 0, :state, 'olga', :taken)"
    )
    for number, (days, state) in enumerate(((9, "taken"), (3, "taken"), (1, "parked")), start=1):
        await teller.world.sql(
            taken, custodian=teller.custodian.custodian_id, sha256=b"a", number=number,
            day=today - timedelta(days=days), state=state, taken=datetime.now(UTC) if state == "taken" else None,
        )  # fmt: skip
    await teller.world.sql(
        "INSERT INTO statement_lines (statement_id, ordinal, place, amount_minor, kind, charges_minor, count, outcome,"
        " stage) VALUES (1, 1, 'line 1', 5, 'debit', 0, 1, 'pending', 7)"
    )
    assert await values(served, "fentan_statement_days_behind") == {(code,): 3}
    assert await values(served, "fentan_statements_parked") == {(code,): 1}
    assert await values(served, "fentan_lines_pending") == {(code,): 1}


async def test_workers(served: Served) -> None:
    async with served.service.engine.begin() as connection:
        for number, draining in enumerate((False, False, True)):
            row = {"worker": f"w{number}", "host": "h", "pid": 1, "version": "1", "memory_mib": 70}
            await connection.execute(workers.insert().values(row | {"draining": draining}))
        lost = "UPDATE workers SET beat_at = beat_at - interval '1 minute' WHERE worker = 'w0'"
        await connection.exec_driver_sql(lost)
    assert await values(served, "fentan_workers") == {("alive",): 1, ("draining",): 1, ("lost",): 1}
    ages = await values(served, "fentan_worker_beat_age_seconds")
    assert 60 <= ages["w0",] < 90
    assert ages["w1",] < 30
    assert (await values(served, "fentan_worker_memory_mebibytes"))["w1",] == 70


async def test_requests_by_their_route_and_never_by_what_they_name(served: Served) -> None:
    for number in range(3):
        await served.viewer.get(f"/v1/runs/{number + 1}")
    await served.viewer.get("/nowhere/secret")
    await served.viewer.send("PROPFIND", "/v1/runs")
    counted = await values(served, "fentan_http_requests_total")
    assert counted["GET", "/v1/runs/{run_id}", "404"] == 3
    assert counted["GET", "(none)", "404"] == 1
    assert [key for key in counted if key[0] == "other"]
    assert (await values(served, "fentan_http_request_seconds_count"))["GET", "/v1/runs/{run_id}"] == 3
    in_flight = await values(served, "fentan_http_requests_in_flight")
    assert {key: value for key, value in in_flight.items() if value} == {("GET", "/metrics"): 1}


async def test_without_the_database_what_the_process_knows_is_told(served: Served, database_url: str) -> None:
    assert await values(served, "fentan_up") == {(): 1}
    await shut(database_url, shut=True)
    try:
        assert await values(served, "fentan_up") == {(): 0}
        assert await values(served, "fentan_queue_depth") == {}
        assert await values(served, "fentan_http_requests_total") != {}
    finally:
        await shut(database_url, shut=False)
    assert await values(served, "fentan_up") == {(): 1}
    assert len(await values(served, "fentan_queue_depth")) == 6


async def test_what_cannot_be_read_does_not_hide_the_rest(served: Served) -> None:
    async with served.service.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE workers RENAME TO gone")
    failed = await values(served, "fentan_figures_failed")
    assert {part for (part,), value in failed.items() if value} == {"workers"}
    assert len(await values(served, "fentan_queue_depth")) == 6
