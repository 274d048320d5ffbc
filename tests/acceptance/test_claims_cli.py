"""`fentan claim` as a person uses it: two members, one plan, from filing to passing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from zlib import crc32

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.plans import PlanRules
from engine.roster.members import REF_BUCKETS
from engine.roster.plan import register_plan
from engine.roster.presets import load_plan
from tests.acceptance.console import Done, Fentan, refused
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.acceptance

ROSTER = """member_ref,born_on,joined_on
M1,1990-05-05,2019-01-01
M2,1975-05-05,2019-01-01
"""


@pytest.fixture
async def plan(engine: AsyncEngine) -> str:
    rules = load_plan("xianghubao")
    async with engine.begin() as connection:
        return (await register_plan(connection, rules)).code


def said(done: Done) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


def test_two_claims_from_filing_to_passing(fentan: Fentan, plan: str, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", plan).code == 0
    file = ("claim", "file", "--plan", plan, "--diagnosed-on", "2019-06-01", "--on", "2019-07-01")
    anna, bo = ("--as", "anna"), ("--as", "bo")

    assert said(fentan(*file, "--member", "M1", *anna)) == ("claim 1 (number 1 of xianghubao): filed, aid 300,000.00")
    assert said(fentan(*file, "--member", "M2", "--aid", "50000", *anna)) == (
        "claim 2 (number 2 of xianghubao): filed, aid 50,000.00"
    )
    assert "no such member of xianghubao" in refused(fentan(*file, "--member", "M3", *anna))
    assert "already filed for this diagnosis" in refused(fentan(*file, "--member", "M1", *anna))

    assert "2019-07-08 is not a notice day" in refused(fentan("claim", "publish", "1", "--on", "2019-07-08", *bo))
    for claim in ("1", "2"):
        assert said(fentan("claim", "publish", claim, "--on", "2019-07-07", *bo)).endswith(
            "notice from 2019-07-07 until before 2019-07-10"
        )

    objection = ("claim", "object", "1", "--reason", "a doubt [1]", "--on", "2019-07-08", "--as", "neighbour")
    assert said(fentan(*objection)) == "claim 1: objection 1 is open"
    due = ("claim", "pass", "--due", "--plan", plan, "--on", "2019-07-10", *bo)
    assert said(fentan(*due)) == "xianghubao: 1 passed: claims 2"
    assert "objections open: 1" in refused(fentan("claim", "pass", "1", "--on", "2019-07-10", *bo))
    resolution = ("claim", "resolve", "1", "1", "--resolution", "unfounded", "--on", "2019-07-10", *bo)
    assert said(fentan(*resolution)) == "claim 1: objection 1 is resolved"
    assert "passed, aid 300,000.00" in said(fentan("claim", "pass", "1", "--on", "2019-07-10", *bo))
    assert "cannot pass; possible now: withdraw, share, bill, take back, recover" in refused(
        fentan("claim", "pass", "1", *bo)
    )
    assert "cannot reject" in refused(fentan("claim", "reject", "1", "--reason", "late", *bo))
    assert "withdrawn" in said(fentan("claim", "withdraw", "2", "--reason", "recovered", *anna))

    shown = said(fentan("claim", "show", "1"))
    assert "a doubt [1]" in shown
    assert [line.split()[0] for line in shown.splitlines()[-6:]] == [
        "event", "file", "publish", "object", "resolve", "pass",
    ]  # fmt: skip
    detailed = json.loads(said(fentan("claim", "show", "1", "--json")))
    assert {key: detailed[key] for key in ("claim_id", "number", "state", "aid", "notice_on", "run_id")} == {
        "claim_id": 1, "number": 1, "state": "passed", "aid": "300000.00", "notice_on": "2019-07-07", "run_id": None,
    }  # fmt: skip
    assert "1990-05-05" not in json.dumps(detailed)

    assert said(fentan("claim", "list", "--plan", plan)).endswith("listed: 2, aid together 350,000.00")
    listed = json.loads(said(fentan("claim", "list", "--plan", plan, "--state", "passed", "--json")))
    assert [claim["claim_id"] for claim in listed] == [1]


FILE = ("claim", "file", "--member", "M1", "--diagnosed-on", "2019-07-05", "--on", "2019-07-05", "--as", "anna")


async def members_of(engine: AsyncEngine, rules: PlanRules, seats: int) -> World:
    """A plan with these members, the second of whom is found by the reference M1."""
    world = await build(engine, rules, alike(seats))
    await world.sql(
        "INSERT INTO members (plan_id, shard_id, seat, ref_bucket, spell, member_ref)"
        " VALUES (:plan, :shard, 1, :bucket, 1, 'M1')",
        plan=world.plan_id,
        shard=world.shard(1),
        bucket=crc32(b"M1") % REF_BUCKETS,
    )
    return world


async def test_stages_and_what_comes_back(fentan: Fentan, engine: AsyncEngine) -> None:
    rules = rules_of_preset("meituan", aid_stages={"first": "0.2"}, exits=None)
    world = await members_of(engine, rules, 100)
    deducted = said(fentan(*FILE, "--plan", "meituan", "--deduct", "20000:paid by the state", "--deduct", "1:a debt"))
    assert deducted.splitlines() == [
        "claim 1 (number 1 of meituan): filed, aid 279,999.00",
        "  shared 0.00, next 55,999.80, left for bills 223,999.20",
    ]
    shown = said(fentan("claim", "show", "1"))
    assert "deducted 20,000.00: paid by the state; deducted 1.00: a debt" in " ".join(shown.split())
    early = ("claim", "recover", "1", "--amount", "1", "--reason", "none", "--as", "bo")
    assert "a claim that is filed cannot recover" in refused(fentan(*early))
    said(fentan("claim", "publish", "1", "--on", "2019-07-06", "--as", "bo"))
    said(fentan("claim", "pass", "1", "--on", "2019-07-09", "--as", "bo"))
    await world.sealed(date(2019, 7, 9))

    bill = ("claim", "bill", "1", "--as", "anna")
    assert "2019-07-16 is not a notice day" in refused(fentan(*bill, "--amount", "9000", "--on", "2019-07-16"))
    assert "at most 223,999.20, which is left" in refused(fentan(*bill, "--amount", "223999.21", "--on", "2019-07-15"))
    assert said(fentan(*bill, "--amount", "9000", "--on", "2019-07-15")).splitlines()[1] == (
        "  shared 55,999.80, next 9,000.00 with the notice of 2019-07-15, left for bills 214,999.20"
    )
    proposal = ("claim", "recover", "1", "--reason", "false papers", "--on", "2019-07-12", "--as", "anna")
    assert "give more than 0 and at most 55,999.80" in refused(fentan(*proposal, "--amount", "60000"))
    assert said(fentan(*proposal, "--amount", "6000")) == (
        "decision 1 waits for somebody else: fentan decision approve 1 --as NAME"
    )
    said(fentan("decision", "approve", "1", "--as", "bo"))
    shown = said(fentan("claim", "show", "1"))
    assert "left for bills 214,999.20, came back 6,000.00" in shown
    detailed = json.loads(said(fentan("claim", "show", "1", "--json")))
    names = ("aid", "due", "shared", "next", "left", "recovered", "stage_on")
    assert {name: detailed[name] for name in names} == {
        "aid": "279999.00", "due": "64999.80", "shared": "55999.80", "next": "9000.00", "left": "223999.20",
        "recovered": "6000.00", "stage_on": "2019-07-15",
    }  # fmt: skip


async def test_aid_by_severity_and_by_fault(fentan: Fentan, engine: AsyncEngine) -> None:
    bands = [
        {"from_age": 0, "to_age": 59, "severity": name, "amount": aid} for name, aid in (("mild", "5"), ("bad", "9"))
    ]
    await members_of(engine, rules_of_preset("meituan", aid=bands, aid_stages=None), 2)
    await members_of(engine, rules_of_preset("xianghubao", aid=None, fault_share={"at_most": "300000"}), 2)
    by_severity, by_fault = (*FILE, "--plan", "meituan"), (*FILE, "--plan", "xianghubao")
    assert "give --severity: meituan knows mild and bad" in refused(fentan(*by_severity))
    assert said(fentan(*by_severity, "--severity", "mild")).endswith("filed, aid 5.00")
    formula = ("--award", "1000", "--fault-share", "0.7", "--compulsory", "100.50", "--third-party", "99.50")
    assert "gives aid by age, not by an award" in refused(fentan(*by_severity, "--severity", "bad", *formula))
    assert said(fentan(*by_fault, *formula)).endswith("filed, aid 500.00")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--award", "1000"), "give --award and --fault-share together"),
        (("--compulsory", "1000"), "--compulsory and --third-party only with them"),
        (("--award", "1", "--fault-share", "seven"), "--fault-share 'seven': write it as exact text like 0.7 or 7/10"),
        (("--award", "x", "--fault-share", "1"), "'x' is not an amount; write it like 300000 or 0.10"),
        (("--deduct", "20000"), "--deduct '20000': write AMOUNT:REASON"),
        (("--deduct", "much:paid by the state"), "'much' is not an amount"),
    ],
)
def test_what_is_said_of_an_aid_is_checked(fentan: Fentan, given: tuple[str, ...], message: str) -> None:
    assert message in refused(fentan(*FILE, "--plan", "xianghubao", *given))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pass", "--due", "--as", "bo"), "give either one CLAIM, or --due and --plan CODE"),
        (("publish", "1", "--on", "7 July", "--as", "bo"), "'7 July' is not a day; write it like 2019-01-21"),
        (("show", "404"), "there is no claim 404; `fentan claim list --plan CODE` shows those of a plan"),
        (("list", "--plan", "nowhere"), "there is no plan 'nowhere'"),
    ],
)
def test_a_refusal_says_what_to_do(fentan: Fentan, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(fentan("claim", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", str(2**63)),
        ("show", "0"),
        ("pass", str(2**63), "--as", "bo"),
        ("resolve", "1", str(2**31), "--resolution", "none", "--as", "bo"),
    ],
)
def test_numbers_that_the_database_cannot_hold_are_refused(fentan: Fentan, arguments: tuple[str, ...]) -> None:
    done = fentan("claim", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Invalid value for" in done.err
    assert "Traceback" not in done.err
