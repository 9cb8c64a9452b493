"""The decision about one model: its plan, or what was tried and how much that lacks.

Owns the choice of the dtype that "auto" stands for, the shortfall, and what ``auto`` came to in the words of a flag.
Knows nothing of other models or of suggestions. Bytes are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.engine.arranging import arrange
from demo.engine.footprint import ModelFootprint
from demo.engine.pipeline import RESERVE_BYTES, Pipeline, card_dtype, cpu_dtype, has_recordings, pipeline_of
from demo.engine.placing import by_number, least
from demo.engine.plans import Flags, Load, Plan, ReplicaPlan
from demo.engine.shape import PLANNED_CONTEXT
from demo.engine.site import Site, grid
from demo.engine.words import arithmetic, served_elsewhere, unmeasured
from demo.errors import ConfigError

ENDPOINT_SLOTS = 16  # answers at a time that a server is asked for, unless a flag says how many


def fitting_plan(model: ModelFootprint, site: Site, flags: Flags) -> Plan | None:
    """The plan where there is one."""
    model = planned_for(model, flags)
    pipeline, dtype = pipeline_for(model, site, flags)
    replicas = arrange(pipeline, site, flags)
    if not replicas:
        return None
    return described(made_plan(model, dtype, flags, replicas), site)


def refusal(model: ModelFootprint, site: Site, flags: Flags) -> Plan:
    """What was tried and how much it lacks: the least that, free besides on each device, would make it fit."""
    model = planned_for(model, flags)
    rows, columns = grid(flags.placement) or (1, 1)
    room = site.with_cards(rows * columns) if site.cards else site
    pipeline, dtype = pipeline_for(model, site, flags)
    short = least(lambda extra: bool(arrange(pipeline, room.grown(extra), flags, is_even=False)), ample(pipeline))
    tried = arrange(pipeline, room.grown(short), flags)[0]
    return described(made_plan(model, dtype, flags, (), tried=tried, short=short), site)


def described(decision: Plan, site: Site) -> Plan:
    """The same with its sentences."""
    return replace(decision, arithmetic=arithmetic(decision, site))


def ample(pipeline: Pipeline) -> int:
    """Bytes that are enough for a replica on any device."""
    return 2 * pipeline.whole.total + sum(RESERVE_BYTES.values())


def pipeline_for(model: ModelFootprint, site: Site, flags: Flags) -> tuple[Pipeline, str]:
    """The model's pipeline in the dtype that the site asks for, and that dtype."""
    if site.cards:
        dtype = card_dtype(model, flags)
    else:
        dtype = cpu_dtype(model, flags, site.main_memory.free_bytes if site.main_memory else 0)
    return pipeline_of(model, dtype, flags), dtype


def planned_for(model: ModelFootprint, flags: Flags) -> ModelFootprint:
    """The model with the context that is asked for, but no longer than its own where that is known to be short."""
    if flags.context is None:
        return model
    own = model.shape.context
    context = flags.context if own >= PLANNED_CONTEXT else min(flags.context, own)
    return replace(model, shape=replace(model.shape, context=context))


def made_plan(
    model: ModelFootprint,
    dtype: str,
    flags: Flags,
    replicas: Sequence[ReplicaPlan],
    *,
    tried: ReplicaPlan | None = None,
    short: int = 0,
) -> Plan:
    """A plan of these replicas; without any the refusal of what was tried."""
    tried = tried or replicas[0]
    return Plan(
        model=model.name,
        dtype=dtype,
        quantization=flags.quantization,
        placement=_named(flags.placement, replicas or (tried,)),
        fits=bool(replicas),
        weights_bytes=model.weights_bytes(dtype, flags.quantization),
        parameters=model.floats,
        kv_cache_bytes=tried.load.kv_cache,
        activation_bytes=tried.load.activations,
        reserve_bytes=tried.load.reserve,
        replicas=tuple(replicas),
        context=model.shape.context,
        slots=model.slots(flags.slots),
        kernels=flags.kernels,
        graphs=has_recordings(model, flags) and all("cpu" not in one.loads for one in replicas or (tried,)),
        shortfall_bytes=short,
        tried=tried,
        attn=flags.attn,
        can_split=bool(model.modules),
    )


def _named(asked: str, replicas: Sequence[ReplicaPlan]) -> str:
    """What ``auto`` came to, in the words of the flag; "mixed" where replicas have different numbers of cards."""
    if asked != "auto":
        return asked
    sizes = {len(replica.cards) for replica in replicas}
    if len(sizes) > 1:
        return "mixed"
    (size,) = sizes
    if size == 0:
        return "cpu"
    if len(replicas) == 1:
        return "single" if size == 1 else "shard"
    return "replicate" if size == 1 else f"{len(replicas)}x{size}"


def elsewhere(name: str, flags: Flags) -> Plan:
    """A replica for each server that has the model; nothing of it is here."""
    replicas = tuple(ReplicaPlan({}, {"": url}) for url in flags.endpoints)
    return Plan(
        model=name,
        dtype="remote",
        quantization="none",
        placement="endpoint",
        fits=True,
        weights_bytes=0,
        parameters=0,
        kv_cache_bytes=0,
        activation_bytes=0,
        reserve_bytes=0,
        replicas=replicas,
        slots=flags.slots or ENDPOINT_SLOTS,
        arithmetic=served_elsewhere(name, flags.endpoints),
    )


def unmeasured_plan(name: str, site: Site, flags: Flags) -> Plan:
    """Whole replicas on whole devices, without sizes."""
    rows, columns = grid(flags.placement) or (1, 1)
    if flags.placement == "shard" or columns > 1:
        what = f"{name} cannot be split over cards before its files are here, for its parts are not known"
        raise ConfigError(what, value=flags.placement, remedy="Use --placement single, or download it first.")
    count = len(site.cards) if flags.placement == "replicate" else rows
    if site.cards and count > len(site.cards):
        raise ConfigError(f"{rows} replicas take as many cards", value=len(site.cards), remedy="Choose fewer.")
    richest = sorted(site.cards, key=lambda card: (-card.free_bytes, card.index or 0))
    places = [card.id for card in by_number(richest[:count])] or ["cpu"]
    kind = "cuda" if site.cards else "cpu"
    replicas = tuple(ReplicaPlan({place: Load()}, {"": place}) for place in places)
    return Plan(
        model=name,
        dtype=flags.dtype,
        quantization=flags.quantization,
        placement=_named(flags.placement, replicas),
        fits=None,
        weights_bytes=None,
        parameters=None,
        kv_cache_bytes=None,
        activation_bytes=None,
        reserve_bytes=RESERVE_BYTES[kind],
        replicas=replicas,
        context=flags.context or 0,
        slots=flags.slots or 1,
        arithmetic=unmeasured(name, places),
        attn=flags.attn,
    )
