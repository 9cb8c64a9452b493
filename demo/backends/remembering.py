"""What slots hold of conversations, and how a prompt goes on from what one of them holds.

Owns which slot that is, and that what was used longest ago goes first. Knows nothing of how a prompt is read
(`forwards`) or of answers that are being made (`rolling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demo.backends.rows import Row
from demo.backends.slots import SlotCache


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


class Memory:
    """Of all slots of a cache."""

    def __init__(self, cache: SlotCache, *, least_shared: int | None, num_held: Callable[[int], int]) -> None:
        """A prompt goes on from a slot that holds ``least_shared`` of its first tokens or more; None: it never does.

        ``num_held`` says how many tokens a slot has by now, a running answer's among them.
        """
        self._cache = cache
        self._least_shared = least_shared
        self._num_held = num_held
        self._num_begun = 0
        self.slots = [NOTHING] * cache.num_slots

    def forget(self) -> None:
        self.slots = [NOTHING] * self._cache.num_slots

    def source(self, row: Row) -> tuple[int, int]:
        """The slot that holds most of a prompt, and how many of its tokens that are; 0 where it is not worth it."""
        if self._least_shared is None:
            return 0, 0
        tokens = row.tokens
        shared = [held.shared_with(tokens, row) for held in self.slots]
        source = max(range(len(shared)), key=lambda one: (shared[one], one))  # an idle slot needs no copy
        return source, shared[source] if shared[source] >= self._least_shared else 0

    def begin(self, slot: int, row: Row) -> int:
        """Bring what is held already of a prompt into its slot, to be written behind; how many tokens that are."""
        source, shared = self.source(row)
        if shared and source >= slot:
            self.swap(source, slot)
        else:
            self._keep_elsewhere(slot)
            if shared:
                self._cache.copy(source, slot, shared)
        self.slots[slot] = NOTHING  # while it is being written
        return shared

    def begin_anew(self, slots: Sequence[int]) -> None:
        """Have slots written from their beginning."""
        for slot in slots:
            self._keep_elsewhere(slot)
            self.slots[slot] = NOTHING

    def remember(self, slot: int, row: Row) -> None:
        """A slot holds a prompt now."""
        self._num_begun += 1
        self.slots[slot] = Remembered(tuple(row.tokens), row.pictures, self._num_begun)

    def leave(self, slot: int, tokens: Sequence[int] | None) -> None:
        """What is left of an answer that has ended; None: nobody knows, or wants it."""
        held = self.slots[slot]
        self.slots[slot] = NOTHING if tokens is None else Remembered(tuple(tokens), held.pictures, held.age)

    def swap(self, one: int, other: int) -> None:
        """Exchange what two slots hold; where one of them holds nothing a copy does."""
        held = {slot: self._num_held(slot) for slot in (one, other)}
        found = self.slots[one], self.slots[other]
        self.slots[one] = self.slots[other] = NOTHING  # memory may run out between two layers
        if NOTHING not in found:
            self._cache.swap(one, other, max(held.values()))
        elif one != other:
            source, target = (one, other) if found[1] == NOTHING else (other, one)
            self._cache.copy(source, target, held[source])
        self.slots[other], self.slots[one] = found

    def _keep_elsewhere(self, slot: int) -> None:
        """Before a slot is written, move what it holds to the one that was used longest ago."""
        held = self.slots[slot]
        oldest = min(range(slot, len(self.slots)), key=lambda one: self.slots[one].age)
        if oldest != slot:
            self._cache.copy(slot, oldest, len(held.tokens))
            self.slots[oldest] = held
