"""The optimisers: Muon for the hidden matrices, AdamW for embeddings, head, convolutions, norms and biases.

Muon (K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces a momentum update by its nearest
semi-orthogonal matrix, found with a few Newton-Schulz steps. Owns the split of the parameters and the schedule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(update: Tensor, steps: int = 5) -> Tensor:
    """(N, rows, cols) -> the same shape, each matrix with singular values near 1; computed in bf16 on a GPU."""
    a, b, c = _NEWTON_SCHULZ
    x = update.bfloat16() if update.is_cuda else update
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(update.dtype)


@torch.compile(dynamic=False, disable=not torch.cuda.is_available())
def stacked_update(gradients: Tensor, momenta: Tensor, momentum: float) -> Tensor:
    """Nesterov momentum over (N, rows, cols), then the orthogonal update. ``momenta`` changes in place."""
    momenta.lerp_(gradients, 1 - momentum)
    rows, cols = gradients.shape[1:]
    return orthogonalised(gradients.lerp(momenta, momentum)) * max(1.0, rows / cols) ** 0.5


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stacked and updated together."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.05
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._momenta: dict[torch.Size, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for shape, matrices in self._by_shape(group["params"]).items():
                gradients = torch.stack([p.grad for p in matrices if p.grad is not None])
                if shape not in self._momenta:
                    self._momenta[shape] = torch.zeros_like(gradients)
                updates = stacked_update(gradients, self._momenta[shape], group["momentum"])
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates.unbind()), alpha=-group["lr"])

    @staticmethod
    def _by_shape(parameters: list[nn.Parameter]) -> dict[torch.Size, list[nn.Parameter]]:
        shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            if parameter.grad is not None:  # the last layer's image-side output never has one
                shapes[parameter.shape].append(parameter)
        return shapes


def optimizers(model: nn.Module, extra: nn.Module, *, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon and AdamW over the parameters of ``model`` and of ``extra`` (the training-only head, all AdamW)."""
    matrices, others = [], list(extra.parameters())
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and not any(part in name for part in ("embed", "lm_head"))
        (matrices if hidden else others).append(parameter)
    fused = torch.cuda.is_available()
    return [
        Muon(matrices, muon_lr),
        torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=fused),
    ]


def schedule(step: int, steps: int, *, warm_steps: int) -> float:
    """Learning-rate factor: linear warm-up, flat, linear to zero over the last 60 % of the steps."""
    return min(1.0, (step + 1) / warm_steps, (steps - step) / (0.6 * steps))
