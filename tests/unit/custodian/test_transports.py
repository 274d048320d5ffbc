"""The three ways to a custodian, each against a server of its kind: put once or twice, and fetch what is new."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from mockbank.server import Config, make_server  # type: ignore[import-untyped]
from pydantic import SecretStr, ValidationError

from engine.custodian.debit_files import SCHEMA, Batch, write
from engine.custodian.desk import Desk
from engine.custodian.profile import AccountNumbers, Profile, load, parse
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian
from engine.custodian.routes import FolderRoute, HttpRoute, SftpRoute
from engine.custodian.transports import NotTaken, fetch_new, set_aside, transport_of
from engine.errors import InvalidInput
from engine.resources import config_dir

TOKEN = {"CUSTODIAN_TOKEN": "Bearer of the tests"}
NAME = "B000001100000143.csv"
HTTP = HttpRoute(
    kind="http",
    url_from="CUSTODIAN_URL",
    headers_from={"Authorization": "CUSTODIAN_TOKEN"},
    submit="/payments?format=csv",
    content_type="text/csv",
    duplicate="DUPL",
    listing="/mailbox?leave",
    download="/mailbox/{id}",
    name="{type}-{id}",
)
SFTP = SftpRoute(
    kind="sftp",
    host_from="CUSTODIAN_HOST",
    user_from="CUSTODIAN_USER",
    key_from="CUSTODIAN_KEY",
    known_hosts_from="CUSTODIAN_HOSTS",
)


def reached(route: FolderRoute | HttpRoute | SftpRoute) -> Profile:
    return load("generic-csv").model_copy(update={"transport": route})


def desk_in(folder: Path, **environment: str) -> Desk:
    return Desk(folder, SecretStr("a key of the tests"), environment)


async def put(desk: Desk, profile: Profile, content: bytes = b"reference\n") -> Path:
    file = desk.folder(profile.code, "debits") / NAME
    file.write_bytes(content)
    file.with_name(f"{file.stem}.manifest.json").write_text("{}")
    async with transport_of(profile, desk) as transport:
        await transport.put(file)
    return file


def held_by(profile: Profile) -> Custodian:
    return Custodian(1, profile, (1,))


async def fetched(desk: Desk, profile: Profile) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in await fetch_new(held_by(profile), desk)}


async def test_a_folder_holds_the_file_and_then_its_manifest(tmp_path: Path) -> None:
    desk, profile = desk_in(tmp_path), reached(FolderRoute())
    for content in (b"one", b"one", b"another"):
        await put(desk, profile, content)
        out = {path.name: path.read_bytes() for path in desk.folder(profile.code, "out").iterdir()}
        assert out == {NAME: content, f"{Path(NAME).stem}.manifest.json": b"{}"}


async def test_what_lies_in_a_folder_is_new_until_it_is_set_aside(tmp_path: Path) -> None:
    desk, profile = desk_in(tmp_path), reached(FolderRoute())
    box = desk.folder(profile.code, "in")
    for name in ("b.csv", "a.xml", ".hidden", "c.csv.part", "d.tmp", "e.manifest.json"):
        (box / name).write_bytes(name.encode())
    (box / "a folder").mkdir()
    assert list(await fetched(desk, profile)) == ["a.xml", "b.csv"]
    assert set_aside(box / "a.xml").read_bytes() == b"a.xml"
    assert list(await fetched(desk, profile)) == ["b.csv"]


async def test_what_came_is_told_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    desk, profile = desk_in(tmp_path), reached(FolderRoute())
    names = ["2019-07-14.csv", "camt.053-9.xml", "camt.053-10.xml", "camt.054-8.xml", "camt.xml"]
    for name in reversed(names):
        (desk.folder(profile.code, "in") / name).write_bytes(b"")
    assert list(await fetched(desk, profile)) == names


class Bank:
    """A bank over HTTP that remembers what it was sent, and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, str, bytes]] = []
        self.answer = (202, "{}")
        self.mailbox: dict[str, bytes] = {}
        self.listed: Any = None

    async def payments(self, request: web.Request) -> web.Response:
        said = (request.query_string, request.headers["Content-Type"], request.headers["Authorization"])
        self.received.append((*said, await request.read()))
        return web.Response(status=self.answer[0], text=self.answer[1])

    async def listing(self, _: web.Request) -> web.Response:
        listed = [{"id": number, "type": f"camt/{number}"} for number in self.mailbox]
        return web.Response(text=json.dumps(listed if self.listed is None else self.listed))

    async def message(self, request: web.Request) -> web.Response:
        found = self.mailbox[request.match_info["id"]]
        return web.Response(body=found) if found else web.Response(status=500)


@asynccontextmanager
async def bank_in(folder: Path) -> AsyncIterator[tuple[Bank, Desk]]:
    bank, app = Bank(), web.Application()
    app.add_routes([web.post("/api/payments", bank.payments), web.get("/api/mailbox", bank.listing)])
    app.add_routes([web.get("/api/mailbox/{id}", bank.message)])
    async with TestServer(app) as server:
        url = str(server.make_url("/api/"))
        yield bank, desk_in(folder, CUSTODIAN_URL=url, **TOKEN)


async def test_a_file_is_posted_as_it_is(tmp_path: Path) -> None:
    async with bank_in(tmp_path) as (bank, desk):
        await put(desk, reached(HTTP), b"reference\n" * 100_000)
    assert bank.received == [("format=csv", "text/csv", "Bearer of the tests", b"reference\n" * 100_000)]


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ((200, ""), True), ((202, ""), True), ((409, "seen before"), True), ((422, '{"reason": "DUPL"}'), True),
        ((422, "the account is NL41MOCK"), False), ((302, ""), False), ((401, ""), False), ((503, ""), False),
    ],
)  # fmt: skip
async def test_a_duplicate_was_taken_and_every_other_refusal_was_not(
    tmp_path: Path, answer: tuple[int, str], taken: bool
) -> None:
    async with bank_in(tmp_path) as (bank, desk):
        bank.answer = answer
        if taken:
            await put(desk, reached(HTTP))
        else:
            with pytest.raises(NotTaken, match=f"^the custodian answered with status {answer[0]}$"):
                await put(desk, reached(HTTP))


async def test_what_a_bank_has_ready_is_fetched_once(tmp_path: Path) -> None:
    async with bank_in(tmp_path) as (bank, desk):
        bank.mailbox = {"1": b"<one/>", "2": b"<two/>"}
        assert await fetched(desk, reached(HTTP)) == {"camt-1-1.xml": b"<one/>", "camt-2-2.xml": b"<two/>"}
        set_aside(desk.folder("generic-csv", "in") / "camt-1-1.xml")
        bank.mailbox |= {"1": b"", "2": b"", "3": b"<three/>"}  # what is known is not asked for again
        assert await fetched(desk, reached(HTTP)) == {"camt-2-2.xml": b"<two/>", "camt-3-3.xml": b"<three/>"}
        bank.mailbox["4"] = b""
        with pytest.raises(NotTaken, match="status 500"):
            await fetched(desk, reached(HTTP))
        assert not list(desk.folder("generic-csv", "in").glob("camt-4*.xml"))


async def test_what_a_bank_writes_anew_under_the_same_id_is_fetched_anew(tmp_path: Path) -> None:
    profile = reached(HTTP.model_copy(update={"name": "{id}-{bytes}"}))
    async with bank_in(tmp_path) as (bank, desk):
        for content in (b"<half/>", b"<half/><whole/>"):
            bank.mailbox["1"] = content
            bank.listed = [{"id": "1", "bytes": len(content)}]
            name = f"1-{len(content)}.xml"
            for _ in range(2):
                assert await fetched(desk, profile) == {name: content}
            set_aside(desk.folder("generic-csv", "in") / name)
        assert await fetched(desk, profile) == {}


async def test_what_is_of_another_account_is_left_where_it_is(tmp_path: Path) -> None:
    profile = reached(HTTP.model_copy(update={"name": "{id}", "only": {"account": "CUSTODIAN_NAME"}}))
    async with bank_in(tmp_path) as (bank, desk):
        bank.mailbox = {"1": b"ours", "2": b"theirs", "3": b"anybody's", "4": b"ours, too"}
        accounts = {"1": "US", "2": "THEM", "3": None}
        bank.listed = [{"id": number, "account": account} for number, account in accounts.items()] + [{"id": "4"}]
        with pytest.raises(InvalidInput, match="set CUSTODIAN_NAME in the environment"):
            await fetched(desk, profile)
        ours = replace(desk, environment={**desk.environment, "CUSTODIAN_NAME": "US"})
        assert await fetched(ours, profile) == {"1.xml": b"ours", "3.xml": b"anybody's", "4.xml": b"ours, too"}


def modes(folder: Path) -> dict[str, int]:
    """The rights of everything in a folder, by its path there."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.mark.parametrize("way", ["folder", "http", "sftp"])
async def test_what_holds_numbers_of_accounts_is_its_owners_alone(tmp_path: Path, way: str) -> None:
    async with bank_in(tmp_path / "http") as (bank, over_http), server_in(tmp_path) as (remote, over_sftp, sftp):
        bank.mailbox = {"1": b"<one/>"}
        (remote / "in" / "1.xml").write_bytes(b"<one/>")
        desk = over_sftp if way == "sftp" else over_http
        routes: dict[str, FolderRoute | HttpRoute | SftpRoute] = {"folder": FolderRoute(), "http": HTTP, "sftp": sftp}
        profile = reached(routes[way])
        await put(desk, profile)
        came = [set_aside(path) for path in await fetch_new(held_by(profile), desk)]
        found = modes(desk.files / "generic-csv")
        assert len(came) == (way != "folder")
        assert {found[str(path.relative_to(desk.files / "generic-csv"))] for path in came} <= {0o600}
        assert {name: mode for name, mode in found.items() if name in ("debits", "out", "in/taken")} == {
            "debits": 0o700,
            **({"out": 0o700} if way == "folder" else {"in/taken": 0o700}),
        }
        assert {mode for name, mode in found.items() if name.startswith("out/")} <= {0o600}


@pytest.mark.parametrize("listed", [{"error": "no"}, [{"number": 1}], [1], "no"])
async def test_a_list_that_is_none_is_refused(tmp_path: Path, listed: Any) -> None:
    async with bank_in(tmp_path) as (bank, desk):
        bank.listed = listed
        with pytest.raises(NotTaken, match="the custodian's list"):
            await fetched(desk, reached(HTTP))


async def test_a_bank_without_a_list_gives_what_lies_there(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, CUSTODIAN_URL="http://127.0.0.1:9", **TOKEN)
    (desk.folder("generic-csv", "in") / "a.csv").write_bytes(b"a")
    silent = reached(HTTP.model_copy(update={"listing": None}))
    assert await fetched(desk, silent) == {"a.csv": b"a"}


async def test_a_bank_that_does_not_answer_is_said_without_its_address(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, CUSTODIAN_URL="http://127.0.0.1:9/?password=of-the-bank", **TOKEN)
    with pytest.raises(NotTaken) as failed:
        await put(desk, reached(HTTP))
    assert str(failed.value) == "the custodian does not answer over HTTP (ClientConnectorError)"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CUSTODIAN_TOKEN": "x"}, "set CUSTODIAN_URL in the environment"),
        ({"CUSTODIAN_URL": "http://bank"}, "set CUSTODIAN_TOKEN in the environment"),
        ({"CUSTODIAN_URL": "bank", "CUSTODIAN_TOKEN": "x"}, "CUSTODIAN_URL is no address"),
    ],
)
async def test_what_the_environment_lacks_is_named(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        await put(desk_in(tmp_path, **environment), reached(HTTP))


@contextmanager
def mock_bank() -> Iterator[str]:
    """A bank that nobody here wrote; its address."""
    server = make_server(Config(port=0, quiet=True, clock="2026-09-30T09:00", timezone="Europe/Amsterdam"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_mock_bank_takes_a_file_once_and_its_answers_are_fetched(tmp_path: Path) -> None:
    profile = load("mock-bank")
    columns = {
        "reference": [str(Reference(Kind.DEBIT, 14, 1, 7))],
        "account": ["NL41MOCK0000000001"],
        "amount_minor": [123],
        "mandate_id": ["M-7"],
        "signed_on": [date(2025, 1, 31)],
    }
    debits = pa.record_batch([pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
    batch = Batch(14, 1, date(2026, 10, 1), datetime(2026, 9, 30, 8, tzinfo=UTC))
    with mock_bank() as url:
        desk = desk_in(tmp_path, CUSTODIAN_MOCK_BANK_URL=url, CUSTODIAN_MOCK_BANK_ACCOUNT="ACME")
        folder = desk.folder(profile.code, "debits")
        (known,) = write(folder, profile, AccountNumbers("NL41MOCK0000000001", "NL41ZZZ000000000001"), batch, [debits])
        for _ in range(2):
            async with transport_of(profile, desk) as transport:
                await transport.put(folder / known.file)
        for _ in range(2):
            came = [path.name for path in await fetch_new(held_by(profile), desk)]
            assert [re.sub("-[0-9]+[.]xml$", "", name) for name in came] == ["pain.002.001.10-1", "pain.002.001.10-2"]
    first, second = ((desk.folder(profile.code, "in") / name).read_text("utf-8") for name in came)
    assert known.reference in first
    assert "DUPL" not in first
    assert "DUPL" in second  # it tells of the second put too, and of no debit


@asynccontextmanager
async def server_in(folder: Path) -> AsyncIterator[tuple[Path, Desk, SftpRoute]]:
    """An SFTP server on a folder, which lets one key in."""
    remote = folder / "remote"
    for name in ("out", "in"):
        (remote / name).mkdir(parents=True)
    own, theirs = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    own.write_private_key(folder / "key")
    own.write_public_key(folder / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[theirs],
        authorized_client_keys=str(folder / "authorized"),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(remote).encode()),
    )
    async with server:
        port = server.get_port()
        public = theirs.export_public_key().decode()
        (folder / "hosts").write_text(f"[127.0.0.1]:{port} {public}")
        environment = {
            "HOST": "127.0.0.1",
            "USER": "fentan",
            "KEY": str(folder / "key"),
            "HOSTS": str(folder / "hosts"),
        }
        desk = desk_in(folder / "desk", **{f"CUSTODIAN_{name}": value for name, value in environment.items()})
        yield remote, desk, SFTP.model_copy(update={"port": port})


async def test_a_file_stands_on_the_server_whole(tmp_path: Path) -> None:
    async with server_in(tmp_path) as (remote, desk, route):
        for content in (b"one", b"one", b"another"):
            await put(desk, reached(route), content)
            assert {path.name: path.read_bytes() for path in (remote / "out").iterdir()} == {NAME: content}


async def test_what_a_server_has_is_fetched_once_and_a_name_used_again_is_new(tmp_path: Path) -> None:
    async with server_in(tmp_path) as (remote, desk, route):
        there = remote / "in" / "statement.csv"
        for number, content in ((0, b"monday"), (1, b"tuesday"), (1, b"tuesday, all of it")):
            there.write_bytes(content)
            os.utime(there, (number, 1_600_000_000 + number))
            (remote / "in" / "half.csv.part").write_bytes(b"half")
            (remote / "in" / "a folder").mkdir(exist_ok=True)
            name = f"statement-{1_600_000_000 + number}-{len(content)}.csv"
            assert (await fetched(desk, reached(route)))[name] == content
            set_aside(desk.folder("generic-csv", "in") / name)
            assert await fetched(desk, reached(route)) == {}


async def test_a_server_of_another_key_is_not_believed(tmp_path: Path) -> None:
    async with server_in(tmp_path) as (remote, desk, route):
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        (tmp_path / "hosts").write_text(f"[127.0.0.1]:{route.port} {other}")
        with pytest.raises(NotTaken, match=r"^the custodian does not answer over SFTP .HostKeyNotVerifiable.$"):
            await put(desk, reached(route))
        assert not list((remote / "out").iterdir())


async def test_a_file_that_the_environment_names_and_is_not_there(tmp_path: Path) -> None:
    async with server_in(tmp_path) as (_, desk, route):
        (tmp_path / "key").unlink()
        with pytest.raises(InvalidInput, match=r"^CUSTODIAN_KEY names no file that is there$"):
            await put(desk, reached(route))


async def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(InvalidInput, match="SFTP needs the extra sftp"):
        async with transport_of(reached(SFTP), desk_in(tmp_path)):
            pass


def test_a_route_names_variables_and_holds_no_address() -> None:
    with pytest.raises(ValidationError, match="url_from"):
        HttpRoute(kind="http", url_from="https://bank.example", submit="/", content_type="text/csv")
    text = (config_dir() / "custodians" / "generic-csv.toml").read_text("utf-8")
    assert parse(text, "x").transport == FolderRoute()
    with pytest.raises(InvalidInput, match="x: transport"):
        parse(text + '\n[transport]\nkind = "pigeon"\n', "x")
    assert isinstance(load("mock-bank").transport, HttpRoute)
