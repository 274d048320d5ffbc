"""A write: done, audited and remembered under its Idempotency-Key in one transaction; the doorbell rings after it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.idempotency import Remembered, SecretShown, recall, remember
from engine.api.endpoint import PREFIX, Endpoint
from engine.api.problems import Stale
from engine.api.service import Call, Service, Upload
from engine.store.audit import record
from engine.store.doorbell import Doorbell

SERIALIZATION_FAILURE = "40001"
"""What PostgreSQL says where somebody changed what a transaction has seen."""


@dataclass(frozen=True)
class Write:
    """What is to be done.

    `path`: of the API, as it was asked for, and `in_path` what it names. `digest`: SHA-256 of the body. `key`: the
    Idempotency-Key, None: whenever it is asked it is done. `seen`: the ETag of what the caller saw, None: no matter.
    """

    endpoint: Endpoint
    path: str
    in_path: Mapping[str, str]
    params: BaseModel
    body: BaseModel | Upload | None
    digest: bytes
    key: str | None
    seen: str | None

    @property
    def asked(self) -> bytes:
        """The digest of all that is asked, which tells a repetition from something new under the same key."""
        said = (self.endpoint.method, self.path, self.params.model_dump_json())
        return hashlib.sha256(b"\0".join((*(each.encode() for each in said), self.digest))).digest()


async def write(service: Service, call_on: Callable[[AsyncConnection], Call], asked: Write) -> tuple[Remembered, bool]:
    """The answer, and whether it was given before under the same key.

    Raises what the handler does, Stale, and SecretShown for a key under which a secret was given.
    """
    async with _writing(service, asked.seen) as connection:
        call = call_on(connection)
        if asked.key is not None:
            known = await recall(connection, call.actor, asked.key, asked.asked)
            if known is not None:
                if asked.endpoint.is_secret:
                    raise SecretShown
                return known, True
        answer = await _done(call, asked)
        if asked.key is not None:
            kept = replace(answer, body=b"") if asked.endpoint.is_secret else answer
            await remember(connection, call.actor, asked.key, asked.asked, kept)
    await _ring(service.bell, call)
    return answer, False


@asynccontextmanager
async def _writing(service: Service, seen: str | None) -> AsyncIterator[AsyncConnection]:
    """A transaction that commits; for who names what they saw, one under which nobody changes it. Raises Stale."""
    if seen is None:
        async with service.engine.begin() as connection:
            yield connection
        return
    try:
        async with service.engine.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
            yield connection
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == SERIALIZATION_FAILURE:
            raise Stale from None
        raise


async def _done(call: Call, asked: Write) -> Remembered:
    """Do it, if the caller has seen what is there now; written down with what was there before and after."""
    endpoint, params = asked.endpoint, asked.params
    before = b"null"
    if endpoint.changes is not None:
        one_by_one = func.pg_advisory_xact_lock(func.hashtextextended(endpoint.names(asked.in_path), 0))
        await call.connection.execute(select(one_by_one))
        before = as_json(await endpoint.changes(call, params))
        if asked.seen not in (None, etag(before)):
            raise Stale
    made = await endpoint.handler(call, **endpoint.given(params, asked.body))
    answer = after = as_json(made)
    headers = dict(call.headers)
    if endpoint.changes is not None:
        after = as_json(await endpoint.changes(call, params))
        headers["ETag"] = etag(after)
    detail = {
        "before": json.loads(before),
        "after": None if endpoint.is_secret else json.loads(after),
        "request": call.request_id,
        "token": call.token.token_id,
    }
    subject = asked.path.removeprefix(f"{PREFIX}/")
    await record(call.connection, call.actor, endpoint.name.replace("_", " "), subject, detail)
    return Remembered(endpoint.status, headers, answer)


async def _ring(bell: Doorbell, call: Call) -> None:
    """Announce what was committed; where nobody hears one ring, none waits for the others: the sweep finds them all."""
    for run_id, occasion in call.rings:
        if not await bell.ring(run_id, occasion):
            return
    for job_id in call.jobs:
        if not await bell.ring_for_job(job_id, call.request_id):
            return


def as_json(made: BaseModel) -> bytes:
    """An answer as it is sent and remembered."""
    return made.model_dump_json().encode()


def etag(body: bytes) -> str:
    """The ETag of an answer: of its content alone, so that whoever saw the same holds the same."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
