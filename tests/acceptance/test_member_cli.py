"""`fentan member` as a person uses it: members of a prepaid plan pay in, freeze, return and leave."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.console import Done, Fentan, refused

pytestmark = pytest.mark.acceptance

ROSTER = """member_ref,born_on,joined_on
M1,1980-05-05,2019-01-01
M2,1981-05-05,2019-01-01
M3,1982-05-05,2019-01-01
"""

PAID = """member_ref,amount,paid_on
M1,9,2019-01-02
M2,0.5,2019-01-02
M1,1.20,2019-01-03
"""


def said(done: Done) -> list[str]:
    assert (done.code, done.err) == (0, "")
    return done.out.strip().splitlines()


def test_members_pay_in_freeze_return_and_leave(fentan: Fentan, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    (tmp_path / "paid.csv").write_text(PAID, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", "waterdrop").code == 0
    anna = ("--as", "anna")

    assert said(fentan("member", "top-up", "paid.csv", *anna)) == ["paid.csv: 3 top-ups taken, 10.70 together"]
    again = ["paid.csv: 3 top-ups already taken, nothing changed"]
    assert said(fentan("member", "top-up", "paid.csv", *anna)) == again
    assert said(fentan("member", "show", "M1", "--on", "2019-01-05")) == [
        "M1 of waterdrop: seat 0, spell 1, tier member",
        "shares from 2019-01-01, claims from 2019-06-30, without end; in force",
        "balance 10.20",
    ]

    sweep = ("member", "sweep", "--on", "2019-01-05", *anna)
    assert said(fentan(*sweep)) == ["waterdrop, 2019-01-05: 2 frozen below the floor"]
    assert said(fentan(*sweep)) == ["waterdrop, 2019-01-05: no rule was due"]
    assert said(fentan("member", "show", "M2", "--on", "2019-01-05"))[2:] == [
        "frozen since 2019-01-05, until further notice",
        "balance 0.50",
    ]
    (tmp_path / "late.csv").write_text("member_ref,amount,paid_on\nM2,9,2019-01-06\n", "utf-8")
    assert "is frozen since 2019-01-05; `fentan member return` takes it with the shares missed" in refused(
        fentan("member", "top-up", "late.csv", *anna)
    )
    assert said(fentan("member", "owed", "M2", "--on", "2019-01-06")) == [
        "M2 is frozen since 2019-01-05 and can return until 2019-02-04",
        "shares missed in 0 runs: 0.00; balance 0.50; to be left: 1.00 or more",
        "to pay in: 0.50 or more",
    ]
    cost = json.loads("\n".join(said(fentan("member", "owed", "M2", "--on", "2019-01-06", "--json"))))
    assert cost == {
        "seat": 1, "member": "M2", "frozen_from": "2019-01-05", "return_by": "2019-02-04", "balance": "0.50",
        "floor": "1.00", "missed": "0.00", "runs": [], "needed": "0.50",
    }  # fmt: skip
    back = ("member", "return", "M2", "--on", "2019-01-06", *anna)
    assert "M2 needs to pay in 0.50 to return" in refused(fentan(*back, "--amount", "0.49"))
    assert said(fentan(*back, "--amount", "2")) == [
        "M2 is back from 2019-01-06 on: paid in 2.00, 0.00 of it for shares missed; balance 2.50"
    ]

    (tmp_path / "exit.csv").write_text("kind,member_ref,from\nexit,M1,2019-01-20\n", "utf-8")
    assert fentan("roster", "change", "exit.csv").code == 0
    assert said(fentan("member", "sweep", "--on", "2019-02-06", *anna)) == [
        "waterdrop, 2019-02-06: 1 left after not returning, 1 owed back 10.20"
    ]
    shown = json.loads("\n".join(said(fentan("member", "show", "M1", "--on", "2019-02-06", "--json"))))
    assert shown == {
        "plan": "waterdrop", "member": "M1", "seat": 0, "spell": 1, "tier": "member", "shares_from": "2019-01-01",
        "claims_from": "2019-06-30", "ends_on": "2019-01-20", "in_force": False, "frozen_from": None,
        "frozen_until": None, "balance": "0.00", "owed": "0.00", "refund": "10.20", "payer": None, "pays_for": [],
    }  # fmt: skip
    assert said(fentan("ledger", "verify"))[-1] == "the ledger holds"


def test_levies_and_families_of_a_plan_that_debits(fentan: Fentan, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", "jd-hubao").code == 0
    charge = ("member", "levy", "entry-premium-to-50", "--on", "2019-02-01", "--as", "anna")
    assert said(fentan(*charge)) == ["jd-hubao: entry-premium-to-50 charged to 3 members, 27.00 together"]
    assert said(fentan(*charge)) == ["jd-hubao: entry-premium-to-50 was charged before, nothing changed"]
    assert said(fentan("member", "show", "M1", "--on", "2019-02-01"))[2:] == ["owes 9.00"]


REFUSED = [
    (("show", "X9"), "there is no member X9 of jd-hubao; check the reference"),
    (("show", "M1", "--plan", "nowhere"), "there is no plan 'nowhere'"),
    (("owed", "M1"), "jd-hubao is not prepaid: nobody pays in beforehand, each run is a debit"),
    (("return", "M1", "--amount", "1", "--as", "anna"), "jd-hubao is not prepaid"),
    (("top-up", "none.csv", "--as", "anna"), "jd-hubao is not prepaid"),
    (("levy", "fee", "--as", "anna"), "jd-hubao has no levy 'fee'; its levies are entry-premium-to-50, entry-"),
    (("sweep", "--on", "7 July", "--as", "anna"), "'7 July' is not a day; write it like 2019-01-21"),
]


def test_a_refusal_says_what_to_do(fentan: Fentan, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", "jd-hubao").code == 0
    said_instead = {arguments: refused(fentan("member", *arguments)) for arguments, _ in REFUSED}
    assert [arguments for arguments, message in REFUSED if message not in said_instead[arguments]] == []


def test_a_link_to_a_members_shares_is_printed_and_does_not_name_them(fentan: Fentan, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", "waterdrop").code == 0
    (path,) = said(fentan("member", "link", "M2", "--as", "anna"))
    assert re.fullmatch(r"/share/[A-Za-z0-9_-]{43}", path)
    (again,) = said(fentan("member", "link", "M2", "--plan", "waterdrop", "--as", "anna"))
    assert again != path
    assert "there is no member M9 of waterdrop" in refused(fentan("member", "link", "M9", "--as", "anna"))
