"""What a trainer needs: a fresh model that learns, gradients everywhere, checkpointing that changes nothing."""

import pytest
import torch

from demo.models.cogvlm import CogVLMForConditionalGeneration, classes_of
from tests.models.kit import prompt, tiny_config, tiny_model


def labelled(config, pictures=2):
    inputs = prompt(config, [5, 6, 7, 8], pictures=pictures)
    labels = inputs["input_ids"].clone()
    labels[:, :-3] = -100
    return inputs | {"labels": labels}


@pytest.mark.parametrize("shape", [{"num_multi_query_heads": 3}, {"family": "cogagent"}])
def test_a_fresh_model_starts_from_the_stated_distributions(shape):
    torch.manual_seed(0)
    family = shape.get("family", "cogvlm")
    model = classes_of(family).model(tiny_config(initializer_range=0.05, **shape))
    spreads = {name: weight.std().item() for name, weight in model.named_parameters() if weight.ndim > 1}
    learned = ("boi", "eoi", "cls_embedding", "cls_token", "pos_embed")
    for name, spread in spreads.items():
        expected = 0.02 if name.endswith(learned) else 0.05
        assert spread == pytest.approx(expected, rel=0.5), name
    for name, weight in model.named_parameters():
        if "norm" in name or "_ln." in name:
            assert torch.equal(weight, torch.full_like(weight, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert weight.abs().max() == 0, name


def test_a_fresh_model_makes_about_the_loss_of_a_guess():
    torch.manual_seed(0)
    model = CogVLMForConditionalGeneration(tiny_config())
    loss = model(**labelled(model.config)).loss
    assert loss.item() == pytest.approx(torch.tensor(300.0).log().item(), rel=0.1)


def test_the_loss_is_the_mean_over_labelled_next_tokens():
    model = tiny_model()
    given = labelled(model.config)
    out = model(**given)
    expected = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].flatten(0, 1), given["labels"][:, 1:].flatten(), ignore_index=-100
    )
    torch.testing.assert_close(out.loss, expected)


@pytest.mark.parametrize("shape", [{}, {"num_multi_query_heads": 3}, {"family": "cogagent"}])
def test_gradients_reach_every_parameter(shape):
    model = tiny_model(**shape).train()
    model(**labelled(model.config)).loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # In the last layer nothing after attention reads a picture's tokens, so its vision expert ends there.
    last = f"model.layers.{model.config.num_hidden_layers - 1}."
    assert {name for name in idle if not (name.startswith(last) and "vision_" in name)} == set()


# The one name that all supported versions of transformers know.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("family", ["cogvlm", "cogagent"])
def test_checkpointing_gives_the_same_gradients(family):
    found = []
    for checkpointing in (False, True):
        model = tiny_model(family).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**labelled(model.config)).loss.backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_a_few_steps_teach_it_to_tell_two_pictures_apart():
    torch.manual_seed(0)
    model = CogVLMForConditionalGeneration(tiny_config(downsampling=True, initializer_range=0.1)).train()
    given = labelled(model.config)
    given["input_ids"][:, -1] = given["labels"][:, -1] = torch.tensor([20, 30])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(**given).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(**given).logits[:, -2].argmax(-1).tolist() == [20, 30]


def test_mixed_precision_runs_through_both_experts():
    model = tiny_model().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**labelled(model.config)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert model.model.layers[0].mlp.vision_mlp.up_proj.weight.grad.isfinite().all()
