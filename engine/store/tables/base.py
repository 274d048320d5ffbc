"""What all tables share: their metadata, and the numbers that ids are made of."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, func

metadata = MetaData()

SHARD_SEATS = 65_536
"""Seats of a full shard; the unit of work, of storage and of distribution."""

PLAN_STRIDE = 1_000_000
"""`shard_id` = plan_id · PLAN_STRIDE + number, `account_id` = plan_id · PLAN_STRIDE + unit · 10,000 + code."""


def moment(name: str) -> Column[object]:
    """When a row was written, by the database's clock."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())
