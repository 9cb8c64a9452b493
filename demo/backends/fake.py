"""A deterministic backend without a model: the test double of the whole demo, and its load generator.

Owns the answers (words that depend on the request, one fixed box where a place is asked for) and the faults it can be
told to show. It is configured by its spec's options, see `FakeOptions`. Knows nothing of the engine around it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from demo.backends.base import Feed, Finish, LoadFacts, Progress
from demo.errors import ConfigError, ContextTooLong, from_kind
from demo.reasoning import THINK
from demo.spans import Phase
from demo.types import DeviceMemory, GenerateRequest, Placement, StopReason, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

TICK_S = 0.005  # how often a sleep looks whether it was cancelled
PICTURE_TOKENS = 16  # what one picture counts for in the usage
LOAD_STEPS = 10
ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
BOX = "100,200,300,400"


class OutOfMemoryError(RuntimeError):
    """Named like torch's own, so that the worker meets the same class name."""


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """What the fake does; ``*_at`` is the index of the token instead of which the fault comes, 0 the first."""

    load_s: float = 0.0
    feeds: int = 0  # 1: a replica waits for what the first one has loaded, and then loads in no time
    slow_load_s: float = 0.0  # a load that takes so long is a fault
    first_token_s: float = 0.0  # a prefill that sees a cancel
    deaf_s: float = 0.0  # a prefill that does not: nothing interrupts it
    token_s: float = 0.0
    tokens: int = 0  # length of every answer; 0 is its natural length
    thought_tokens: int = 0  # words of reasoning before every answer, one of them a box that is none of the answer's
    max_pictures: int = 1  # that it says it takes
    max_frames: int = 0  # of a clip, likewise
    box: str = BOX  # in thousandths of the picture, separated by commas
    slots: int = 0  # answers at a time that it turns out to be able to make; 0: as many as planned
    parameters: int = 0
    context: int = 0  # words that a conversation may have; 0: any number
    answer_bytes: int = 0  # what an answer takes, besides, of the first device
    park_s: float = 0.0
    resume_s: float = 0.0
    fail_at: int = -1  # raises an error of no known family
    oom_at: int = -1
    most_at_once: int = 0  # answers at a time that there is memory for, the others run out of it; 0: any number
    most_width: int = 0  # of a picture, in pixels, that there is memory for; 0: any
    die_at: int = -1  # kill -9
    hang_at: int = -1  # sleeps for ever, whatever is cancelled
    fail_load: str = ""  # the kind of an error of ours, "error" or "oom" for a foreign one, "exit" to end unheard
    fail_move: str = ""  # "park" or "resume"
    only_on: str = ""  # an entry of CUDA_VISIBLE_DEVICES: faults come only in a replica that sees this card
    once: str = ""  # a file: faults come only while it is not there, and the first one makes it
    moves: str = ""  # a file that gets a line with the process's id at the start of a load or resume, after a park
    journal: str = ""  # a file that gets a line with the tokens made when a request is taken up and when it is left

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[str, str]]) -> FakeOptions:
        known: dict[str, type] = {field.name: type(field.default) for field in fields(cls)}
        for name, _ in pairs:
            if name not in known:
                raise ConfigError("Unknown option of the fake model", value=name, remedy=f"Known: {', '.join(known)}.")
        try:
            values = {name: known[name](value) for name, value in pairs}
        except ValueError as error:
            raise ConfigError("An option of the fake model is not a number", value=str(error)) from None
        return cls(**values)


class FakeBackend:
    def __init__(self) -> None:
        self._options = FakeOptions()
        self._memory = PretendedMemory({})
        self._open: set[str] = set()  # the requests that are being answered

    def load(self, spec: ModelSpec, placement: Placement, progress: Progress, feed: Feed | None = None) -> LoadFacts:
        self._options = options = FakeOptions.from_pairs(spec.options)
        self._note_move("load")
        started_s = time.monotonic()
        load_s = options.load_s if not options.slow_load_s or not self._fault_is_due() else options.slow_load_s
        if options.feeds and feed is not None and (found := feed.wait()) is not None:
            self._note_move(f"fed by {found.decode()} to")
            load_s = 0.0
        for step in range(LOAD_STEPS):
            progress("loading weights", step / LOAD_STEPS)
            time.sleep(load_s / LOAD_STEPS)
        if options.fail_load and self._fault_is_due():
            _fail_load(options.fail_load)
        dtype = "float32" if placement.dtype == "auto" else placement.dtype
        self._memory = PretendedMemory(_weights(options, placement, ITEM_BYTES[dtype]))
        if options.feeds and feed is not None:
            feed.offer(str(os.getpid()).encode())
        spans_s: Mapping[Phase, float] = {"weights": time.monotonic() - started_s}
        slots = min(placement.slots, options.slots or placement.slots)
        return LoadFacts(options.parameters, dict(self._memory.weights), dtype, slots, spans_s)

    def memory(self) -> dict[str, DeviceMemory]:
        return self._memory.report()

    def park(self) -> None:
        time.sleep(self._options.park_s)
        self._show_move("park")
        self._memory.is_parked = True
        self._note_move("park")

    def resume(self) -> None:
        self._note_move("resume")
        time.sleep(self._options.resume_s)
        self._show_move("resume")
        self._memory.is_parked = False

    def stream(self, request: GenerateRequest, cancelled: Callable[[], bool]) -> Iterator[str | Finish]:
        started_s = time.monotonic()
        if 0 < self._options.context < (num_words := _prompt_tokens(request)):
            raise ContextTooLong("The conversation is too long for this model", value=f"{num_words} tokens")
        first_s, count, reason = 0.0, 0, "cancelled"
        self._note("begin", request, count)
        self._memory.take(self._options.answer_bytes)
        self._open.add(request.request_id)
        try:
            time.sleep(self._options.deaf_s)
            for piece in self._pieces(request):
                if not _sleep(self._options.token_s if count else self._options.first_token_s, cancelled):
                    break
                self._show_shortage(request)
                self._show_fault(at=count)
                first_s = first_s or time.monotonic() - started_s
                count += 1
                yield piece
            else:
                reason = "stop" if count < request.sampling.max_new_tokens else "length"
            usage = Usage(_prompt_tokens(request), count, first_s, time.monotonic() - started_s)
            yield Finish(_as_reason(reason), usage)
        finally:
            self._open.discard(request.request_id)
            self._note("end", request, count)

    def close(self) -> None:
        pass

    def _pieces(self, request: GenerateRequest) -> Iterator[str]:
        words = re.findall(r"\S+\s*", answer(request, self._options.box))
        length = self._options.tokens or len(words)
        spaced = words if length <= len(words) else [word.rstrip() + " " for word in words]
        pieces = chain(_thought(self._options.thought_tokens), islice(cycle(spaced), length))
        return islice(pieces, request.sampling.max_new_tokens)

    def _show_fault(self, at: int) -> None:
        options = self._options
        if at not in (options.fail_at, options.oom_at, options.die_at, options.hang_at) or not self._fault_is_due():
            return
        if at == options.fail_at:
            raise ValueError("the fake was told to fail")
        if at == options.oom_at:
            raise OutOfMemoryError("the fake was told to run out of memory")
        if at == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            time.sleep(60)

    def _show_shortage(self, request: GenerateRequest) -> None:
        options = self._options
        widest = max((picture.size.width for message in request.messages for picture in message.pictures), default=0)
        if 0 < options.most_at_once < len(self._open) or 0 < options.most_width < widest:
            raise OutOfMemoryError("the fake was told how much there is memory for")

    def _show_move(self, what: str) -> None:
        if self._options.fail_move == what and self._fault_is_due():
            raise ValueError(f"the fake was told not to {what}")

    def _fault_is_due(self) -> bool:
        if self._options.only_on and self._options.only_on not in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","):
            return False
        if not self._options.once:
            return True
        try:
            Path(self._options.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _note(self, what: str, request: GenerateRequest, count: int) -> None:
        if self._options.journal:
            with Path(self._options.journal).open("a", encoding="utf-8") as journal:
                journal.write(f"{what} {request.request_id} {count}\n")

    def _note_move(self, what: str) -> None:
        if self._options.moves:
            with Path(self._options.moves).open("a", encoding="utf-8") as moves:
                moves.write(f"{what} {os.getpid()}\n")


class PretendedMemory:
    """What the fake says it holds, counted as a framework's allocator would: what was reserved once stays reserved."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        self.weights = weights
        self.is_parked = False
        self._for_answers = 0

    def take(self, num_bytes: int) -> None:
        """For an answer, on the first device."""
        self._for_answers = max(self._for_answers, num_bytes)

    def report(self) -> dict[str, DeviceMemory]:
        held = {}
        for index, (device, weights) in enumerate(self.weights.items()):
            peak = weights + (0 if index else self._for_answers)
            held[device] = DeviceMemory(0, 0, peak) if self.is_parked else DeviceMemory(weights, peak, peak)
        if self.is_parked:
            total = sum(self.weights.values())
            held["cpu"] = DeviceMemory(total, total, total)
        return held


def _weights(options: FakeOptions, placement: Placement, item_bytes: int) -> dict[str, int]:
    """Bytes on each device: the mapped parts are of one size, and the first has what is left over."""
    parts = sorted(placement.device_map.items(), key=lambda part: (len(part[0]), part[0]))
    size = options.parameters // len(parts)
    found = dict.fromkeys(sorted(set(placement.device_map.values())), 0)
    for index, (_, device) in enumerate(parts):
        found[device] += (size if index else options.parameters - size * (len(parts) - 1)) * item_bytes
    return found


def answer(request: GenerateRequest, box: str = BOX) -> str:
    """The fake's words for a request: a place where one is asked for, else a sentence that repeats the question."""
    last = request.messages[-1]
    place = f"[[{box}]]"
    if found := re.search(r"where (?:is|are) (.+?)\?", last.text, re.IGNORECASE):
        return f"{found[1]} {place}"
    if "coordinates" in last.text:
        return f"A small thing {place} in front of a plain background."
    pictures = [picture for message in request.messages for picture in message.pictures]
    seen = f"a picture of {pictures[-1].size.width} x {pictures[-1].size.height} pixels" if pictures else "no picture"
    if clips := [clip for message in request.messages for clip in message.clips]:
        seen = f"a clip of {len(clips[-1].frames)} frames up to {clips[-1].times_s[-1]:.1f} s"
    told = "".join(f" I was told: {message.text}" for message in request.messages if message.speaker == "system")
    return f"You asked: {last.text.strip()} I see {seen}, and this is turn {len(request.messages)}.{told}"


def _thought(num_words: int) -> Iterator[str]:
    """That many words between the tags of a thought; nothing where none are wanted."""
    if num_words:
        yield THINK.open
        yield from islice(cycle(("Let ", "me ", "look: ", "perhaps ", "[[000,000,999,999]]. ")), num_words)
        yield THINK.close


def _sleep(seconds: float, cancelled: Callable[[], bool]) -> bool:
    """Wait, and say whether the wait was left in peace."""
    end_s = time.monotonic() + seconds
    while not cancelled():
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(TICK_S, left_s))
    return False


def _fail_load(kind: str) -> NoReturn:
    if kind == "exit":
        os._exit(3)
    if kind == "oom":
        raise OutOfMemoryError("the fake was told to run out of memory")
    if kind == "error":
        raise ValueError("the fake was told not to load")
    raise from_kind(kind, f"The fake model was told not to load ({kind}).")


def _prompt_tokens(request: GenerateRequest) -> int:
    return sum(len(message.text.split()) + PICTURE_TOKENS * len(message.pictures) for message in request.messages)


def _as_reason(reason: str) -> StopReason:
    return "stop" if reason == "stop" else "length" if reason == "length" else "cancelled"
