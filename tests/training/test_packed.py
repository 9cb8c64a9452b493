"""The packed forward is the model's own: a segment in a crowded row gets the logits that it gets alone."""

import pytest
import torch

from demo.models.cogvlm import CogVLMForConditionalGeneration
from training.packed import PackedModel, packed_mask
from training.packing import FIRST_POSITION, FIRST_POSITION_BLIND
from training.train import model_config


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = model_config(vocab=300)
    config.num_hidden_layers, config.vision_config.num_hidden_layers = 2, 2
    model = CogVLMForConditionalGeneration(config).eval()
    for parameter in model.parameters():  # every bias and mark counts, none is zero
        torch.nn.init.normal_(parameter, std=0.08)
    return model


def _alone(model, pixels, ids):
    """Logits of the text of one ordinary prompt."""
    places = model.config.num_image_tokens if pixels is not None else 0
    row = torch.tensor([[1] + [0] * places + ids])
    types = torch.tensor([[0] + [1] * places + [0] * len(ids)])
    kwargs = {"pixel_values": pixels, "mm_token_type_ids": types} if pixels is not None else {}
    return model(input_ids=row, attention_mask=torch.ones_like(row), **kwargs).logits[0, 1 + places :]


def test_each_packed_segment_has_the_logits_it_has_alone(model):
    pixels = torch.randn(1, 3, 224, 224)
    first, blind, last = [5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16]
    ids = torch.tensor([[*first, *blind, *last, 0, 0]])
    positions = torch.tensor(
        [
            [
                *range(FIRST_POSITION, FIRST_POSITION + 4),
                *range(FIRST_POSITION_BLIND, FIRST_POSITION_BLIND + 3),
                *range(FIRST_POSITION, FIRST_POSITION + 5),
                0,
                0,
            ]
        ]
    )
    segment = torch.tensor([[1] * 4 + [-2] * 3 + [3] * 5 + [0] * 2], dtype=torch.int8)
    with torch.no_grad():
        hidden, _ = PackedModel(model)(pixels, ids, positions, segment)
        logits = model.lm_head(hidden)[0]
        for span, seen, text in (
            (slice(0, 4), pixels, first),
            (slice(4, 7), None, blind),
            (slice(7, 12), pixels, last),
        ):
            torch.testing.assert_close(logits[span], _alone(model, seen, text), atol=2e-4, rtol=1e-4)
    assert torch.isfinite(logits).all()


def test_the_dense_head_reads_one_vector_a_patch(model):
    features, patches = PackedModel(model).see(torch.randn(2, 3, 224, 224))
    assert features.shape == (2, 66, 256)
    assert patches.shape == (2, 256, 320)


def test_text_never_sees_another_segment_nor_its_own_future():
    mask = packed_mask(torch.tensor([[1, 1, 2, -3, 0]], dtype=torch.int8), images=3)[0, 0]
    text = mask[5:, 5:].int().tolist()
    assert text == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert mask[5, :5].all()
    assert mask[8, :5].int().tolist() == [0, 0, 0, 1, 0]  # a blind segment sees the beginning of text alone
