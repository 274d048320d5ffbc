"""`fentan token`: a token is issued, used, listed without being shown, and ended."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from engine.access.passwords import token_by_password
from engine.access.tokens import NotAuthenticated, Token, authenticate
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told

pytestmark = pytest.mark.acceptance

OLGA = ("--as", "olga")


def used(database_url: str, text: str) -> Token:
    """Whose token it is, as the API finds it."""

    async def found() -> Token:
        async with engine_on(database_url) as engine:
            return await authenticate(engine, text, now=datetime.now(UTC))

    return asyncio.run(found())


def test_a_token_from_its_issue_to_its_end(fentan: Fentan, database_url: str) -> None:
    issued = fentan("token", "issue", "carol", "--role", "finance", "--days", "7", *OLGA)
    text = issued.out.strip()
    assert (issued.code, text.count("\n"), text[:9]) == (0, 0, "fentan_1_")
    until = datetime.now(UTC) + timedelta(days=7)
    assert issued.err.strip() == (f"token 1 of carol, finance, until {until:%Y-%m-%d}; keep it: it is not shown again")
    token = used(database_url, text)
    assert (token.name, token.role, token.scopes) == ("carol", "finance", None)

    shown = said(fentan("token", "list"))
    assert all(words in shown for words in ("carol", "finance", "olga", "all"))
    assert text.split("_", 2)[2] not in shown
    (listed,) = told(fentan("token", "list", "--json"))
    assert (listed["token_id"], listed["issued_by"], listed["revoked_by"]) == (1, "olga", None)
    assert listed["last_used_at"] is not None

    assert said(fentan("token", "revoke", "1", "--as", "otto")) == "token 1 of carol was revoked by otto"
    assert said(fentan("token", "revoke", "1", *OLGA)) == "token 1 of carol was revoked by otto"
    with pytest.raises(NotAuthenticated):
        used(database_url, text)
    assert "otto" in said(fentan("token", "list"))


def test_json_holds_the_token_once(fentan: Fentan, database_url: str) -> None:
    issued = told(fentan("token", "issue", " carol  king ", "--role", "viewer", "--json", *OLGA))
    assert (issued["name"], issued["role"], issued["scopes"]) == ("carol king", "viewer", None)
    assert used(database_url, issued["token"]).name == "carol king"
    lives = datetime.fromisoformat(issued["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < lives <= timedelta(days=90)


def test_scopes_narrow_what_it_may(fentan: Fentan, database_url: str) -> None:
    command = ("token", "issue", "robot", "--role", "scheduler", *OLGA)
    text = fentan(*command, "--scope", "runs:write", "--scope", "claims:read").out.strip()
    assert used(database_url, text).scopes == ["claims:read", "runs:write"]
    assert "claims:read, runs:write" in said(fentan("token", "list"))
    assert refused(fentan(*command, "--scope", "cats:read")).startswith("there is no scope cats:read; there are ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("carol", "--role", "king", *OLGA), "--role"),
        (("carol", "--role", "viewer", "--days", "0", *OLGA), "--days"),
        (("carol", "--role", "viewer", "--days", "3661", *OLGA), "--days"),
        (("carol", "--role", "viewer"), "--as"),
        (("<b>", "--role", "viewer", *OLGA), "no name"),
    ],
)
def test_what_cannot_be_issued(fentan: Fentan, arguments: tuple[str, ...], why: str) -> None:
    done = fentan("token", "issue", *arguments)
    assert (done.code in (1, 2), done.out) == (True, "")
    assert why in " ".join(done.err.split())
    assert told(fentan("token", "list", "--json")) == []


def test_what_is_not_there_cannot_be_revoked(fentan: Fentan) -> None:
    assert refused(fentan("token", "revoke", "7", *OLGA)) == (
        "there is no token 7; `fentan token list` shows those there are"
    )


TYPED = "correct horse battery"


def signed_in(database_url: str, name: str, password: str) -> Token:
    """Whose token a name and a password stand for, as the console finds it."""

    async def found() -> Token:
        async with engine_on(database_url) as engine:
            return await token_by_password(engine, name, password, now=datetime.now(UTC))

    return asyncio.run(found())


def test_a_password_from_standard_input(fentan: Fentan, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(line: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(line))

    fentan("token", "issue", "carol", "--role", "finance", *OLGA)
    typed(f"{TYPED}\nwhat follows is not read\n")
    assert said(fentan("token", "password", "1", *OLGA)) == "token 1 of carol has a new password"
    assert [token["has_password"] for token in told(fentan("token", "list", "--json"))] == [True]
    assert signed_in(database_url, "carol", TYPED).token_id == 1
    for line, why in (("", "12 to 128 characters, not 0"), ("short\r\n", "not 5"), ("I am Carol, hello\n", "the name")):
        typed(line)
        assert why in refused(fentan("token", "password", "1", *OLGA))
    typed(TYPED)
    assert "there is no token 7" in refused(fentan("token", "password", "7", *OLGA))
    assert signed_in(database_url, "carol", TYPED).token_id == 1
    assert said(fentan("token", "password", "1", "--remove", *OLGA)) == "token 1 of carol has no password"
    assert [token["has_password"] for token in told(fentan("token", "list", "--json"))] == [False]
    with pytest.raises(NotAuthenticated):
        signed_in(database_url, "carol", TYPED)


def shown_until(terminal: int, words: bytes) -> bytes:
    """What a terminal shows until these words end it."""
    shown = b""
    while words not in shown:
        shown += os.read(terminal, 1)
    return shown


def test_a_password_typed_on_a_terminal_is_asked_for_twice_and_not_shown(fentan: Fentan, database_url: str) -> None:
    fentan("token", "issue", "carol", "--role", "finance", *OLGA)
    command = [sys.executable, "-m", "engine.cli.main", "token", "password", "1", *OLGA]
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as asking:
        for prompt, answer in (
            (b"password: ", "mistyped at first"),
            (b"the same again: ", TYPED),
            (b"password: ", TYPED),
            (b"the same again: ", TYPED),
        ):
            shown += shown_until(ours, prompt)
            os.write(ours, f"{answer}\n".encode())
        shown += shown_until(ours, b"token 1 of carol has a new password")
        os.close(theirs)
        assert asking.wait(60) == 0
    os.close(ours)
    assert TYPED.encode() not in shown
    assert signed_in(database_url, "carol", TYPED).token_id == 1
