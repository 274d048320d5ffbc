"""`fentan reconcile show`, `proof`, `custody` and `export` as finance uses them: a run was asked for and answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console, ConsoleDimensions

from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.reconciling import asked

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def answered(database_url: str, tmp_path: Path) -> None:
    """Four debits of 0.10: one came, one came back with charges, one came short, one is under way; and 5.00 more."""
    async with engine_on(database_url) as engine:
        world = await asked(engine, tmp_path)
        await world.takes(
            Line(10, world.reference(0)),
            Line(10, world.reference(1)),
            Line(-12, world.reference(1), "return", reason="AM04", original=10, charges=2),
            Line(9, world.reference(2)),
            Line(500, "", "other"),
        )


def test_show_tells_where_the_debits_are_and_what_is_to_be_done(fentan: Fentan, answered: None) -> None:
    found = told(fentan("reconcile", "show", "1", "--json"))
    assert (found["run"], found["plan"], found["state"]) == (1, "xianghubao", "collecting")
    funnel = found["funnel"]
    assert {
        name: tuple(funnel[name].values()) for name in ("assessed", "settled", "in_flight", "returned", "sent")
    } == {
        "assessed": (4, "0.40"),
        "settled": (1, "0.10"),
        "in_flight": (2, "0.20"),
        "returned": (1, "0.10"),
        "sent": (4, "0.40"),
    }
    assert funnel["by_reason"] == {"AM04": {"count": 1, "amount": "0.10"}}
    assert found["breaks"] == {"AMOUNT_MISMATCH": {"count": 1, "unresolved": 1, "amount": "0.09"}}
    assert any("not all through" in sentence for sentence in found["missing"])
    shown = said(fentan("reconcile", "show", "1"))
    assert "run 1 of xianghubao: collecting, debited on 2019-07-14" in shown
    assert "written off" in shown
    assert "to be done before it can be closed:" in shown


def test_proof_shows_the_strip_of_an_account_and_day(fentan: Fentan, answered: None) -> None:
    found = told(fentan("reconcile", "proof", "generic-csv", str(BOOKED_ON), "--json"))
    keys = ("account", "date", "opening", "credits", "debits", "closing", "book", "in_transit", "entered_by_hand")
    assert [found[key] for key in keys] == [
        "generic-csv", "2019-07-15", "0.00", "5.29", "0.12", "5.17", "5.17", "0.10", "0.00",
    ]  # fmt: skip
    assert found["difference"] == "0.00"
    assert found["breaks"]["MISSING_IN_LEDGER"] == {"count": 1, "amount": "5.00", "suspense": "5.00"}
    assert found["coverage"] == {"first": "2019-07-15", "last": "2019-07-15", "missing": [], "parked": 0}
    assert said(fentan("reconcile", "proof", "generic-csv", str(BOOKED_ON))).endswith("difference 0.00")


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_numbers_stand_whole_on_a_narrow_screen(
    fentan: Fentan, answered: None, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(Console, "size", ConsoleDimensions(columns, height=50))
    shown = fentan("reconcile", "proof", "generic-csv", str(BOOKED_ON)).out
    assert "5.29" in shown
    assert "-0.12" in shown
    assert max(map(len, shown.splitlines())) <= columns


def test_custody_reports_a_quarter(fentan: Fentan, answered: None) -> None:
    found = told(fentan("reconcile", "custody", "xianghubao", "2019Q3", "--json"))
    assert found["inflow"] == {"shares collected": "0.10", "unknown receipts": "5.09"}
    assert found["outflow"] == {"bank charges": "0.02"}
    assert (found["opening"], found["closing"], found["book"], found["difference"]) == ("0.00", "5.17", "5.17", "0.00")
    shown = said(fentan("reconcile", "custody", "xianghubao", "2019-Q3"))
    assert "unknown receipts" in shown
    assert shown.endswith("difference 0.00")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "99"), "there is no run 99"),
        (("proof", "nobody", "2019-07-15"), "no custodian nobody is registered"),
        (("custody", "xianghubao", "summer"), "write it like 2019Q3"),
        (("custody", "nothing", "2019Q3"), "nothing"),
    ],
)
def test_what_cannot_be_shown_says_why(fentan: Fentan, answered: None, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(fentan("reconcile", *arguments))


@pytest.mark.parametrize(
    "of", [("1",), ("--custodian", "generic-csv", "--from", "2019-07-01", "--through", "2019-07-31")]
)
def test_export_writes_a_folder_with_its_manifest(
    fentan: Fentan, answered: None, tmp_path: Path, of: tuple[str, ...]
) -> None:
    folder = tmp_path / "out"
    manifest = told(fentan("reconcile", "export", *of, "--to", str(folder), "--format", "xlsx", "--json"))
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "reconciliation.xlsx"]
    assert json.loads((folder / "manifest.json").read_text("utf-8")) == manifest
    assert "postings (postings.csv)" in said(fentan("reconcile", "export", *of, "--to", str(folder)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what to export"),
        (("1", "--custodian", "generic-csv"), "say what to export"),
        (("--custodian", "generic-csv"), "give --from DATE and --through DATE"),
        (("1", "--format", "pdf"), "give one of csv, xlsx, parquet"),
        (("99",), "there is no run 99"),
    ],
)
def test_what_cannot_be_exported_says_why(
    fentan: Fentan, answered: None, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused(fentan("reconcile", "export", *arguments, "--to", str(tmp_path / "out")))
