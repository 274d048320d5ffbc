"""The bench itself: every contestant posted the same, and the report says what it promises. Never how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from engine.cli.alternatives import ALTERNATIVES
from engine.money import to_minor

pytestmark = pytest.mark.benchmarks

MEMBERS, BREAKS, RUNS, REQUESTS = 200_000, 3_000, 600, 20


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one small bench on servers of its own."""
    folder = tmp_path_factory.mktemp("bench")
    path = folder / "made" / "bench.json"
    sizes = {"--members": MEMBERS, "--breaks": BREAKS, "--runs": RUNS, "--requests": REQUESTS}
    asked = [str(word) for option in sizes.items() for word in option]
    subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "bench", *asked, "--report", str(path)],
        env=os.environ | {"FENTAN_DATA_DIR": str(folder / "data"), "FENTAN_DATABASE_URL": "", "FENTAN_REDIS_URL": ""},
        check=True,
        timeout=600,
    )
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def test_the_report_has_every_figure(report: dict[str, Any]) -> None:
    figures = {
        *("members", "members_per_second", "ratio_insert_select", "ratio_insert_select_two_connections"),
        *("ratio_row_ledger", "ratio_row_ledger_half_full_pages", "ratio_copy_rows", "ratio_executemany"),
        *("ratio_orm_add_all", "bytes_per_entry", "worker_peak_mib"),
        *("instructions_per_second", "statement_lines_per_second", "camt_entries_per_second", "instruct_peak_mib"),
        *("statement_peak_mib", "ratio_duckdb", "ratio_postgres_join", "slowest_list_p95_ms"),
    }
    assert {name for name in figures if not report[name] > 0} == set()
    assert set(report) - figures == {"total", "phases", "alternatives", "custodian", "api", "lists", "machine"}
    assert report["members"] == MEMBERS


def test_each_phase_and_each_layout_is_timed(report: dict[str, Any]) -> None:
    assert list(report["phases"]) == ["freeze", "measure", "solve", "post", "seal"]
    assert all(set(phase) == {"seconds", "members_per_second"} for phase in report["phases"].values())
    assert list(report["alternatives"]) == [alternative.name for alternative in ALTERNATIVES]
    assert set(report["machine"]) == {"cores", "load", "memory_gib", "python", "postgres", "valkey", "fsync"}
    assert report["machine"]["fsync"] == "on"


@pytest.mark.parametrize("alternative", ALTERNATIVES, ids=lambda alternative: alternative.name)
def test_every_layout_posted_what_ours_did(report: dict[str, Any], alternative: Any) -> None:
    posted = report["alternatives"][alternative.name]
    assert posted["members"] == min(MEMBERS, alternative.members_max or MEMBERS)
    if alternative.members_max is None:
        assert posted["total"] == report["total"]
    else:
        assert 0 < to_minor(posted["total"]) < to_minor(report["total"])


def test_ratios_are_ours_over_theirs(report: dict[str, Any]) -> None:
    for name, posted in report["alternatives"].items():
        expected = report["members_per_second"] / posted["members_per_second"]
        assert report[f"ratio_{name}"] == pytest.approx(expected, rel=0.01)


def test_every_debit_was_asked_for_and_taken(report: dict[str, Any]) -> None:
    custodian = report["custodian"]
    assert custodian["lines"] == MEMBERS
    assert 0 < custodian["camt_entries"] <= MEMBERS
    assert set(custodian["seconds"]) == {"instruct", "send", "check", "import", "camt", "duckdb", "postgres_join"}
    assert [read["lines"] for read in custodian["read_peak_mib"]] == [MEMBERS // 2, MEMBERS]
    ratio = custodian["seconds"]["duckdb"] / custodian["seconds"]["import"]
    assert report["ratio_duckdb"] == pytest.approx(ratio, abs=0.01)


def test_people_read_while_a_run_posts(report: dict[str, Any]) -> None:
    api = report["api"]
    assert api["clients"] == 200
    assert set(api["slowdown"]) == set(api["milliseconds"]) == {"paced", "pressed"}
    for asked in api["milliseconds"].values():
        assert set(asked) == {"member_statement", "trial_balance", "queue_overview"}
        assert all(0 < row["p50"] <= row["p99"] for row in asked.values())


def test_each_list_is_asked_for(report: dict[str, Any]) -> None:
    lists = report["lists"]
    assert (lists["breaks"], lists["runs"], lists["requests"]) == (BREAKS, RUNS, REQUESTS)
    times = lists["milliseconds"]
    assert {name.partition(": ")[0] for name in times} == {"console", "API"}
    assert all(0 < row["p50"] <= row["p95"] <= row["max"] for row in times.values())
    beginnings = {"console: overview", "console: finance"}
    assert beginnings < times.keys()
    assert report["slowest_list_p95_ms"] == max(times[name]["p95"] for name in times.keys() - beginnings)
