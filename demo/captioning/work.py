"""A stretch of work on a list of pictures: several at a time, results as they come, and others let through.

Owns the threads, one for each place in the engine, and what is a fault of one picture and what of them all. A picture
at which memory ran out goes back on the list, to be asked about in less company. Stopping is closing the iterator: it
never waits, and frees the places within two tokens. Pausing is to end a stretch and to begin another one with what is
left. Knows nothing of files that are written, or of who shows what. Seconds end in ``_s``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from demo.captioning.captioner import Caption, Captioner
from demo.captioning.room import Room, Seat
from demo.captioning.worklist import Item
from demo.errors import ConfigError, DemoError, DoesNotFit, ModelUnavailable, OutOfMemory, ShuttingDown
from demo.types import Picture, Size

# What no other picture would be spared; any other error is taken as one picture's own, and the next may be fine.
_OF_ALL = (ConfigError, DoesNotFit, ModelUnavailable, ShuttingDown)
TICK_S = 0.25  # how often a stretch is heard of when nothing is finished


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a picture: its caption, or ``error`` with the reason why it was skipped."""

    item: Item
    caption: Caption | None = None
    size: Size | None = None
    error: str = ""
    note: str = ""  # what was left out of the picture
    total_s: float = 0.0
    preview: bytes = b""  # what the caller's own function made of the picture


def work(
    items: Sequence[Item],
    captioner: Captioner,
    *,
    room: Room | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
    is_free: Callable[[], bool] = lambda: True,
    preview: Callable[[Picture], bytes] = lambda _: b"",
) -> Generator[Result | None, None, None]:
    """Results as they come, None at least four times a second; ends when all are done or may not go on.

    ``room`` is kept by a job of several stretches, for what it learns of memory. ``may_go_on`` is asked, in any thread,
    before each picture but the first of each place, and ``is_free`` before each but a single one at a time, so that a
    stretch always gets further. Raises what would befall the other pictures too.
    """
    room = room or Room()
    stretch = _Stretch(items, captioner, room, may_go_on, is_free, preview)
    count = max(1, min(room.places, len(items)))
    threads = ThreadPoolExecutor(count, thread_name_prefix="captioning")
    try:
        hands = [threads.submit(stretch.hand) for _ in range(count)]
        while not all(hand.done() for hand in hands) and not _failed(hands):
            yield stretch.next_result(TICK_S)
        while (result := stretch.next_result(0)) is not None:
            yield result
        for hand in _failed(hands):
            hand.result()
    finally:  # on an event loop's thread, so nothing here may wait
        stretch.cancelled.set()
        threads.shutdown(wait=False)


def _failed(hands: Sequence[Future[None]]) -> list[Future[None]]:
    return [hand for hand in hands if hand.done() and hand.exception() is not None]


class _Stretch:
    def __init__(
        self,
        items: Sequence[Item],
        captioner: Captioner,
        room: Room,
        may_go_on: Callable[[], bool],
        is_free: Callable[[], bool],
        preview: Callable[[Picture], bytes],
    ) -> None:
        self.cancelled = threading.Event()
        self._left = deque(items)
        self._captioner = captioner
        self._room = room
        self._may_go_on = may_go_on
        self._is_free = is_free
        self._preview = preview
        self._results: SimpleQueue[Result] = SimpleQueue()

    def next_result(self, timeout_s: float) -> Result | None:
        try:
            return self._results.get(timeout=timeout_s) if timeout_s else self._results.get_nowait()
        except Empty:
            return None

    def hand(self) -> None:
        """What one place does until there is nothing left for it."""
        while self._is_wanted() and (seat := self._room.enter(self._may_wait, self._is_free)) is not None:
            self._take_one(seat)
            if not self._may_go_on():
                return

    def _is_wanted(self) -> bool:
        return bool(self._left) and not self.cancelled.is_set()

    def _may_wait(self) -> bool:
        return self._is_wanted() and self._may_go_on()

    def _take_one(self, seat: Seat) -> None:
        """Caption the next picture. One at which memory ran out in company is the next one again."""
        try:
            item = self._left.popleft()
        except IndexError:  # others were faster
            self._room.leave()
            return
        try:
            result = self._result(item)
        except OutOfMemory as error:
            if self._room.leave_short(seat):
                self._results.put(Result(item, error=str(error)))
            else:
                self._left.appendleft(item)
        except BaseException:
            self._room.leave()
            raise
        else:
            self._room.leave()
            if result is not None:
                self._results.put(result)

    def _result(self, item: Item) -> Result | None:
        started_s = time.monotonic()
        try:
            opened = item.open()
            caption = self._captioner.caption(opened.picture, self.cancelled.is_set)
        except (*_OF_ALL, OutOfMemory):
            raise
        except DemoError as error:
            return Result(item, error=str(error), total_s=time.monotonic() - started_s)
        if caption is None:
            return None
        total_s = time.monotonic() - started_s
        preview = self._preview(opened.picture)
        return Result(item, caption, opened.picture.size, note=opened.note, total_s=total_s, preview=preview)
