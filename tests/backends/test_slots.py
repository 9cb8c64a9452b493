"""The memory of several conversations: written by forwards, kept, copied and exchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers import BartConfig, Gemma3TextConfig, LlamaConfig, LlavaConfig, Qwen3_5Config

from demo.backends.slots import FIRST_COLUMNS, SlotCache, can_be_slots

HEADS, WIDTH = 2, 4
MIB = 2**20
STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def states(*numbers: float, rows: int = 1) -> torch.Tensor:
    """(rows, K, T, d) that say which token they belong to."""
    return torch.tensor(numbers).view(rows, 1, -1, 1).expand(rows, HEADS, -1, WIDTH)


def write(cache: SlotCache, new: torch.Tensor, layers: int = 2) -> list[torch.Tensor]:
    return [cache.update(new + layer, -new - layer, layer)[0][..., 0, :, 0] for layer in range(layers)]


def test_a_prompt_is_written_into_its_slot_and_seen_from_its_beginning():
    cache = SlotCache(3, 8)
    cache.at_prompt(1, 0, 2)
    assert cache.get_seq_length() == 0
    assert cache.get_mask_sizes(2, 0) == (2, 0)
    first, second = write(cache, states(1.0, 2.0))
    assert first.tolist() == [[1, 2]]
    assert second.tolist() == [[2, 3]]
    cache.at_prompt(1, 2, 3)
    assert cache.get_seq_length() == 2
    assert cache.get_mask_sizes(1, 0) == (3, 0)
    assert write(cache, states(3.0))[0].tolist() == [[1, 2, 3]]


def test_a_step_writes_one_token_behind_each_of_the_first_conversations():
    cache = SlotCache(3, 8)
    for slot, numbers in enumerate([(1.0, 2.0, 3.0), (7.0,)]):
        cache.at_prompt(slot, 0, len(numbers))
        write(cache, states(*numbers))
    assert cache.at_step([3, 1]) == 4
    seen = write(cache, states(4.0, 8.0, rows=2))[0]
    assert seen.tolist() == [[1, 2, 3, 4], [7, 8, 0, 0]]
    values = cache.layers[0].values[..., 0, :, 0]
    assert values[:2, :4].tolist() == [[-1, -2, -3, -4], [-7, -8, 0, 0]]


def test_a_kernel_that_writes_is_given_the_blocks_and_what_is_new():
    written = []

    def put(keys, values, new_keys, new_values, lengths):
        written.append((new_keys.shape, lengths.tolist()))
        rows = torch.arange(len(lengths))
        keys[rows, :, lengths], values[rows, :, lengths] = new_keys, new_values

    plain, cache = SlotCache(3, 8), SlotCache(3, 8, write=put)
    for one in (plain, cache):
        for slot, numbers in enumerate([(1.0, 2.0, 3.0), (7.0,)]):
            one.at_prompt(slot, 0, len(numbers))
            write(one, states(*numbers))
        one.at_step([3, 1])
        write(one, states(4.0, 8.0, rows=2))
    assert written == [((2, HEADS, WIDTH), [3, 1])] * 2
    for mine, theirs in zip(cache.layers, plain.layers, strict=True):
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)


def test_slots_are_copied_and_exchanged_up_to_a_length():
    cache = SlotCache(3, 8)
    for slot, numbers in enumerate([(1.0, 2.0), (5.0, 6.0)]):
        cache.at_prompt(slot, 0, 2)
        write(cache, states(*numbers))
    cache.copy(0, 2, 1)
    cache.swap(0, 1, 2)
    for layer in (0, 1):
        held = cache.layers[layer].keys[:, 0, :2, 0] - layer
        assert held.tolist() == [[5, 6], [1, 2], [1, -layer]]


def test_memory_grows_where_it_was_not_planned_and_keeps_what_it_held():
    cache = SlotCache(2, None)
    cache.at_prompt(1, 0, 2)
    write(cache, states(1.0, 2.0))
    cache.at_prompt(1, 2, FIRST_COLUMNS + 1)
    seen = write(cache, states(*[3.0] * (FIRST_COLUMNS - 1)))[0]
    assert seen[0, :3].tolist() == [1, 2, 3]
    assert cache.num_columns == 2 * FIRST_COLUMNS
    assert cache.at_step([0, 2 * FIRST_COLUMNS]) == 2 * FIRST_COLUMNS + 1


@pytest.mark.skipif(not STATM.exists(), reason="tells what a process holds on Linux")
def test_a_conversation_takes_no_more_main_memory_than_it_has_tokens():
    """A system may give 2 MiB at a time; each head's first token of each layer would fill as much."""
    cache = SlotCache(4, 2**15)
    held = resident_bytes()
    for slot in range(4):
        cache.at_prompt(slot, 0, 2)
        write(cache, states(1.0, 2.0).repeat(1, 1, 1, 8))  # a head has 4 MiB in each slot
    assert cache.layers[0].keys.numel() * 4 == 32 * MIB
    assert resident_bytes() - held < 4 * MIB


def test_where_memory_cannot_grow_what_is_held_stays_and_it_is_tried_again(monkeypatch):
    cache = SlotCache(2, None)
    cache.at_prompt(1, 0, 2)
    write(cache, states(1.0, 2.0))
    before = cache.memory

    def refuse(_):
        raise torch.OutOfMemoryError("full")

    with monkeypatch.context() as short:
        short.setattr(cache.layers[1], "grow", refuse)
        with pytest.raises(torch.OutOfMemoryError):
            cache.at_prompt(1, 2, FIRST_COLUMNS + 1)
    assert cache.memory != before  # the first layer's is another already
    cache.at_prompt(1, 2, FIRST_COLUMNS + 1)
    found = write(cache, states(*range(3, FIRST_COLUMNS + 2)))
    assert [layer[0].tolist() for layer in found] == [
        [*range(1, FIRST_COLUMNS + 2)],
        [*range(2, FIRST_COLUMNS + 3)],
    ]


def test_released_memory_is_taken_again_and_empty():
    cache = SlotCache(2, 8)
    cache.at_prompt(0, 0, 2)
    write(cache, states(1.0, 2.0))
    cache.release()
    assert not cache.layers
    cache.at_prompt(1, 0, 1)
    write(cache, states(3.0))
    assert cache.layers[0].keys[0].abs().sum() == 0


SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("config", "can"),
    [
        (LlamaConfig(**SMALL), True),
        (LlavaConfig(text_config={**SMALL, "model_type": "llama"}), True),
        (Gemma3TextConfig(**SMALL, sliding_window=16), False),  # some layers forget what is far away
        (Qwen3_5Config(text_config=SMALL), False),  # some layers keep a state of everything
        (BartConfig(), False),  # an encoder's states besides
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_models_that_remember_all_keys_and_values_can_use_slots(config, can):
    assert can_be_slots(config) is can
