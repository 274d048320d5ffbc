"""The whole API against its own specification: data that fits, data that does not, and the links between answers."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from traceback import format_exception

import pytest
import structlog

from engine.access.roles import Role
from engine.store.embedded import Embedded
from tests.integration.api.furnished import THERE, furnish
from tests.serving import Served, serving, settings_in

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
CASES = int(os.environ.get("API_CASES", "4"))
"""Cases of either kind that are drawn for an operation, beside those that cover its every bound."""

SEED = os.environ.get("API_SEED")
"""Another draw than that of every day, which is always the same."""

RUN = "from schemathesis.cli import schemathesis; schemathesis()"
ONLY = os.environ.get("API_ONLY")
"""One resource, to look at it alone."""

CONFIGURATION = """
seed = {seed}
max-stream-events = 3
request-timeout = 20
hooks = "tests.integration.api.case_hooks"
continue-on-failure = true

[output.truncation]
enabled = false

[cache]
enabled = false

[auth.openapi.bearer]
bearer = "{token}"

[generation]
max-examples = {cases}
deterministic = {deterministic}
database = "none"

# Also refused well: an If-Match that fits and names what is not there.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "429", "503"]

# Links are followed as the specification names them; those that it infers by itself name parameters that are not there.
[phases.stateful.inference]
algorithms = []

# Each path refuses all methods but its own in one place, which is tried with all of them elsewhere.
[phases.coverage]
unexpected-methods = ["DELETE", "OPTIONS", "PUT"]

[phases.stateful.generation]
max-examples = {steps}

# What there is in the world behind the API; by themselves cases would hardly ever name it.
"""


def configuration(token: str) -> str:
    """What schemathesis is told."""
    text = CONFIGURATION.format(
        seed=SEED or 0, deterministic=str(SEED is None).lower(), token=token, cases=CASES, steps=8 * CASES
    )
    for name, values in THERE.items():
        text += f"[dictionaries.{name}]\nvalues = {values}\n"
        text += f'[parameters."{name}"]\ndictionary = "{name}"\nprobability = 0.7\n'
    return text


@pytest.fixture
async def served(database_url: str, embedded: Embedded, tmp_path: Path) -> AsyncIterator[Served]:
    """An API that lets everybody ask as often as they like."""
    settings = settings_in(tmp_path / "data", requests_per_minute=1_000_000)
    async with serving(database_url, embedded.redis_url, settings) as found:
        yield found


async def test_the_api_does_what_its_specification_says(served: Served, tmp_path: Path) -> None:
    await furnish(served)
    caller = await served.caller("cases", Role.ADMIN)
    told = tmp_path / "schemathesis.toml"
    told.write_text(configuration(caller.token), "utf-8")
    only = ("--include-tag", ONLY) if ONLY else ()
    arguments = ("-c", RUN, "--config-file", told, "run", f"{served.url}/v1/openapi.json", "--no-color", *only)
    with structlog.testing.capture_logs() as logs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, arguments), cwd=ROOT, stdout=PIPE, stderr=STDOUT,
            env=os.environ | {"TOKEN_ID": caller.token.split("_")[1]},
        )  # fmt: skip
        said, _ = await process.communicate()
    faults = [format_exception(each["exc_info"]) for each in logs if each["event"] == "request failed"]
    assert process.returncode == 0, "".join([said.decode(), *itertools.chain(*faults)])
    assert (await caller.get("/v1/me")).status == 200
