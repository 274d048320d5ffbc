"""The Merkle tree against RFC 6962 as it is written: recursively."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ledger import seal
from engine.ledger.proof import Proof, verify_proof


def rfc_6962(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + rfc_6962(leaves[:split]) + rfc_6962(leaves[split:])).digest()


def numbered(count: int) -> list[bytes]:
    return [seal.leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def tags_of(seats: int) -> bytes:
    return b"".join(hashlib.blake2b(seat.to_bytes(4, "big"), digest_size=16).digest() for seat in range(seats))


@pytest.mark.parametrize("count", range(1, 70))
def test_every_path_climbs_to_the_root(count: int) -> None:
    leaves = numbered(count)
    root = seal.tree_root(leaves)
    assert root == rfc_6962(leaves)
    for index, leaf in enumerate(leaves):
        assert seal.climb(leaf, seal.path(leaves, index)) == root


def test_an_empty_tree_is_the_hash_of_nothing() -> None:
    assert seal.tree_root([]) == rfc_6962([]) == hashlib.sha256(b"").digest()


@given(full_shards=st.integers(0, 5), leaves_a_shard=st.sampled_from([1, 2, 8, 32]), data=st.data())
def test_the_root_over_leaves_is_the_root_over_shards(
    full_shards: int, leaves_a_shard: int, data: st.DataObject
) -> None:
    last = data.draw(st.integers(0 if full_shards else 1, leaves_a_shard))
    leaves = numbered(full_shards * leaves_a_shard + last)
    shards = [leaves[first : first + leaves_a_shard] for first in range(0, len(leaves), leaves_a_shard)]
    roots = [seal.tree_root(shard) for shard in shards]
    assert seal.tree_root(roots) == seal.tree_root(leaves) == rfc_6962(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    number, inside = divmod(index, leaves_a_shard)
    steps = (*seal.path(shards[number], inside), *seal.path(roots, number))
    assert seal.climb(leaves[index], steps) == seal.tree_root(leaves)


@given(seats=st.integers(1, 700), seed=st.integers(0, 9))
@settings(max_examples=30)
def test_leaf_hashes_hash_leaf_contents(seats: int, seed: int) -> None:
    amounts = np.random.default_rng(seed).integers(-(2**63), 2**63, seats, dtype=np.int64)
    tags = tags_of(seats)
    contents = [seal.leaf_content(amounts, tags, leaf) for leaf in range(-(-seats // seal.LEAF_SEATS))]
    assert seal.leaf_hashes(amounts, tags) == [seal.leaf_hash(content) for content in contents]
    assert sum(map(len, contents)) == 24 * seats


def test_tags_must_cover_the_seats() -> None:
    with pytest.raises(ValueError, match="3 seats need 48 bytes"):
        seal.leaf_hashes(np.zeros(3, dtype=np.int64), bytes(47))


def proof_of(seat: int, seats: int = 300, previous_root: bytes | None = b"\x05" * 32) -> Proof:
    amounts, tags = np.arange(seats, dtype=np.int64) * 3, tags_of(seats)
    hashes, leaf = seal.leaf_hashes(amounts, tags), seat // seal.LEAF_SEATS
    first, last = leaf * seal.LEAF_SEATS, (leaf + 1) * seal.LEAF_SEATS
    return Proof(
        run_id=1,
        seat=seat,
        first_seat=first,
        amounts=amounts[first:last],
        tags=tags[16 * first : 16 * last],
        steps=tuple(seal.path(hashes, leaf)),
        previous_root=previous_root,
        root=seal.sealed_root(previous_root, seal.tree_root(hashes)),
    )


@pytest.mark.parametrize("seat", [0, 127, 128, 255, 256, 299])
def test_a_proof_says_one_seats_amount(seat: int) -> None:
    proof = proof_of(seat)
    assert (proof.amount, proof.tag) == (3 * seat, tags_of(300)[16 * seat : 16 * seat + 16])
    assert verify_proof(proof)


def test_the_first_seal_of_a_plan_covers_zeros() -> None:
    assert verify_proof(proof_of(5, previous_root=None))
    assert seal.sealed_root(None, b"r") == seal.sealed_root(bytes(32), b"r")


def changed(proof: Proof) -> dict[str, dict[str, object]]:
    """Proofs that differ in one thing, by its name."""
    steps = proof.steps
    return {
        "amount": {"amounts": proof.amounts + np.eye(1, proof.amounts.size, 4, dtype=np.int64)[0]},
        "a neighbour's tag": {"tags": proof.tags[:-1] + bytes([proof.tags[-1] ^ 1])},
        "one seat fewer": {"amounts": proof.amounts[:-1], "tags": proof.tags[:-16]},
        "one step fewer": {"steps": steps[:-1]},
        "side of a step": {"steps": (steps[0]._replace(is_left=not steps[0].is_left), *steps[1:])},
        "previous root": {"previous_root": None},
        "root": {"root": bytes(32)},
    }


@pytest.mark.parametrize("what", changed(proof_of(130)))
def test_a_proof_of_anything_else_fails(what: str) -> None:
    proof = proof_of(130)
    assert not verify_proof(dataclasses.replace(proof, **changed(proof)[what]))  # type: ignore[arg-type]
