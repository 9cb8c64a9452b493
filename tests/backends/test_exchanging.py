"""What is exchanged for which placement, and that models then answer as before."""

from __future__ import annotations

import importlib
from functools import partial

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from demo.backends import attending, windows
from demo.backends.exchanging import exchange
from demo.backends.hf import HFBackend
from demo.backends.turning import NAME, OF_PICTURES, Turn, TurnOfPictures
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Message, Picture, Placement, Size
from tests.backends.test_rolling import answered, asked
from tests.backends.test_turning import put_back_turns
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

pytest.importorskip("triton", reason="Triton is for Linux")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there kernels are for cards, and so are the tests")
MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen": save_qwen}


@pytest.fixture
def load(tmp_path, monkeypatch, attention_as_before):
    """A backend with a model in 16 bits; what the process is told of it is put back."""
    loaded = []

    def start(save=save_qwen, **how):
        backend = HFBackend()
        placement = Placement({"": "cpu"}, dtype="float16", threads=1, slots=2, **how)
        backend.load(resolve(ModelChoice(str(save(tmp_path / "model")))), placement, lambda *_: None)
        loaded.append(backend)
        put_back_turns(monkeypatch, backend._model)
        return backend, placement

    yield start
    for backend in loaded:
        backend.close()


def exchanged(model):
    """The linear layers that are computed by another function than torch's."""
    linears = ((path, module) for path, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return {path for path, module in linears if "forward" in vars(module)}


def of_steps():
    """What a step attends by, whether or not it would be told of windows."""
    function = attending.ALL_ATTENTION_FUNCTIONS["sdpa"]
    is_told = isinstance(function, partial) and function.func is windows.attend
    return function.args[0] if is_told else function


class Attended(TorchFunctionMode):
    """Counts torch's attention."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += func is functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", MAKERS)
def test_models_answer_as_before_by_kernels_of_our_own(family, load):
    backend, _ = load(MAKERS[family])
    request = asked("What is this?", max_new_tokens=4)
    before = answered(backend, request)[0]
    kernels = exchange(backend._model, Placement({}, graphs=True, kernels=True), ["cpu"], lambda *_: None)
    assert kernels is not None
    assert exchanged(backend._model)
    written = []
    backend._rolling._cache.write = lambda *told: written.append(told) or kernels.write(*told)
    backend._rolling.forget()
    assert answered(backend, request)[0] == before
    assert written


def test_recorded_steps_have_all_of_them(load):
    backend, _ = load()
    stages = []
    placement = Placement({}, graphs=True, kernels=True)
    kernels = exchange(backend._model, placement, ["cpu"], lambda stage, _: stages.append(stage))
    assert stages == ["compiling kernels"]
    home = importlib.import_module("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl")
    for name, kind in ((NAME, Turn), (OF_PICTURES, TurnOfPictures)):
        turn = getattr(home, name)
        assert isinstance(turn, kind)
        assert turn.kernels is kernels
    assert isinstance(of_steps().keywords["compute"], attending.ByKernel)
    assert len(exchanged(backend._model)) == 2 * 7 + 1


@pytest.mark.parametrize("how", [{"graphs": True, "kernels": True}, {"graphs": True}, {}])
def test_pictures_are_looked_at_through_all_windows_at_once_as_before(load, how):
    backend, _ = load(partial(save_qwen, window_px=56))
    picture = Picture(Size(84, 84), bytes(range(252)) * 84)
    prompt = backend._prompter.prepare([Message("user", "What is this?", (picture,))]).to(dtype=torch.float16)

    @torch.inference_mode()
    def calls():
        with Attended() as seen:
            backend._model(**prompt)
        return seen.calls

    before = calls()
    exchange(backend._model, Placement({}, **how), ["cpu"], lambda *_: None)
    assert calls() == before
    attending.ALL_ATTENTION_FUNCTIONS.register("sdpa", attending.attend)
    assert calls() > before


@pytest.mark.parametrize("how", [{"kernels": True}, {"graphs": True}], ids=["not recorded", "not asked for"])
def test_other_steps_have_none(load, how):
    backend, _ = load()
    stages = []
    assert exchange(backend._model, Placement({}, **how), ["cpu"], lambda *told: stages.append(told)) is None
    assert not stages
    assert of_steps() is attending.attend
    assert not exchanged(backend._model)


@pytest.mark.parametrize("graphs", [True, False])
def test_weights_of_8_bits_have_theirs_also_where_steps_are_not_recorded(load, graphs):
    pytest.importorskip("torchao")
    backend, _ = load(quantization="int8")
    placement = Placement({}, graphs=graphs, kernels=True, quantization="int8")
    assert (exchange(backend._model, placement, ["cpu"], lambda *_: None) is not None) is graphs
    found = exchanged(backend._model)
    assert ("lm_head" in found) is graphs
    assert len(found) == 2 * 7 + graphs
