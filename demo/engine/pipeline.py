"""One replica as a pipeline of parts that are never split, and what any stretch of it takes of a device.

Owns the order of the parts and the sum: the embeddings and the vision tower are the first part, the final norm and the
head the last, every layer is one between them, and modules with tied weights are in one part. Knows nothing of
devices. Bytes are integers; a stretch is ``parts[start:stop]``.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from demo.engine.footprint import ITEM_BYTES, ModelFootprint, Module
from demo.engine.plans import Flags, Load
from demo.steps import all_shapes

# What a process takes besides the model. Card: the CUDA context (0.69 GiB on an H200 with torch 2.11) and the
# libraries' workspaces (32 MiB). CPU: the interpreter with the frameworks, 0.45 GiB with the torch for CPUs and 0.7 GiB
# with PyPI's, which maps CUDA's libraries too.
RESERVE_BYTES: Mapping[str, int] = {"cuda": 768 * 2**20, "cpu": 768 * 2**20}
FIRST_KINDS = ("embedding", "vision")
# What torch's allocator holds on a card beyond the tensors that are alive at once, as fitted to twelve measurements
# (four models of 7 to 19 billion parameters, each on one card, on two and split; `benchmarks/README.md`): a growing KV
# cache and the prefill's tensors leave gaps between each other, and of what the tower used little fits the rest.
GAPS = (2, 5)  # of KV cache and prefill
TOWER_KEPT = (4, 5)  # of the tower's peak, beside the prefill

# Recorded steps as the driver keeps them, beside torch's allocator, for each shape and layer: 70 to 190 kB on an H100
# (torch 2.11, models of 7 to 19 billion parameters), however many answers; the rest is for their scratch.
GRAPH_LAYER_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Part:
    """Modules that stay together. Those in ``spilled`` have their weights in main memory, but compute here."""

    paths: tuple[str, ...]
    weights: int
    layers: int = 0  # whose KV cache lies here
    has_head: bool = False
    spilled: tuple[str, ...] = ()
    spilled_bytes: int = 0
    staging: int = 0  # bytes that the largest of them takes here while it computes


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts in the order they compute, with what a conversation adds to them."""

    parts: tuple[Part, ...]
    whole: Load  # all of it on one card
    kv_cache: tuple[int, ...]  # bytes by number of layers
    vision: int  # activations of the vision tower, of the prefill of the planned context, and the logits
    prefill: int
    prefill_after: int  # the prefill's on the cards after the first, which see nothing of pictures
    logits: int
    growing: int  # of the KV cache what one conversation takes, where all layers are
    graphs: tuple[int, ...] = (0,)  # bytes of recorded steps, as those of the KV cache
    _weights: tuple[int, ...] = field(init=False, repr=False)  # sums over the parts before each
    _layers: tuple[int, ...] = field(init=False, repr=False)
    _heads: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, counted in (
            ("_weights", [part.weights for part in self.parts]),
            ("_layers", [part.layers for part in self.parts]),
            ("_heads", [int(part.has_head) for part in self.parts]),
        ):
            object.__setattr__(self, name, tuple(accumulate(counted, initial=0)))

    def __len__(self) -> int:
        return len(self.parts)

    def load(self, start: int, stop: int) -> Load:
        """What the stretch takes of its card. It grows with the stretch, which the search for a split relies on."""
        if start == stop:
            return Load()
        layers = self._layers[stop] - self._layers[start]
        kv_cache = self.kv_cache[layers]
        tower, prefill = (0, self.prefill_after) if start else (self.vision, self.prefill)
        logits = self.logits if self._heads[stop] > self._heads[start] else 0
        return Load(
            weights=self._weights[stop] - self._weights[start],
            kv_cache=kv_cache,
            activations=_held(self._growing(kv_cache), prefill, tower)
            + logits
            + self.parts[start].staging
            + self.graphs[layers],
            reserve=RESERVE_BYTES["cuda"],
        )

    def _growing(self, kv_cache: int) -> int:
        """One conversation's part of the KV cache of some layers."""
        return kv_cache * self.growing // max(1, self.whole.kv_cache)

    def furthest(self, start: int, capacity: int) -> int:
        """Where the longest stretch from ``start`` ends that takes no more than ``capacity``."""
        stops = range(start + 1, len(self.parts) + 1)
        return start + bisect.bisect_right(stops, capacity, key=lambda stop: self.load(start, stop).total)

    def spill(self, count: int) -> Pipeline:
        """The same with its first layers, ``count`` parts of them, in main memory.

        They compute on the first card, which holds their KV cache and, one after the other, their weights.
        """
        first, gone = self.parts[0], self.parts[1 : count + 1]
        merged = replace(
            first,
            layers=first.layers + sum(part.layers for part in gone),
            has_head=first.has_head or any(part.has_head for part in gone),
            spilled=tuple(path for part in gone for path in part.paths),
            spilled_bytes=sum(part.weights for part in gone),
            staging=max((part.weights for part in gone), default=0),
        )
        return replace(self, parts=(merged, *self.parts[count + 1 :]))

    @property
    def num_spillable(self) -> int:
        """How many parts may be in main memory: the layers between the first part and the head."""
        return next((i for i, part in enumerate(self.parts[1:]) if part.has_head or not part.layers), len(self) - 1)


def pipeline_of(model: ModelFootprint, dtype: str, flags: Flags) -> Pipeline:
    """A model's pipeline; a single part where its modules are not known."""
    count = sum(module.kind == "layer" for module in model.modules)
    whole = whole_load(model, dtype, flags, "cuda")
    slots = model.slots(flags.slots)
    kv_cache = tuple(model.kv_cache_bytes(dtype, slots=slots, layers=layers) for layers in range(count + 1))
    graphs = tuple(_graphs(model, flags, layers) for layers in range(count + 1))
    parts = [_part(model, modules, dtype, flags) for modules in _together(model.modules)]
    if not parts:
        parts, kv_cache = [Part(("",), whole.weights)], (whole.kv_cache,)
        graphs = (_graphs(model, flags, model.shape.layers),)
    if not any(part.has_head for part in parts):
        parts[-1] = replace(parts[-1], has_head=True)
    return Pipeline(
        parts=tuple(parts),
        whole=whole,
        kv_cache=kv_cache,
        vision=_tower(model, dtype, flags),
        prefill=model.prefill_activation_bytes(dtype, flags.attn, flags.quantization),
        prefill_after=model.prefill_activation_bytes(dtype, flags.attn, flags.quantization, beside_tower=False),
        logits=model.logits_bytes(slots),
        growing=model.kv_cache_bytes(dtype, slots=1),
        graphs=graphs,
    )


def whole_load(model: ModelFootprint, dtype: str, flags: Flags, kind: str) -> Load:
    """What a replica takes of the one device that it is on. Prompts are read one at a time, however many the slots."""
    slots = model.slots(flags.slots)
    kv_cache = model.kv_cache_bytes(dtype, slots=slots)
    activations = model.activation_bytes(dtype, flags.attn, flags.quantization, slots=slots)
    if kind == "cuda":
        prefill = model.prefill_activation_bytes(dtype, flags.attn, flags.quantization)
        tower = _tower(model, dtype, flags)
        growing = model.kv_cache_bytes(dtype, slots=1)
        activations = _held(growing, prefill, tower) + model.logits_bytes(slots)
        activations += _graphs(model, flags, model.shape.layers)
    return Load(
        weights=model.weights_bytes(dtype, flags.quantization),
        kv_cache=kv_cache,
        activations=activations,
        reserve=RESERVE_BYTES[kind],
    )


def _tower(model: ModelFootprint, dtype: str, flags: Flags) -> int:
    """What a card takes to look at pictures, where there are kernels of our own wherever steps are recorded."""
    return model.vision_activation_bytes(dtype, flags.attn, kernels=flags.kernels and has_recordings(model, flags))


def has_recordings(model: ModelFootprint, flags: Flags) -> bool:
    """Whether there is room for recorded steps, where the model is on cards alone."""
    return bool(flags.graphs) and not flags.offload and not model.shape.answers_alone


def _graphs(model: ModelFootprint, flags: Flags, layers: int) -> int:
    """What recorded steps of every shape take, of so many layers."""
    if not has_recordings(model, flags):
        return 0
    shapes = all_shapes(slots=model.slots(flags.slots), context=model.shape.context)
    return len(shapes) * layers * GRAPH_LAYER_BYTES


def _held(growing: int, prefill: int, tower: int) -> int:
    """What a card's allocator holds for prefill and tower, and the gaps between them and a KV cache that grows.

    Slots are taken at once and leave no gaps; a model that cannot use them lets the cache of its one answer grow.
    """
    gaps = (growing + prefill) * GAPS[0] // GAPS[1]
    return max(prefill + tower * TOWER_KEPT[0] // TOWER_KEPT[1], tower) + gaps


def cpu_dtype(model: ModelFootprint, flags: Flags, free_bytes: int) -> str:
    """On the CPU "auto" is float32 where that fits, for most CPUs emulate the 16-bit types."""
    if flags.dtype != "auto":
        return flags.dtype
    return "float32" if whole_load(model, "float32", flags, "cpu").total <= free_bytes else "bfloat16"


def card_dtype(model: ModelFootprint, flags: Flags) -> str:
    """On a card "auto" is the checkpoint's own."""
    return flags.dtype if flags.dtype in ITEM_BYTES else model.stored_dtype


def _part(model: ModelFootprint, modules: Sequence[Module], dtype: str, flags: Flags) -> Part:
    return Part(
        paths=tuple(module.path for module in modules),
        weights=sum(model.bytes_of(module, dtype, flags.quantization) for module in modules),
        layers=sum(module.kind == "layer" for module in modules),
        has_head=any(module.kind == "head" for module in modules),
    )


def _together(modules: Sequence[Module]) -> list[list[Module]]:
    """The modules of each part. Whoever shares weights is in the earliest of the sharers' parts."""
    places = _places(modules)
    owners = {module.path: module.tied_to for module in modules}
    earliest: dict[str, int] = {}
    for module, place in zip(modules, places):
        root = _root(module.path, owners)
        earliest[root] = min(earliest.get(root, place), place)
    parts: dict[int, list[Module]] = {}
    for module in modules:
        parts.setdefault(earliest[_root(module.path, owners)], []).append(module)
    return [parts[place] for place in sorted(parts)]


def _places(modules: Sequence[Module]) -> list[int]:
    """The part of each module, were none tied: 0 the first, then one for each layer, then the last."""
    num_layers = sum(module.kind == "layer" for module in modules)
    seen, places = 0, []
    for module in modules:
        seen += module.kind == "layer"
        if module.kind in FIRST_KINDS:
            places.append(0)
        elif module.kind == "head":
            places.append(num_layers + 1)
        else:  # what is between two layers goes with the one before it, what follows them all with the head
            places.append(num_layers + 1 if module.kind == "other" and seen == num_layers else seen)
    return places


def _root(path: str, owners: Mapping[str, str | None]) -> str:
    """The module that a chain of ties ends at."""
    while (owner := owners.get(path)) is not None:
        path = owner
    return path
