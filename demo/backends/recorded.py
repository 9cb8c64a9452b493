"""Steps of a fixed shape, recorded once and replayed: a card then waits for no Python between two kernels.

Owns the shapes (numbers of answers and of columns that are powers of two), the tensors that a recording reads from, and
how a CUDA graph is made. What a step computes is given to it. A recording is of the very memory that it was made with;
once the slots' memory has moved it is made anew. Shapes: B answers, C columns, V vocabulary; positions are (…, B, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from demo.backends.slots import SlotCache, Step

LEAST_COLUMNS = 256

Compute = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]  # tokens, positions, lengths, columns
Run = Callable[[], torch.Tensor]
Record = Callable[[Run], Run]  # from a step that computes to one that gives the same from the same tensors


@dataclass(frozen=True, slots=True)
class Recording:
    """One shape's step."""

    tokens: torch.Tensor  # (B,)
    positions: torch.Tensor
    lengths: torch.Tensor  # (B,)
    run: Run


class RecordedSteps:
    """All shapes' steps of one model, recorded when they are first needed."""

    def __init__(self, cache: SlotCache, compute: Compute, record: Record) -> None:
        self._cache = cache
        self._compute = compute
        self._record = record
        self._recordings: dict[tuple[int, int], Recording] = {}
        self._memory = -1

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """The scores (B, V) of a step. ``lengths`` are those of all slots: rows that fill up a shape write behind what
        an idle slot holds."""
        count = len(tokens)
        shape = self._shape(count, max(lengths[:count]) + 1)
        if self._memory != self._cache.memory:
            self._recordings.clear()
            self._memory = self._cache.memory
        if shape not in self._recordings:
            self._recordings[shape] = self._new(shape, tokens, positions, lengths)
        recording = self._recordings[shape]
        recording.tokens[:count] = tokens
        recording.positions[..., :count, :] = positions
        recording.lengths.copy_(self._filled(lengths, shape[0]), non_blocking=True)
        return recording.run()[:count].clone()

    def _shape(self, count: int, columns: int) -> tuple[int, int]:
        rows = min(_power(count), self._cache.num_slots)
        return rows, min(max(_power(columns), LEAST_COLUMNS), self._cache.num_columns)

    def _filled(self, lengths: Sequence[int], rows: int) -> torch.Tensor:
        return torch.tensor([min(length, self._cache.num_columns - 1) for length in lengths[:rows]])

    def _new(
        self, shape: tuple[int, int], tokens: torch.Tensor, positions: torch.Tensor, lengths: Sequence[int]
    ) -> Recording:
        rows, columns = shape
        fixed_tokens = tokens.new_zeros(rows)
        fixed_positions = positions.new_zeros((*positions.shape[:-2], rows, 1))
        # to be right already while it is recorded, for that writes, too
        fixed_lengths = self._filled(lengths, rows).to(tokens.device)
        device = tokens.device
        window = Step({device: fixed_lengths}, {device: torch.arange(rows, device=device)}, columns)

        def run() -> torch.Tensor:
            self._cache.window = window
            return self._compute(fixed_tokens, fixed_positions, fixed_lengths, columns)

        return Recording(fixed_tokens, fixed_positions, fixed_lengths, self._record(run))


class CudaGraphs:
    """Records on the current card; all recordings share one pool of memory, for they run one at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries choose and set up their kernels outside of the recording
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            scores = run()

        def replay() -> torch.Tensor:
            graph.replay()
            return scores

        return replay


def _power(number: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << (number - 1).bit_length()
