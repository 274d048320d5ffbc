"""How often somebody may ask in a minute. Counted in Redis; without Redis nobody is held up (I8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.api.problems import TooManyRequests

_WITHOUT = timedelta(seconds=5)
"""How long nobody asks a Redis that did not answer: each would wait for it."""

_MINUTE_SECONDS = 60


class RateLimits:
    """Requests of each token, or of a network without one, in the minute under way."""

    def __init__(self, redis: Redis, per_minute: int) -> None:
        """`redis`: with timeouts, for an answer waits for it."""
        self._redis, self._per_minute = redis, per_minute
        self._asked_again_at: datetime | None = None

    async def count(self, who: int | str, now: datetime, *, per_minute: int | None = None) -> None:
        """Count one more. `who`: a token's number, or what else is counted under; `per_minute`: if not as a token.

        Raises TooManyRequests.
        """
        most = self._per_minute if per_minute is None else per_minute
        if self._asked_again_at is not None:
            if now < self._asked_again_at:
                return
            self._asked_again_at = now + _WITHOUT  # whoever comes meanwhile does not wait with this one
        minute, second = divmod(int(now.timestamp()), _MINUTE_SECONDS)
        key = f"fentan:rate:{who}:{minute}"
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.incr(key)
                pipe.expire(key, 2 * _MINUTE_SECONDS)
                count, _ = await pipe.execute()
        except (RedisError, OSError):
            self._asked_again_at = now + _WITHOUT
            return
        self._asked_again_at = None
        if count > most:
            said = f"more than {most:,} requests in a minute; wait as long as Retry-After says"
            raise TooManyRequests(said, _MINUTE_SECONDS - second)
