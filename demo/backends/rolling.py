"""A batch of answers that requests join and leave between two tokens.

Owns the loop: read a prompt that waits, or a few that are quick to read, then make one token of every answer, and
again. An answer that ends, is cancelled or fails leaves at once and takes nobody with it. The first slots are those of
the running answers, whichever they are; the others keep what ended conversations left, which the next turn goes on
from. Knows nothing of how a model computes (`forwards`) or of how prompts are made. Shapes: B answers, T tokens, V
vocabulary.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import torch

from demo.backends.choosing import Chooses, choose_all
from demo.backends.forwards import Forwards
from demo.backends.slots import SlotCache
from demo.backends.streaming import Outlet
from demo.errors import BrokenCheckpoint

LEAST_SHARED = 16  # tokens that two prompts must have in common for it to be worth a thought
PATIENCE_S = 0.25  # a running answer's pause while prompts are read; one is, however long it takes


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One answer as it is asked for."""

    inputs: Any  # the prompt as the processor made it, a mapping of tensors with one row
    make_chooser: Callable[[torch.Tensor], Chooses]  # from the prompt (1, T), on the generating thread
    room: int  # the most tokens that it may have
    outlet: Outlet
    pictures: tuple[bytes, ...] = ()  # a fingerprint of each, in their order
    seen_until: int | None = 0  # the tokens up to the end of the last picture; None: it is not known


@dataclass(slots=True, eq=False)
class Running:
    """One answer that is being made. Its slot holds ``tokens``; ``next_token`` is chosen, and yet to be read."""

    row: Row
    tokens: list[int]
    chooser: Chooses
    position: torch.Tensor  # (…, 1, 1), of the next token
    next_token: int = -1


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a slot holds: the tokens, and the fingerprints of the pictures among them."""

    tokens: tuple[int, ...] = ()
    pictures: tuple[bytes, ...] = ()
    age: int = 0  # how many answers had begun before this one

    def shared_with(self, tokens: Sequence[int], row: Row) -> int:
        """How many of a prompt's first tokens are held, but for its last; 0 where its pictures are not among them."""
        if row.seen_until is None or self.pictures[: len(row.pictures)] != row.pictures:
            return 0
        most = min(len(tokens) - 1, len(self.tokens))
        count = next((i for i in range(most) if tokens[i] != self.tokens[i]), most)
        return count if count >= row.seen_until else 0


NOTHING = Remembered()


class Rolling:
    """Runs on one thread of an executor that is given; `submit` may be called from any."""

    def __init__(
        self,
        forwards: Forwards,
        cache: SlotCache,
        executor: Executor,
        *,
        end_tokens: frozenset[int],
        least_shared: int | None = LEAST_SHARED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A prompt goes on from a slot that holds ``least_shared`` of its first tokens or more; None: it never does."""
        self._forwards = forwards
        self._cache = cache
        self._executor = executor
        self._end_tokens = end_tokens
        self._least_shared = least_shared
        self._clock = clock
        self.num_reused = 0  # tokens that did not have to be read
        self._lock = threading.Lock()  # guards the next two
        self._waiting: deque[Row] = deque()
        self._is_at_work = False
        self._running: list[Running] = []  # each in the slot of its index
        self._remembered = [NOTHING] * cache.num_slots
        self._positions: torch.Tensor | None = None  # (…, B, 1); None when answers have come or gone
        self._num_begun = 0

    def submit(self, row: Row) -> None:
        """Have an answer made; all that becomes of it goes through its outlet."""
        with self._lock:
            self._waiting.append(row)
            if not self._is_at_work:
                self._is_at_work = True
                self._executor.submit(self._work)

    def forget(self) -> None:
        """Give the memory back. To be called while no answer is running."""
        self._cache.release()
        self._forwards.forget()
        self._remembered = [NOTHING] * self._cache.num_slots

    @torch.inference_mode()
    def _work(self) -> None:
        while self._has_work():
            self._turn()

    def _turn(self) -> None:
        try:
            self._admit_some()
            self._let_go()
            self._advance()
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
            self._fail(error)

    def _has_work(self) -> bool:
        with self._lock:
            self._is_at_work = bool(self._waiting or self._running)
            return self._is_at_work

    # --- joining

    def _admit_some(self) -> None:
        """Read prompts until the next one, if it takes as long as the last, would try the patience of those who run.

        So that many who come together do not each wait for a step of all before them.
        """
        began_s = now_s = self._clock()
        while self._admit():
            before_s, now_s = now_s, self._clock()
            if (now_s - began_s) + (now_s - before_s) > PATIENCE_S:
                return

    def _admit(self) -> bool:
        """Read the prompt of the one who has waited longest, if there is a slot; whether there was one."""
        with self._lock:
            if not self._waiting or len(self._running) == self._cache.num_slots:
                return False
            row = self._waiting.popleft()
        if row.outlet.should_stop:
            row.outlet.finish()
            return True
        try:
            running, scores = self._read(row, slot=len(self._running))
        except torch.OutOfMemoryError as error:
            row.outlet.finish(error.with_traceback(None))  # as below: the next may be read before anybody hears of it
            _give_back()
            return True
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            row.outlet.finish(error)
            return True
        self._running.append(running)
        self._positions = None
        self._take([running], scores)
        return True

    def _read(self, row: Row, slot: int) -> tuple[Running, torch.Tensor]:
        """Read a prompt into a slot; with the scores (1, V) of the answer's first token."""
        tokens: list[int] = row.inputs["input_ids"][0].tolist()
        inputs = self._forwards.placed(row.inputs)
        start = self._prepare(slot, tokens, row)
        self._remembered[slot] = NOTHING  # while it is being written
        read = self._forwards.read(inputs, slot, start)
        self._num_begun += 1
        self.num_reused += start
        self._remembered[slot] = Remembered(tuple(tokens), row.pictures, self._num_begun)
        return Running(row, tokens, row.make_chooser(inputs["input_ids"]), read.position), read.scores

    def _prepare(self, slot: int, tokens: Sequence[int], row: Row) -> int:
        """Bring what is held already of a prompt into its slot; returns how many tokens that are."""
        shared = [0] * len(self._remembered)
        if self._least_shared is not None:
            shared = [held.shared_with(tokens, row) for held in self._remembered]
        source = max(range(len(shared)), key=lambda one: (shared[one], one))  # an idle slot needs no copy
        if shared[source] < (self._least_shared or 1):
            self._keep_elsewhere(slot)
            return 0
        if source < slot:
            self._keep_elsewhere(slot)
            self._cache.copy(source, slot, shared[source])
        else:
            self._swap(source, slot)
        return shared[source]

    def _keep_elsewhere(self, slot: int) -> None:
        """Before a slot is written, move what it holds to the one that was used longest ago."""
        held = self._remembered[slot]
        oldest = min(range(slot, len(self._remembered)), key=lambda one: self._remembered[one].age)
        if oldest != slot:
            self._cache.copy(slot, oldest, len(held.tokens))
            self._remembered[oldest] = held

    # --- advancing

    def _advance(self) -> None:
        """One more token of every answer."""
        if not self._running:
            return
        try:
            scores = self._step()
        except torch.OutOfMemoryError as error:
            self._give_way(error)
        else:
            self._take(self._running, scores)

    def _step(self) -> torch.Tensor:
        """Read everyone's next token; the scores (B, V) of those after them."""
        if self._positions is None:
            self._positions = torch.cat([one.position for one in self._running], dim=-2)
        tokens = torch.tensor([one.next_token for one in self._running], device=self._positions.device)
        lengths = [self._num_held(slot) for slot in range(self._cache.num_slots)]
        scores = self._forwards.step(tokens, self._positions, lengths)
        self._positions = self._positions + 1
        for one in self._running:
            one.tokens.append(one.next_token)
            one.position = one.position + 1
        return scores

    def _take(self, running: Sequence[Running], scores: torch.Tensor) -> None:
        """Choose the next token of each; who has all it may have leaves."""
        chosen = choose_all([one.chooser for one in running], scores)
        sound = scores.amax(dim=-1).isfinite()  # NaN is the largest of any; a vocabulary may be padded with -inf
        numbers: list[list[int]] = torch.stack((chosen, sound)).tolist()
        for one, token, is_sound in zip(list(running), *numbers):
            if not is_sound:
                self._leave(one, _not_numbers())
                continue
            one.next_token = token
            one.row.outlet.add(token)
            if token in self._end_tokens or one.row.outlet.num_tokens >= one.row.room:
                self._leave(one)

    # --- leaving

    def _let_go(self) -> None:
        for one in [one for one in self._running if one.row.outlet.should_stop]:
            self._leave(one)

    def _give_way(self, error: torch.OutOfMemoryError) -> None:
        """Memory ran out: the youngest answer ends, and the others try again with what it frees."""
        self._leave(self._running[-1], error.with_traceback(None))  # which holds the frames, and they the tensors
        _give_back()

    def _fail(self, error: Exception) -> None:
        """What went wrong for all of them at once: none of them can go on, and what the slots hold is not known."""
        running, self._running = self._running, []
        self._remembered = [NOTHING] * self._cache.num_slots
        for one in running:
            one.row.outlet.finish(error)

    def _leave(self, one: Running, error: BaseException | None = None) -> None:
        """The last answer's slot takes the place of the one that goes, so that the running ones stay the first."""
        slot, last = self._running.index(one), len(self._running) - 1
        held = self._remembered[slot]
        kept = tuple(one.tokens[: self._cache.num_columns - 1])  # the last may be written by steps of a fixed shape
        self._remembered[slot] = NOTHING if error else Remembered(kept, held.pictures, held.age)
        self._swap(slot, last)
        self._running[slot] = self._running[last]
        self._running.pop()
        self._positions = None
        one.row.outlet.finish(error)

    def _swap(self, one: int, other: int) -> None:
        held, num_columns = self._remembered, max(self._num_held(one), self._num_held(other))
        found = held[one], held[other]
        held[one] = held[other] = NOTHING  # memory may run out between two layers
        self._cache.swap(one, other, num_columns)
        held[other], held[one] = found

    def _num_held(self, slot: int) -> int:
        return len(self._running[slot].tokens if slot < len(self._running) else self._remembered[slot].tokens)


def _give_back() -> None:
    """Let whoever reads or steps next have what has become free."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _not_numbers() -> BrokenCheckpoint:
    remedy = "Ask again; if that does not help, the weights are damaged, or need --dtype bfloat16 or float32."
    return BrokenCheckpoint("The model computed scores that are not numbers", remedy=remedy)
