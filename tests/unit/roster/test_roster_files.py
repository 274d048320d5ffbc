"""Files of members: what is read, and how what is wrong is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from engine.errors import InvalidInput
from engine.plans import PlanRules, completed_years, day_number, parse
from engine.resources import config_dir
from engine.roster.accounts import check_accounts
from engine.roster.checks import check_refs, check_spells
from engine.roster.checks import completed_years as completed_years_of
from engine.roster.files import PROBLEMS_MAX, PeopleFile
from engine.roster.imports import COLUMNS, _cut
from engine.roster.members import Place, newcomers, wrong_refs
from engine.store.tables import SHARD_SEATS

HEADER = "member_ref,born_on,joined_on,ended_on,tier\n"
GOOD = "M1,1990-05-05,2019-01-01,,\n"


@pytest.fixture(scope="module")
def rules() -> PlanRules:
    return parse((config_dir() / "plans" / "xianghubao.toml").read_text("utf-8"), "xianghubao.toml")


def problems_in(path: Path, rules: PlanRules) -> list[str]:
    """What the import would find wrong, as lines."""
    with PeopleFile(path, COLUMNS) as file:
        for batch in file.batches():
            check_refs(batch, file.problems)
            check_spells(batch, rules, file.problems)
            check_accounts(batch, file.problems)
        return [problem.removeprefix(f"{path.name}, ") for problem in file.problems.found]


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "roster.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    with PeopleFile(path, COLUMNS) as file:
        rows = [row for batch in file.batches() for row in batch.to_pylist()]
        file.problems.refuse()
        return rows


def test_csv_and_parquet_read_alike(tmp_path: Path) -> None:
    member = {"member_ref": "M1", "born_on": date(1990, 5, 5), "joined_on": date(2019, 1, 1)}
    pyarrow.parquet.write_table(pa.Table.from_pylist([member]), tmp_path / "roster.parquet")
    expected = dict.fromkeys(COLUMNS) | member
    assert rows_of(tmp_path / "roster.parquet") == [{"line": 1} | expected]
    assert rows_of(written(tmp_path, "joined_on,member_ref,born_on\n2019-01-01,M1,1990-05-05\n")) == [
        {"line": 2} | expected
    ]


def test_a_byte_order_mark_carriage_returns_and_blank_lines_are_no_matter(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufeffmember_ref,born_on,joined_on\r\nM1,1990-05-05,2019-01-01\r\n\r\nM2,1990-05-05,2019-01-01\r\n\r\n",
    )
    assert [(row["line"], row["member_ref"]) for row in rows_of(path)] == [(2, "M1"), (4, "M2")]


def test_a_parquet_file_may_hold_other_types_that_mean_the_same(tmp_path: Path) -> None:
    table = pa.table(
        {
            "member_ref": pa.array(["M1"]).dictionary_encode(),
            "born_on": pa.array(["1990-05-05"], pa.large_string()),
            "joined_on": pa.array([date(2019, 1, 1)], pa.date64()),
            "tier": pa.array([0], pa.int64()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "roster.parquet")
    assert rows_of(tmp_path / "roster.parquet")[0]["joined_on"] == date(2019, 1, 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",1990-05-05,2019-01-01,,", "line 3, member_ref: empty: is missing; every line needs one"),
        ("M 1,1990-05-05,2019-01-01,,", "line 3, member_ref: 'M 1': must be 1 to 64 letters, digits and"),
        ("=1+1,1990-05-05,2019-01-01,,", "line 3, member_ref: '=1+1': must be"),
        (f"{'M' * 65},1990-05-05,2019-01-01,,", "line 3, member_ref: 'MMMM"),
        ('"M,1",1990-05-05,2019-01-01,,', "line 3, member_ref: 'M,1': must be"),
        ("M2,,2019-01-01,,", "line 3, born_on: empty: is missing"),
        ("M2,1990-5-5,2019-01-01,,", "line 3, born_on: '1990-5-5': is not a date; write it like 1985-04-23"),
        ("M2,1990-02-30,2019-01-01,,", "line 3, born_on: '1990-02-30': is not a date"),
        ("M2,1879-12-31,2019-01-01,,", "line 3, born_on: '1879-12-31': is before 1880-01-01"),
        ("M2,2019-01-02,2019-01-01,,", "line 3, born_on: '2019-01-02': is after joined_on"),
        ("M2,1959-01-01,2019-01-01,,", "line 3, born_on: '1959-01-01': is more than 59 years before joined_on"),
        ("M2,1990-05-05,yesterday,,", "line 3, joined_on: 'yesterday': is not a date"),
        ("M2,1990-05-05,2022-01-29,,", "line 3, joined_on: '2022-01-29': is after xianghubao ended on 2022-01-28"),
        ("M2,1990-05-05,2019-01-01,2019-01-01,", "line 3, ended_on: '2019-01-01': is not after joined_on"),
        ("M2,1990-05-05,2019-01-01,,1", "line 3, tier: '1': is no tier of xianghubao; they are 0 to 0"),
        ("M2,1990-05-05,2019-01-01,,-1", "line 3, tier: '-1': is no tier"),
        ("M2,1990-05-05,2019-01-01,,99999", "line 3, tier: '99999': is not a whole number from 0 to 32767"),
        ("M2,1990-05-05", "line 3, the line: has 2 values; the header names 5"),
    ],
)
def test_each_wrong_value_is_named(tmp_path: Path, rules: PlanRules, line: str, problem: str) -> None:
    found = problems_in(written(tmp_path, HEADER + GOOD + line + "\n" + GOOD), rules)
    assert len(found) == 1
    # Dates print as they are typed, not as date objects.
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("accounts", "problem"),
    [
        ("6222000000000001,,", None),
        ("DE89370400440532013000,MD-1,2018-12-01", None),
        ("DE89370400440532013000,MD-1,", None),
        (",,", None),
        ("A" * 34 + "," + "M" * 35 + ",", None),
        ("A" * 35 + ",,", "account: is not of 1 to 34 letters, digits and, but for the first, @._/*:-"),
        ("622200 0001,,", "account: is not of 1 to 34"),
        ("=6222000001,,", "account: is not of 1 to 34"),
        ("-6222000001,,", "account: is not of 1 to 34"),
        ("６２２２,,", "account: is not of 1 to 34"),
        ("6222," + "M" * 36 + ",", "mandate_id: is not of 1 to 35"),
        ("6222,M 1,", "mandate_id: is not of 1 to 35"),
        (",M1,", "mandate_id: is given, and no account"),
        ("6222,,2018-12-01", "mandate_signed_on: '2018-12-01': is given, and no mandate_id"),
        ("6222,M1,yesterday", "mandate_signed_on: 'yesterday': is not a date"),
        ("6222,M1,2018-12-01,more", "the line: has 7 values; the header names 6"),
    ],
)
def test_a_wrong_account_is_named_and_not_repeated(
    tmp_path: Path, rules: PlanRules, accounts: str, problem: str | None
) -> None:
    header = "member_ref,born_on,joined_on,account,mandate_id,mandate_signed_on\n"
    lines = [f"M{number},1990-05-05,2019-01-01,{each}\n" for number, each in enumerate(["6222,,", accounts, ",,"])]
    found = problems_in(written(tmp_path, header + "".join(lines)), rules)
    assert len(found) == (problem is not None)
    if problem is not None:
        assert found[0].startswith(f"line 3, {problem}")
        assert not any(value in found[0] for value in accounts.split(",")[:2] if len(value) > 2)


def test_an_account_that_is_not_utf8_is_not_repeated(tmp_path: Path, rules: PlanRules) -> None:
    text = b"member_ref,born_on,joined_on,account\nM1,1990-05-05,2019-01-01,6222\xff\n"
    assert problems_in(written(tmp_path, text), rules) == ["line 2, account: is not text in UTF-8"]


def test_who_is_59_on_the_day_may_join(tmp_path: Path, rules: PlanRules) -> None:
    assert problems_in(written(tmp_path, HEADER + "M1,1959-01-02,2019-01-01,2019-01-02,0\n"), rules) == []


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path, rules: PlanRules) -> None:
    found = problems_in(written(tmp_path, HEADER.encode() + b"M\xff,1990-05-05,2019-01-01,,\n"), rules)
    assert found[0].startswith("line 2, member_ref: 'M\ufffd': is not text in UTF-8")


def test_lines_after_a_torn_one_keep_their_numbers(tmp_path: Path, rules: PlanRules) -> None:
    found = problems_in(written(tmp_path, HEADER + "torn\n" + GOOD + "M2,x,2019-01-01,,\n"), rules)
    assert [problem.split(",")[0] for problem in found] == ["line 2", "line 4"]


def test_only_the_first_problems_are_told(tmp_path: Path, rules: PlanRules) -> None:
    path = written(tmp_path, HEADER + "M1,x,y,,\n" * PROBLEMS_MAX)
    assert len(problems_in(path, rules)) == PROBLEMS_MAX


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("roster.csv", "", "cannot be read: Empty CSV file"),
        ("roster.csv", "member_ref;born_on\n", "lacks 'member_ref', 'born_on', 'joined_on'"),
        ("roster.csv", "member_ref,born_on,joined_on,end_on\nM1,1990-05-05,2019-01-01,\n", "the unknown 'end_on'"),
        ("roster.csv", "member_ref,member_ref,born_on,joined_on\nA,A,1990-05-05,2019-01-01\n", "twice 'member_ref'"),
        ("roster.parquet", "not Parquet", "cannot be read"),
        ("roster.xlsx", "", "name the file .parquet or .csv"),
    ],
)
def test_files_that_are_no_rosters_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(InvalidInput, match=said):
        rows_of(tmp_path / name)


@pytest.mark.parametrize(
    ("codec", "damage"),
    [
        pytest.param("snappy", b"\0", id="not what the codec wrote"),
        pytest.param("none", b"\xff", id="lengths beyond the page"),
        pytest.param("none", b"M\x8e", id="text that is not UTF-8"),
    ],
)
def test_a_damaged_page_is_refused(tmp_path: Path, codec: str, damage: bytes) -> None:
    path = tmp_path / "roster.parquet"
    table = pa.table({name: [f"M{number:05}" for number in range(5_000)] for name in COLUMNS})
    pyarrow.parquet.write_table(table, path, compression=codec, use_dictionary=False)
    whole, column = path.read_bytes(), pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    # The page's header and its first values stay: the codec, or the text itself, must notice.
    start, end = column.data_page_offset + 200, column.data_page_offset + column.total_compressed_size
    path.write_bytes(whole[:start] + (damage * end)[: end - start] + whole[end:])
    with pytest.raises(InvalidInput, match=r"roster\.parquet: cannot be read: .*; write the file anew"):
        rows_of(path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"M\x8e"))
    days = {name: [date(1990, 5, 5)] for name in ("born_on", "joined_on")}
    pyarrow.parquet.write_table(pa.table({"member_ref": texts} | days), tmp_path / "roster.parquet")
    with pytest.raises(InvalidInput, match=r"roster\.parquet: cannot be read: .*UTF"):
        rows_of(tmp_path / "roster.parquet")


@pytest.mark.parametrize("day", [2**31 - 1, -(2**31), 2_932_897, -719_163])
@pytest.mark.parametrize("name", ["born_on", "joined_on", "ended_on"])
def test_a_day_that_no_calendar_has_is_told_by_its_number(
    tmp_path: Path, rules: PlanRules, name: str, day: int
) -> None:
    days = {"born_on": 7_000, "joined_on": 17_900, "ended_on": None} | {name: day}
    columns = {column: pa.array([value], pa.int32()).cast(pa.date32()) for column, value in days.items()}
    pyarrow.parquet.write_table(pa.table({"member_ref": ["M1"]} | columns), tmp_path / "roster.parquet")
    [problem] = problems_in(tmp_path / "roster.parquet", rules)
    assert problem.startswith(f"row 1, {name}: '{day}': is a day outside the years 1 to 9999")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_time_of_day_is_no_date_however_far_away(tmp_path: Path, rules: PlanRules, unit: str) -> None:
    times = pa.array([2**62 + 1], pa.timestamp(unit))
    columns = {"member_ref": ["M1"], "born_on": [date(1990, 5, 5)], "joined_on": times}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "roster.parquet")
    assert any("row 1, joined_on: " in problem for problem in problems_in(tmp_path / "roster.parquet", rules))


def test_the_last_day_there_is_does_not_wrap(tmp_path: Path, rules: PlanRules) -> None:
    [problem] = problems_in(written(tmp_path, HEADER + "M1,1990-05-05,9999-12-31,,\n"), rules)[1:]
    assert problem.startswith("line 2, joined_on: '9999-12-31': is after xianghubao ended")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        rows_of(tmp_path / "absent.csv")


def test_a_parquet_column_of_another_kind_is_refused(tmp_path: Path) -> None:
    table = pa.table({"member_ref": ["M1"], "born_on": [True], "joined_on": [date(2019, 1, 1)]})
    pyarrow.parquet.write_table(table, tmp_path / "roster.parquet")
    with pytest.raises(InvalidInput, match="born_on is of type bool, expected a date"):
        rows_of(tmp_path / "roster.parquet")


@pytest.mark.parametrize("ref", ["1", "成员001", "a.b_c-d:e/f@g#h+i=j~k*", "138****1234", "Ö" * 64])
def test_references_that_are_taken(ref: str) -> None:
    assert wrong_refs(pa.array([ref])).tolist() == [False]


@pytest.mark.parametrize(
    "ref", ["", "-1", "+1", "@x", "a b", "a\tb", "a\nb", "a,b", "a;b", 'a"b', "a\\b", "a\u200bb", "o\u0308", "x" * 65]
)
def test_references_that_are_not(ref: str) -> None:
    assert wrong_refs(pa.array([ref])).tolist() == [True]


def test_the_index_holds_references_of_every_length_and_script() -> None:
    refs = ["b", "成员001", "Ö" * 64, "a-1"]
    spells = np.array([1, 12, 1, 2], np.int16)
    born_on, lines = np.zeros(4, np.int32), np.arange(4)
    people = newcomers(7, Place(2, 10), pa.array(refs), born_on, lines, spells, tag_key=b"k")
    assert people.joined_refs == "\n".join(refs)
    assert bytes(people.index_rows).decode().splitlines() == [
        f"7,7000002,{SHARD_SEATS + 10 + row},{crc32(refs[row].encode()) % 64},{spells[row]},{refs[row]}"
        for row in (3, 0, 2, 1)
    ]


def test_ages_are_those_of_the_rules() -> None:
    random = np.random.default_rng(7)
    born = random.integers(day_number(date(1930, 1, 1)), day_number(date(2019, 1, 1)), 2_000).astype(np.int32)
    born[:2] = day_number(date(2000, 2, 29))
    on = born + random.integers(0, 30_000, 2_000).astype(np.int32)
    on[:2] = day_number(date(2018, 2, 28)), day_number(date(2018, 3, 1))
    epoch = date(1970, 1, 1).toordinal()
    expected = [
        completed_years(date.fromordinal(b + epoch), date.fromordinal(o + epoch)) for b, o in zip(born, on, strict=True)
    ]
    assert completed_years_of(born, on).tolist() == expected


@pytest.mark.parametrize(
    ("place", "sizes", "expected"),
    [
        (Place(1, 0), [10], [10]),
        (Place(1, 0), [10, 20], [30]),
        (Place(1, 0), [SHARD_SEATS], [SHARD_SEATS]),
        (Place(3, SHARD_SEATS - 5), [3, 3], [5, 1]),
        (Place(1, 1), [SHARD_SEATS - 2, SHARD_SEATS, 2], [SHARD_SEATS - 1, SHARD_SEATS, 1]),
        (Place(1, 0), [], []),
    ],
)
def test_batches_are_cut_where_shards_end(place: Place, sizes: list[int], expected: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    batches = [
        pa.record_batch({"n": np.arange(start, start + size)}) for start, size in zip(starts, sizes, strict=False)
    ]
    cut = list(_cut(iter(batches), place))
    assert [batch.num_rows for batch in cut] == expected
    assert [n for batch in cut for n in batch["n"].to_pylist()] == list(range(sum(sizes)))


@pytest.mark.parametrize(
    ("born_on", "tier", "problem"),
    [
        ("2018-06-01", "0", None),
        ("1990-05-05", "", None),
        ("1990-05-05", "4", None),
        ("1990-05-05", "5", "line 2, tier: '5': is not the tier of the age on joined_on; leave it empty, the plan kno"),
        ("1990-05-05", "13", "line 2, tier: '13': is no tier of jd-hubao; they are 0 to 12"),
        ("1940-05-05", "", "line 2, born_on: '1940-05-05': is more than 70 years before joined_on"),
    ],
)
def test_where_the_age_gives_the_tier_a_file_may_only_agree(
    tmp_path: Path, born_on: str, tier: str, problem: str | None
) -> None:
    rules = parse((config_dir() / "plans" / "jd-hubao.toml").read_text("utf-8"), "jd-hubao.toml")
    found = problems_in(written(tmp_path, f"{HEADER}M1,{born_on},2019-01-01,,{tier}\n"), rules)
    assert [bool(problem and line.startswith(problem)) for line in found] == [True] * (problem is not None)


def test_a_plan_that_begins_at_an_age_takes_nobody_younger(tmp_path: Path, rules: PlanRules) -> None:
    begins = rules.model_copy(update={"claims": rules.claims.model_copy(update={"minimum_age_years": 18})})
    old_enough, young = "M1,2001-01-01,2019-01-01,,\n", "M2,2001-01-02,2019-01-01,,\n"
    assert problems_in(written(tmp_path, HEADER + old_enough), begins) == []
    (problem,) = problems_in(written(tmp_path, HEADER + young), begins)
    assert problem.startswith("line 2, born_on: '2001-01-02': is not 18 years before joined_on; xianghubao begins ther")
