"""Passwords on real PostgreSQL: who signs in by name, who does not, and that guessing is slow for the guesser alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import argon2
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.attempts import BRAKED_FROM, TooManyFailures
from engine.access.passwords import (
    AT_ONCE,
    AT_ONCE_OF_A_NETWORK,
    NoPassword,
    TooManyAtOnce,
    remove_password,
    set_password,
    token_by_password,
)
from engine.access.roles import Role
from engine.access.sessions import open_session, session_token
from engine.access.tokens import NotAuthenticated, Token, issue, revoke
from engine.errors import InvalidInput, NotFound

pytestmark = pytest.mark.integration

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
GOOD, WRONG = "correct horse 电池", "another horse 电池"


async def issued(engine: AsyncEngine, name: str = "anna", days: int = 30) -> Token:
    async with engine.begin() as connection:
        return (await issue(connection, name, Role.FINANCE, days=days, now=NOW, actor="olga"))[0]


async def given(engine: AsyncEngine, token: Token, password: str = GOOD, at: datetime = NOW) -> None:
    async with engine.begin() as connection:
        await set_password(connection, token.token_id, password, now=at, actor="olga")


async def holder(engine: AsyncEngine, name: str = "anna") -> Token:
    token = await issued(engine, name)
    await given(engine, token)
    return token


async def tried(
    engine: AsyncEngine, password: str = GOOD, *, name: str = "anna", at: datetime = NOW, address: str = ""
) -> str:
    """Whose name it was, or how it was refused."""
    try:
        return (await token_by_password(engine, name, password, now=at, address=address)).name
    except TooManyFailures as error:
        return f"wait {error.wait_seconds}"
    except NotAuthenticated as error:
        return str(error)


async def rows(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query))).scalars())


REFUSED = "no one of this name has this password"


async def test_a_name_and_its_password_are_a_token(engine: AsyncEngine) -> None:
    token = await holder(engine)
    assert (await token_by_password(engine, "anna", GOOD, now=NOW)) == replace(token, has_password=True)
    assert await tried(engine, name=" anna ", password=GOOD) == "anna", "names have one spelling"
    assert await tried(engine, GOOD.replace("c", "\uff43")) == "anna", "what looks the same is the same"


async def test_the_password_is_nowhere(engine: AsyncEngine) -> None:
    await holder(engine)
    (kept,) = await rows(engine, "SELECT password_hash FROM api_tokens")
    assert kept.startswith("$argon2id$")
    assert PasswordHasher().verify(kept, GOOD.encode())
    acts = await rows(engine, "SELECT a::text FROM audit_log a WHERE act = 'set password'")
    assert (len(acts), "token:1" in acts[0], "olga" in acts[0]) == (1, True, True)
    everything = [*acts, *await rows(engine, "SELECT t::text FROM api_tokens t")]
    assert not any(GOOD in each for each in everything)
    assert kept not in acts[0]


async def test_who_does_not_sign_in_is_told_the_same(engine: AsyncEngine) -> None:
    token = await holder(engine)
    gone = await holder(engine, "gone")
    async with engine.begin() as connection:
        await revoke(connection, gone.token_id, now=NOW, actor="olga")
    await issued(engine, "bare")
    tries: dict[str, dict[str, Any]] = {
        "another password": {"password": WRONG},
        "another case": {"password": GOOD.upper()},
        "nothing": {"password": ""},
        "what nobody types": {"password": "\ud800" * 20},
        "nobody": {"name": "nobody"},
        "no name": {"name": "<b>\0"},
        "revoked": {"name": "gone"},
        "without a password": {"name": "bare", "password": ""},
        "expired": {"at": token.expires_at},
    }
    said = {name: await tried(engine, **given, address=f"192.0.2.{n}") for n, (name, given) in enumerate(tries.items())}
    assert said == dict.fromkeys(tries, REFUSED)
    assert await tried(engine, at=token.expires_at - SECOND) == "anna"


async def test_a_known_name_and_an_unknown_one_are_the_same_work(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await holder(engine)
    await tried(engine, WRONG)  # makes, once, what unknown names are held against
    verified: list[str] = []
    real = argon2.PasswordHasher.verify

    def noted(self: PasswordHasher, known: str, password: bytes) -> bool:
        verified.append(known[:31])
        return real(self, known, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", noted)
    for name in ("anna", "nobody", "\0"):
        assert await tried(engine, WRONG, name=name, address="192.0.2.1") == REFUSED
    assert len(verified) == 3
    assert len(set(verified)) == 1, "hashes of the same parameters"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("a" * 11, "12 to 128 characters, not 11"),
        ("a" * 129, "12 to 128 characters, not 129"),
        ("", "not 0"),
        ("my name is Anna!", "the name in it"),
        ("my name is \uff41nna!", "the name in it"),
        ("twelve\tletters", "cannot be typed"),
        ("twelve letters\n", "cannot be typed"),
        ("twelve letters\ud800", "cannot be typed"),
    ],
)
async def test_what_is_no_password(engine: AsyncEngine, password: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        await given(engine, await issued(engine), password)
    assert password == "" or password not in str(refused.value)
    assert await rows(engine, "SELECT password_hash FROM api_tokens") == [None]


async def test_the_shortest_and_the_longest(engine: AsyncEngine) -> None:
    token = await issued(engine)
    for length in (12, 128):
        await given(engine, token, "互" * length)
        assert await tried(engine, "互" * length) == "anna"


async def test_a_name_has_one_password(engine: AsyncEngine) -> None:
    first, second = await issued(engine, days=1), await issued(engine)
    await given(engine, first)
    with pytest.raises(NoPassword, match="anna has a password by token 1"):
        await given(engine, second, WRONG)
    with pytest.raises(IntegrityError, match="api_tokens_password_index"):
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE api_tokens SET password_hash = 'x'"))
    await given(engine, second, WRONG, at=first.expires_at)  # what has ended stands in nobody's way
    assert (await token_by_password(engine, "anna", WRONG, now=first.expires_at)).token_id == second.token_id
    with pytest.raises(NoPassword, match="token 1 has ended"):
        await given(engine, first, at=first.expires_at)
    with pytest.raises(NotFound, match="no token 99"):
        async with engine.begin() as connection:
            await set_password(connection, 99, GOOD, now=NOW, actor="olga")


async def test_another_password_or_none_signs_its_holder_out(engine: AsyncEngine) -> None:
    token, other = await holder(engine), await holder(engine, "bo")
    async with engine.begin() as connection:
        stays, _ = await open_session(connection, other, now=NOW)
    for change in ("set", "remove"):
        async with engine.begin() as connection:
            secret, _ = await open_session(connection, token, now=NOW)
        async with engine.begin() as connection:
            if change == "set":
                await set_password(connection, token.token_id, WRONG, now=NOW, actor="olga")
            else:
                await remove_password(connection, token.token_id, actor="olga")
        with pytest.raises(NotAuthenticated):
            await session_token(engine, secret, now=NOW)
        assert (await session_token(engine, stays, now=NOW)).name == "bo"
    assert await tried(engine) == REFUSED
    async with engine.begin() as connection:
        await remove_password(connection, token.token_id, actor="olga")  # again: nothing
        with pytest.raises(NotFound):
            await remove_password(connection, 99, actor="olga")
    assert await rows(engine, "SELECT count(*) FROM audit_log WHERE act = 'remove password'") == [1]


async def test_a_hash_of_other_parameters_is_made_anew(engine: AsyncEngine) -> None:
    await holder(engine)
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD.encode())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE api_tokens SET password_hash = :old"), {"old": old})
    assert await tried(engine, WRONG) == REFUSED
    assert await rows(engine, "SELECT password_hash FROM api_tokens") == [old]
    assert await tried(engine) == "anna"
    (better,) = await rows(engine, "SELECT password_hash FROM api_tokens")
    assert not PasswordHasher().check_needs_rehash(better)
    assert await tried(engine) == "anna"
    assert await rows(engine, "SELECT password_hash FROM api_tokens") == [better]


async def test_who_guesses_waits_and_nobody_else(engine: AsyncEngine) -> None:
    await holder(engine)
    await holder(engine, "bo")
    guesser = "192.0.2.66"
    for _ in range(BRAKED_FROM):
        assert await tried(engine, WRONG, address=guesser) == REFUSED
    assert await tried(engine, GOOD, address=guesser) == "wait 1", "not even what is right is heard"
    assert await tried(engine, GOOD, address=guesser, name="nobody") == REFUSED
    assert await tried(engine, GOOD, address="192.0.2.1") == "anna", "whose name it is, from elsewhere"
    assert await tried(engine, GOOD, address=guesser, name="bo") == "bo"
    at = NOW
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        assert await tried(engine, WRONG, address=guesser, at=at + (wait - 0.5) * SECOND) == "wait 1"
        at += wait * SECOND
        assert await tried(engine, WRONG, address=guesser, at=at) == REFUSED
    assert await tried(engine, GOOD, address=guesser, at=at + 60 * SECOND) == "anna"
    assert await tried(engine, WRONG, address=guesser, at=at + 60 * SECOND) == REFUSED
    assert await tried(engine, GOOD, address=guesser, at=at + 60 * SECOND) == "anna", "what went before is forgiven"


async def test_guesses_side_by_side_are_counted_each(engine: AsyncEngine) -> None:
    await holder(engine)
    said = await asyncio.gather(*[tried(engine, WRONG) for _ in range(8)])
    assert sorted(said) == [REFUSED] * BRAKED_FROM + ["wait 1"] * (8 - BRAKED_FROM)


async def test_a_flood_of_names_is_turned_away_and_leaves_room_for_other_networks(engine: AsyncEngine) -> None:
    await holder(engine)

    async def flooded(number: int, address: str) -> type[Exception]:
        with pytest.raises((NotAuthenticated, TooManyAtOnce)) as refused:
            await token_by_password(engine, f"nobody {number}", WRONG, now=NOW, address=address)
        return refused.type

    flood = asyncio.gather(*[flooded(number, "198.51.100.7") for number in range(100)])
    await asyncio.sleep(0)  # all of them are there before anybody else
    assert await tried(engine, address="203.0.113.9") == "anna"
    assert Counter(await flood)[TooManyAtOnce] == 100 - AT_ONCE_OF_A_NETWORK
    assert await tried(engine, address="198.51.100.7") == "anna", "once it is over, it is over"

    many = await asyncio.gather(*[flooded(number, f"203.0.113.{number}") for number in range(AT_ONCE + 5)])
    assert Counter(many)[TooManyAtOnce] == 5, "of all networks together"


async def test_failures_are_forgotten_and_hold_no_name(engine: AsyncEngine) -> None:
    for number in range(3):
        await tried(engine, WRONG, name=f"stranger {number}")
    kept = await rows(engine, "SELECT a::text FROM sign_in_attempts a")
    assert (len(kept), any("stranger" in each for each in kept)) == (3, False)
    await tried(engine, WRONG, at=NOW + HOUR)
    assert await rows(engine, "SELECT failures FROM sign_in_attempts") == [1]
