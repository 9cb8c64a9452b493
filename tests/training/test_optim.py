"""The optimisers: Muon's step is an orthogonal matrix, parameters without a gradient stay, rates rise and fall."""

import pytest
import torch
from torch import nn

from training.optim import Muon, optimizers, orthogonalised, schedule, stacked_update
from training.packed import DenseHead
from training.team import Team
from training.train import Pace, model_config


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 24), (2, 24, 6), (1, 64, 40)])
def test_an_orthogonalised_update_has_singular_values_near_one(shape):
    torch.manual_seed(1)
    update = torch.randn(shape) * 7
    result = orthogonalised(update)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.25
    assert values.min() > 0.3 if shape[1] == shape[2] else values.min() > 0.6
    assert (result * update).sum() > 0  # it still points the same way


def test_orthogonalising_keeps_the_singular_vectors():
    torch.manual_seed(2)
    update = torch.randn(1, 5, 12)
    u, _, vh = torch.linalg.svd(update[0], full_matrices=False)
    inner = u.T @ orthogonalised(update)[0] @ vh.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


def test_matrices_of_a_stack_do_not_influence_one_another():
    torch.manual_seed(3)
    stack = torch.randn(3, 6, 9)
    alone = torch.cat([orthogonalised(matrix[None]) for matrix in stack])
    torch.testing.assert_close(orthogonalised(stack), alone)


def test_a_tall_matrix_gets_a_larger_step():
    gradients = torch.randn(1, 36, 9)
    step = stacked_update(gradients, torch.zeros_like(gradients), 0.95)
    torch.testing.assert_close(step, 2 * orthogonalised(0.0975 * gradients), rtol=1e-3, atol=1e-5)


def test_muon_steps_along_the_orthogonal_matrix_and_decays_the_weights():
    torch.manual_seed(4)
    matrix = nn.Parameter(torch.randn(6, 6))
    before, gradient = matrix.detach().clone(), torch.randn(6, 6)
    matrix.grad = gradient
    Muon([matrix], lr=0.1, weight_decay=0.5).step()
    expected = before * (1 - 0.1 * 0.5) - 0.1 * orthogonalised(gradient[None])[0]
    torch.testing.assert_close(matrix.detach(), expected, rtol=1e-3, atol=1e-4)


def test_muon_leaves_parameters_without_a_gradient_as_they_are():
    torch.manual_seed(5)
    first, idle, last = (nn.Parameter(torch.randn(4, 4)) for _ in range(3))
    kept = idle.detach().clone()
    muon = Muon([first, idle, last], lr=0.1)
    for _ in range(2):
        first.grad, last.grad = torch.randn(4, 4), torch.randn(4, 4)
        moved = first.detach().clone(), last.detach().clone()
        muon.step()
        assert not torch.equal(first, moved[0])
        assert not torch.equal(last, moved[1])
    assert torch.equal(idle, kept)


def test_every_parameter_has_one_optimiser_and_embeddings_and_the_head_are_not_muons():
    from demo.models.cogvlm import CogVLMForConditionalGeneration

    model = CogVLMForConditionalGeneration(model_config(50, decoder_layers=1, tower_layers=1))
    extra = DenseHead(320, 3, 2)
    muon, adam = optimizers(model, extra, muon_lr=0.01, adam_lr=0.002)
    names = {id(p): name for name, p in [*model.named_parameters(), *extra.named_parameters(prefix="dense")]}
    by_muon, by_adam = ([names[id(p)] for g in each.param_groups for p in g["params"]] for each in (muon, adam))
    assert sorted(by_muon + by_adam) == sorted(names.values())
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in by_muon)
    assert {"lm_head.weight", "model.embed_tokens.weight", "dense.box.weight"} <= set(by_adam)
    assert any("vision_mlp" in name for name in by_muon)
    assert (muon.param_groups[0]["lr"], adam.param_groups[0]["lr"]) == (0.01, 0.002)


def test_the_learning_rate_rises_stays_and_falls_to_almost_nothing():
    factors = [schedule(step, 1000, warm_steps=100) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[49] == pytest.approx(0.5)
    assert set(factors[99:401]) == {1.0}
    assert factors[700] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.002
    assert factors[:100] == sorted(factors[:100])
    assert factors[400:] == sorted(factors[400:], reverse=True)


def test_the_pace_fills_the_time_with_steps():
    pace = Pace(limit_s=600.0, timed_from=100, timed_until=500)
    pace.start(80.0)  # compiling took most of that
    assert pace.steps(120.0) == 500 + 4800  # 400 steps in 40 s, 480 s left


def test_the_pace_never_stops_before_a_last_step():
    pace = Pace(limit_s=100.0, timed_from=100, timed_until=500)
    pace.start(50.0)
    assert pace.steps(130.0) == 501


def test_a_process_of_its_own_is_a_team_of_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    team = Team.join()
    assert (team.rank, team.size, team.is_first) == (0, 1, True)
    assert team.first_says(7) == 7
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    team.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    team.leave()
