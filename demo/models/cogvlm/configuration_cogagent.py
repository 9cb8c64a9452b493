"""What a CogAgent checkpoint says about itself: a CogVLM with a second, larger picture beside the prompt.

Owns the fields that CogVLM's configuration lacks, and the sizes of the tower for the larger picture, which published
configs leave out: its picture and its width are theirs to say, all else is as published unless said otherwise. Knows no
tensors. Image sizes are pixels of the square the model sees.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from demo.errors import BrokenCheckpoint
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig, CogVLMVisionConfig

# Other names for sizes of the large tower, as reference checkpoints of small sizes state them.
REFERENCE_NAMES = {
    "patch_size": "patch_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "head_width": "head_dim",
    "mlp_ratio": "mlp_ratio",
    "pt_hw_seq_len": "rotary_grid",
}


class CogAgentCrossVisionConfig(PreTrainedConfig):
    """The tower for the larger picture: EVA2-CLIP-L, pre-norm, with rotary positions in two dimensions."""

    model_type = "cogagent_cross_vision"
    base_config_key = "cross_vision_config"

    in_channels: int = 3
    image_size: int = 1120
    patch_size: int = 14
    hidden_size: int = 1024
    num_hidden_layers: int = 24  # that a checkpoint holds; the last of them is never run
    head_dim: int = 64
    mlp_ratio: float = 2.6667
    rotary_grid: int = 16  # patches a side when it was first trained, which positions are scaled to
    layer_norm_eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def num_attention_heads(self) -> int:
        return self.hidden_size // self.head_dim

    @property
    def intermediate_size(self) -> int:
        return int(self.hidden_size * self.mlp_ratio)


class CogAgentConfig(CogVLMConfig):
    """A CogAgent model; its decoder and its small tower are those of CogVLM (v1)."""

    model_type = "cogagent"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "vision_config": CogVLMVisionConfig,
        "cross_vision_config": CogAgentCrossVisionConfig,
    }

    cross_hidden_size: int = 1024  # width of what the large tower gives
    cross_compute_hidden_size: int = 1024  # width of all heads of the cross attention together
    cross_image_size: int = 1120
    cross_vision_config: CogAgentCrossVisionConfig = None  # type: ignore[assignment]  # given as a dict, or not at all

    def __post_init__(self, **kwargs: Any) -> None:
        reference = kwargs.pop("oracle_cross_vision", None) or {}
        stated = {ours: reference[theirs] for theirs, ours in REFERENCE_NAMES.items() if theirs in reference}
        if self.vision_config is None:
            self.vision_config = CogVLMVisionConfig(image_size=224)
        if not isinstance(self.cross_vision_config, CogAgentCrossVisionConfig):
            inferred = {"image_size": self.cross_image_size, "hidden_size": self.cross_hidden_size}
            self.cross_vision_config = CogAgentCrossVisionConfig(
                **{**inferred, **stated, **(self.cross_vision_config or {})}
            )
        self._check_cross()
        super().__post_init__(**kwargs)

    def _check_cross(self) -> None:
        tower, heads = self.cross_vision_config, self.num_attention_heads
        if tower.hidden_size != self.cross_hidden_size or tower.image_size != self.cross_image_size:
            raise BrokenCheckpoint(
                "config.json has two opinions on the tower for the larger picture",
                value=f"{tower.hidden_size} wide for {tower.image_size} px",
                remedy=f"cross_hidden_size is {self.cross_hidden_size} and cross_image_size {self.cross_image_size}.",
            )
        # Half a head's pairs turn by the row, half by the column.
        if self.cross_compute_hidden_size % heads or tower.hidden_size % tower.head_dim or tower.head_dim % 4:
            raise BrokenCheckpoint(
                "config.json has attention heads for the larger picture that do not divide evenly",
                value=f"{self.cross_compute_hidden_size} / {heads}, {tower.hidden_size} / {tower.head_dim}",
                remedy="cross_compute_hidden_size must be a multiple of num_attention_heads, and the tower's width of "
                "its heads' width, which is a multiple of four.",
            )

    @property
    def cross_head_dim(self) -> int:
        return self.cross_compute_hidden_size // self.num_attention_heads

    @property
    def has_late_positions(self) -> bool:
        return True
