"""Long work asked for over HTTP, and done in the test's own process."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any, BinaryIO

from engine.jobs.doing import do_next
from tests.serving import Answer, Caller, Served

_keys = itertools.count(1)


async def upload(caller: Caller, path: str, content: str | bytes | BinaryIO, **headers: str) -> Answer:
    """A file is sent, under a new Idempotency-Key each time unless one is given."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"Content-Type": "application/octet-stream", "Idempotency-Key": f"upload-{next(_keys)}"} | names
    data = content.encode() if isinstance(content, str) else content
    return await caller.send("POST", path, data=data, headers=given)


async def worked(served: Served, answer: Answer) -> dict[str, Any]:
    """The job that was accepted, after a worker did whatever waited."""
    assert answer.status == 202, answer.said
    service = served.service
    while await do_next(service.engine, service.settings, service.desk, now=datetime.now(UTC)):
        pass
    found: dict[str, Any] = (await served.viewer.get(answer.headers["Location"])).said
    return found
