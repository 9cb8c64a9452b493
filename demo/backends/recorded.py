"""Steps of a fixed shape, recorded once and replayed: a card then waits for no Python between two kernels.

Owns the tensors that a recording reads from, and how a CUDA graph is made; the shapes are those of `demo.steps`. What a
step computes is given to it. A recording is of the very memory that it was made with; once the slots' memory has moved
it is made anew. Where recording fails, nothing is recorded from then on. Shapes: B answers, C columns, V vocabulary;
positions are (…, B, 1).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from demo.backends.slots import SlotCache, Step
from demo.steps import Shape, all_shapes, shape_for

Compute = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]  # tokens, positions, lengths, columns
Run = Callable[[], torch.Tensor]
Record = Callable[[Run], Run]  # from a step that computes to one that gives the same from the same tensors
Recorder = Callable[[], Record]  # recordings of one maker are dropped together

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """One shape's step."""

    tokens: torch.Tensor  # (B,)
    positions: torch.Tensor
    lengths: torch.Tensor  # (B,)
    rows: dict[torch.device, torch.Tensor]  # a graph reads them, too, and does not keep them
    run: Run


class RecordedSteps:
    """All shapes' steps of one model, recorded when they are first needed."""

    def __init__(self, cache: SlotCache, compute: Compute, recorder: Recorder) -> None:
        self._cache = cache
        self._compute = compute
        self._recorder = recorder
        self._record, self._memory = recorder(), cache.memory
        self._recordings: dict[Shape, Recording] = {}
        self._has_failed = False
        self._kind: tuple[torch.Tensor, torch.Tensor] | None = None  # a token and its position, (1,) and (…, 1, 1)

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor | None:
        """The scores (B, V) of a step; None where it cannot be recorded, and has to be computed.

        ``lengths`` are those of all slots: rows that fill up a shape write behind what an idle slot holds.
        """
        count = len(tokens)
        self._cache.reach(max(lengths[:count]) + 1)
        self._kind = self._kind or (tokens[:1].clone(), positions[..., :1, :].clone())
        recording = self._recorded(shape_for(count, max(lengths[:count]) + 1, **self._room()), lengths)
        if recording is None:
            return None
        recording.tokens[:count] = tokens
        recording.positions[..., :count, :] = positions
        filled = self._filled(lengths, len(recording.lengths), pinned=recording.lengths.is_cuda)
        recording.lengths.copy_(filled, non_blocking=True)
        return recording.run()[:count].clone()

    def has(self, count: int, lengths: Sequence[int]) -> bool:
        """Whether a step of the first ``count`` slots can be replayed as it is."""
        columns = max(lengths[:count]) + 1
        if columns > self._cache.num_columns or self._memory != self._cache.memory:
            return False
        return shape_for(count, columns, **self._room()) in self._recordings

    def record_all(self, told: Callable[[float], None], *, limit_s: float) -> None:
        """Record every shape that is not yet, the smallest first, for so long; ``told`` hears how far it is, 0 to 1.

        To be called once a step was taken, while no answer is running: what slots hold stays, but for the last column.
        """
        end_s, behind = time.monotonic() + limit_s, [self._cache.num_columns] * self._cache.num_slots
        shapes = all_shapes(**self._room())
        for index, shape in enumerate(shapes):
            if self._kind is None or self._has_failed or time.monotonic() > end_s:
                break
            told(index / len(shapes))
            self._recorded(shape, behind)

    def _recorded(self, shape: Shape, lengths: Sequence[int]) -> Recording | None:
        if self._memory != self._cache.memory:
            self.forget()
        if shape not in self._recordings and not self._has_failed:
            try:
                self._recordings[shape] = self._new(shape, lengths)
            except Exception as error:  # noqa: BLE001 - whatever it is: a step can be computed without, and tells then
                self._has_failed = True
                log.warning("steps of %d answers and %d columns cannot be recorded, nor others: %r", *shape, error)
        return self._recordings.get(shape)

    def forget(self) -> None:
        """Give up all recordings, and the memory that they hold."""
        self._recordings.clear()
        self._record, self._memory = self._recorder(), self._cache.memory

    def _room(self) -> dict[str, int]:
        return {"slots": self._cache.num_slots, "context": self._cache.num_columns}

    def _filled(self, lengths: Sequence[int], rows: int, *, pinned: bool = False) -> torch.Tensor:
        """``pinned``: for a card that is not to be waited for."""
        kept = [min(length, self._cache.num_columns - 1) for length in lengths[:rows]]
        return torch.tensor(kept, pin_memory=pinned)

    def _new(self, shape: Shape, lengths: Sequence[int]) -> Recording:
        assert self._kind is not None
        (tokens, positions), (rows, columns) = self._kind, shape
        fixed_tokens = tokens.new_zeros(rows)
        fixed_positions = positions.new_zeros((*positions.shape[:-2], rows, 1))
        # to be right already while it is recorded, for that writes, too
        fixed_lengths = self._filled(lengths, rows).to(tokens.device)
        devices = {tokens.device, *(layer.keys.device for layer in self._cache.layers)}
        numbers = {device: torch.arange(rows, device=device) for device in devices}

        def run() -> torch.Tensor:
            self._cache.window = Step({device: fixed_lengths.to(device) for device in devices}, numbers, columns)
            return self._compute(fixed_tokens, fixed_positions, fixed_lengths, columns)

        return Recording(fixed_tokens, fixed_positions, fixed_lengths, numbers, self._record(run))


def on_cards(cards: Sequence[str]) -> Recorder:
    """Makes `CudaGraphs` on these cards, always with the same streams: libraries keep memory for each that they meet,
    32 MiB on an H100, and do not give it back."""
    return partial(CudaGraphs, [torch.cuda.Stream(card) for card in cards])


class CudaGraphs:
    """Records on one card, or over several that a model is spread over; the first is the one that steps are read from.

    All recordings share memory, for they run one at a time. Each card has a stream of its own to record on: what
    libraries set up for a stream is there once it is recorded.
    """

    def __init__(self, streams: Sequence[torch.cuda.Stream]) -> None:
        self._streams = streams
        self._cards = [stream.device for stream in streams]
        self._pool = torch.cuda.graph_pool_handle()
        self._pools = []  # of the other cards, which a recording on the first does not care for
        for card in self._cards[1:]:
            with torch.cuda.device(card):
                self._pools.append(torch.cuda.MemPool())

    def __call__(self, run: Run) -> Run:
        # where recording fails torch leaves its stream the current one
        with _current([torch.cuda.current_stream(card) for card in self._cards]):
            return self._recorded(run)

    def _recorded(self, run: Run) -> Run:
        self._wait()
        with _current(self._streams):  # libraries choose and set up their kernels outside of the recording
            run()
        self._wait()
        graph = torch.cuda.CUDAGraph()
        with ExitStack() as stack:
            for card, pool in zip(self._cards[1:], self._pools):
                stack.enter_context(torch.cuda.use_mem_pool(pool, card))
            # what other threads ask of the cards meanwhile is no part of it, and does not spoil it either
            stack.enter_context(
                torch.cuda.graph(graph, self._pool, self._streams[0], capture_error_mode="thread_local")
            )
            self._fork()
            with _current(self._streams):
                scores = run()
            self._join()

        def replay() -> torch.Tensor:
            here = [torch.cuda.current_stream(card) for card in self._cards]
            for other in here[1:]:
                here[0].wait_stream(other)
            graph.replay()
            for other in here[1:]:
                other.wait_stream(here[0])
            return scores

        return replay

    def _fork(self) -> None:
        for stream in self._streams[1:]:
            stream.wait_stream(self._streams[0])

    def _join(self) -> None:
        for stream in self._streams[1:]:
            self._streams[0].wait_stream(stream)

    def _wait(self) -> None:
        for card in self._cards:
            torch.cuda.synchronize(card)


@contextmanager
def _current(streams: Sequence[torch.cuda.Stream]) -> Iterator[None]:
    """Until it ends these are the current streams, and the first one's card is the current card."""
    with ExitStack() as stack:
        for stream in reversed(streams):
            stack.enter_context(torch.cuda.stream(stream))
        yield
