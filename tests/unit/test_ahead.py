"""What is made ahead in a thread comes whole and in order, and whoever stops asking leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest

from engine.ahead import ahead, awaited


class Broken(Exception):
    pass


class Source:
    """Counts from 1, fails at a number, and knows how it ended."""

    def __init__(self, fails_at: int = 0, last: int = 9) -> None:
        self.made, self.closed, self._fails_at, self._last = 0, False, fails_at, last

    def __call__(self) -> Iterator[int]:
        try:
            while self.made < self._last:
                if self.made + 1 == self._fails_at:
                    raise Broken
                self.made += 1
                yield self.made
        finally:
            self.closed = True


async def asked(parts: Iterator[int], count: int, way: Callable[..., Any]) -> AsyncGenerator[int]:
    """Both ways as one, closed as their callers close them."""
    if way is ahead:
        with closing(ahead(parts, count)) as found:
            for each in found:
                yield each
    else:
        async with aclosing(awaited(parts, count)) as coming:
            async for each in coming:
                yield each


@pytest.fixture(params=[ahead, awaited])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """Either way; nothing that failed may be lost for who listens, and no thread of it may live on."""
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: lost.append(about))
    before = {each.name for each in threading.enumerate()}
    yield request.param
    gc.collect()
    assert lost == []
    alive = {each.name for each in threading.enumerate()} - before
    assert {each for each in alive if not each.startswith("asyncio")} == set()


@pytest.mark.parametrize("count", [1, 3, 20])
async def test_everything_comes_in_order(way: Callable[..., Any], count: int) -> None:
    source = Source()
    assert [each async for each in asked(source(), count, way)] == list(range(1, 10))
    assert [each async for each in asked(iter(()), count, way)] == []


async def test_a_failure_comes_after_what_was_made_before_it(way: Callable[..., Any]) -> None:
    asking = asked(Source(fails_at=4)(), 2, way)
    assert [await anext(asking) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Broken):
        await anext(asking)


@pytest.mark.parametrize("fails_at", [0, 4])
async def test_who_stops_asking_leaves_nothing_running(way: Callable[..., Any], fails_at: int) -> None:
    source = Source(fails_at, last=1_000_000)
    asking = asked(source(), 3, way)
    assert await anext(asking) == 1
    for _ in range(1000):  # what is to fail does, and the loop hears of it
        await asyncio.sleep(0)
    await asking.aclose()
    del asking
    gc.collect()
    assert source.closed
    assert source.made <= 5


async def test_who_is_cancelled_waits_for_the_thread_to_be_out_of_the_iterator() -> None:
    begun, go_on, is_out = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        begun.set()
        go_on.wait(10)
        is_out.set()
        yield 1

    async def ask() -> None:
        async with aclosing(awaited(slow(), 2)) as parts:
            async for _ in parts:
                pass

    asking = asyncio.create_task(ask())
    await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not asking.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert is_out.is_set()
