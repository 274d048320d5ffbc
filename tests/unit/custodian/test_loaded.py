"""What a statement says of a run's instructions, kept in a few bytes a seat however much there is to say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine.custodian.instructions import NO_BATCH, State
from engine.custodian.loaded import Loaded, Source, Sources
from engine.custodian.matching import Matcher
from engine.custodian.profile import BookingMode
from engine.custodian.reference import Kind
from engine.custodian.standing import Standing
from engine.store.tables import SHARD_SEATS

SEATS = SHARD_SEATS + 4


def standing(amounts: list[int], *, state: State = State.SENT) -> Standing:
    owed = np.array(amounts, np.int64)
    asked = np.where(owed > 0, state, State.NONE).astype(np.uint8)
    one = (owed > 0).astype(np.uint8)
    no_batch, none = np.full(len(owed), NO_BATCH, np.int32), np.zeros(len(owed), np.uint8)
    return Standing(owed, asked, one, owed, one, np.zeros(len(owed), np.int64), no_batch, none)


def loaded(kind: Kind = Kind.DEBIT, seats: int = SEATS) -> Loaded:
    return Loaded(kind, 7, 1, seats, [0, 0], with_batches=False)


def test_only_the_shards_that_lines_name_are_missing() -> None:
    run = loaded()
    assert run.missing(np.array([0, 3])) == [1]
    run.put(1, standing([300, 0, 5]))
    assert run.missing(np.array([0, SHARD_SEATS + 1, SEATS, 36**6 - 1])) == [2]
    assert run.all_missing() == [2]
    run.put(2, standing([1, 2, 3, 4]))
    assert (run.missing(np.arange(SEATS)), run.all_missing()) == ([], [])
    assert run.instructions.amount_minor[[0, 2, SHARD_SEATS + 3]].tolist() == [300, 5, 4]
    assert run.touched() == []


def test_payouts_are_one_shard_by_the_claims_numbers() -> None:
    run = loaded(Kind.PAYOUT, SHARD_SEATS + 9)
    run.put(0, standing([0] * (SHARD_SEATS + 8) + [30]))
    assert (run.numbers, run.at(0), run.missing(np.array([SHARD_SEATS + 8]))) == (0, slice(0, SHARD_SEATS + 9), [])


def test_amounts_beyond_int32_widen_the_column_and_keep_the_states() -> None:
    run = loaded()
    run.put(1, standing([300]))
    run.instructions.state[0] = State.BOOKED
    run.put(2, standing([2**31]))
    assert run.instructions.amount_minor[[0, SHARD_SEATS]].tolist() == [300, 2**31]
    assert run.instructions.state[0] == State.BOOKED
    assert run.touched() == [1]


@pytest.mark.parametrize(("sources", "kind"), [(255, np.uint8), (256, np.uint16)])
def test_a_year_of_days_fits(sources: int, kind: type) -> None:
    run, days = loaded(seats=sources), Sources()
    numbers = [days.number(Source(day, from_suspense=False)) for day in range(sources)]
    run.mark("booked", np.arange(sources), np.array(numbers))
    assert run.booked.dtype == kind
    assert [days[int(place)].day for place in run.booked] == list(range(sources))
    assert days.number(Source(0, from_suspense=True)) == sources + 1


def test_reasons_beyond_255_are_kept_and_known_again() -> None:
    run = loaded(seats=300)
    said = [*(f"R{n}" for n in range(299)), None]
    run.explain(np.arange(100), pa.array(said[:100]))
    assert run.reason.dtype == np.uint8
    run.explain(np.arange(100, 300), pa.array(said[100:]))
    assert [run.reasons[place] for place in run.reason.tolist()] == said


def test_beyond_65535_reasons_the_others_are_not_kept() -> None:
    run = loaded(seats=65_537)
    run.explain(np.arange(65_537), pa.array([f"R{n}" for n in range(65_537)]))
    kept = [run.reasons[run.reason[place]] for place in (0, 65_534, 65_535)]
    assert kept == ["R0", "R65534", None]


def test_all_that_the_run_charged_is_known_as_such() -> None:
    run = loaded(seats=4)
    run.put(1, standing([300, 0, 5, 6]))
    assert run.everybody(1, np.array([0, 2, 3], np.int32))
    assert not run.everybody(1, np.array([0, 2], np.int32))


def test_a_matcher_plays_on_what_it_is_given_to_hold() -> None:
    run = loaded(seats=4)
    matcher = Matcher([], booking=BookingMode.PER_DEBIT)
    matcher.hold(run.instructions)
    run.put(1, standing([300, 0, 5, 6]))
    assert matcher.instructions[Kind.DEBIT, 7].state is run.instructions.state
