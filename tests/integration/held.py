"""Plans whose money a custodian holds, for the tests of what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.debit_files.manifest import Manifest, all_in
from engine.custodian.desk import Desk
from engine.custodian.profile import Profile, load
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian, assign, register
from engine.custodian.standing import Standing, read_standing, sent_batches
from engine.reconcile.instructing import Asking, instruct
from engine.roster.columns import Columns
from engine.runs.run import Run
from tests.integration.worlds import DEBIT, World, build, rules_of_preset

SHANGHAI = ZoneInfo("Asia/Shanghai")
ON = date(2019, 7, 13)
NOW = datetime(2019, 7, 13, 9, 30, tzinfo=SHANGHAI)
"""The morning before the debit day of these worlds."""

KEY = SecretStr("an account key of the tests")
ACTOR = "anna"


def profile_of(code: str = "generic-csv", *, limits: Mapping[str, Any] | None = None, **changed: Any) -> Profile:
    """A preset that knows payers by the plan's references unless it is told otherwise."""
    preset = load(code)
    given: dict[str, Any] = {"payer_known_by": "member_ref"} | changed
    return preset.model_copy(update=given | {"limits": preset.limits.model_copy(update=limits or {})})


def desk_in(folder: Path, **environment: str) -> Desk:
    return Desk(folder, KEY, environment)


async def hold(world: World, profile: Profile) -> Custodian:
    """Let a custodian hold the world's money."""
    async with world.engine.begin() as connection:
        await register(connection, profile, actor=ACTOR)
        return await assign(connection, profile.code, world.plan_id, actor=ACTOR)


async def sealed(
    engine: AsyncEngine, *shards: Columns, profile: Profile | None = None, aid_minor: int = 10_000, **rules: Any
) -> tuple[World, Run, Custodian]:
    """A sealed run of one claim over these seats, whose plan's money a custodian holds."""
    world = await build(engine, rules_of_preset(**rules), *shards)
    custodian = await hold(world, profile or profile_of())
    await world.claim(aid_minor=aid_minor)
    return world, await world.sealed(DEBIT), custodian


async def instructed(world: World, run: Run, desk: Desk, *, on: date = ON, now: datetime = NOW) -> Asking:
    async with world.engine.begin() as connection:
        return await instruct(connection, run.run_id, desk, on=on, now=now, actor=ACTOR)


async def standing(world: World, run: Run, number: int = 1) -> Standing:
    """Where the debits of one shard stand."""
    async with world.engine.connect() as connection:
        batches = await sent_batches(connection, run.run_id, Kind.DEBIT)
        return await read_standing(connection, world.shard(number), run.run_id, Kind.DEBIT, batches=batches)


def debit_files(desk: Desk, code: str = "generic-csv") -> list[Manifest]:
    return all_in(desk.folder(code, "debits"))


def lines(desk: Desk, code: str = "generic-csv") -> list[list[str]]:
    """The rows of all debit files, in order."""
    rows = []
    for each in debit_files(desk, code):
        text = (desk.folder(code, "debits") / each.file).read_text("utf-8")
        rows += [line.split(",") for line in text.splitlines()[1:]]
    return rows


def at(*positions: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(positions, np.int32)
