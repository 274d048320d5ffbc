"""The run of 21 January 2019 a thousandth as large, from roster to seal: its share, its waiver and what it carries."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.story import Asked, bring_claims, claimants, replay_story
from engine.ledger.accounts import Account
from engine.money import to_major
from engine.plans import completed_years
from engine.roster.imports import import_roster
from engine.roster.plan import enter_plan
from engine.roster.presets import load_plan
from engine.roster.synth import write_synthetic
from engine.runs.report import totals_of
from tests.integration.worlds import World

pytestmark = pytest.mark.integration

MEMBERS, AIDS = 23_000, (300_00, 300_00)
POOL = 648_00
"""Two aids of 300 yuan and 8 % on them, in fen (SCHEMES §3: 648,000 yuan for a thousand times the members)."""
NOTICE, WAIVED_UNTIL = date(2019, 1, 21), date(2018, 12, 31)


async def test_I5_the_replay_shares_waives_and_carries_to_the_fen(engine: AsyncEngine, tmp_path: Path) -> None:
    rules, roster = load_plan("xianghubao"), tmp_path / "roster.parquet"
    asked = tuple(Asked(NOTICE, aid) for aid in AIDS)
    story = replace(replay_story(rules, MEMBERS, seed=1), asked=asked)
    assert story.notice_on == NOTICE
    write_synthetic(roster, MEMBERS, 1, rules, joined_from=story.joined_from, joined_until=NOTICE)
    async with engine.begin() as connection:
        plan = await enter_plan(connection, rules, actor="anna")
        await import_roster(
            connection, plan, roster, tag_key=b"a key of sixteen", account_key=SecretStr("another key of the tests")
        )
        await bring_claims(connection, plan, rules, story, claimants(roster, story, rules))
    world = World(engine, plan, rules)
    run = await world.sealed(story.debit_on)

    # Counted from the file by hand: covered at the gate, not yet 60, and of those who joined in the first period.
    rows = pyarrow.parquet.read_table(roster).to_pylist()
    spells = [(row["joined_on"], row["ended_on"] or date.max, completed_years(row["born_on"], NOTICE)) for row in rows]
    shares = [joined <= NOTICE < ended and age < 60 for joined, ended, age in spells]
    is_waived = [share and joined <= WAIVED_UNTIL for share, (joined, _, _) in zip(shares, spells, strict=True)]
    sharers, waived = sum(shares), sum(is_waived)
    assert 0 < waived < sharers < MEMBERS

    async with engine.connect() as connection:
        totals = await totals_of(connection, run)
    assert totals is not None
    assert to_major(totals.share) == "0.03"
    assert (totals.members, totals.sharers, totals.waived_seats) == (MEMBERS, sharers, waived)
    assert totals.waived == 3 * waived
    assert await world.tied_out(run) == {
        "charged": 3 * (sharers - waived), "sponsor": 3 * waived, "carry_in": 0,
        "aid": sum(AIDS), "fee": POOL - sum(AIDS), "carry_out": 3 * sharers - POOL,
    }  # fmt: skip
    (owed,), (sponsored,) = await world.charged(run), await world.charged(run, Account.SPONSOR_WAIVERS)
    assert sponsored.tolist() == [3 * each for each in is_waived]
    assert (owed + sponsored).tolist() == [3 * each for each in shares]
    assert await world.problems() == []
