"""The client's own check of a proof, held against the ledger's."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from engine.api import members
from engine.client.answers import Proof
from engine.client.proof import proof_holds
from engine.ledger import proof as ledger
from engine.ledger import seal
from engine.roster.plan import Plan

SEATS = 1000
AMOUNTS = np.arange(SEATS, dtype=np.int64) * 7 - 300
TAGS = b"".join(hashlib.blake2b(bytes([seat % 256]), digest_size=16).digest() for seat in range(SEATS))


def made(seat: int, previous_root: bytes | None = None) -> ledger.Proof:
    hashes, leaf = seal.leaf_hashes(AMOUNTS, TAGS), seat // seal.LEAF_SEATS
    others = [hashlib.sha256(b"another shard").digest(), seal.tree_root(hashes)]
    first, last = leaf * seal.LEAF_SEATS, (leaf + 1) * seal.LEAF_SEATS
    return ledger.Proof(
        run_id=7,
        seat=seat,
        first_seat=first,
        amounts=AMOUNTS[first:last],
        tags=TAGS[first * seal.TAG_BYTES : last * seal.TAG_BYTES],
        steps=(*seal.path(hashes, leaf), *seal.path(others, 1)),
        previous_root=previous_root,
        root=seal.sealed_root(previous_root, seal.tree_root(others)),
    )


def answered(proof: ledger.Proof) -> Proof:
    said: Proof = members._proof(Plan(1, "xianghubao", 1), proof).model_dump(mode="json")  # type: ignore[assignment]
    return said


@pytest.mark.parametrize("seat", [0, 127, 128, 640, 999])
@pytest.mark.parametrize("previous", [None, hashlib.sha256(b"before").digest()])
def test_what_the_ledger_proves_holds(seat: int, previous: bytes | None) -> None:
    proof = made(seat, previous)
    assert ledger.verify_proof(proof)
    assert proof_holds(answered(proof))


def test_what_was_changed_does_not_hold() -> None:
    good = answered(made(5, hashlib.sha256(b"before").digest()))
    leaf, (step, *steps) = good["leaf"], good["steps"]
    wrong: list[Proof] = [
        {**good, "amount": "0.01"},
        {**good, "seat": 6},
        {**good, "seat": 128},
        {**good, "seat": -1},
        {**good, "tag": "00" * 16},
        {**good, "previous_root": None},
        {**good, "root": "00" * 32},
        {**good, "steps": steps},
        {**good, "steps": [{**step, "is_left": not step["is_left"]}, *steps]},
        {**good, "leaf": {**leaf, "amounts": [*leaf["amounts"][:-1], "0.00"]}},
        {**good, "leaf": {**leaf, "tags": leaf["tags"][:-1]}},
        {**good, "leaf": {**leaf, "tags": ["", *leaf["tags"][1:]]}},
    ]
    assert [proof_holds(each) for each in wrong] == [False] * len(wrong)


def test_no_amount_of_the_leaf_can_be_changed() -> None:
    proof = made(3)
    for place in range(0, seal.LEAF_SEATS, 9):
        amounts = proof.amounts.copy()
        amounts[place] += 1
        assert not proof_holds(answered(replace(proof, amounts=amounts)))
