"""Servers that do not answer: one error of ours, whatever their clients raise."""

from __future__ import annotations

import pytest

from engine.store.database import DatabaseUnreachable, engine_on
from engine.store.doorbell import DoorbellUnreachable, doorbell


@pytest.mark.parametrize(
    ("redis_url", "said"),
    [
        ("redis://127.0.0.1:1", "The doorbell does not answer; check FENTAN_REDIS_URL, or unset it"),
        ("unix:///nowhere/socket", "The doorbell does not answer"),
        ("http://x", "the doorbell's address cannot be read; write redis://host:6379/0"),
        ("redis://x:notaport", "the doorbell's address cannot be read"),
        ("redis://x/nodatabase", "the doorbell's address cannot be read"),
    ],
)
async def test_a_doorbell_that_does_not_answer(redis_url: str, said: str) -> None:
    with pytest.raises(DoorbellUnreachable) as refused:
        async with doorbell(redis_url, patient=False):
            pass
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("rest", ["u:secret@127.0.0.1:1/d", "u:secret@127.0.0.1:1/d?sslmode=require", "h/d?port=x"])
async def test_a_database_that_does_not_answer(rest: str) -> None:
    with pytest.raises(DatabaseUnreachable) as refused:
        async with engine_on(f"postgresql+asyncpg://{rest}"):
            pass
    assert str(refused.value).startswith("The database does not answer; check FENTAN_DATABASE_URL")
    assert "secret" not in str(refused.value)
