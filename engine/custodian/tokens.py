"""Account tokens: by which account a custodian knows each seat's payer, sealed by shard.

A blob is one version of a whole shard: AES-GCM over columns of fixed width, one after the other, in seat order.
Whoever writes instructions opens it, and nobody else.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from pydantic import SecretStr
from sqlalchemy import bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FentanError
from engine.store.tables import account_tokens, shards

ACCOUNT_MOST = 34
"""Characters of an account: what ISO 20022 has for one, and an IBAN's most."""

MANDATE_MOST = 35
"""Characters of a mandate's id, as ISO 20022 has it."""

UNSIGNED = -(2**31)
"""The day number of a mandate that has no day of signature, or is none."""

_FORM = 1
_HEADER = struct.Struct("<BIBBB")
"""The form, seats, the widths of account and mandate (0: no seat has one), and whether days of signature follow."""

_NONCE_BYTES, _TAG_BYTES, _KEY_BYTES, _KEY_ID_BYTES = 12, 16, 32, 4


class WrongAccountKey(FentanError):
    """The account tokens are sealed under another key."""


class TamperedTokens(FentanError):
    """The account tokens are not as they were sealed."""


@dataclass(frozen=True, repr=False, eq=False)
class Tokens:
    """`n` seats in their order. `account`: string[n], null where none is known; `mandate_id`: the same, or None.

    `signed_on`: int32[n] day numbers of the mandates' signatures, UNSIGNED where there is none, or None. None stands
    for a column in which no seat has anything.
    """

    account: pa.StringArray
    mandate_id: pa.StringArray | None = None
    signed_on: NDArray[np.int32] | None = None

    @classmethod
    def unknown(cls, seats: int) -> Tokens:
        """Seats of which no account is known."""
        return cls(pa.nulls(seats, pa.string()))

    def __len__(self) -> int:
        return len(self.account)

    def __repr__(self) -> str:
        return f"Tokens(of {len(self)} seats)"

    @property
    def signed_dates(self) -> pa.Date32Array:
        """date32[n]: `signed_on` as dates, null where there is none."""
        days = self._days()
        return pa.array(days, pa.int32(), mask=days == UNSIGNED).cast(pa.date32())

    def extended(self, more: Tokens) -> Tokens:
        """These seats, then those of `more`."""
        mandates = days = None
        if self.mandate_id is not None or more.mandate_id is not None:
            mandates = pa.concat_arrays([self._mandates(), more._mandates()])
        if self.signed_on is not None or more.signed_on is not None:
            days = np.concatenate([self._days(), more._days()])
        return Tokens(pa.concat_arrays([self.account, more.account]), mandates, days)

    def taken(self, positions: NDArray[np.int32] | NDArray[np.int64]) -> Tokens:
        """The seats at these positions of the shard, in their order."""
        rows = pa.array(positions)
        return Tokens(
            self.account.take(rows),
            None if self.mandate_id is None else self.mandate_id.take(rows),
            None if self.signed_on is None else self.signed_on[positions],
        )

    def replaced(self, positions: NDArray[np.int64], others: Tokens) -> Tokens:
        """The same seats, those at `positions` (each once) with what `others` says of them."""
        rows = np.arange(len(self))
        rows[positions] = np.arange(len(self), len(self) + len(others))
        return self.extended(others).taken(rows)

    def packed(self) -> bytes:
        """The columns as they are sealed; the same tokens give the same bytes."""
        account_width, accounts = _fixed(self.account, ACCOUNT_MOST)
        mandate_width, mandates = _fixed(self._mandates(), MANDATE_MOST)
        days = self._days()
        is_signed = bool((days != UNSIGNED).any())
        header = _HEADER.pack(_FORM, len(self), account_width, mandate_width, is_signed)
        return b"".join([header, accounts, mandates, days.astype("<i4").tobytes() if is_signed else b""])

    @classmethod
    def unpacked(cls, packed: bytes) -> Tokens:
        """What `packed` made the bytes of."""
        form, seats, account_width, mandate_width, is_signed = _HEADER.unpack_from(packed)
        if form != _FORM:
            raise TamperedTokens(f"account tokens of form {form} are of another version of Fentan")
        mandates_at = _HEADER.size + seats * account_width
        days_at = mandates_at + seats * mandate_width
        return cls(
            _texts(packed, _HEADER.size, seats, account_width),
            _texts(packed, mandates_at, seats, mandate_width) if mandate_width else None,
            np.frombuffer(packed, "<i4", seats, days_at).astype(np.int32) if is_signed else None,
        )

    def _mandates(self) -> pa.StringArray:
        return pa.nulls(len(self), pa.string()) if self.mandate_id is None else self.mandate_id

    def _days(self) -> NDArray[np.int32]:
        return np.full(len(self), UNSIGNED, np.int32) if self.signed_on is None else self.signed_on


def _fixed(texts: pa.StringArray, most: int) -> tuple[int, bytes]:
    """The width of the longest, and all of them at that width, filled up with NUL; null is NUL alone."""
    texts = texts.fill_null("")
    width = pc.max(pc.binary_length(texts)).as_py() or 0
    if width > most:
        raise ValueError(f"an account token of {width} characters; at most {most} are read in")
    if width == 0:
        return 0, b""
    filled = pc.ascii_rpad(texts, width, "\0")
    start = filled.offset * width
    return width, filled.buffers()[2].slice(start, len(texts) * width).to_pybytes()


def _texts(packed: bytes, start: int, seats: int, width: int) -> pa.StringArray:
    """The column that begins at `start`; where nothing is to be trimmed it stays where it lies."""
    if width == 0:
        return pa.nulls(seats, pa.string())
    bounds = np.arange(seats + 1, dtype=np.int32) * np.int32(width) + np.int32(start)
    texts = pa.StringArray.from_buffers(seats, pa.py_buffer(bounds), pa.py_buffer(packed))
    if packed.find(b"\0", start, start + seats * width) < 0:
        return texts
    texts = pc.ascii_rtrim(texts, "\0")
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), pa.scalar(None, pa.string()), texts)


def key_id_of(key: SecretStr) -> str:
    """Which key it is, in 8 hex digits that say nothing of it."""
    return _derived(key, b"fentan key id", _KEY_ID_BYTES).hex()


def _derived(key: SecretStr, use: bytes, size: int) -> bytes:
    return blake2b(key.get_secret_value().encode(), digest_size=size, person=use).digest()


def _cipher(key: SecretStr) -> AESGCM:
    return AESGCM(_derived(key, b"fentan accounts", _KEY_BYTES))


def _place(shard_id: int, version: int) -> bytes:
    """What a blob is bound to: it opens nowhere else."""
    return f"account_tokens:{shard_id}:{version}".encode()


def seal(tokens: Tokens, shard_id: int, version: int, key: SecretStr) -> bytes:
    """The blob of one version of a shard: a random nonce, then AES-256-GCM of the columns, then its tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, tokens.packed(), _place(shard_id, version))


def unseal(blob: bytes, shard_id: int, version: int, key: SecretStr) -> Tokens:
    """What was sealed. Raises TamperedTokens for any other blob, place or key."""
    if len(blob) < _NONCE_BYTES + _TAG_BYTES:
        raise TamperedTokens(f"the account tokens of shard {shard_id}, version {version} are cut off")
    try:
        packed = _cipher(key).decrypt(blob[:_NONCE_BYTES], memoryview(blob)[_NONCE_BYTES:], _place(shard_id, version))
    except InvalidTag:
        raise TamperedTokens(
            f"the account tokens of shard {shard_id}, version {version} are not as they were sealed; "
            "restore them from a backup, or bring the accounts in again"
        ) from None
    return Tokens.unpacked(packed)


async def write_tokens(connection: AsyncConnection, shard_id: int, tokens: Tokens, key: SecretStr) -> int:
    """Add a version of a shard's tokens; its number. The caller holds the plan's lock (`lock_roster`)."""
    newest = select(account_tokens.c.version).where(account_tokens.c.shard_id == shard_id)
    version = (await connection.scalar(newest.order_by(account_tokens.c.version.desc()).limit(1)) or 0) + 1
    blob = seal(tokens, shard_id, version, key)
    row = {"shard_id": shard_id, "version": version, "key_id": key_id_of(key), "blob": blob}
    await connection.execute(insert(account_tokens).values(row))
    return version


async def replace_tokens(
    connection: AsyncConnection, shard_id: int, positions: NDArray[np.int64], tokens: Tokens, key: SecretStr
) -> bool:
    """Let the seats at `positions` (each once) be known by `tokens` from now on; whether anything is another now.

    A new version of the shard, unless all is as it was. The caller holds the plan's lock (`lock_roster`). Raises as
    `read_tokens` does.
    """
    known = await read_tokens(connection, shard_id, key)
    if known is None:
        seats = await connection.scalar(select(shards.c.seats).where(shards.c.shard_id == shard_id))
        known = Tokens.unknown(seats or 0)
    replaced = known.replaced(positions, tokens)
    if replaced.packed() == known.packed():
        return False
    await write_tokens(connection, shard_id, replaced, key)
    return True


# Built once: it runs for each shard, and building it costs more than running it.
_NEWEST = (
    select(account_tokens.c.version, account_tokens.c.key_id, account_tokens.c.blob, shards.c.seats)
    .join(shards, shards.c.shard_id == account_tokens.c.shard_id)
    .where(account_tokens.c.shard_id == bindparam("of_shard"))
    .order_by(account_tokens.c.version.desc())
    .limit(1)
)


async def read_tokens(connection: AsyncConnection, shard_id: int, key: SecretStr) -> Tokens | None:
    """The newest tokens of a shard, a row for each of its seats; None when none were ever brought in.

    Raises WrongAccountKey when they are sealed under another key, TamperedTokens when they are not as they were.
    """
    row = (await connection.execute(_NEWEST, {"of_shard": shard_id})).first()
    if row is None:
        return None
    if row.key_id != key_id_of(key):
        raise WrongAccountKey(
            f"the account tokens of shard {shard_id} are sealed under the key {row.key_id}, and account_key is "
            f"{key_id_of(key)}; set FENTAN_ACCOUNT_KEY to the key they were sealed under"
        )
    tokens = unseal(row.blob, shard_id, row.version, key)
    # Seats given since, by a roster or a change that named no account.
    missing = row.seats - len(tokens)
    return tokens.extended(Tokens.unknown(missing)) if missing else tokens
