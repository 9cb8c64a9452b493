"""Which tokens are the picture's, and where they stand: the two rules everything else in CogVLM follows from.

Types: 1 for the tokens of a picture (`boi`, patches, `eoi`), 0 for text and padding. Shapes: (B, T) throughout.
"""

from __future__ import annotations

import torch


def takes_vision_expert(token_types: torch.Tensor) -> torch.Tensor:
    """True for `boi` and the patches; the picture's last token, `eoi`, goes with the text, as in training."""
    of_picture = token_types == 1
    is_vision = torch.zeros_like(of_picture)
    is_vision[:, :-1] = of_picture[:, :-1] & of_picture[:, 1:]
    return is_vision


def picture_positions(token_types: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Positions in which all patches of a picture share one, and padding takes none.

    The first token stands at 0; after padding on the left the first real token stands at 1, which changes nothing
    since rotary positions are relative.
    """
    of_picture = token_types == 1
    is_patch = torch.zeros_like(of_picture)
    is_patch[:, 1:-1] = of_picture[:, :-2] & of_picture[:, 1:-1] & of_picture[:, 2:]
    advances = torch.zeros_like(token_types, dtype=torch.long)
    advances[:, 1:] = ~(is_patch[:, 1:] & is_patch[:, :-1])
    if attention_mask is not None:
        advances = advances * (attention_mask != 0)
    return advances.cumsum(-1)
