"""Which modules compute few rows by kernels of our own, and that each gives what it gave."""

from __future__ import annotations

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.nn import Linear, functional
from transformers import AutoModelForImageTextToText

from demo.backends import few_rows
from demo.backends.few_rows import Together, quicken
from demo.backends.kernels.launching import at_hand
from demo.backends.parking import Garage
from demo.backends.quantizing import config_for
from demo.models.cogvlm import classes_of
from tests.backends.test_kernels import DEVICE, DTYPE
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

pytest.importorskip("triton", reason="Triton is for Linux")
MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen": save_qwen}
WIDTH, INNER = 24, 40
CLOSE = {"rtol": 2e-2, "atol": 2e-2}


@pytest.fixture(scope="module")
def kernels():
    return at_hand([DEVICE])


@pytest.fixture
def launched(kernels, monkeypatch):
    """The kernels, and the rows and the number of weights of each launch of products."""
    seen = []

    class Watched:
        weight, gated = kernels.weight, kernels.gated

        @staticmethod
        def products(hidden, weights):
            seen.append((len(hidden), len(weights)))
            return kernels.products(hidden, weights)

    Watched.seen = seen
    return Watched


class Attention(torch.nn.Module):
    """Asks for queries, keys and values as the library's models do."""

    def __init__(self, *, values_of=None):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = Linear(WIDTH, WIDTH), Linear(WIDTH, 8, bias=False), Linear(WIDTH, 8)
        self.values_of = values_of

    def forward(self, hidden):
        other = hidden if self.values_of is None else self.values_of(hidden)
        return self.q_proj(hidden), self.k_proj(hidden), self.v_proj(other)


class MLP(torch.nn.Module):
    def __init__(self, activation=functional.silu, *, bias=False):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(WIDTH, INNER, bias=bias), Linear(WIDTH, INNER, bias=bias)
        self.down_proj = Linear(INNER, WIDTH, bias=False)
        self.activation = activation

    def forward(self, hidden):
        return self.down_proj(self.activation(self.gate_proj(hidden)) * self.up_proj(hidden))


class LoudMLP(MLP):
    """Has the parts of one, and computes something else."""

    def forward(self, hidden):
        return 2 * super().forward(hidden)


class Decoder(torch.nn.Module):
    """One layer and a head, in the shape that models are known by."""

    _no_split_modules = None

    def __init__(self, *parts):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.ModuleList(parts)])
        self.embed_tokens, self.head = torch.nn.Embedding(10, WIDTH), Linear(WIDTH, 10, bias=False)
        self.config = type("Config", (), {"num_hidden_layers": 1, "get_text_config": lambda self, **_: self})()
        self.to(DEVICE, DTYPE).requires_grad_(False)

    def get_input_embeddings(self):
        return self.embed_tokens

    def get_output_embeddings(self):
        return self.head


def hidden_of(*shape):
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(len(shape))).to(DEVICE, DTYPE)


def is_exchanged(module):
    return "forward" in vars(module)


@pytest.mark.parametrize(("family", "modules"), [("cogvlm", 2 * 12 + 1), ("llava", 2 * 8 + 1), ("qwen", 2 * 8 + 1)])
@pytest.mark.parametrize("tokens", [1, 3, 30])
def test_models_give_the_scores_they_gave(launched, family, modules, tokens, tmp_path):
    """All linear layers, MLPs and the head; a CogVLM has as many again for pictures, and one for all of attention."""
    directory = MAKERS[family](tmp_path / "model")
    cls = classes_of("cogvlm").model if family == "cogvlm" else AutoModelForImageTextToText
    model = cls.from_pretrained(directory, dtype=DTYPE).to(DEVICE).eval()
    ids = torch.arange(20, 20 + tokens, device=DEVICE)[None]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert quicken(model, launched) == modules
        launched.seen.clear()
        found = model(input_ids=ids).logits
    assert (found - before).norm() < 1e-2 * before.norm()
    assert {rows for rows, _ in launched.seen} == ({tokens} if tokens < 30 else set())


def test_queries_keys_and_values_of_the_same_hidden_states_are_one_launch(launched):
    attention = Attention()
    decoder = Decoder(attention)
    hidden = hidden_of(2, 1)
    wanted = attention(hidden)
    assert quicken(decoder, launched) == 4
    launched.seen.clear()
    for _ in range(2):
        for one, other in zip(attention(hidden), wanted):
            torch.testing.assert_close(one, other, **CLOSE)
    assert launched.seen == [(2, 3), (2, 3)]


def test_values_of_other_hidden_states_are_computed_of_those(launched):
    attention = Attention(values_of=lambda hidden: -hidden)
    decoder = Decoder(attention)
    hidden = hidden_of(2, 1)
    wanted = attention(hidden)
    quicken(decoder, launched)
    launched.seen.clear()
    for one, other in zip(attention(hidden), wanted):
        torch.testing.assert_close(one, other, **CLOSE)
    assert launched.seen == [(2, 3), (2, 1)]


def test_keys_that_are_asked_for_alone_or_twice_are_computed(launched):
    attention = Attention()
    decoder = Decoder(attention)
    hidden, other = hidden_of(2, 1), hidden_of(3)
    wanted = [attention.k_proj(one) for one in (hidden, other)]
    quicken(decoder, launched)
    attention.q_proj(hidden)
    found = [attention.k_proj(one) for one in (hidden, other)]
    again = attention.k_proj(hidden)
    for one, two in zip((*found, again), (*wanted, wanted[0])):
        torch.testing.assert_close(one, two, **CLOSE)


@pytest.mark.parametrize(("shape", "is_few"), [((16, 1), True), ((1, 16), True), ((17, 1), False), ((2, 9), False)])
def test_more_rows_are_left_to_torch(launched, shape, is_few):
    attention = Attention()
    decoder = Decoder(attention)
    wanted = attention(hidden_of(*shape))
    quicken(decoder, launched)
    launched.seen.clear()
    found = attention(hidden_of(*shape))
    assert bool(launched.seen) is is_few
    assert all(torch.equal(*pair) for pair in zip(found, wanted)) or is_few


@pytest.mark.parametrize(
    "mlp", [MLP(functional.gelu), MLP(torch.tanh), MLP(bias=True), LoudMLP()], ids=["gelu", "tanh", "biases", "loud"]
)
def test_what_computes_something_else_keeps_its_own_gate(kernels, mlp):
    decoder = Decoder(mlp)
    wanted = mlp(hidden_of(3))
    assert quicken(decoder, kernels) == 4
    assert not is_exchanged(mlp)
    torch.testing.assert_close(mlp(hidden_of(3)), wanted, **CLOSE)


def test_a_gated_mlp_is_one_kernel_and_one_product(launched):
    mlp = MLP()
    decoder = Decoder(mlp)
    wanted = mlp(hidden_of(2, 1))
    assert quicken(decoder, launched) == 5
    launched.seen.clear()
    torch.testing.assert_close(mlp(hidden_of(2, 1)), wanted, **CLOSE)
    assert launched.seen == [(2, 1)]


class Other(Linear):
    """Somebody's own."""


@pytest.mark.parametrize("dtype", [DTYPE, torch.float32])
def test_only_torchs_own_layers_with_16_bits_are_exchanged(kernels, dtype):
    other, plain = Other(WIDTH, 8), Linear(WIDTH, 8)
    decoder = Decoder(other, plain).to(dtype)
    quicken(decoder, kernels)
    assert (is_exchanged(other), is_exchanged(plain)) == (False, dtype == DTYPE)


def test_a_layer_that_somebody_else_has_exchanged_is_left_alone(kernels):
    changed = Linear(WIDTH, 8)
    changed.forward = mine = lambda hidden: hidden
    quicken(Decoder(changed), kernels)
    assert changed.forward is mine


def test_a_layer_with_a_hook_keeps_it(kernels):
    linear = Linear(WIDTH, 8)
    decoder = Decoder(linear)
    add_hook_to_module(linear, AlignDevicesHook(execution_device=DEVICE))
    wanted = linear(hidden_of(2))
    quicken(decoder, kernels)
    assert linear._old_forward.func.__self__.__class__ is Together
    torch.testing.assert_close(linear(hidden_of(2)), wanted, **CLOSE)


class Broken:
    """A card without room for a block, say."""

    def __init__(self, kernels, error):
        self.weight, self.gated, self._error = kernels.weight, kernels.gated, error

    def products(self, hidden, weights):
        raise self._error


def test_what_cannot_be_launched_is_left_to_torch(kernels):
    attention, mlp = Attention(), MLP()
    decoder = Decoder(attention, mlp)
    wanted = attention(hidden_of(1))
    assert quicken(decoder, Broken(kernels, RuntimeError("out of resources"))) == 1  # a gate is not a product
    assert all(torch.equal(*pair) for pair in zip(attention(hidden_of(1)), wanted))


def test_want_of_memory_is_told(kernels):
    with pytest.raises(torch.OutOfMemoryError):
        quicken(Decoder(Linear(WIDTH, 8)), Broken(kernels, torch.OutOfMemoryError()))


def test_a_kernel_that_gives_something_else_is_not_used(kernels):
    class Wrong:
        weight = kernels.weight

        @staticmethod
        def products(hidden, weights):
            return [1.1 * one for one in kernels.products(hidden, weights)]

        @staticmethod
        def gated(*given):
            return 1.1 * kernels.gated(*given)

    assert quicken(Decoder(Attention(), MLP()), Wrong) == 0


def test_weights_of_8_bits_are_read_as_they_are(launched, tmp_path):
    """Within what rounding does: torchao rounds each product before it is scaled."""
    pytest.importorskip("torchao")
    directory = save_qwen(tmp_path / "model")
    config = config_for("int8", ["lm_head", "model.visual"], dtype=DTYPE)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=DTYPE, quantization_config=config)
    model = model.to(DEVICE).eval()
    ids = torch.arange(20, 25, device=DEVICE)[None]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert quicken(model, launched) == 2 * 8 + 1
        launched.seen.clear()
        found = model(input_ids=ids).logits
    assert len(launched.seen) == 2 * 3 + 1
    assert (found - before).norm() < 1e-2 * before.norm()


def test_weights_that_leave_and_come_back_are_still_those(kernels):
    linear = Linear(WIDTH, 8)
    decoder = Decoder(linear)
    quicken(decoder, kernels)
    before = linear(hidden_of(2))
    garage = Garage(decoder, leaves=torch.device(DEVICE).type)
    garage.park()
    garage.resume()
    assert torch.equal(linear(hidden_of(2)), before)


def test_every_shape_is_tried_once(kernels, monkeypatch):
    tried = []
    before = few_rows._noise
    monkeypatch.setattr(few_rows, "_noise", lambda rows, linear: tried.append(rows) or before(rows, linear))
    assert quicken(Decoder(*(Linear(WIDTH, 8) for _ in range(5)), MLP(), MLP()), kernels) == 14
    assert len(tried) == 5 * len(few_rows.TRIED_ROWS)  # of 8 numbers, gate and up, down, the head, the MLP


def test_hidden_states_are_not_kept_once_all_have_them(kernels):
    attention = Attention()
    quicken(Decoder(attention), kernels)
    attention(hidden_of(1))
    together = attention.q_proj.forward.func.__self__
    assert together._given is None
    assert not together._waiting
