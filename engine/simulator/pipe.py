"""One step of the work in a thread of its own, so that reading and writing share the processor's cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_MOST = 16
"""How many results may wait."""


def ahead(source: Iterable[T], most: int = _MOST) -> Iterator[T]:
    """What `source` gives, in its order, made in another thread a little before it is asked for.

    Raises what the source raises.
    """
    made: Queue[tuple[T] | BaseException | None] = Queue(most)
    stopped = Event()

    def run() -> None:
        end: BaseException | None = None
        try:
            for each in source:
                made.put((each,))
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the results are asked for
            end = error
        made.put(end)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        while thread.is_alive():
            while not made.empty():
                made.get()
            thread.join(0.01)
