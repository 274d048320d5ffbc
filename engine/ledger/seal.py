"""The seal: a Merkle tree over what a run charged, as RFC 6962 hashes leaves and nodes, and one member's proof.

A leaf is 128 consecutive seats: their amounts as little-endian int64, then their 16-byte member tags. A full shard
has 512 leaves, a power of two, so the tree over the leaves of a run is the tree over the roots of its shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAF_SEATS = 128
TAG_BYTES = 16


class Step(NamedTuple):
    """One node on the way up: the sibling's hash, and whether it stands on the left."""

    sibling: bytes
    is_left: bool


def leaf_hash(content: bytes) -> bytes:
    """SHA-256(0x00 ‖ content)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf_content(amounts: NDArray[np.int64], tags: bytes, leaf: int) -> bytes:
    """What is hashed for leaf number `leaf` of a shard: amounts, then tags. The last leaf may be short."""
    first, last = leaf * LEAF_SEATS, min((leaf + 1) * LEAF_SEATS, amounts.size)
    return amounts[first:last].astype("<i8").tobytes() + tags[first * TAG_BYTES : last * TAG_BYTES]


def leaf_hashes(amounts: NDArray[np.int64], tags: bytes) -> list[bytes]:
    """The hashes of a shard's leaves. `amounts` int64[seats], `tags` 16 bytes a seat."""
    if len(tags) != TAG_BYTES * amounts.size:
        raise ValueError(f"{amounts.size} seats need {TAG_BYTES * amounts.size} bytes of tags, not {len(tags)}")
    money, width, sha256 = memoryview(amounts.astype("<i8").tobytes()), LEAF_SEATS, hashlib.sha256
    names = memoryview(tags)
    hashes = []
    for first in range(0, amounts.size, width):
        leaf = sha256(b"\x00")
        leaf.update(money[8 * first : 8 * (first + width)])
        leaf.update(names[TAG_BYTES * first : TAG_BYTES * (first + width)])
        hashes.append(leaf.digest())
    return hashes


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962's Merkle tree hash over leaf hashes (or over roots of equal, full, power-of-two subtrees)."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    while len(level) > 1:
        paired = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[2 * len(paired) :]  # an odd one rises as it is
    return level[0]


def path(hashes: Sequence[bytes], index: int) -> list[Step]:
    """The steps from `hashes[index]` up to tree_root(hashes)."""
    level, steps = list(hashes), []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            steps.append(Step(level[sibling], is_left=sibling < index))
        paired = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[2 * len(paired) :]
        index //= 2
    return steps


def climb(start: bytes, steps: Sequence[Step]) -> bytes:
    """The root that `start` leads to by `steps`."""
    for step in steps:
        start = node_hash(step.sibling, start) if step.is_left else node_hash(start, step.sibling)
    return start


def sealed_root(previous_root: bytes | None, root: bytes) -> bytes:
    """SHA-256(0x02 ‖ the plan's previous root, 32 zero bytes for the first ‖ the run's tree root)."""
    return hashlib.sha256(b"\x02" + (previous_root or bytes(32)) + root).digest()
