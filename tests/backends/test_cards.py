"""Two real cards: every placement answers alike, holds what was planned where it was planned, and keeps to its caps.

Skipped where there are no two. Needs no gradio: it runs the backend in this process.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from demo.backends import memory, outline, quantizing, spreading, tensors
from demo.backends.hf import HFBackend
from demo.backends.windows import Looker
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import OutOfMemory
from demo.types import GenerateRequest, Message, Picture, Placement, Sampling, Size
from tests.tinymodels import save_cogagent, save_cogvlm, save_llava, save_qwen

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")

FIRST, SECOND, MAIN = "cuda:0", "cuda:1", "cpu"
PICTURE = Picture(Size(40, 30), bytes(range(256)) * 14 + bytes(16))
QUESTION = Message("user", "What is this?", (PICTURE,))
MIB = 2**20
ROUNDING_BYTES = 512  # of the allocator, for each tensor


def single(parts):
    return {"": FIRST}


def other_card(parts):
    return {"": SECOND}


def shard(parts):
    return {part.path: FIRST if index < len(parts) // 2 else SECOND for index, part in enumerate(parts)}


def shard_swapped(parts):
    return {path: {FIRST: SECOND, SECOND: FIRST}[card] for path, card in shard(parts).items()}


def by_turns(parts):
    return {part.path: (FIRST, SECOND)[index % 2] for index, part in enumerate(parts)}


def offload_layers(parts):
    return {part.path: MAIN if part.kind == "layer" else FIRST for part in parts}


def offload_tower_and_head(parts):
    return {part.path: MAIN if part.kind in ("vision", "head") else FIRST for part in parts}


def shard_and_offload(parts):
    layers = [part.path for part in parts if part.kind == "layer"]
    return shard(parts) | {layers[0]: MAIN, layers[-1]: MAIN}


SPREADS = [
    other_card,
    shard,
    shard_swapped,
    by_turns,
    offload_layers,
    offload_tower_and_head,
    shard_and_offload,
]


class Subject:
    """A checkpoint, its parts, and backends that run it; what one says on a single card is remembered."""

    def __init__(self, directory):
        self.directory = directory
        self.spec = resolve(ModelChoice(str(directory)))
        self.parts = outline.parts_of(outline.build(directory))
        backend = self.load(single)
        self.said, self.logits = ask(backend), logits(backend)
        backend.close()

    def load(self, spread, *, dtype="float32", feed=None, **how):
        device_map = spread(self.parts)
        backend = HFBackend()
        how = {"planned": self.planned(device_map, dtype), "offload": MAIN in device_map.values(), **how}
        backend.facts = backend.load(self.spec, Placement(device_map, dtype=dtype, **how), lambda *_: None, feed)
        return backend

    def planned(self, device_map, dtype="float32"):
        sizes, item = {}, getattr(torch, dtype).itemsize
        for part in self.parts:
            device = device_map.get(part.path) or device_map[""]
            sizes[device] = sizes.get(device, 0) + part.floats * item + part.other_bytes
        return sizes


def ask(backend, tokens=24):
    request = GenerateRequest("r", "chat", (QUESTION,), Sampling(max_new_tokens=tokens))
    *pieces, finish = backend.stream(request, lambda: False)
    assert finish.usage.completion_tokens == tokens
    return "".join(pieces)


@torch.inference_mode()
def logits(backend):
    inputs = backend._prompter.prepare([QUESTION])
    return backend._model(**inputs.to(spreading.input_device(backend._model))).logits.cpu()


@torch.inference_mode()
def step_scores(backend, steps=4):
    """Of the same tokens after the same question in each of three slots, (steps, 3, V)."""
    forwards, count = backend._rolling._forwards, 3
    inputs = forwards.placed(backend._prompter.prepare([QUESTION]))
    read = [forwards.read(inputs, slot) for slot in range(count)]
    position, length = torch.cat([one.position for one in read], dim=-2), inputs["input_ids"].shape[1]
    found = []
    for step in range(steps):
        tokens = torch.full((count,), 65 + step, device=position.device)
        found.append(forwards.step(tokens, position + step, [length + step] * count).cpu())
    return torch.stack(found)


def free_all():
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()  # those of threads that have ended
    for card in range(torch.cuda.device_count()):
        with torch.cuda.device(card):
            torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(card)


@pytest.fixture(autouse=True)
def _clean_cards():
    free_all()
    yield
    for card in range(torch.cuda.device_count()):
        torch.cuda.set_per_process_memory_fraction(1.0, card)
    free_all()


@pytest.fixture(
    scope="module", params=[save_cogvlm, save_cogagent, save_qwen, save_llava], ids=lambda save: save.__name__
)
def subject(request, tmp_path_factory):
    return Subject(request.param(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    """A Qwen2.5-VL whose picture is two windows in one layer, and one in the other."""
    return Subject(save_qwen(tmp_path_factory.mktemp("windowed"), window_px=56))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A CogVLM of 80 million parameters, so that its bytes show beside the allocator's habits."""
    sizes = {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 4}
    return Subject(save_cogvlm(tmp_path_factory.mktemp("large"), **sizes))


@pytest.mark.parametrize("spread", SPREADS)
def test_every_placement_answers_as_a_single_card(subject, spread):
    backend = subject.load(spread)
    assert (logits(backend) - subject.logits).abs().max() < 1e-4
    assert ask(backend) == subject.said
    backend.close()


@pytest.mark.parametrize("spread", [single, *SPREADS])
def test_windows_are_attended_to_together_wherever_the_tower_lies(windowed, spread):
    backend = windowed.load(spread)
    found = logits(backend)
    lookers = [part for module in backend._model.modules() for part in vars(module).items() if type(part[1]) is Looker]
    assert len(lookers) == 2
    for place, looker in lookers:
        setattr(looker._module, place, looker._own)
    assert (logits(backend) - found).abs().max() < 1e-4
    backend.close()


@pytest.mark.parametrize("spread", [single, other_card, shard, shard_swapped, by_turns])
def test_steps_recorded_on_cards_answer_as_before(subject, spread):
    backend = subject.load(spread, graphs=True, slots=3, context=256)
    if backend._rolling is None:
        pytest.skip("this model answers one at a time")
    assert backend._rolling._forwards._recorded is not None
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            said = list(pool.map(lambda _: ask(backend), range(3)))
        assert said == [subject.said] * 3
        backend.park()
        backend.resume()
    assert ask(backend) == subject.said
    backend.close()


@pytest.mark.parametrize("spread", [other_card, shard, shard_swapped, by_turns])
def test_kernels_of_our_own_answer_alike_wherever_layers_lie(subject, spread):
    found = []
    for placed, kernels in ((single, False), (single, True), (spread, True)):
        backend = subject.load(placed, dtype="bfloat16", graphs=True, kernels=kernels, slots=3, context=256)
        if backend._rolling is None:
            pytest.skip("this model answers one at a time")
        linears = (part for part in backend._model.modules() if isinstance(part, torch.nn.Linear))
        assert any("forward" in vars(linear) for linear in linears) is kernels
        found.append((ask(backend), step_scores(backend)))
        backend.close()
    (_, by_the_library), (said, ours), (said_there, ours_there) = found
    assert said_there == said
    assert torch.equal(ours_there, ours)
    assert (ours - by_the_library).norm() < 0.03 * by_the_library.norm()


@pytest.mark.parametrize("spread", [single, *SPREADS])
def test_resident_bytes_are_those_of_the_plan(subject, spread):
    backend = subject.load(spread)
    planned = subject.planned(spread(subject.parts))
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in backend._model.buffers())
    assert backend.facts.resident_bytes.keys() == planned.keys()
    for device, size in planned.items():  # buffers of layers that wait in main memory stay on the card
        assert abs(backend.facts.resident_bytes[device] - size) <= (buffers if MAIN in planned else 0)
    backend.close()


@pytest.mark.parametrize("spread", [single, *SPREADS])
def test_memory_tells_what_each_device_holds(large, spread):
    backend = large.load(spread)
    ask(backend)
    held = backend.memory()
    assert held.keys() == set(backend.facts.resident_bytes)
    tensors_held = len(list(tensors.kept(backend._model)))
    for device, found in held.items():
        resident = backend.facts.resident_bytes[device]
        assert resident <= found.allocated <= found.reserved <= found.peak
        if device != MAIN:
            assert found.allocated < resident + tensors_held * ROUNDING_BYTES + 96 * MIB  # workspaces of cuBLAS
    backend.close()


def test_loading_takes_no_more_than_the_weights(large):
    planned = large.planned(shard(large.parts))
    before = memory.held([FIRST, SECOND])
    backend = large.load(shard)
    for device in (FIRST, SECOND):
        taken = torch.cuda.max_memory_reserved(device) - before[device].reserved
        assert taken < planned[device] + 64 * MIB
    backend.close()


@pytest.mark.parametrize("spread", [single, shard])
@pytest.mark.parametrize("room_bytes", [0, 4 * MIB, 40 * MIB])
def test_a_cap_that_is_too_small_is_refused_in_words_and_the_process_lives_on(large, spread, room_bytes):
    caps = dict.fromkeys((FIRST, SECOND), memory.CONTEXT_BYTES + room_bytes)
    with pytest.raises(OutOfMemory, match=r"cuda:0: .* of weights planned, at most .* allowed"):
        large.load(spread, caps=caps)
    for card in range(2):
        torch.cuda.set_per_process_memory_fraction(1.0, card)
    free_all()
    backend = large.load(spread)
    assert ask(backend) == large.said
    backend.close()


def test_a_cap_that_is_large_enough_is_kept_to_while_answering(large):
    planned = large.planned(shard(large.parts))
    caps = {device: memory.CONTEXT_BYTES + size + 96 * MIB for device, size in planned.items()}
    backend = large.load(shard, caps=caps)
    assert ask(backend) == large.said
    for device, cap in caps.items():
        assert backend.memory()[device].peak <= cap - memory.CONTEXT_BYTES
    backend.close()


def test_beyond_its_cap_an_answer_fails_and_the_next_one_does_not(large):
    backend = large.load(single, caps={FIRST: memory.CONTEXT_BYTES + large.planned({"": FIRST})[FIRST] + 96 * MIB})

    def take(*_):
        torch.empty(256 * MIB, dtype=torch.uint8, device=FIRST)

    hook = backend._model.register_forward_pre_hook(take)
    with pytest.raises(torch.OutOfMemoryError):
        ask(backend)
    hook.remove()
    assert ask(backend) == large.said
    backend.close()


@pytest.mark.parametrize("spread", [single, shard])
@pytest.mark.parametrize("kind", quantizing.KINDS)
def test_fewer_bits_load_answer_and_can_be_parked(large, kind, spread):
    pytest.importorskip(quantizing.LIBRARIES[kind])
    device_map = spread(large.parts)
    backend = large.load(spread, dtype="bfloat16", quantization=kind, planned={})
    said = ask(backend)
    full = large.planned(device_map, "bfloat16")
    linear = dict.fromkeys(full, 0)
    for part in large.parts:
        linear[device_map.get(part.path) or device_map[""]] += part.linear_floats
    bits = {"int8": 8, "int4": 4}[kind]
    for device, size in full.items():
        saved = size - backend.facts.resident_bytes[device]
        assert linear[device] * (2 - (bits + 0.6) / 8) < saved <= linear[device] * (2 - bits / 8)
    backend.park()
    backend.resume()
    assert ask(backend) == said
    backend.close()


@pytest.mark.parametrize("spread", [single, shard, shard_and_offload])
def test_a_parked_model_leaves_the_cards_and_comes_back_with_the_same_answer(large, spread):
    backend = large.load(spread)
    said, before = ask(backend), backend.memory()
    for _ in range(3):
        backend.park()
        parked = backend.memory()
        for device, size in backend.facts.resident_bytes.items():
            if device != MAIN:
                assert parked[device].allocated <= before[device].allocated - size
                assert parked[device].reserved <= before[device].reserved - 0.8 * size
        backend.resume()
        assert ask(backend) == said
    assert backend.memory()[FIRST].allocated < before[FIRST].allocated + 16 * MIB
    backend.close()


def test_a_model_that_finds_its_card_taken_says_so_and_can_come_back_later(large):
    backend = large.load(single)
    backend.park()
    parked = backend.memory()[FIRST].allocated  # the libraries keep their workspaces
    torch.cuda.set_per_process_memory_fraction(1e-6, 0)
    with pytest.raises(torch.OutOfMemoryError):
        backend.resume()
    assert backend.memory()[FIRST].allocated <= parked < 64 * MIB
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    backend.resume()
    assert ask(backend) == large.said
    backend.close()


# --- weights from another process


class Told:
    """A feed that remembers what was offered, and gives it to whoever waits."""

    def __init__(self, offered=None):
        self.offered = offered

    def offer(self, weights):
        self.offered = weights

    def wait(self):
        return self.offered


def be_fed(connection, spec, device_map, offered):
    """A process's body: load with what another offers, and tell what the model says."""
    backend = HFBackend()
    backend.load(spec, Placement(device_map, dtype="float32"), lambda *_: None, Told(offered))
    connection.send(
        (ask(backend), logits(backend).numpy(), backend._model.hf_device_map if len(device_map) > 1 else {})
    )
    backend.close()


@pytest.mark.parametrize(
    ("spread", "others", "visible"),
    [(single, single, "1"), (other_card, single, "0"), (shard, shard_swapped, "0,1"), (shard, by_turns, "0,1")],
)
def test_a_process_that_sees_its_own_cards_alone_is_fed_by_another(tmp_path, monkeypatch, spread, others, visible):
    giver = Subject(save_cogvlm(tmp_path / "giver"))
    backend = giver.load(spread, feed=(feed := Told()))
    assert feed.offered
    taker = resolve(
        ModelChoice(str(save_cogvlm(tmp_path / "taker", seed=1)))
    )  # what its own files say is something else
    device_map = others(giver.parts)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=be_fed, args=(theirs, taker, device_map, feed.offered))
    process.start()
    assert ours.poll(120)
    said, scores, where = ours.recv()
    process.join()
    assert said == giver.said
    assert abs(scores - giver.logits.numpy()).max() < 1e-4
    assert len(device_map) == 1 or where == device_map
    assert ask(backend) == giver.said
    backend.close()
