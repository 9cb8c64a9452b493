"""What a conversation needs beside weights and KV cache while it is computed: the tensors that are alive at once.

Owns the formulas, one for each moment at which memory peaks; each is a sum of named terms, in the order in which the
layers allocate. Knows nothing of weights or devices. Numbers are counted first, bytes last: a number takes the item
size of the model's dtype, or four bytes where the code computes in float32. Letters: D decoder width, I width of its
MLP, Q and K widths of queries and of keys, T tokens; W, J and P are the tower's width, MLP width and patches. Of
CogAgent's larger picture W, J and P are those of its own tower, and C the width of its keys in a layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from demo.engine.shape import LargePicture, Shape

ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT = 4
# Words of four bytes that choosing a token takes for each score, sampling by top-p: the scores in float32, generate's
# copy, their division by the temperature, their sorting (values, and places of eight bytes), softmax and running sum.
WORDS_PER_SCORE = 10
# MLP-wide tensors alive at once, by activation: in and out of the function; one more where it is made of products.
ACT_BUFFERS: Mapping[str, int] = {"quick_gelu": 3, "silu": 3, "swish": 3}  # silu stands in gated MLPs only


def vision_bytes(shape: Shape, dtype: str, attn: str = "sdpa", *, kernels: bool = False) -> int:
    """The tower's peak over all pictures of a conversation, which go through it together."""
    if not shape.patches:
        return 0
    moments = (
        _tower_attention(shape, dtype, attn, kernels=kernels),
        _tower_mlp(shape, dtype),
        _projector(shape, dtype),
    )
    small = max(moments) + _seen(shape, dtype)  # the larger picture is read first
    return _pixels(shape, dtype) + max(small, _large_tower(shape.large, dtype, attn) if shape.large else 0)


def prefill_bytes(shape: Shape, dtype: str, attn: str = "sdpa", *, beside_tower: bool = True) -> int:
    """The peak of one decoder layer over the longest planned prompt; every device that holds a layer needs it.

    What became of the pictures waits until the end beside the tower alone.
    """
    moments = (
        _norm(shape, dtype),
        _projections(shape, dtype),
        _attention(shape, dtype, attn),
        _mlp(shape, dtype, attn),
        _cross_attention(shape, shape.large, dtype, attn) if shape.large else 0,
    )
    pictures = _pixels(shape, dtype) + _features(shape, dtype) if beside_tower else 0
    held = pictures + _seen(shape, dtype) + _factors(shape, dtype)
    return held + _mask(shape, dtype, attn) + max(moments)


def unpacked_bytes(shape: Shape, dtype: str) -> int:
    """The largest weight of a layer in the model's dtype, which a quantized linear is turned into to be multiplied."""
    fused = shape.query_width + 2 * shape.kv_width if shape.has_experts else shape.query_width
    return shape.hidden * max(shape.intermediate, fused) * ITEM_BYTES[dtype]


def logits_bytes(shape: Shape, slots: int = 1) -> int:
    """Scores of the vocabulary in float32 and what choosing a token makes of them; on the device of the head.

    Of every answer that is made at a time its own, and what choosing takes for one of them after the other.
    """
    beside = 0 if shape.keeps_one_logit else shape.context - 1
    return shape.vocabulary * FLOAT * (WORDS_PER_SCORE + slots - 1 + 2 * beside)  # of every position: computed, upcast


def _pixels(shape: Shape, dtype: str) -> int:
    """The pictures as they were sent in, which the caller keeps until the first token is there."""
    large = shape.large.patches * shape.large.patch_values if shape.large else 0
    return (shape.all_patches * shape.patch_values + large) * ITEM_BYTES[dtype]


def _tower_attention(shape: Shape, dtype: str, attn: str, *, kernels: bool) -> int:
    """Stream and its norm; queries, keys and values; the result, and its copy with the heads side by side (7 W).

    Towers for pictures of any size turn queries and keys in float32, beside stream, norm and what is to be turned
    (5 W): both cast, one of them turned, and of the other two products and the half-turned that one was made of (6 W).
    The factors are as wide as a head, and there are two of them. A kernel of our own, which there is for 16 bits,
    writes both turned beside those five (7 W).
    """
    width, item = shape.all_patches * shape.vision_hidden, ITEM_BYTES[dtype]
    moments = [7 * width * item]
    if shape.is_any_size and not (kernels and item < FLOAT):
        moments.append(5 * width * item + 6 * width * FLOAT + 2 * width // max(1, shape.vision_heads) * FLOAT)
    if attn == "eager":  # pictures of any size attend one after the other, the others in one batch
        pictures = 1 if shape.is_any_size else shape.pictures
        before = (5 if shape.has_experts else 7) * width * item  # CogVLM's layers norm what comes out, not what goes in
        moments.append(before + pictures * shape.vision_heads * shape.picture_patches**2 * _score_bytes(dtype))
    return max(moments)


def _tower_mlp(shape: Shape, dtype: str) -> int:
    """The layer's input, the stream and its norm (3 W), the patches' embeddings (W), and what is as wide as the MLP."""
    stream = (3 if shape.has_experts else 4) * shape.vision_hidden
    inner = ACT_BUFFERS.get(shape.vision_act, 2) * shape.vision_intermediate
    return shape.all_patches * (stream + inner) * ITEM_BYTES[dtype]


def _projector(shape: Shape, dtype: str) -> int:
    """From the tower's output (W) to the prompt's tokens. CogVLM's is a gated MLP as wide as the decoder's (3 I)."""
    tokens = shape.picture_tokens * shape.pictures
    inner = 3 * shape.intermediate if shape.has_experts else shape.hidden
    return (shape.all_patches * shape.vision_hidden + tokens * (shape.hidden + inner)) * ITEM_BYTES[dtype]


def _features(shape: Shape, dtype: str) -> int:
    """What the tower gave, its projection and that of all pictures together: CogVLM drops them before the decoder."""
    numbers = shape.all_patches * shape.vision_hidden + 2 * shape.picture_tokens * shape.pictures * shape.hidden
    return 0 if shape.has_experts else numbers * ITEM_BYTES[dtype]


def _seen(shape: Shape, dtype: str) -> int:
    """What all layers attend to of the larger picture."""
    return shape.large.patches * shape.large.hidden * ITEM_BYTES[dtype] if shape.large else 0


def _large_tower(large: LargePicture, dtype: str, attn: str) -> int:
    """The peak of one of its layers, over all patches and the class token.

    Keys are turned in float32: stream, norm, queries and keys before they are turned, and the keys' pairs swapped
    (5 W); two products and their sum. Later, stream, norm, queries, keys, values, the result, its norm and its
    projection (8 W). In the MLP the input, stream and norm (3 W), and both inner tensors and their product (3 J).
    """
    tokens, item = large.patches + 1, ITEM_BYTES[dtype]
    turning = 5 * large.hidden * item + 3 * large.hidden * FLOAT
    moments = [tokens * turning, tokens * 8 * large.hidden * item]
    moments.append(tokens * (3 * large.hidden + 3 * large.intermediate) * item)
    if attn == "eager":
        moments.append(tokens * 5 * large.hidden * item + large.heads * tokens**2 * _score_bytes(dtype))
    angles = 2 * tokens * large.hidden // max(1, large.heads) * FLOAT
    return angles + max(moments)


def _factors(shape: Shape, dtype: str) -> int:
    """Cosines and sines of the positions, as wide as a head, for all layers."""
    return 2 * shape.context * shape.query_width // max(1, shape.heads) * ITEM_BYTES[dtype]


def _mask(shape: Shape, dtype: str, attn: str) -> int:
    """Eager attention adds a mask of numbers; the others are told that it is causal and take none."""
    return shape.context**2 * ITEM_BYTES[dtype] if attn == "eager" else 0


def _stream(shape: Shape) -> int:
    """D-wide tensors that stand by while a layer attends: its input and, but for CogVLM, the embeddings."""
    return 1 if shape.has_experts else 2


def _norm(shape: Shape, dtype: str) -> int:
    """The second norm of a layer: embeddings, layer's input and stream (3 D); in float32 itself and a product."""
    upcast = 0 if dtype == "float32" else FLOAT
    return shape.context * shape.hidden * (3 * ITEM_BYTES[dtype] + upcast + FLOAT + ITEM_BYTES[dtype])


def _projections(shape: Shape, dtype: str) -> int:
    """Queries, keys and values, and their turning by position: two products, and the half-turned of one of them."""
    query, kv = shape.query_width, shape.kv_width
    fused = query + 2 * kv
    if shape.has_experts:  # both experts' rows, joined, in order; then turned, queries and keys at once
        inner = max(3 * fused, fused + 3 * (query + kv))
    else:
        inner = fused + 3 * query
    return shape.context * ((_stream(shape) + 1) * shape.hidden + inner) * ITEM_BYTES[dtype]


def _attention(shape: Shape, dtype: str, attn: str) -> int:
    """Turned queries, the result and its copy with the heads side by side; keys and values are in the cache by now.

    CogVLM still holds the fused projections, of which its values are a part. Eager repeats keys and values for every
    head and has a score for each pair of positions.
    """
    query, kv, item = shape.query_width, shape.kv_width, ITEM_BYTES[dtype]
    held = query + 2 * kv + query + kv if shape.has_experts else query
    numbers = (_stream(shape) + 1) * shape.hidden + held
    if attn != "eager":
        return shape.context * (numbers + 2 * query) * item
    repeated = 2 * query if query > kv else 0
    return shape.context * (numbers + repeated) * item + shape.heads * shape.context**2 * _score_bytes(dtype)


def _cross_attention(shape: Shape, large: LargePicture, dtype: str, attn: str) -> int:
    """Layer's input, stream and its norm (3 D) and queries; keys and values as projected, or the result and its copy.

    Keys and values are in the cache by then. Eager has a score for each token and patch.
    """
    numbers = shape.context * (3 * shape.hidden + large.width)
    projected, result = 2 * large.patches * large.width, 2 * shape.context * large.width
    scores = shape.heads * shape.context * large.patches * _score_bytes(dtype) if attn == "eager" else 0
    return max((numbers + projected) * ITEM_BYTES[dtype], (numbers + result) * ITEM_BYTES[dtype] + scores)


def _mlp(shape: Shape, dtype: str, attn: str) -> int:
    """Layer's input, stream and its norm, and embeddings or attended (4 D); gate, up and their product (3 I).

    A prompt with pictures sends fewer tokens through each of CogVLM's experts than one of words alone, which is
    therefore the larger. Eager attention's scores are still there, in the model's dtype. CogAgent's layers have let go
    of what was attended, and of the scores.
    """
    scores = shape.heads * shape.context**2 if attn == "eager" and shape.large is None else 0
    stream = 4 if shape.large is None else 3
    numbers = shape.context * (stream * shape.hidden + 3 * shape.intermediate)
    return (numbers + scores) * ITEM_BYTES[dtype]


def _score_bytes(dtype: str) -> int:
    """Bytes for each score of eager attention, at its softmax: as computed, cast to float32, and the result."""
    return ITEM_BYTES[dtype] + 2 * FLOAT if dtype != "float32" else 2 * FLOAT
