"""Cards, models and flags for the planner's tests, and a planner that tries everything."""

from dataclasses import replace
from itertools import combinations, permutations

from hypothesis import settings
from hypothesis import strategies as st

from demo.engine.devices import GIB, Device
from demo.engine.footprint import ModelFootprint, Module, Shape
from demo.engine.planner import RESERVE_BYTES, Flags

untimed = settings(deadline=None, max_examples=60)
UNIT = 2**28  # the sizes that are drawn are multiples of it, so that things often fit to the byte, or nearly
ON_CARD, ON_CPU = RESERVE_BYTES["cuda"], RESERVE_BYTES["cpu"]


def card(number, free, total=None):
    return Device(f"cuda:{number}", "card", "cuda", total or free, free)


def cpu(free):
    return Device("cpu", "CPU", "cpu", free, free)


def model(gigabytes, dtype="bfloat16", *, name="m", **shape):
    """A model of which only the sum is known; its weights take this many GiB in 16 bits."""
    return ModelFootprint(name, int(gigabytes * GIB) // 2, dtype, shape=Shape(**shape))


def parted(*layers, first=0, vision=None, head=0, is_tied=False, name="m", linear=0, other_bytes=0, **shape):
    """A model whose parts take so many bytes each in 16 bits."""
    modules = [] if vision is None else [Module("vision", "vision", vision // 2)]
    modules.append(Module("embeddings", "embedding", first // 2))
    for index, size in enumerate(layers):
        modules.append(Module(f"layers.{index}", "layer", size // 2, min(linear, size // 2), other_bytes=other_bytes))
    modules.append(Module("norm", "other", 0))
    modules.append(Module("head", "head", 0 if is_tied else head // 2, tied_to="embeddings" if is_tied else None))
    others = other_bytes * len(layers)
    floats = sum(module.floats for module in modules)
    return ModelFootprint(name, floats, "bfloat16", others, Shape(layers=len(layers), **shape), tuple(modules))


# --- whatever can be drawn

UNITS = st.integers(0, 8).map(lambda count: count * UNIT)
ROOM = st.integers(0, 24).map(lambda count: count * UNIT) | st.integers(0, 24 * UNIT)


@st.composite
def models(draw, max_layers=4, name="m"):
    """Models in parts, with and without a tower, tied heads, and conversations that cost something."""
    shape = draw(
        st.sampled_from(
            [
                {"vocabulary": 0},
                {"kv_width": 4096, "context": 8192, "vocabulary": 2**16},
                {"kv_width": 512, "context": 4096, "hidden": 1024, "intermediate": 4096, "vocabulary": 2**20},
                {"hidden": 512, "patches": 1024, "vision_hidden": 8192, "vision_intermediate": 2**15},
            ]
        )
    )
    return parted(
        *draw(st.lists(UNITS, min_size=1, max_size=max_layers)),
        first=draw(UNITS),
        vision=draw(st.none() | UNITS),
        head=draw(UNITS),
        is_tied=draw(st.booleans()),
        other_bytes=draw(st.sampled_from([0, 1000])),
        name=name,
        **shape,
    )


@st.composite
def machines(draw, max_cards=3, min_cards=1):
    rooms = draw(st.lists(ROOM, min_size=min_cards, max_size=max_cards))
    return [*(card(number, free) for number, free in enumerate(rooms)), cpu(draw(ROOM) * 2)]


@st.composite
def flags_for(draw, machine, placements):
    numbers = [device.index for device in machine if device.index is not None]
    chosen = draw(st.none() | st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    return Flags(
        placement=draw(st.sampled_from(placements)),
        devices=None if chosen is None else tuple(chosen),
        max_memory=draw(st.dictionaries(st.sampled_from(numbers), ROOM, max_size=2)),
        dtype=draw(st.sampled_from(["auto", "auto", "float32"])),
        slots=draw(st.integers(1, 2)),
    )


# --- trying everything


def usable(machine, flags):
    """The cards that the flags leave, with what they allow."""
    cards = [d for d in machine if d.kind == "cuda" and (flags.devices is None or d.index in flags.devices)]
    return [replace(d, free_bytes=min(d.free_bytes, flags.max_memory.get(d.index, d.free_bytes))) for d in cards]


def blocks_of(footprint):
    """The parts that stay together, in order; empty ones are left out."""
    head = [m for m in footprint.modules if m.kind == "head"]
    is_tied = any(m.tied_to for m in head)
    first = [m for m in footprint.modules if m.kind in ("vision", "embedding")] + (head if is_tied else [])
    last = [m for m in footprint.modules if m.kind == "other"] + ([] if is_tied else head)
    return [first, *([m] for m in footprint.modules if m.kind == "layer"), last]


def with_gaps(kv_cache, prefill, tower=0):
    """What a card's allocator holds besides the KV cache and the scores, for the one conversation that is read."""
    return max(prefill + 4 * tower // 5, tower) + 2 * (kv_cache + prefill) // 5


def cost(footprint, modules, flags):
    """All the bytes that a card needs that holds these modules."""
    if not modules:
        return 0
    dtype = footprint.stored_dtype if flags.dtype == "auto" else flags.dtype
    is_first = any(m.kind == "embedding" for m in modules)  # the first part reads the pictures
    prefill = footprint.prefill_activation_bytes(dtype, flags.attn, flags.quantization, beside_tower=is_first)
    tower, scores = footprint.vision_activation_bytes(dtype, flags.attn) if is_first else 0, 0
    if any(m.kind == "head" for m in modules):
        scores = footprint.logits_bytes(flags.slots)
    weights = sum(footprint.bytes_of(m, dtype, flags.quantization) for m in modules)
    layers = sum(m.kind == "layer" for m in modules)
    kv_cache, growing = (footprint.kv_cache_bytes(dtype, slots=n, layers=layers) for n in (flags.slots, 1))
    return weights + kv_cache + with_gaps(growing, prefill, tower) + scores + ON_CARD


def splits(footprint, cards, flags):
    """The bytes on each card of every way to lay the blocks over some of the cards, fitting or not."""
    blocks = blocks_of(footprint)
    for count in range(1, len(cards) + 1):
        for chosen in permutations(cards, count):
            for cuts in combinations(range(1, len(blocks)), count - 1):
                ends = zip((0, *cuts), (*cuts, len(blocks)))
                stretches = [[m for block in blocks[start:stop] for m in block] for start, stop in ends]
                yield {c.id: cost(footprint, stretch, flags) for c, stretch in zip(chosen, stretches)}


def fits_on(footprint, cards, flags):
    free = {c.id: c.free_bytes for c in cards}
    return any(all(size <= free[id] for id, size in split.items()) for split in splits(footprint, cards, flags))


def most_replicas(footprint, cards, flags, size=None):
    """As many as can be had on groups of cards that share none."""
    sizes = range(1, len(cards) + 1) if size is None else [size] if size <= len(cards) else []
    best = 0
    for count in sizes:
        for group in combinations(cards, count):
            if fits_on(footprint, group, flags):
                best = max(best, 1 + most_replicas(footprint, [c for c in cards if c not in group], flags, size))
    return best


def left(cards, used):
    return [replace(c, free_bytes=c.free_bytes - used.get(c.id, 0)) for c in cards]


def fit_together(footprints, cards, flags, ways):
    """Whether there is a way for each model that leaves room for one of each of the others."""
    if not footprints:
        return True
    free = {c.id: c.free_bytes for c in cards}
    for way in ways(footprints[0], cards, flags):
        fits = all(size <= free[id] for id, size in way.items())
        if fits and fit_together(footprints[1:], left(cards, way), flags, ways):
            return True
    return False
