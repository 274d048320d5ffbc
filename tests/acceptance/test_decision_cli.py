"""`fentan decision`, `fentan run correct` and `fentan plan forecast`: proposed by one, approved by another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.roster.plan import plan_of, rules_of
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration.worlds import World

pytestmark = pytest.mark.acceptance

ROSTER = "member_ref,born_on,joined_on\n" + "".join(f"M{number},1990-05-05,2019-01-01\n" for number in range(20))
ANNA, BO = ("--as", "anna"), ("--as", "bo")
CORRECT = ("run", "correct", "1", "--file", "wrong.csv", "--reason", "left before the gate", "--on", "2019-07-16")


@pytest.fixture
def sealed(fentan: Fentan, database_url: str, tmp_path: Path) -> None:
    """A sealed run that charged each of twenty members 0.06; two of them wrongly."""
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    (tmp_path / "wrong.csv").write_text("member_ref,amount\nM4,-0.06\nM5,+0.01\n", "utf-8")
    for arguments in (
        ("plan", "register", "xianghubao", *ANNA),
        ("roster", "import", "roster.csv", "--plan", "xianghubao"),
        ("claim", "file", "--plan", "xianghubao", "--member", "M1", "--diagnosed-on", "2019-06-01", "--aid", "1.00",
         "--on", "2019-07-01", *ANNA),
        ("claim", "publish", "1", "--on", "2019-07-07", *BO),
        ("claim", "pass", "1", "--on", "2019-07-10", *BO),
    ):  # fmt: skip
        assert fentan(*arguments).code == 0

    async def seal() -> None:
        async with engine_on(database_url) as engine:
            async with engine.connect() as connection:
                plan = await plan_of(connection, "xianghubao")
                rules = await rules_of(connection, plan.plan_id, plan.version)
            await World(engine, plan, rules).sealed()

    asyncio.run(seal())


def test_a_correction_from_its_file_to_the_ledger(fentan: Fentan, sealed: None) -> None:
    proposed = said(fentan(*CORRECT, *ANNA))
    assert proposed == (
        "decision 1, effective on 2019-07-16: 2 members of run 1 are charged 0.01 more and given 0.06 back, against "
        "the sponsor it waits for somebody else: `fentan decision approve 1 --as NAME`"
    )
    assert said(fentan(*CORRECT, *ANNA)) == proposed
    wanted = {
        "decision": 1, "plan": "xianghubao", "kind": "correction", "subject": "run:1", "effective_on": "2019-07-16",
        "state": "proposed", "proposed_by": "anna", "decided_by": None, "outcome": None,
    }  # fmt: skip
    [listed] = told(fentan("decision", "list", "--plan", "xianghubao", "--json"))
    detail = listed.pop("detail")
    assert listed == wanted
    assert (detail["run"], detail["reason"], detail["against"]) == (1, "left before the gate", "sponsor")
    assert [amount for _, _, amount in detail["seats"]] == [-6, 1]
    shown = said(fentan("decision", "show", "1"))
    assert all(words in shown for words in ("left before the gate", "given back", "0.06", "anna", "proposed"))

    for name in ("anna", "Anna", "ANNA"):
        assert refused(fentan("decision", "approve", "1", "--as", name)).endswith("[I13]")
    assert "0.06" in fentan("ledger", "member", "M4", "--plan", "xianghubao").out
    assert said(fentan("decision", "approve", "1", *BO)) == (
        "decision 1, correction of run:1, is done: members 2; charged more 0.01; given back 0.06"
    )
    assert refused(fentan("decision", "approve", "1", *BO)) == "decision 1 is done, by bo"
    assert refused(fentan("decision", "refuse", "1", "--reason", "late", *BO)) == "decision 1 is done, by bo"
    assert "it is done already, by bo" in said(fentan(*CORRECT, *ANNA))

    [seat] = told(fentan("ledger", "member", "M4", "--plan", "xianghubao", "--json"))["seats"]
    assert [(entry["kind"], entry["amount"], entry["date"]) for entry in seat["entries"]] == [
        ("charge", "0.06", "2019-07-14"),
        ("correction", "-0.06", "2019-07-16"),
    ]
    assert seat["owed"] == "0.00"
    assert "the ledger holds" in said(fentan("ledger", "verify"))
    assert told(fentan("decision", "show", "1", "--json"))["outcome"] == {
        "members": 2, "charged_more_minor": 1, "given_back_minor": 6,
    }  # fmt: skip
    assert "done" in said(fentan("decision", "list"))


def test_who_proposed_may_refuse(fentan: Fentan, sealed: None) -> None:
    assert fentan(*CORRECT, *ANNA).code == 0
    done = fentan("decision", "refuse", "1", "--reason", "the wrong member", *ANNA)
    assert said(done) == "decision 1, correction of run:1, is refused by anna"
    found = told(fentan("decision", "show", "1", "--json"))
    assert (found["state"], found["outcome"]) == ("refused", {"reason": "the wrong member"})
    assert refused(fentan("decision", "approve", "1", *BO)) == "decision 1 is refused, by anna"


def test_a_wrong_file_is_told_line_by_line(fentan: Fentan, sealed: None, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("member_ref,amount\nM4,much\nM99,-0.06\n", "utf-8")
    message = refused(fentan(*CORRECT, *ANNA))
    assert "wrong.csv, line 2, amount: 'much'" in message
    assert "wrong.csv, line 3, member_ref: 'M99': is no member of xianghubao" in message
    (tmp_path / "wrong.csv").write_text("member_ref,amount\nM4,0.05\n", "utf-8")
    bounded = "wrong.csv, line 2, M4: 0.05 more, the cap per case over the gates it covers leaves 0.04"
    assert bounded in refused(fentan(*CORRECT, *ANNA))
    assert told(fentan("decision", "list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("decision", "show", "404"), "there is no decision 404; `fentan decision list` shows those there are"),
        (("decision", "approve", "404", *BO), "there is no decision 404; `fentan decision list` shows those there are"),
        (("decision", "refuse", "404", "--reason", "r", *BO),
         "there is no decision 404; `fentan decision list` shows those there are"),
        (("run", "correct", "404", "--file", "none.csv", "--reason", "r", *ANNA),
         "there is no run 404; `fentan run list` shows those there are"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(fentan: Fentan, arguments: tuple[str, ...], message: str) -> None:
    assert refused(fentan(*arguments)) == message


def test_a_forecast_before_its_run(fentan: Fentan, sealed: None) -> None:
    nothing = fentan("plan", "forecast", "xianghubao", "--on", "2019-07-15")
    assert said(nothing).endswith("no claim to share: nobody would pay anything, 0.00")
    assert told(fentan("plan", "forecast", "xianghubao", "--on", "2019-07-15", "--json"))["share"] == "0.00"
    for number, arguments in enumerate(((), ("--reason", "known before")), start=2):
        for command in (
            ("file", "--plan", "xianghubao", "--member", f"M{number}", "--diagnosed-on", "2019-06-01",
             "--aid", "1.00", "--on", "2019-07-01", *ANNA),
            ("publish", str(number), "--on", "2019-07-21", *BO),
            *([("object", str(number), *arguments, "--on", "2019-07-22", *BO)] if arguments else []),
        ):  # fmt: skip
            assert fentan("claim", *command).code == 0
    asked = ("plan", "forecast", "xianghubao", "--on", "2019-07-22")
    found = told(fentan(*asked, "--json"))
    assert found["claims"] == {"passed": 0, "under_notice": 1, "objected": 1}
    assert {name: found[name] for name in ("debit_on", "share", "sharers", "aid", "pool", "carry_in")} == {
        "debit_on": "2019-07-28", "share": "0.05", "sharers": 20, "aid": "1.00", "pool": "0.96", "carry_in": "0.12",
    }  # fmt: skip
    shown = said(fentan(*asked))
    assert "an estimate, no charge" in shown
    assert "1 more with an open objection; they are not counted in" in shown
    assert "20 members share; each pays at most 0.05" in shown
