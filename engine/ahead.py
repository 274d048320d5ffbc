"""What an iterator yields, made by a thread while what came before is worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def ahead(parts: Iterator[Part], count: int) -> Generator[Part]:
    """The same, up to `count` of them made before they are asked for. None of them may be None."""
    with ThreadPoolExecutor(1) as maker:
        making = deque(maker.submit(next, parts, None) for _ in range(count))
        try:
            while (part := making.popleft().result()) is not None:
                making.append(maker.submit(next, parts, None))
                yield part
        finally:
            for each in making:
                each.cancel()


async def awaited(parts: Iterator[Part], count: int) -> AsyncGenerator[Part]:
    """As `ahead`, for a coroutine, which others may run beside."""
    loop, maker = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    making = deque(loop.run_in_executor(maker, next, parts, None) for _ in range(count))
    try:
        while (part := await making.popleft()) is not None:
            making.append(loop.run_in_executor(maker, next, parts, None))
            yield part
    finally:
        for each in making:
            each.cancel()
        # A thread does not stop for being cancelled: the iterator is let go only once it is out of it.
        await asyncio.to_thread(maker.shutdown)
