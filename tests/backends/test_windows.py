"""Windows that are attended to together: the same numbers, in fewer calls, only where a module is found to allow it."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers import Glm4vConfig, Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionAttention,
)
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from demo.backends import windows
from demo.backends.hf import HFBackend
from demo.backends.windows import Looker, Windows, attend, attend_windows
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.pretend import OnCard, pretended_cards
from tests.backends.test_rolling import answered, asked
from tests.tinymodels import save_qwen

SMALL = {"depth": 3, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
TOWERS = {  # the class, its config, what a patch is made of
    "qwen2_5_vl": (
        Qwen2_5_VisionTransformerPretrainedModel,
        Qwen2_5_VLConfig(vision_config={**SMALL, "fullatt_block_indexes": [1], "window_size": 56}),
        3 * 2 * 14**2,
    ),
    "qwen2_vl": (
        Qwen2VisionTransformerPretrainedModel,
        Qwen2VLConfig(vision_config={"depth": 3, "embed_dim": 32, "hidden_size": 32, "num_heads": 2}),
        3 * 2 * 14**2,
    ),
    "qwen3_vl": (
        Qwen3VLVisionModel,
        Qwen3VLConfig(vision_config={**SMALL, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}),
        3 * 2 * 16**2,
    ),
    "glm4v": (Glm4vVisionModel, Glm4vConfig(vision_config={**SMALL, "image_size": 56}), 3 * 2 * 14**2),
}
pytestmark = pytest.mark.usefixtures("attention_as_before")
GRIDS = torch.tensor([[1, 10, 6], [1, 4, 6], [2, 4, 6], [1, 10, 6]])  # pictures, and a film of two frames


@pytest.fixture
def calls():
    """What is asked of transformers' attention: the queries' shapes."""
    shapes = []

    def attention(module, query, key, value, attention_mask, **how):
        shapes.append(tuple(query.shape))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)

    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention)
    return shapes


def tower(name, dtype=torch.float32):
    cls, config, patch = TOWERS[name]
    torch.manual_seed(0)
    config.vision_config._attn_implementation = "sdpa"
    return cls(config.vision_config).to(dtype).eval(), torch.randn(int(GRIDS.prod(dim=1).sum()), patch).to(dtype)


def seen(model, patches, grids=GRIDS):
    with torch.inference_mode():
        return model(patches, grids).last_hidden_state


def lookers(model):
    return [module for module in model.modules() if isinstance(vars(module).get("forward"), Looker)]


def module_and_input(cls=Qwen2_5_VLVisionAttention):
    """One layer's attention, its input, and edges of windows."""
    torch.manual_seed(0)
    config = TOWERS["qwen2_5_vl"][1].vision_config
    config._attn_implementation = "sdpa"
    module, places = cls(config).eval(), torch.randn(2, 20, 16)
    how = {"cu_seqlens": torch.tensor([0, 7, 9, 16, 20]), "position_embeddings": (places.cos()[0], places.sin()[1])}
    return module, torch.randn(20, 32), how


@torch.no_grad()
def looked(module, hidden, how):
    return module(hidden, **how)


# --- attention


@pytest.mark.parametrize(
    "lengths", [[4, 4, 4], [1, 4, 4, 2, 4, 1], [13], [5, 5, 3], [3, 5, 5], [0, 3, 0, 3], [1, 1, 1, 1]], ids=str
)
@pytest.mark.parametrize("shared", [4, 2])
@pytest.mark.parametrize("most_pairs", [1, 32, windows.MOST_PAIRS])
def test_it_gives_what_one_call_for_each_window_gives(lengths, shared, most_pairs, monkeypatch):
    monkeypatch.setattr(windows, "MOST_PAIRS", most_pairs)
    torch.manual_seed(0)
    module, tokens = SimpleNamespace(num_key_value_groups=4 // shared, is_causal=False), sum(lengths)
    asked = torch.randn(1, 4, tokens, 8), *torch.randn(2, 1, shared, tokens, 8)
    splits = zip(*(tensor.split([length for length in lengths if length], dim=2) for tensor in asked))
    expected = torch.cat([sdpa_attention_forward(module, *split, None, scaling=0.3)[0] for split in splits], dim=1)
    edges = torch.tensor([0, *lengths]).cumsum(0)
    found, _ = attend(sdpa_attention_forward, module, *asked, None, windows=Windows.of(edges), scaling=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch", "has_mask"), [(2, False), (1, True)])
def test_batches_and_masks_are_attended_to_window_by_window(batch, has_mask):
    torch.manual_seed(0)
    module, asked = SimpleNamespace(is_causal=False), torch.randn(3, batch, 2, 6, 8)
    mask = torch.tensor([[True, False, True], [True, True, False], [False, True, True]]) if has_mask else None
    expected = [sdpa_attention_forward(module, *asked[:, :, :, at : at + 3], mask)[0] for at in (0, 3)]
    found, _ = attend(sdpa_attention_forward, module, *asked, mask, windows=Windows.of(torch.tensor([0, 3, 6])))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_calls_have_no_more_pairs_than_memory_is_kept_for(monkeypatch):
    monkeypatch.setattr(windows, "MOST_PAIRS", 50)
    lengths = torch.tensor([0, 2, 5, 5, 2, 5, 9])
    assert Windows.of(lengths.cumsum(0)).groups == ((1, 9), (2, 5), (1, 5), (2, 2))


# --- towers


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_sees_the_same(name):
    model, patches = tower(name)
    grids = GRIDS[GRIDS[:, 0] == 1] if name == "glm4v" else GRIDS  # which takes each frame of a film as a picture
    patches = patches[: grids.prod(dim=1).sum()]
    asked = [(patches, grids), (patches[:24], grids[1:2]), (patches, grids)]
    before = [seen(model, *one) for one in asked]
    assert attend_windows(model) == len(model.blocks)
    for one, expected in zip(asked, before):
        torch.testing.assert_close(seen(model, *one), expected, rtol=1e-5, atol=1e-5)
    assert len(lookers(model)) == len(model.blocks)  # all were tried and found to allow it


def test_windows_of_one_length_are_one_call(calls):
    model, patches = tower("qwen2_5_vl")
    attend_windows(model)
    seen(model, patches)  # each layer is tried
    calls.clear()
    seen(model, patches)
    windowed = [(7, 2, 16, 16), (9, 2, 8, 16), (2, 2, 4, 16)]  # of 2 x 2 merged patches, and what is left at the sides
    assert calls == [*windowed, (2, 2, 60, 16), (3, 2, 24, 16), *windowed]  # the second layer sees whole frames


def test_lengths_are_read_once_for_all_layers_and_then_forgotten(monkeypatch):
    model, patches = tower("qwen2_5_vl")
    attend_windows(model)
    seen(model, patches)
    made = []
    monkeypatch.setattr(Windows, "of", staticmethod(lambda edges, of=Windows.of: made.append(len(edges)) or of(edges)))
    seen(model, patches)
    assert len(made) == 2  # of the windows, and of the whole pictures
    gc.collect()
    assert not lookers(model)[0].forward._known


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_towers_of_other_dtypes_are_found_alike(dtype):
    model, patches = tower("qwen2_5_vl", dtype)
    before = seen(model, patches)
    attend_windows(model)
    torch.testing.assert_close(seen(model, patches), before, rtol=2e-2, atol=2e-2)
    assert len(lookers(model)) == 3


def test_the_hook_of_a_model_over_several_devices_stays_before_it():
    class Watched(AlignDevicesHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):
            self.calls += 1
            return super().pre_forward(module, *args, **kwargs)

    module, hidden, how = module_and_input()
    before, hook = looked(module, hidden, how), Watched(execution_device="cpu")
    add_hook_to_module(module, hook)
    assert attend_windows(module) == 1
    assert isinstance(module._old_forward, Looker)
    torch.testing.assert_close(looked(module, hidden, how), before, rtol=1e-5, atol=1e-5)
    assert hook.calls == 1


def test_layers_on_several_cards_see_the_same():
    """What windows are found to be lies where each layer computes, wherever the model's edges lie."""
    model, patches = tower("qwen2_5_vl")
    before = seen(model, patches)
    with pretended_cards():
        parts = {"cpu:0": [model.patch_embed, model.rotary_pos_emb, model.merger, *model.blocks[::2]]}
        for card, modules in {**parts, "cpu:1": model.blocks[1::2]}.items():
            for module in modules:
                add_hook_to_module(module, AlignDevicesHook(card, place_submodules=True))
        assert [block.attn.qkv.weight.device.index for block in model.blocks] == [0, 1, 0]
        attend_windows(model)
        for _ in range(2):
            found = looked(model, patches.to("cpu:0"), {"grid_thw": GRIDS.to("cpu:0")}).last_hidden_state
            assert isinstance(found, OnCard)
            torch.testing.assert_close(found.cpu(), before, rtol=1e-5, atol=1e-5)
    assert len(lookers(model)) == 3


# --- what goes its own way


class Deaf(Qwen2_5_VLVisionAttention):
    """Does not pass on what it is told of windows."""

    def forward(self, hidden_states, cu_seqlens, position_embeddings=None, **kwargs):
        return super().forward(hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings)


class Counting(Qwen2_5_VLVisionAttention):
    """Wants to know how many windows there are."""

    def forward(self, hidden_states, cu_seqlens, **kwargs):
        return super().forward(hidden_states, cu_seqlens=cu_seqlens, **kwargs) * len(cu_seqlens)


class Strict(Qwen2_5_VLVisionAttention):
    """Refuses words that it does not know."""

    def forward(self, hidden_states, cu_seqlens, **kwargs):
        position_embeddings = kwargs.pop("position_embeddings")
        if kwargs:
            raise TypeError(kwargs)
        return super().forward(hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings)


@pytest.mark.parametrize("cls", [Deaf, Counting, Strict])
@pytest.mark.parametrize("is_grey", [False, True])
def test_a_module_that_computes_something_else_is_left_alone(cls, is_grey):
    module, hidden, how = module_and_input(cls)
    hidden = torch.ones_like(hidden) if is_grey else hidden  # in which all windows look alike
    before = looked(module, hidden, how)
    assert attend_windows(module) == 1
    assert torch.equal(looked(module, hidden, how), before)
    assert module.forward.__func__ is cls.forward


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("cls", "is_exchanged"), [(Deaf, False), (Qwen2_5_VLVisionAttention, True)])
def test_a_large_bias_does_not_hide_what_a_module_makes_of_windows(cls, is_exchanged, dtype):
    module, hidden, how = module_and_input(cls)
    with torch.no_grad():
        module.proj.bias[0] = 100
    places = tuple(one.to(dtype) for one in how["position_embeddings"])
    module, hidden, how = module.to(dtype), hidden.to(dtype), {**how, "position_embeddings": places}
    before = looked(module, hidden, how)
    attend_windows(module)
    torch.testing.assert_close(looked(module, hidden, how), before, rtol=2e-2, atol=2e-2)
    assert isinstance(module.forward, Looker) is is_exchanged


def test_a_trial_for_which_memory_is_short_has_shown_nothing():
    class Short(Deaf):
        refusals = 0

        def forward(self, hidden_states, cu_seqlens, **kwargs):
            if self.refusals:
                self.refusals -= 1
                raise torch.OutOfMemoryError("full")
            return super().forward(hidden_states, cu_seqlens, **kwargs)

    module, hidden, how = module_and_input(Short)
    before = looked(module, hidden, how)
    attend_windows(module)
    module.refusals = 1
    with pytest.raises(torch.OutOfMemoryError):
        looked(module, hidden, how)
    assert torch.equal(looked(module, hidden, how), before)


def test_edges_in_another_form_are_the_modules_own_matter():
    class OfBatches(Qwen2_5_VLVisionAttention):
        def forward(self, hidden_states, cu_seqlens, **kwargs):
            return super().forward(hidden_states, cu_seqlens=cu_seqlens[0], **kwargs)

    module, hidden, how = module_and_input(OfBatches)
    how["cu_seqlens"] = how["cu_seqlens"][None]
    before = looked(module, hidden, how)
    attend_windows(module)
    assert torch.equal(looked(module, hidden, how), before)


def test_modules_without_edges_or_with_others_inside_that_have_them_are_not_tried():
    model, _ = tower("qwen2_5_vl")
    attend_windows(model)
    assert all(isinstance(block.attn.forward, Looker) for block in model.blocks)
    assert not any(isinstance(block.forward, Looker) for block in model.blocks)
    assert attend_windows(torch.nn.Sequential(torch.nn.Linear(2, 2))) == 0
    assert attend_windows(model) == 0  # each has been exchanged already


def test_too_few_tokens_show_nothing_and_are_attended_to_as_before():
    module, hidden, how = module_and_input(Deaf)
    few, edges = hidden[:3], torch.tensor([0, 1, 3])
    how = {"cu_seqlens": edges, "position_embeddings": tuple(places[:3] for places in how["position_embeddings"])}
    before = looked(module, few, how)
    attend_windows(module)
    assert torch.equal(looked(module, few, how), before)
    assert isinstance(module.forward, Looker)  # and is tried when more come


def test_edges_that_are_not_of_these_tokens_are_refused_as_before():
    module, hidden, how = module_and_input()
    attend_windows(module)
    with pytest.raises(RuntimeError, match="split"):
        looked(module, hidden, {**how, "cu_seqlens": torch.tensor([0, 7, 9])})


@pytest.mark.parametrize("change", ["implementation", "registered"])
def test_once_another_attention_is_asked_for_each_window_is_a_call_again(change, calls):
    module, hidden, how = module_and_input()
    before = looked(module, hidden, how)
    own = ALL_ATTENTION_FUNCTIONS["sdpa"]
    attend_windows(module)
    looked(module, hidden, how)
    calls.clear()
    if change == "implementation":
        module.config._attn_implementation = "eager"
    else:
        ALL_ATTENTION_FUNCTIONS.register("sdpa", own)
    torch.testing.assert_close(looked(module, hidden, how), before, rtol=1e-5, atol=1e-5)
    assert len(calls) == (0 if change == "implementation" else 4)


def test_it_is_registered_once():
    module, *_ = module_and_input()
    attend_windows(module)
    first = ALL_ATTENTION_FUNCTIONS["sdpa"]
    attend_windows(module_and_input()[0])
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is first


# --- a whole model


def test_a_model_answers_as_before(tmp_path):
    backend = HFBackend()
    spec = resolve(ModelChoice(str(save_qwen(tmp_path / "model"))))
    backend.load(spec, Placement({"": "cpu"}, threads=1, slots=2), lambda *_: None)
    requests = [asked(f"What is this? {number}", 90 + number) for number in range(3)]
    found = [answered(backend, request)[0] for request in requests]
    exchanged = lookers(backend._model)
    assert len(exchanged) == 2
    for module in exchanged:
        del module.forward
    backend._rolling.forget()
    assert [answered(backend, request)[0] for request in requests] == found
    backend.close()
