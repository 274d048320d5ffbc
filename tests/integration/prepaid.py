"""Prepaid worlds for the tests of members: known by their references, with deposits, and swept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from zlib import crc32

import numpy as np
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger.accounts import Account, account_id
from engine.ledger.balances import read_balance
from engine.members.deposits import TakenTopUps, open_deposits
from engine.members.sweep import Swept, sweep
from engine.plans import PlanRules
from engine.roster.members import REF_BUCKETS
from engine.roster.plan import lock_roster
from engine.store.tables import SHARD_SEATS, members
from tests.integration.worlds import World, alike, build, rules_of_preset

OPENED = date(2019, 6, 1)


def prepaid(**tables: Any) -> PlanRules:
    """An event plan of balances, whose members share fully: 3 yuan a case at most, floor 1, 30 days to return."""
    return rules_of_preset("waterdrop", **({"exits": None, "starts_on": "2016-05-01"} | tables))


async def known(world: World) -> World:
    """The world, its seats findable by their references M0, M1, …"""
    rows = [
        {
            "plan_id": world.plan_id,
            "shard_id": shard_id,
            "seat": seat,
            "ref_bucket": crc32(f"M{seat}".encode()) % REF_BUCKETS,
            "spell": 1,
            "member_ref": f"M{seat}",
        }
        for number, (shard_id, seats) in enumerate(await world.shards())
        for seat in range(number * SHARD_SEATS, number * SHARD_SEATS + seats)
    ]
    async with world.engine.begin() as connection:
        await connection.execute(insert(members), rows)
    return world


async def opened(world: World, *deposits: Sequence[int]) -> list[TakenTopUps]:
    """Give each shard its first deposits."""
    async with world.engine.begin() as connection:
        return [
            await open_deposits(
                connection, world.plan, world.shard(number), np.array(amounts, np.int64), on=OPENED, key="opening"
            )
            for number, amounts in enumerate(deposits, 1)
        ]


async def paying(engine: AsyncEngine, *deposits: Sequence[int], **tables: Any) -> World:
    """A prepaid plan with a shard for each list of deposits."""
    world = await known(await build(engine, prepaid(**tables), *(alike(len(amounts)) for amounts in deposits)))
    await opened(world, *deposits)
    return world


async def held_by(world: World, number: int = 1) -> list[int]:
    """What the seats of a shard have paid in and not used."""
    shard_id, seats = (await world.shards())[number - 1]
    deposits = account_id(world.plan_id, Account.MEMBER_DEPOSITS)
    async with world.engine.connect() as connection:
        found = await read_balance(connection, shard_id, deposits, through_seq=2**40, seats=seats)
    return [-amount for amount in found.amounts.tolist()]


async def swept(world: World, on: date) -> Swept:
    async with world.engine.begin() as connection:
        await lock_roster(connection, world.plan_id)
        return await sweep(connection, world.plan_id, world.rules, on=on)
