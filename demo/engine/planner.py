"""Where models go, decided before anything is loaded: a plan, or a refusal that shows its arithmetic.

Owns the decision: which search serves which placement, in which order ``auto`` tries them, and what a refusal lacks.
Pure: it sees sizes and flags only, and imports no framework. Bytes are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.engine.arranging import arrange
from demo.engine.devices import Device
from demo.engine.footprint import ModelFootprint
from demo.engine.pipeline import RESERVE_BYTES, Pipeline, card_dtype, cpu_dtype, pipeline_of
from demo.engine.placing import least
from demo.engine.plans import NO_FLAGS, Flags, Load, Plan, ReplicaPlan, Suggestion
from demo.engine.site import Site, grid, site_of
from demo.engine.suggestions import suggest
from demo.engine.words import arithmetic, gib, remedy, unmeasured
from demo.errors import ConfigError, DoesNotFit

__all__ = [
    "RESERVE_BYTES",
    "Flags",
    "Load",
    "Plan",
    "ReplicaPlan",
    "Suggestion",
    "assess",
    "checked",
    "gib",
    "left_by",
    "needs_outline",
    "plan",
]


def plan(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = NO_FLAGS) -> Plan:
    """Like `assess`, but raises `DoesNotFit` with the arithmetic where the model does not fit."""
    return checked(assess(model, devices, flags))


def checked(decision: Plan) -> Plan:
    """The plan itself, unless it is a refusal: then `DoesNotFit` is raised."""
    if decision.fits is False:
        raise DoesNotFit(decision.arithmetic.rstrip("."), remedy=remedy(decision))
    return decision


def assess(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = NO_FLAGS) -> Plan:
    """The plan for a model, or for the name of one that cannot be measured yet; ``fits`` says whether it holds.

    Raises `ConfigError` for flags that make no sense here.
    """
    site = site_of(devices, flags)
    if isinstance(model, str):
        return _unmeasured(model, site, flags)
    decision = decide(model, site, flags)
    if decision.fits:
        return decision
    fitting = suggest(
        lambda changed: (_fitting(model, site_of(devices, changed), changed),), devices, flags, [decision]
    )
    return replace(decision, suggestions=fitting)


def decide(model: ModelFootprint, site: Site, flags: Flags) -> Plan:
    """A model's plan on the devices that the flags leave, or the refusal, without suggestions."""
    decision = _fitting(model, site, flags)
    return decision or _refusal(model, site, flags)


def needs_outline(devices: Sequence[Device], flags: Flags) -> bool:
    """Whether the plan asks for the model's parts, and not for its size alone."""
    cards = site_of(devices, flags).cards
    may_split = flags.placement in ("auto", "shard") or (grid(flags.placement) or (1, 1))[1] > 1
    return bool(cards) and (flags.quantization != "none" or flags.offload or (may_split and len(cards) > 1))


def left_by(taken: Plan, devices: Sequence[Device]) -> list[Device]:
    """The devices with what a plan leaves free of them, for the next model's plan."""
    used = {device.id: sum(replica.devices.get(device.id, 0) for replica in taken.replicas) for device in devices}
    return [replace(device, free_bytes=max(0, device.free_bytes - used[device.id])) for device in devices]


def _fitting(model: ModelFootprint, site: Site, flags: Flags) -> Plan | None:
    """The plan where there is one."""
    model = _planned_for(model, flags)
    pipeline, dtype = _pipeline(model, site, flags)
    replicas = arrange(pipeline, site, flags)
    if not replicas:
        return None
    decision = _plan(model, dtype, flags, replicas, fits=True, tried=replicas[0])
    return replace(decision, arithmetic=arithmetic(decision, site))


def _refusal(model: ModelFootprint, site: Site, flags: Flags) -> Plan:
    """What was tried and how much it lacks: the least that, free besides on each device, would make it fit."""
    model = _planned_for(model, flags)
    rows, columns = grid(flags.placement) or (1, 1)
    room = site.with_cards(rows * columns) if site.cards else site
    pipeline, dtype = _pipeline(model, site, flags)
    most = 2 * pipeline.whole.total + sum(RESERVE_BYTES.values())
    short = least(lambda extra: bool(arrange(pipeline, room.grown(extra), flags)), most)
    tried = arrange(pipeline, room.grown(short), flags)[0]
    decision = _plan(model, dtype, flags, (), fits=False, tried=tried)
    decision = replace(decision, shortfall_bytes=short)
    return replace(decision, arithmetic=arithmetic(decision, site))


def _pipeline(model: ModelFootprint, site: Site, flags: Flags) -> tuple[Pipeline, str]:
    """The model's pipeline in the dtype that the site asks for, and that dtype."""
    if site.cards:
        dtype = card_dtype(model, flags)
    else:
        dtype = cpu_dtype(model, flags, site.main_memory.free_bytes if site.main_memory else 0)
    return pipeline_of(model, dtype, flags), dtype


def _planned_for(model: ModelFootprint, flags: Flags) -> ModelFootprint:
    if flags.context is None:
        return model
    return replace(model, shape=replace(model.shape, context=flags.context))


def _plan(
    model: ModelFootprint,
    dtype: str,
    flags: Flags,
    replicas: Sequence[ReplicaPlan],
    *,
    fits: bool,
    tried: ReplicaPlan,
) -> Plan:
    return Plan(
        model=model.name,
        dtype=dtype,
        quantization=flags.quantization,
        placement=_named(flags.placement, replicas or (tried,)),
        fits=fits,
        weights_bytes=model.weights_bytes(dtype, flags.quantization),
        parameters=model.floats,
        kv_cache_bytes=tried.load.kv_cache,
        activation_bytes=tried.load.activations,
        reserve_bytes=tried.load.reserve,
        replicas=tuple(replicas),
        context=model.shape.context,
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


def _unmeasured(name: str, site: Site, flags: Flags) -> Plan:
    """Whole replicas on whole devices, without sizes."""
    rows, columns = grid(flags.placement) or (1, 1)
    if flags.placement == "shard" or columns > 1:
        what = f"{name} cannot be split over cards before its files are here, for its parts are not known"
        raise ConfigError(what, value=flags.placement, remedy="Use --placement single, or download it first.")
    emptiest = sorted(site.cards, key=lambda card: (-card.free_bytes, card.index or 0))
    count = {"replicate": len(emptiest)}.get(flags.placement, rows)
    if site.cards and count > len(emptiest):
        raise ConfigError(f"{rows} replicas take as many cards", value=len(emptiest), remedy="Choose fewer.")
    places = [card.id for card in emptiest[:count]] or ["cpu"]
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
        arithmetic=unmeasured(name, places),
        attn=flags.attn,
    )
