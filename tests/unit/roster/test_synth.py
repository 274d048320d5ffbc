"""The made-up roster: the same numbers, the same people, and people one can believe in."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine.errors import InvalidInput
from engine.money import to_minor
from engine.plans import PlanRules, completed_years, parse, tier_at
from engine.resources import config_dir
from engine.roster.accounts import check_accounts
from engine.roster.checks import check_refs, check_spells, read_deposits
from engine.roster.files import PeopleFile
from engine.roster.imports import columns_of
from engine.roster.synth import schema_of, synth, write_synthetic
from engine.roster.tags import TAG_BYTES, tags_of

FIRST, LAST = date(2018, 11, 27), date(2019, 1, 21)
MANY = 300_000


@pytest.fixture(scope="module")
def rules() -> PlanRules:
    return parse((config_dir() / "plans" / "xianghubao.toml").read_text("utf-8"), "xianghubao.toml")


def made(members: int, seed: int, rules: PlanRules) -> pa.Table:
    return pa.Table.from_batches(synth(members, seed, rules, joined_from=FIRST, joined_until=LAST), schema_of(rules))


def test_the_same_seed_makes_the_same_members(rules: PlanRules) -> None:
    assert made(1_000, 5, rules).equals(made(1_000, 5, rules))
    assert not made(1_000, 5, rules).equals(made(1_000, 6, rules))


@pytest.mark.parametrize("members", [1, 2, MANY])
def test_what_is_made_up_can_be_imported(tmp_path: Path, rules: PlanRules, members: int) -> None:
    path = tmp_path / "roster.parquet"
    write_synthetic(path, members, 1, rules, joined_from=FIRST, joined_until=LAST)
    rows = 0
    with PeopleFile(path, columns_of(rules)) as file:
        for batch in file.batches():
            check_refs(batch, file.problems)
            check_spells(batch, rules, file.problems)
            check_accounts(batch, file.problems)
            rows += batch.num_rows
        file.problems.refuse()
    assert rows == members


def test_people_one_can_believe_in(rules: PlanRules) -> None:
    table = made(MANY, 1, rules)
    refs = table["member_ref"]
    assert pc.all(pc.match_substring_regex(refs, "^M[0-9]{10}$")).as_py()
    assert pc.all(pc.less(refs.slice(0, MANY - 1), refs.slice(1))).as_py()
    joined = table["joined_on"].to_numpy()
    assert (joined[0], joined[-1]) == (np.datetime64(FIRST), np.datetime64(LAST))
    assert (joined[1:] >= joined[:-1]).all()
    # An S-curve: more join on a day in the middle than on one at an end.
    counts = np.unique(joined, return_counts=True)[1]
    assert counts[len(counts) // 2] > 3 * max(counts[1], counts[-2])
    assert 0.02 < 1 - table["ended_on"].null_count / MANY < 0.04
    ages = (joined - table["born_on"].to_numpy()).astype(np.int64) / 365.2425
    assert ages.min() > 30 / 366
    assert ages.max() < 60
    assert 25 < np.median(ages) < 45


def test_a_plan_with_tiers_gets_members_of_each(rules: PlanRules) -> None:
    tiered = rules.model_copy(update={"tiers": rules.tiers * 3})
    assert set(made(1_000, 1, tiered)["tier"].to_pylist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("members", "seed", "last"), [(0, 1, LAST), (10**9 + 1, 1, LAST), (1, -1, LAST), (1, 1, date(2018, 11, 26))]
)
def test_what_cannot_be_made_is_refused(rules: PlanRules, members: int, seed: int, last: date) -> None:
    with pytest.raises(InvalidInput):
        synth(members, seed, rules, joined_from=FIRST, joined_until=last)


def test_another_extension_is_refused(tmp_path: Path, rules: PlanRules) -> None:
    with pytest.raises(InvalidInput, match="name the file"):
        write_synthetic(tmp_path / "roster.xlsx", 1, 1, rules, joined_from=FIRST, joined_until=LAST)


def test_tags_are_keyed_blake2b_one_after_the_other() -> None:
    refs, key = [b"M1", "成员2".encode(), b"x" * 64], b"a key of sixteen"
    expected = [blake2b(ref, key=key, digest_size=TAG_BYTES).digest() for ref in refs]
    assert tags_of(refs, key) == b"".join(expected)
    assert tags_of(refs, b"another key, 16+") != tags_of(refs, key)
    assert tags_of([], key) == b""


@pytest.fixture(scope="module")
def by_age() -> PlanRules:
    return parse((config_dir() / "plans" / "jd-hubao.toml").read_text("utf-8"), "jd-hubao.toml")


def test_tiers_follow_the_age_at_joining(by_age: PlanRules) -> None:
    table = made(20_000, 1, by_age)
    born, joined = (table[name].to_pylist() for name in ("born_on", "joined_on"))
    tiers = [tier_at(by_age, completed_years(*days)) for days in zip(born, joined, strict=True)]
    assert table["tier"].to_pylist() == tiers
    assert set(tiers) == set(range(13))


def test_a_plan_that_begins_at_an_age_gets_nobody_younger(rules: PlanRules) -> None:
    claims = rules.claims.model_copy(update={"minimum_age_years": 60, "maximum_age_years": 70})
    table = made(20_000, 1, rules.model_copy(update={"claims": claims}))
    pairs = zip(table["born_on"].to_pylist(), table["joined_on"].to_pylist(), strict=True)
    assert {completed_years(*pair) for pair in pairs} == set(range(60, 71))


def given_rules(code: str) -> PlanRules:
    return parse((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"), f"{code}.toml")


@pytest.mark.parametrize("code", sorted(path.stem for path in (config_dir() / "plans").glob("*.toml")))
def test_every_preset_gets_a_roster_it_takes(tmp_path: Path, code: str) -> None:
    rules, path = given_rules(code), tmp_path / "roster.csv"
    last = min(rules.ends_on or date(2021, 1, 1), rules.starts_on + timedelta(days=400))
    write_synthetic(path, 2_000, 1, rules, joined_from=rules.starts_on, joined_until=last)
    with PeopleFile(path, columns_of(rules)) as file:
        rows = 0
        for batch in file.batches():
            check_refs(batch, file.problems)
            check_spells(batch, rules, file.problems)
            check_accounts(batch, file.problems)
            if rules.prepaid is not None:
                deposits = read_deposits(batch, rules, file.problems)["deposit"].to_numpy()
                assert deposits.min() >= rules.prepaid.entry > 0
            rows += batch.num_rows
        file.problems.refuse()
    assert rows == 2_000


def test_a_tenth_is_paid_for_by_who_joined_just_before(rules: PlanRules) -> None:
    assert rules.family_payers
    table = made(20_000, 1, rules)
    refs, payers = table["member_ref"].combine_chunks(), table["payer_ref"].combine_chunks()
    rows = np.flatnonzero(payers.is_valid())
    assert 0.09 < len(rows) / 20_000 < 0.11
    at = pc.index_in(payers.filter(payers.is_valid()), value_set=refs).to_numpy()
    assert ((rows - at > 0) & (rows - at < 20)).all()
    assert payers.take(pa.array(at)).null_count == len(at), "who pays for others pays for themself"
    assert table["ended_on"].combine_chunks().take(pa.array(at)).null_count == len(at), "and stays"
    assert len(np.unique(at)) < len(at), "some pay for several"


def test_payers_and_deposits_change_nothing_else(rules: PlanRules) -> None:
    alone = rules.model_copy(update={"family_payers": False})
    assert made(1_000, 5, alone).equals(made(1_000, 5, rules).drop(["payer_ref"]))


def test_everybody_has_an_account_of_sixteen_digits(rules: PlanRules) -> None:
    table = made(MANY, 1, rules)
    assert pc.all(pc.match_substring_regex(table["account"], "^[0-9]{16}$")).as_py()
    assert pc.count_distinct(table["account"]).as_py() == MANY
    assert {"mandate_id", "mandate_signed_on"} & {*table.column_names} == set()


def test_in_euro_everybody_has_an_iban_and_a_mandate(rules: PlanRules) -> None:
    table = made(20_000, 1, rules.model_copy(update={"currency": "EUR"}))
    accounts = table["account"].to_pylist()
    assert len(set(accounts)) == len(accounts)
    for iban in accounts:
        assert len(iban) == 22
        # ISO 7064: the first four to the end, letters as 10 to 35.
        assert int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97 == 1
    assert pc.count_distinct(table["mandate_id"]).as_py() == len(accounts)
    assert table["mandate_signed_on"].equals(table["joined_on"])


def test_accounts_change_nothing_else(rules: PlanRules) -> None:
    euro = made(1_000, 5, rules.model_copy(update={"currency": "EUR"}))
    added = ["account", "mandate_id", "mandate_signed_on"]
    assert euro.drop(added).equals(made(1_000, 5, rules).drop(["account"]))


def test_most_pay_in_what_a_member_begins_with() -> None:
    waterdrop = given_rules("waterdrop")
    assert waterdrop.prepaid is not None
    paid = [to_minor(text) for text in made(10_000, 1, waterdrop)["deposit"].to_pylist()]
    counts = Counter(paid)
    assert counts.most_common(1)[0][0] == waterdrop.prepaid.entry
    assert set(counts) == {times * waterdrop.prepaid.entry for times in range(1, 11)}
