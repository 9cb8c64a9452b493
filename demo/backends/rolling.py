"""A batch of answers that requests join and leave between two tokens.

Owns the loop: read a prompt that waits, or a few at once or after each other where that is quick, then make one token
of every answer, and again. Where a card computes, the next step is begun before the last one's tokens are told, so that
it waits for nobody; what it made for an answer that turns out to have ended is dropped. An answer that ends, is
cancelled or fails leaves at once and takes nobody with it. The first slots are those of the running answers, whichever
they are; the others keep what ended conversations left (`remembering`). Knows nothing of how a model computes
(`forwards`), of how prompts are made or of their order (`waiting`). Shapes: B answers, n prompts, V vocabulary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import torch

from demo.backends import memory
from demo.backends.choosing import choose_all
from demo.backends.forwards import Forwards
from demo.backends.joining import ALONE, Together, alike
from demo.backends.remembering import Memory
from demo.backends.rows import Ahead, Row, Running
from demo.backends.slots import SlotCache
from demo.backends.waiting import Waiting

LEAST_SHARED = 16  # tokens that two prompts must have in common for it to be worth a thought
PATIENCE_S = 0.25  # a running answer's pause while prompts are read; one is, however long it takes
FEW = 4  # slots of which one in so many is free before the patient are read, so that one reading is for several

T = TypeVar("T")

log = logging.getLogger(__name__)


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
        together: Together = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A prompt goes on from a slot that holds ``least_shared`` of its first tokens or more; None: it never does.

        Of those that do not, as much is read at once as ``together`` says.
        """
        self._forwards = forwards
        self._cache = cache
        self._executor = executor
        self._end_tokens = end_tokens
        self.together = together
        self._clock = clock
        self._pace = 0.0  # tokens a second of the last prompts that were read whole
        self.num_reused = 0  # tokens that did not have to be read
        self.num_joined = 0  # prompts that were read with others
        self._waiting = Waiting()
        self._running: list[Running] = []  # each in the slot of its index
        self._memory = Memory(cache, least_shared=least_shared, num_held=self._num_held)
        self._positions: torch.Tensor | None = None  # (…, B, 1); None when answers have come or gone
        self._ahead: Ahead | None = None
        self._is_filling = False  # slots that are free, with the patient

    def submit(self, *rows: Row) -> None:
        """Have answers made, of those that wait the patient ones last; all that becomes of each is in its outlet."""
        if self._waiting.add(rows):
            self._executor.submit(self._work)

    def on_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on the thread that computes. To be called while no answer is running."""
        return self._executor.submit(work).result()

    def forget(self) -> None:
        """Give the memory back. To be called while no answer is running."""
        self._cache.release()
        self._forwards.forget()
        self._memory.forget()

    @torch.inference_mode()
    def _work(self) -> None:
        while self._waiting.keeps_at_work(bool(self._running)):
            self._turn()

    def _turn(self) -> None:
        try:
            self._admit_some()
            self._let_go()
            self._advance()
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
            self._fail(error)

    # --- joining

    def _admit_some(self) -> None:
        """Read prompts until the next one, if it takes as long as the last, would try the patience of those who run.

        So that many who come together do not each wait for a step of all before them. The patient alone wait for all.
        """
        began_s = now_s = self._clock()
        while self._admit():
            before_s, now_s = now_s, self._clock()
            if (now_s - began_s) + (now_s - before_s) > PATIENCE_S and self._has(patient=False):
                return

    def _admit(self) -> bool:
        """Read the prompt of the one who has waited longest, and of others with it; whether there was one."""
        group = self._waiting.take(self._num_to_read(), self._joins)
        rows = [row for row in group if not row.outlet.should_stop]
        for row in group:
            if row not in rows:
                row.outlet.finish()
        if len(rows) > 1:
            self._admit_together(rows)
        elif rows:
            self._admit_alone(rows[0])
        return bool(group)

    def _num_to_read(self) -> int:
        """How many prompts may be read now.

        Where several can be at once, the patient wait for a few free slots, which are then filled one and all: a
        reading stops all who run and takes a card little longer for four. Once none of them runs they wait no more.
        """
        num_free = self._cache.num_slots - len(self._running)
        first = self._waiting.first
        if first is None or not first.is_patient:
            return num_free
        few = min(self._cache.num_slots // FEW, self.together.most(first))
        if num_free >= few or not self._has(patient=True):
            self._is_filling = True
        elif not num_free:
            self._is_filling = False
        return num_free if self._is_filling else 0

    def _has(self, *, patient: bool) -> bool:
        """Whether such an answer is running."""
        return any(one.row.is_patient is patient for one in self._running)

    def _joins(self, row: Row, group: Sequence[Row]) -> bool:
        """Whether a prompt can be read with others without more memory or more patience than there is."""
        rows = [*group, row]
        num_tokens = len(rows) * max(one.num_tokens for one in rows)
        is_quick = not self._running or num_tokens <= PATIENCE_S * self._pace
        if not is_quick or not self.together.holds(rows):
            return False
        if not alike(group[0].inputs, row.inputs):
            return False
        return not any(self._memory.source(one)[1] for one in (rows if len(group) == 1 else [row]))

    def _admit_alone(self, row: Row) -> None:
        began_s = self._clock()
        try:
            running, scores, start = self._read(row, slot=len(self._running))
        except torch.OutOfMemoryError as error:
            row.outlet.finish(error.with_traceback(None))  # as below: the next may be read before anybody hears of it
            memory.release()
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            row.outlet.finish(error)
        else:
            self._join([running], scores)
            if not start:
                self._pace = row.num_tokens / max(1e-6, self._clock() - began_s)

    def _admit_together(self, rows: Sequence[Row]) -> None:
        """Read prompts at once; where that fails, each is read alone, and so are all that come after."""
        began_s = self._clock()
        try:
            running, scores = self._read_together(rows, slot=len(self._running))
        except Exception as error:  # noqa: BLE001 - whoever is to blame is found when each is read alone
            log.warning("%d prompts could not be read at once, and none will be: %r", len(rows), error)
            self.together = ALONE
            self._waiting.put_back(rows)
            error.with_traceback(None)  # it holds the frames, and they the tensors
            memory.release()
        else:
            self._join(running, scores)
            self.num_joined += len(rows)
            num_tokens = len(rows) * max(row.num_tokens for row in rows)
            self._pace = num_tokens / max(1e-6, self._clock() - began_s)

    def _join(self, running: Sequence[Running], scores: torch.Tensor) -> None:
        self._running += running
        self._positions = None
        self._take(running, scores)

    def _read(self, row: Row, slot: int) -> tuple[Running, torch.Tensor, int]:
        """Read a prompt into a slot; with the scores (1, V) of the answer's first token, and from where it was read."""
        inputs = self._forwards.placed(row.inputs)
        start = self._memory.begin(slot, row)
        read = self._forwards.read(inputs, slot, start)
        self.num_reused += start
        self._memory.remember(slot, row)
        return Running(row, row.tokens, row.make_chooser(inputs["input_ids"]), read.position), read.scores, start

    def _read_together(self, rows: Sequence[Row], slot: int) -> tuple[list[Running], torch.Tensor]:
        """Read prompts whole, each into a slot, from ``slot`` on; with the scores (n, V) of their first tokens."""
        inputs = [self._forwards.placed(row.inputs) for row in rows]
        slots = range(slot, slot + len(rows))
        self._memory.begin_anew(slots)
        reads = self._forwards.read_together(inputs, slot)
        running = []
        for place, row, given, read in zip(slots, rows, inputs, reads):
            self._memory.remember(place, row)
            running.append(Running(row, row.tokens, row.make_chooser(given["input_ids"]), read.position))
        return running, torch.cat([read.scores for read in reads])

    # --- advancing

    def _advance(self) -> None:
        """One more token of every answer."""
        if not self._running:
            return
        try:
            running, scores = self._begun()
        except torch.OutOfMemoryError as error:
            self._give_way(error)
        else:
            self._take(running, scores)

    def _begun(self) -> tuple[list[Running], torch.Tensor]:
        """Answers whose next token has been read, and the scores (B, V) of those after them."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead.of(self._running)
        running = list(self._running)
        device = running[0].first_position.device
        scores = self._step(torch.tensor([one.next_token for one in running], device=device))
        for one in running:
            one.tokens.append(one.next_token)
        return running, scores

    def _step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read a token (B,) of everyone; the scores (B, V) of those after them."""
        if self._positions is None:
            first = torch.cat([one.first_position for one in self._running], dim=-2)
            self._positions = first + torch.tensor([[one.num_read] for one in self._running], device=first.device)
        scores = self._forwards.step(tokens, self._positions, self._lengths())
        self._positions = self._positions + 1
        return scores

    def _take(self, running: Sequence[Running], scores: torch.Tensor) -> None:
        """Choose the next token of each; who has all it may have leaves."""
        choice = choose_all([one.chooser for one in running], scores)
        ahead = self._go_ahead(running, choice.tokens)
        gone: list[tuple[Running, Exception | None]] = []
        for one, told in zip(running, choice.told()):
            if isinstance(told, Exception):
                gone.append((one, told))
                continue
            one.next_token = told
            one.row.outlet.add(told)
            if told in self._end_tokens or one.row.outlet.num_tokens >= one.row.room:
                gone.append((one, None))
            elif ahead is not None:
                one.tokens.append(told)
        self._ahead = ahead or self._ahead
        for one, error in reversed(gone):  # the last slots first: nobody is moved who goes as well
            self._leave(one, error)

    def _go_ahead(self, running: Sequence[Running], tokens: torch.Tensor) -> Ahead | None:
        """Begin the step that reads these tokens (B,), if nothing comes before it that is known of already."""
        if len(running) < len(self._running) or any(one.is_at_last for one in running):
            return None
        if self._waiting and self._num_to_read():
            return None
        if not self._forwards.can_go_ahead(len(running), self._lengths()):
            return None
        try:
            return Ahead(tuple(running), self._step(tokens))
        except torch.OutOfMemoryError:
            return None  # it is met again where somebody can give way

    def _lengths(self) -> list[int]:
        return [self._num_held(slot) for slot in range(self._cache.num_slots)]

    # --- leaving

    def _let_go(self) -> None:
        for one in [one for one in self._running if one.row.outlet.should_stop]:
            self._leave(one)
        for row in self._waiting.drop_stopped():
            row.outlet.finish()

    def _give_way(self, error: torch.OutOfMemoryError) -> None:
        """Memory ran out: the youngest answer ends, and the others try again with what it frees."""
        self._leave(self._running[-1], error.with_traceback(None))  # which holds the frames, and they the tensors
        memory.release()

    def _fail(self, error: Exception) -> None:
        """What went wrong for all of them at once: none of them can go on, and what the slots hold is not known."""
        running, self._running = self._running, []
        self._ahead = None
        self._memory.forget()
        for one in running:
            one.row.outlet.finish(error)

    def _leave(self, one: Running, error: BaseException | None = None) -> None:
        """The last answer's slot takes the place of the one that goes, so that the running ones stay the first."""
        slot, last = self._running.index(one), len(self._running) - 1
        is_over = error is not None or one.row.is_patient  # nobody goes on from there
        kept = one.tokens[: self._cache.num_columns - 1]  # the last may be written by steps of a fixed shape
        self._memory.leave(slot, None if is_over else kept)
        self._memory.swap(slot, last)
        self._running[slot] = self._running[last]
        self._running.pop()
        self._positions = None
        self._ahead = self._ahead if self._running else None
        one.row.outlet.finish(error)

    def _num_held(self, slot: int) -> int:
        return len(self._running[slot].tokens if slot < len(self._running) else self._memory.slots[slot].tokens)
