"""How often a token may ask in a minute. Counted in Redis; without Redis nobody is held up (I8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.api.problems import TooManyRequests

_WITHOUT = timedelta(seconds=5)
"""How long nobody asks a Redis that did not answer: each would wait for it."""


class RateLimits:
    """Requests of each token in the minute under way."""

    def __init__(self, redis: Redis, per_minute: int) -> None:
        """`redis`: with timeouts, for an answer waits for it."""
        self._redis, self._per_minute = redis, per_minute
        self._asked_again_at: datetime | None = None

    async def count(self, token_id: int, now: datetime) -> None:
        """Count one more. Raises TooManyRequests."""
        if self._asked_again_at is not None and now < self._asked_again_at:
            return
        key = f"fentan:rate:{token_id}:{int(now.timestamp()) // 60}"
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.incr(key)
                pipe.expire(key, 120)
                count, _ = await pipe.execute()
        except (RedisError, OSError):
            self._asked_again_at = now + _WITHOUT
            return
        if count > self._per_minute:
            raise TooManyRequests(f"more than {self._per_minute:,} requests in a minute; {TooManyRequests.__doc__}")
