"""The whole conversation with mock-bank, a bank that nobody here wrote: direct debits in EUR over HTTP, every fault.

It runs as a process of its own. Its clock is moved by its own call, its faults are switched by its own means, and what
it says is fetched, taken, matched and posted by the commands that people and cron lines use.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from engine.resources import config_dir
from engine.roster.plan import plan_of, rules_of
from engine.store.database import engine_on
from tests.acceptance import console
from tests.integration.worlds import World

pytestmark = pytest.mark.acceptance

ANNA, BO = ("--as", "anna"), ("--as", "bo")
OURS = "NL41MOCK0000000001"
ENVIRONMENT = {
    "CUSTODIAN_MOCK_BANK_ACCOUNT": "ACME",
    "CUSTODIAN_MOCK_BANK_IBAN": OURS,
    "CUSTODIAN_MOCK_BANK_CREDITOR_ID": "NL41ZZZ000000000001",
}
PLAN = "eur-plan"
MEMBERS, SHARE = 20, 6  # 1.00 of aid and its fee of 8%, rounded up
WROTE, LEFT = "2019-07-11", "2019-07-12"  # Thursday: files are written and sent; Friday
DEBITED = date(2019, 7, 15)  # Monday: the run's own day is a Sunday


def iban(seat: int) -> str:
    """Of a bank that mock-bank is not, with its check digits."""
    number = f"{12345678}{seat:010}"
    return f"DE{98 - int(number + '131400') % 97:02}{number}"


ROSTER = "member_ref,born_on,joined_on,account,mandate_id,mandate_signed_on\n" + "".join(
    f"M{seat},1990-05-05,2019-01-01,{iban(seat)},MD-{seat},2019-01-01\n" for seat in range(MEMBERS)
)


class Bank:
    """mock-bank, as its own calls have it."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, said: Any = None) -> Any:
        answer, body = self._call(method, path, b"" if said is None else json.dumps(said).encode())
        assert answer // 100 == 2, body
        return json.loads(body)

    def post(self, file: Path) -> None:
        """Give it a file by hand."""
        answer, body = self._call("POST", "/payments", file.read_bytes())
        assert answer // 100 == 2, body

    def _call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def begin_anew(self) -> None:
        """A new bank on the morning of WROTE, our account empty; what it writes of others lies in the same mailbox."""
        self.ask("POST", "/_mock/reset")
        self.ask("PATCH", "/_mock/accounts/ACME", {"balance": 0})

    def to(self, day: str) -> None:
        """Move its clock to the first moment of a day; statements of the days that end are written."""
        self.ask("POST", f"/_mock/advance?to={day}")

    def ours(self, behaviour: str) -> None:
        self.ask("PATCH", "/_mock/accounts/ACME", {"behaviour": behaviour})

    def hold(self, seat: int, behaviour: str, **parameters: Any) -> None:
        """Let it hold the account of this seat too, so that the account's behaviour decides."""
        account = {"id": f"S{seat}", "iban": iban(seat), "behaviour": behaviour, "parameters": parameters}
        self.ask("POST", "/_mock/accounts", account)

    def refuse(self, seat: int, reason: str) -> None:
        """The payer's bank says no: before the debit is booked, or after."""
        known = [each for each in self.ask("GET", "/_mock/collections") if each["debtor_iban"] == iban(seat)]
        self.ask("POST", f"/_mock/collections/{known[0]['end_to_end_id']}/refuse", {"reason": reason})


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Bank]:
    """mock-bank on a free port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    clock = ("--clock", f"{WROTE}T09:00", "--timezone", "Europe/Amsterdam")
    command = [sys.executable, "-m", "mockbank", "--port", str(port), "--quiet", *clock, *options]
    with (folder / "mock-bank.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        bank, until = Bank(port), monotonic() + 30
        try:
            while True:
                try:
                    assert bank.ask("GET", "/_mock/health")["status"] == "ok"
                    break
                except ConnectionError:
                    assert process.poll() is None, (folder / "mock-bank.log").read_text("utf-8")
                    assert monotonic() < until, "mock-bank does not answer"
            yield bank
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with running(tmp_path_factory.mktemp("bank")) as bank:
        yield bank


@pytest.fixture
def bank(process: Bank) -> Bank:
    process.begin_anew()
    return process


Ready = Callable[[Bank], None]


class Fentan:
    """The console script in this process, and what it says."""

    def __init__(self, command: console.Fentan, database_url: str) -> None:
        self._command, self._database_url = command, database_url

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = self._command(*arguments)
        assert done.code == code, done
        return done.words

    def told(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def seal(self) -> None:
        """What workers do: the run is previewed, approved, posted and sealed."""

        async def sealed() -> None:
            async with engine_on(self._database_url) as engine:
                async with engine.connect() as connection:
                    plan = await plan_of(connection, PLAN)
                    rules = await rules_of(connection, plan.plan_id, plan.version)
                await World(engine, plan, rules).sealed()

        asyncio.run(sealed())

    def sql(self, statement: str) -> None:
        async def run() -> None:
            async with engine_on(self._database_url) as engine, engine.begin() as connection:
                await connection.exec_driver_sql(statement)

        asyncio.run(run())

    def send(self, *, code: int = 0) -> str:
        """Send the one file that waits."""
        said = self("custodian", "send", "mock-bank", "--on", WROTE, code=code)
        assert said.startswith(f"1 files sent to mock-bank, {MEMBERS} instructions of 1.20; 0 wait")
        return said

    def day(self, on: str) -> str:
        """The custodian's day, as a cron line runs it: what became of run 1."""
        said = self("custodian", "day", "mock-bank", *ANNA, "--on", on)
        return re.split(r" \d+ files sent", said.partition("run 1 is ")[2])[0]

    def funnel(self) -> dict[str, int]:
        """Seats of run 1 by where they are in its funnel, those that are somewhere."""
        found = self.told("reconcile", "show", "1")["funnel"]
        places = ("settled", "in_flight", "returned", "written_off", "waived")
        counts = {name: found[name]["count"] for name in places}
        assert sum(counts.values()) == found["assessed"]["count"] == MEMBERS, "I12"
        amounts = [round(float(found[name]["amount"]) * 100) for name in places]
        assert sum(amounts) == round(float(found["assessed"]["amount"]) * 100) == MEMBERS * SHARE, "I12"
        return {name: count for name, count in counts.items() if count}

    def reasons(self) -> dict[str, int]:
        """Debits that did not come in, by the bank's code."""
        by_reason = self.told("reconcile", "show", "1")["funnel"]["by_reason"]
        return {code: total["count"] for code, total in by_reason.items()}

    def taken(self) -> Counter[str]:
        """The statements that were taken, by message."""
        statements = self.told("statement", "list")
        return Counter(each["message"][:8] for each in statements if each["state"] == "taken")

    def breaks(self, *of: str) -> dict[str, int]:
        """How many there are of each code that wait for a person, or `of` another state."""
        return {each["code"]: each["count"] for each in self.told("reconcile", "breaks", *of)["counts"]}

    def proved(self, on: str, closing: str) -> None:
        """The day is proved, and what the bank holds is this."""
        proof = self.told("reconcile", "proof", "mock-bank", on)
        assert (proof["difference"], proof["closing"], proof["book"]) == ("0.00", closing, closing)
        assert (proof["coverage"]["missing"], proof["coverage"]["parked"]) == ([], 0)


@pytest.fixture
def fentan(fentan: console.Fentan, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Fentan:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FENTAN_LOG_LEVEL", "error")  # that the bank is away is warned of
    return Fentan(fentan, database_url)


@pytest.fixture
def ready(fentan: Fentan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """A call makes a sealed run that charged each of the members SHARE, its debits written for a bank."""
    plan = (config_dir() / "plans" / "xianghubao.toml").read_text("utf-8")
    for was, becomes in (('"xianghubao"', f'"{PLAN}"'), ('"CNY"', '"EUR"'), ("Asia/Shanghai", "Europe/Amsterdam")):
        assert was in plan
        plan = plan.replace(was, becomes, 1)
    (tmp_path / "plan.toml").write_text(plan, "utf-8")
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    filed = ("--plan", PLAN, "--member", "M1", "--diagnosed-on", "2019-06-01", "--aid", "1.00", "--on", "2019-07-01")

    def written(bank: Bank) -> None:
        monkeypatch.setenv("CUSTODIAN_MOCK_BANK_URL", bank.url)
        fentan("plan", "register", "plan.toml", *ANNA)
        fentan("roster", "import", "roster.csv", "--plan", PLAN)
        fentan("custodian", "register", "mock-bank", *ANNA)
        fentan("custodian", "assign", "mock-bank", PLAN, *ANNA)
        fentan("claim", "file", *filed, *ANNA)
        fentan("claim", "publish", "1", "--on", "2019-07-07", *BO)
        fentan("claim", "pass", "1", "--on", "2019-07-10", *BO)
        fentan.seal()
        said = fentan("custodian", "instruct", "1", *ANNA, "--on", WROTE)
        assert said == f"run 1 asks for {MEMBERS} debits of 1.20 in 1 files, to be debited on {DEBITED}"

    return written


def test_accepted(bank: Bank, fentan: Fentan, ready: Ready, tmp_path: Path) -> None:
    ready(bank)
    fentan.send()
    # As after a crash between the sending and the note of it: the bank has the file, and says so of the second.
    fentan.sql("UPDATE debit_batches SET sent_at = NULL, sent_on = NULL")
    fentan.send()
    bank.to("2019-07-15")
    bank.ask("POST", "/_mock/accounts/ACME/report")
    assert fentan.day("2019-07-15") == "collecting: nothing new"
    assert fentan.funnel() == {"in_flight": MEMBERS}, "a notification and the report of a day only inform"
    bank.to("2019-07-16")
    for _ in range(2):
        assert fentan.day("2019-07-16") == "collecting: nothing new"
        assert fentan.funnel() == {"settled": MEMBERS}
    bank.to("2019-07-19")
    assert fentan.day("2019-07-19") == "settled: nothing new"
    assert (fentan.funnel(), fentan.breaks()) == ({"settled": MEMBERS}, {})
    # Statements of each business day from Thursday to Thursday; two reports on the file put twice.
    assert fentan.taken() == {"camt.053": 6, "camt.054": 1, "camt.052": 1, "pain.002": 2}
    fentan.proved("2019-07-15", "1.20")
    fentan.proved("2019-07-18", "1.20")
    came = sorted((tmp_path / "data" / "custodian" / "mock-bank" / "in" / "taken").iterdir())
    again = fentan.told("statement", "import", *map(str, reversed(came)), *ANNA)
    assert [each["state"] for each in again] == ["repeated"] * 10
    fentan.proved("2019-07-18", "1.20")


def test_refused_and_returned(bank: Bank, fentan: Fentan, ready: Ready) -> None:
    ready(bank)
    bank.hold(1, "closed-account")
    bank.hold(2, "insufficient-funds")
    fentan.send()
    bank.refuse(3, "MD01")
    bank.to("2019-07-12")
    assert fentan.day("2019-07-12") == "collecting: nothing new", "nobody is asked again before the debit day"
    assert fentan.funnel() == {"in_flight": 17, "returned": 3}
    assert fentan.reasons() == {"AC04": 1, "AM04": 1, "MD01": 1}

    bank.to("2019-07-15")
    bank.refuse(4, "AM04")
    bank.refuse(5, "AC04")
    bank.ask("PATCH", "/_mock/accounts/S2", {"behaviour": "accept"})
    assert fentan.day("2019-07-15") == "collecting: 1 asked again for 2019-07-16", "who had no funds"
    bank.to("2019-07-16")
    assert fentan.day("2019-07-16") == "collecting: 1 asked again for 2019-07-17", "whose debit came back for it"
    assert fentan.funnel() == {"settled": 15, "in_flight": 2, "returned": 3}
    bank.to("2019-07-18")
    assert fentan.day("2019-07-18") == "collecting: nothing new"
    assert fentan.funnel() == {"settled": 17, "returned": 3}
    assert fentan.reasons() == {"AC04": 2, "MD01": 1}
    bank.to("2019-07-23")
    assert fentan.day("2019-07-23") == "settled: 3 left unpaid, 0.18 written off"
    assert (fentan.funnel(), fentan.breaks()) == ({"settled": 17, "written_off": 3}, {})
    assert fentan.taken()["pacs.004"] == 2
    fentan.proved("2019-07-15", "0.90")
    fentan.proved("2019-07-22", "1.02")


def test_a_file_refused_as_a_whole(bank: Bank, fentan: Fentan, ready: Ready) -> None:
    ready(bank)
    bank.ours("reject-file")
    # It answers with an error, so the file is put once more, and then it has it already.
    assert "1 failed and will be tried again" in fentan.send(code=1)
    bank.ours("accept")
    bank.to("2019-07-15")
    assert fentan.day("2019-07-15") == f"collecting: {MEMBERS} asked again for 2019-07-16"
    bank.to("2019-07-22")
    assert fentan.day("2019-07-22") == "settled: nothing new"
    assert (fentan.funnel(), fentan.breaks()) == ({"settled": MEMBERS}, {})
    fentan.proved("2019-07-19", "1.20")


def test_returned_late(bank: Bank, fentan: Fentan, ready: Ready) -> None:
    ready(bank)
    bank.hold(7, "return-later", days=6, reason="MD06")
    fentan.send()
    bank.to("2019-07-19")
    assert fentan.day("2019-07-19") == "settled: nothing new"
    fentan.proved("2019-07-18", "1.20")
    bank.to("2019-07-24")
    assert fentan.day("2019-07-24") == "settled: nothing new"
    assert fentan.breaks() == {"RETURNED_AFTER_SETTLEMENT": 1}
    assert (fentan.funnel(), fentan.reasons()) == ({"settled": 19, "returned": 1}, {"MD06": 1})
    fentan.proved("2019-07-23", "1.14")


def test_booked_twice(fentan: Fentan, ready: Ready, tmp_path: Path) -> None:
    with running(tmp_path, "--allow-duplicates") as bank:
        bank.begin_anew()
        ready(bank)
        fentan.send()
        fentan.sql("UPDATE debit_batches SET sent_at = NULL, sent_on = NULL")
        fentan.send()
        bank.to("2019-07-16")
        assert fentan.day("2019-07-16") == "collecting: nothing new"
    assert fentan.breaks() == {"DUPLICATE_AT_BANK": MEMBERS}
    assert fentan.funnel() == {"settled": MEMBERS}
    fentan.proved("2019-07-15", "2.40")
    resolved = ("reconcile", "resolve", "--code", "DUPLICATE_AT_BANK", "--action", "give back")
    assert "decision 1" in fentan(*resolved, "--reason", "the bank took it twice", *ANNA)
    fentan("decision", "approve", "1", *BO)
    assert fentan.breaks() == {}
    fentan.proved("2019-07-15", "2.40")


def test_silent(bank: Bank, fentan: Fentan, ready: Ready) -> None:
    ready(bank)
    bank.ours("silent")
    bank.hold(9, "closed-account")
    fentan.send()
    bank.to("2019-07-18")
    assert fentan.day("2019-07-18") == "collecting: nothing new"
    assert (fentan.funnel(), fentan.breaks()) == ({"settled": 19, "in_flight": 1}, {})
    bank.to("2019-07-19")
    assert fentan.day("2019-07-19") == "collecting: 1 missing at the custodian"
    assert fentan.day("2019-07-19") == "collecting: nothing new"
    assert fentan.breaks() == {"MISSING_AT_BANK": 1}
    assert fentan.taken() == {"camt.053": 6, "camt.054": 1}
    fentan.proved("2019-07-18", "1.14")


def test_a_statement_with_a_hole(bank: Bank, fentan: Fentan, ready: Ready, tmp_path: Path) -> None:
    ready(bank)
    bank.ours("statement-gap")
    fentan.send()
    bank.to("2019-07-17")
    came = fentan("custodian", "fetch", "mock-bank").split()
    imported = fentan.told("statement", "import", *came, *ANNA, code=1)
    wrong = [{problem["code"] for problem in each["problems"]} for each in imported if each["state"] == "parked"]
    assert wrong == [{"BALANCE_BREAK"}, {"STATEMENT_GAP"}]
    assert fentan.breaks() == {"BALANCE_BREAK": 1, "STATEMENT_GAP": 1}
    assert fentan.funnel() == {"in_flight": MEMBERS}, "of a statement with a hole nothing is posted"

    # The bank writes the day once more, without the hole.
    bank.begin_anew()
    (file,) = (tmp_path / "data" / "custodian" / "mock-bank" / "debits").glob("*.xml")
    bank.post(file)
    bank.to("2019-07-16")
    (*_, whole) = [each for each in bank.ask("GET", "/_mock/mailbox?type=camt.053") if each["account"] == "ACME"]
    (tmp_path / "whole.xml").write_text(whole["body"], "utf-8")
    imported = fentan.told("statement", "import", "whole.xml", *ANNA)
    assert [each["state"] for each in imported] == ["taken", "taken"], "and the one after it, which waited"
    assert fentan.breaks() == {}
    assert fentan.breaks("--state", "resolved") == {"BALANCE_BREAK": 1, "STATEMENT_GAP": 1}
    assert fentan.funnel() == {"settled": MEMBERS}
    fentan.proved("2019-07-16", "1.20")
