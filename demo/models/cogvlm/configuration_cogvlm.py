"""What a CogVLM or CogVLM2 checkpoint says about itself.

Owns the reading of the published flat ``config.json`` (text fields at the top, ``vision_config`` inside, no
``model_type``) and the rules by which CogVLM2 is told from CogVLM. Every inferred value is a field of its own: it
can be given explicitly, and it is saved. Knows no tensors. Image sizes are pixels of the square the model sees.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from demo.errors import BrokenCheckpoint

PICTURE_MARKS = 2  # one learned token before the patches of a picture and one after them
COGVLM2_PAD_TOKEN = 128002  # CogVLM2's published code, not its config, holds this number


class CogVLMVisionConfig(PreTrainedConfig):
    """The picture tower: a ViT with a class token, learned positions and post-norm blocks."""

    model_type = "cogvlm_vision"
    base_config_key = "vision_config"
    attribute_map: ClassVar[dict[str, str]] = {"num_attention_heads": "num_heads"}

    dropout_prob: float = 0.0
    hidden_act: str = "gelu"
    in_channels: int = 3
    num_hidden_layers: int = 63
    hidden_size: int = 1792
    patch_size: int = 14
    num_heads: int = 16
    intermediate_size: int = 15360
    layer_norm_eps: float = 1e-6
    num_positions: int | None = None  # grid * grid + 1; the class token has a position too
    image_size: int = 490

    def __post_init__(self, **kwargs: Any) -> None:
        expected = self.grid**2 + 1
        if self.num_positions is None:
            self.num_positions = expected
        if self.num_positions != expected:
            raise BrokenCheckpoint(
                "vision_config.num_positions does not match image_size and patch_size",
                value=self.num_positions,
                remedy=f"{self.image_size} px in patches of {self.patch_size} make {expected} positions.",
            )
        super().__post_init__(**kwargs)

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size


class CogVLMConfig(PreTrainedConfig):
    """A CogVLM (v1) or CogVLM2 model: one that names ``num_multi_query_heads`` is CogVLM2's unless told otherwise."""

    model_type = "cogvlm"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"vision_config": CogVLMVisionConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "cache"]

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_multi_query_heads: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    use_cache: bool = True
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    template_version: str = "chat"
    vision_config: CogVLMVisionConfig = None  # type: ignore[assignment]  # given as a dict, or not at all

    # Inferred where None, because published configs do not say them.
    rope_theta: float | None = None  # 500000 in CogVLM2, 10000 in CogVLM
    downsampling: bool | None = None  # a 2x2 stride-2 convolution merges patches before the projector
    vision_qkv_bias: bool | None = None  # on the visual expert's fused qkv only

    rotary_in_model_dtype: bool = False  # positions and frequencies rounded to bf16, as bf16 checkpoints were served

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("model_type", None)  # published configs have none, or an empty one
        kwargs.pop("auto_map", None)  # it names remote code, which is never run and must not be passed on
        if "cross_image_size" in kwargs:
            raise BrokenCheckpoint(
                "This is a CogAgent's config.json, not a CogVLM's",
                value=f"cross_image_size {kwargs['cross_image_size']}",
                remedy="Load it with CogAgent's classes.",
            )
        if self.vision_config is None:
            self.vision_config = CogVLMVisionConfig()
        elif isinstance(self.vision_config, dict):
            self.vision_config = CogVLMVisionConfig(**self.vision_config)
        self._infer()
        self._check_heads()
        super().__post_init__(**kwargs)

    def _infer(self) -> None:
        second = self.num_multi_query_heads is not None
        if self.rope_theta is None:
            self.rope_theta = 500000.0 if second else 10000.0
        if self.downsampling is None:
            self.downsampling = second
        if self.vision_qkv_bias is None:
            self.vision_qkv_bias = second
        if self.pad_token_id is None:
            self.pad_token_id = COGVLM2_PAD_TOKEN if second and self.vocab_size > COGVLM2_PAD_TOKEN else 0

    def _check_heads(self) -> None:
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise BrokenCheckpoint(
                "config.json has attention heads that do not divide evenly",
                value=f"{self.hidden_size} / {self.num_attention_heads} / {self.num_key_value_heads}",
                remedy="hidden_size must be a multiple of num_attention_heads, and that of num_multi_query_heads.",
            )

    @property
    def num_key_value_heads(self) -> int:
        """The name under which caches look for it."""
        return self.num_multi_query_heads or self.num_attention_heads

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def has_late_positions(self) -> bool:
        """Whether patches get learned positions once more, between tower and projector (CogAgent)."""
        return False

    @property
    def num_image_tokens(self) -> int:
        """Tokens that one picture takes in the prompt, its two marks included."""
        side = self.vision_config.grid // 2 if self.downsampling else self.vision_config.grid
        return side * side + PICTURE_MARKS

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        config, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not config.get("model_type"):
            config["model_type"] = cls.model_type
        return config, rest
