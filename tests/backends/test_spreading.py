"""A model over several devices answers as on one: proved on pretended cards, which are as strict as real ones."""

from __future__ import annotations

import pytest
import torch

from demo.backends import loading, outline, spreading, tensors
from demo.backends.prompting import Prompter
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import ConfigError
from demo.types import Message, Picture, Placement, Size
from tests.backends.pretend import OnCard, pretended_cards
from tests.tinymodels import save_cogagent, save_cogvlm, save_llava, save_qwen

TOLERANCE = 1e-5
FIRST, SECOND, MAIN = "cpu:0", "cpu:1", "cpu"
PICTURE = Picture(Size(40, 30), bytes(range(256)) * 14 + bytes(16))


def save_cogvlm2(directory):
    return save_cogvlm(directory, num_multi_query_heads=2, num_hidden_layers=4)


def save_tied(directory):
    return save_cogvlm(directory, tie_word_embeddings=True, published=False)


def halves(parts):
    return {part.path: FIRST if index < len(parts) // 2 else SECOND for index, part in enumerate(parts)}


def halves_swapped(parts):
    return {path: {FIRST: SECOND, SECOND: FIRST}[card] for path, card in halves(parts).items()}


def by_turns(parts):
    return {part.path: (FIRST, SECOND)[index % 2] for index, part in enumerate(parts)}


def tower_apart(parts):
    return {part.path: SECOND if part.kind == "vision" else FIRST for part in parts}


def layers_offloaded(parts):
    return {part.path: MAIN if part.kind == "layer" else FIRST for part in parts}


def tower_and_head_offloaded(parts):
    return {part.path: MAIN if part.kind in ("vision", "head") else FIRST for part in parts}


def all_but_the_norm_offloaded(parts):
    return {part.path: FIRST if part.path.endswith("norm") else MAIN for part in parts}


def spread_and_offloaded(parts):
    layers = [part.path for part in parts if part.kind == "layer"]
    return halves(parts) | {layers[0]: MAIN, layers[-1]: MAIN}


MAPS = [
    halves,
    halves_swapped,
    by_turns,
    tower_apart,
    layers_offloaded,
    tower_and_head_offloaded,
    all_but_the_norm_offloaded,
    spread_and_offloaded,
]


class Subject:
    """A checkpoint, what it is asked, and what it says on one device."""

    def __init__(self, directory):
        self.directory = directory
        self.spec = resolve(ModelChoice(str(directory)))
        self.parts = outline.parts_of(outline.build(directory))
        whole = self.load({"": "cpu"})
        prompter = Prompter(whole.processor, self.spec, context=None)
        self.inputs = prompter.prepare([Message("user", "What is this?", (PICTURE,))])
        self.logits, self.ids = answers(whole.model, self.inputs)

    def load(self, device_map, **how):
        placement = Placement(device_map, dtype="float32", offload="cpu" in device_map.values(), **how)
        return loading.load(self.spec, self.directory, self.directory, placement)


@torch.no_grad()
def answers(model, inputs):
    logits = model(**inputs).logits
    return logits, model.generate(**inputs, max_new_tokens=8, do_sample=False)


@pytest.fixture(scope="module", params=[save_cogvlm2, save_cogagent, save_llava, save_qwen])
def subject(request, tmp_path_factory):
    return Subject(request.param(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def cogvlm(tmp_path_factory):
    return Subject(save_cogvlm2(tmp_path_factory.mktemp("cogvlm")))


@pytest.fixture(autouse=True)
def _load_in_this_thread(monkeypatch):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")


def test_pretended_cards_are_as_strict_as_real_ones():
    with pretended_cards():
        one, other = torch.ones(3, device=FIRST), torch.ones(3, device=SECOND)
        assert isinstance(one, OnCard)
        for stranger in (other, torch.ones(3)):
            with pytest.raises(RuntimeError, match="same device"):
                one + stranger
        assert torch.equal((one + other.to(FIRST)).cpu(), torch.full((3,), 2.0))


@pytest.mark.parametrize("spread", MAPS)
def test_every_placement_says_what_one_device_says(subject, spread):
    with pretended_cards():
        model = subject.load(spread(subject.parts)).model
        inputs = subject.inputs.to(spreading.input_device(model))
        logits, ids = answers(model, inputs)
        assert logits.device == spreading.input_device(model)
        assert (logits.cpu() - subject.logits).abs().max() < TOLERANCE
        assert torch.equal(ids.cpu(), subject.ids)
        check_where_weights_lie(model, subject.parts, spread(subject.parts))


def check_where_weights_lie(model, parts, device_map):
    """Each where it was put; small buffers of layers that wait in main memory lie where those compute."""
    buffers = dict(model.named_buffers())
    for name, tensor in tensors.kept(model):
        device = device_map[max((path for path in device_map if f"{name}.".startswith(f"{path}.")), key=len)]
        assert str(tensor.device) == (FIRST if device == MAIN and name in buffers else device), name
    if MAIN not in device_map.values():
        planned = dict.fromkeys(device_map.values(), 0)
        for part in parts:
            planned[device_map[part.path]] += 4 * part.floats + part.other_bytes
        assert tensors.resident(model) == planned


@pytest.mark.parametrize("spread", [halves, by_turns, spread_and_offloaded])
def test_eager_attention_with_its_mask_is_spread_too(cogvlm, spread):
    with pretended_cards():
        model = cogvlm.load(spread(cogvlm.parts), attn="eager").model
        logits, _ = answers(model, cogvlm.inputs.to(spreading.input_device(model)))
        assert (logits.cpu() - cogvlm.logits).abs().max() < TOLERANCE


def test_each_layers_keys_and_values_lie_where_the_layer_computes(cogvlm):
    with pretended_cards(), torch.no_grad():
        model = cogvlm.load(halves(cogvlm.parts)).model
        cache = model(**cogvlm.inputs.to(spreading.input_device(model))).past_key_values
        computes = [next(layer.parameters()).device for layer in model.model.layers]
        assert [layer.keys.device for layer in cache.layers] == computes
        assert len(set(computes)) == 2


def test_a_tied_head_beside_its_embeddings_stays_one_weight(tmp_path):
    subject = Subject(save_tied(tmp_path))
    device_map = halves(subject.parts) | {"model.embed_tokens": SECOND, "lm_head": SECOND}
    with pretended_cards():
        model = subject.load(device_map).model
        assert model.lm_head.weight is model.model.embed_tokens.weight
        logits, _ = answers(model, subject.inputs.to(spreading.input_device(model)))
        assert (logits.cpu() - subject.logits).abs().max() < TOLERANCE


def test_offloaded_layers_compute_where_the_embeddings_are_whatever_accelerate_chose(cogvlm):
    device_map = spread_and_offloaded(cogvlm.parts)
    with pretended_cards():
        model = cogvlm.load(device_map).model
        for hook in (hook for module in model.modules() for hook in tensors.hooks_of(module) if hook.offload):
            hook.execution_device = SECOND
        next(tensors.hooks_of(model)).execution_device = SECOND
        spreading.settle(model, device_map)
        home = torch.device(FIRST)
        assert spreading.input_device(model) == home
        waiting = [hook for module in model.modules() for hook in tensors.hooks_of(module) if hook.offload]
        assert waiting
        assert {torch.device(hook.execution_device) for hook in waiting} == {home}


def test_layers_wait_in_main_memory_only_where_that_was_allowed(cogvlm):
    device_map = {path: device.replace(FIRST, "cuda:0") for path, device in layers_offloaded(cogvlm.parts).items()}
    placement = Placement(device_map, dtype="float32")
    with pytest.raises(ConfigError, match="--offload"):
        loading.load(cogvlm.spec, cogvlm.directory, cogvlm.directory, placement)


def test_a_map_that_leaves_a_part_out_is_not_loaded(cogvlm):
    device_map = halves(cogvlm.parts)
    del device_map["model.norm"]
    with pretended_cards(), pytest.raises(ValueError, match=r"model\.norm"):
        cogvlm.load(device_map)
