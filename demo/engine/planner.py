"""Where a model goes, decided before anything is loaded: a plan, or a refusal that shows its arithmetic.

Owns the decision and its explanation. Pure: it sees sizes and flags only, and imports no framework. Bytes are
integers; GiB appear only in words for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from demo.config import EngineConfig
from demo.engine.devices import GIB, Device
from demo.engine.footprint import ITEM_BYTES, ModelFootprint
from demo.errors import ConfigError, DoesNotFit
from demo.types import Placement

PLACEMENTS = ("auto", "single", "cpu")
# What a process takes besides the model. Card: the CUDA context, libraries' workspaces and the allocator's slack.
# CPU: the interpreter with the frameworks.
RESERVE_BYTES: Mapping[str, int] = {"cuda": 768 * 2**20, "cpu": 512 * 2**20}


@dataclass(frozen=True, slots=True)
class Flags:
    """What the user asked for; ``devices`` are card numbers, ``max_memory`` their budgets."""

    placement: str = "auto"
    devices: tuple[int, ...] | None = None
    max_memory: Mapping[int, int] = field(default_factory=dict)
    dtype: str = "auto"
    quantization: str = "none"
    offload: bool = False
    slots: int = 1  # answers at a time in one replica

    @classmethod
    def of(cls, config: EngineConfig) -> Flags:
        return cls(
            placement=config.placement,
            devices=config.devices,
            max_memory=config.max_memory,
            dtype=config.dtype,
            quantization=config.quantize,
            offload=config.offload,
        )


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One replica: what it will take on each device, and which part of the model goes where."""

    devices: Mapping[str, int]  # device -> bytes, everything counted
    device_map: Mapping[str, str]  # module path -> device; the empty path is the whole model


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Flags that would change the outcome, and the bytes they need on the fullest device."""

    flags: str
    fits: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision. Sizes and ``fits`` are None for a model whose files are not here yet."""

    model: str
    dtype: str
    quantization: str
    placement: str
    fits: bool | None
    weights_bytes: int | None
    parameters: int | None
    kv_cache_bytes: int | None
    activation_bytes: int | None
    reserve_bytes: int
    replicas: tuple[ReplicaPlan, ...]
    shortfall_bytes: int = 0
    suggestions: tuple[Suggestion, ...] = ()
    arithmetic: str = ""  # a sentence for people

    def to_json(self) -> dict[str, Any]:
        """The object that ``--plan --json`` prints."""
        plain = ("model", "dtype", "quantization", "placement", "fits", "weights_bytes", "parameters")
        sizes = ("kv_cache_bytes", "activation_bytes", "reserve_bytes")
        return {
            **{name: getattr(self, name) for name in (*plain, *sizes)},
            "replicas": [{"devices": dict(replica.devices)} for replica in self.replicas],
            "shortfall_bytes": self.shortfall_bytes,
            "suggestions": [{"flags": s.flags, "fits": s.fits, "bytes": s.bytes} for s in self.suggestions],
        }

    def placement_of(self, replica: int, *, threads: int) -> Placement:
        """What the replica's backend is told."""
        return Placement(self.replicas[replica].device_map, dtype=self.dtype, threads=threads)


def plan(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = Flags()) -> Plan:
    """Like `assess`, but raises `DoesNotFit` with the arithmetic where the model does not fit."""
    decision = assess(model, devices, flags)
    if decision.fits is False:
        raise DoesNotFit(decision.arithmetic.rstrip("."), remedy=_remedy(decision))
    return decision


def assess(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = Flags()) -> Plan:
    """The plan for a model, or for the name of one that cannot be measured yet; ``fits`` says whether it holds.

    Raises `ConfigError` for flags that make no sense here.
    """
    _check(flags, devices)
    candidates = _candidates(devices, flags)
    if isinstance(model, str):
        return _unmeasured(model, candidates[0], flags)
    decision = _on_one(model, candidates, flags)
    if decision.fits:
        return decision
    return replace(decision, suggestions=_suggest(model, devices, flags))


def left_by(taken: Plan, devices: Sequence[Device]) -> list[Device]:
    """The devices with what a plan leaves free of them, for the next model's plan."""
    used = {device.id: sum(replica.devices.get(device.id, 0) for replica in taken.replicas) for device in devices}
    return [replace(device, free_bytes=max(0, device.free_bytes - used[device.id])) for device in devices]


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def _check(flags: Flags, devices: Sequence[Device]) -> None:
    if flags.placement not in PLACEMENTS:
        known = ", ".join(PLACEMENTS)
        raise ConfigError("Unknown placement", value=flags.placement, remedy=f"Known: {known}.")
    if flags.quantization != "none":
        raise ConfigError("Unknown quantization", value=flags.quantization, remedy="Known: none.")
    if flags.offload:
        raise ConfigError("Layers cannot be offloaded with this placement", remedy="Leave --offload out.")
    if flags.dtype != "auto" and flags.dtype not in ITEM_BYTES:
        raise ConfigError("Unknown dtype", value=flags.dtype, remedy=f"Known: auto, {', '.join(ITEM_BYTES)}.")
    there = {device.index for device in devices if device.kind == "cuda"}
    for number in (*(flags.devices or ()), *flags.max_memory):
        if number not in there:
            found = ", ".join(str(index) for index in sorted(i for i in there if i is not None)) or "none"
            raise ConfigError("There is no such card", value=number, remedy=f"Cards here: {found}.")


def _candidates(devices: Sequence[Device], flags: Flags) -> list[Device]:
    """The devices one replica may go to, the emptiest first; their free bytes are within the budgets."""
    cards = [_within_budget(device, flags) for device in devices if device.kind == "cuda" and _is_chosen(device, flags)]
    cpus = [device for device in devices if device.kind == "cpu"]
    wanted = {"single": cards, "cpu": cpus, "auto": cards or cpus}[flags.placement]
    if not wanted:
        kind = "CPU" if flags.placement == "cpu" else "card"
        remedy = "" if kind == "CPU" else "Use --placement cpu."
        raise ConfigError(f"There is no {kind} for this placement", value=flags.placement, remedy=remedy)
    return sorted(wanted, key=lambda device: (-device.free_bytes, device.id))


def _is_chosen(card: Device, flags: Flags) -> bool:
    return flags.devices is None or card.index in flags.devices


def _within_budget(card: Device, flags: Flags) -> Device:
    budget = flags.max_memory.get(card.index, card.free_bytes) if card.index is not None else card.free_bytes
    return replace(card, free_bytes=min(card.free_bytes, budget))


def _unmeasured(name: str, device: Device, flags: Flags) -> Plan:
    words = f"The size of {name} is not known before its files are here, so whether it fits {device.id} is not either."
    replicas = (ReplicaPlan({device.id: 0}, {"": device.id}),)
    return Plan(
        model=name,
        dtype=flags.dtype,
        quantization=flags.quantization,
        placement=_named(device),
        fits=None,
        weights_bytes=None,
        parameters=None,
        kv_cache_bytes=None,
        activation_bytes=None,
        reserve_bytes=RESERVE_BYTES[device.kind],
        replicas=replicas,
        arithmetic=words,
    )


def _on_one(model: ModelFootprint, candidates: Sequence[Device], flags: Flags) -> Plan:
    """One replica on the emptiest candidate; ``shortfall_bytes`` is what that one lacks."""
    device = candidates[0]
    dtype = _dtype(model, device, flags)
    decision = Plan(
        model=model.name,
        dtype=dtype,
        quantization=flags.quantization,
        placement=_named(device),
        fits=True,
        weights_bytes=model.weights_bytes(dtype),
        parameters=model.floats,
        kv_cache_bytes=model.kv_cache_bytes(dtype, slots=flags.slots),
        activation_bytes=model.activation_bytes(dtype) * flags.slots,
        reserve_bytes=RESERVE_BYTES[device.kind],
        replicas=(),
    )
    need = _need(decision)
    if need <= device.free_bytes:
        replicas = (ReplicaPlan({device.id: need}, {"": device.id}),)
        return replace(decision, replicas=replicas, arithmetic=_arithmetic(decision, candidates[:1]))
    short = need - device.free_bytes
    return replace(decision, fits=False, shortfall_bytes=short, arithmetic=_arithmetic(decision, candidates))


def _dtype(model: ModelFootprint, device: Device, flags: Flags) -> str:
    """ "auto" is the checkpoint's own; on the CPU float32 where that fits, for most CPUs emulate the 16-bit types."""
    if flags.dtype != "auto":
        return flags.dtype
    if device.kind == "cuda":
        return model.stored_dtype
    return "float32" if _total(model, "float32", device, flags) <= device.free_bytes else "bfloat16"


def _total(model: ModelFootprint, dtype: str, device: Device, flags: Flags) -> int:
    conversation = model.kv_cache_bytes(dtype, slots=flags.slots) + model.activation_bytes(dtype) * flags.slots
    return model.weights_bytes(dtype) + conversation + RESERVE_BYTES[device.kind]


def _need(decision: Plan) -> int:
    parts = (decision.weights_bytes, decision.kv_cache_bytes, decision.activation_bytes, decision.reserve_bytes)
    return sum(part or 0 for part in parts)


def _named(device: Device) -> str:
    return "cpu" if device.kind == "cpu" else "single"


def _arithmetic(decision: Plan, devices: Sequence[Device]) -> str:
    numbers = f"{_count(decision.parameters or 0)} parameters in {decision.dtype}"
    parts = (
        f"weights {gib(decision.weights_bytes or 0)} ({numbers})",
        f"KV cache {gib(decision.kv_cache_bytes or 0)}",
        f"activations {gib(decision.activation_bytes or 0)}",
        f"reserve {gib(decision.reserve_bytes)}",
    )
    free = ", ".join(f"{device.id} has {gib(device.free_bytes)} free" for device in devices)
    need = _need(decision)
    verdict = "it fits" if need <= devices[0].free_bytes else f"{gib(need - devices[0].free_bytes)} short"
    return f"{decision.model} needs {gib(need)} on one device: {' + '.join(parts)}; {free}: {verdict}."


def _count(number: int) -> str:
    return f"{number / 1e9:.1f} billion" if number >= 1e8 else f"{number / 1e6:.1f} million"


def _suggest(model: ModelFootprint, devices: Sequence[Device], flags: Flags) -> tuple[Suggestion, ...]:
    """The smallest changes of the flags, the best first: what fits, on a card, with the fewest bytes."""
    found = []
    for words, changed in _changes(devices, flags):
        candidates = _candidates(devices, changed)
        decision = _on_one(model, candidates, changed)
        found.append((decision, Suggestion(words, bool(decision.fits), _need(decision))))
    # a card is many times faster than the CPU, so it comes first even where it needs more bytes
    found.sort(key=lambda pair: (not pair[1].fits, pair[0].placement == "cpu", pair[1].bytes))
    return tuple(suggestion for _, suggestion in found)


def _changes(devices: Sequence[Device], flags: Flags) -> list[tuple[str, Flags]]:
    changes = []
    if flags.dtype in ("auto", "float32"):
        changes.append(("--dtype bfloat16", replace(flags, dtype="bfloat16")))
    cards = [device for device in devices if device.kind == "cuda"]
    unused = [card for card in cards if not _is_chosen(card, flags)]
    if unused:
        index = max(unused, key=lambda card: card.free_bytes).index
        assert index is not None
        changes.append((f"--devices {index}", replace(flags, devices=(index,))))
    if flags.max_memory:
        changes.append(("without --max-memory", replace(flags, max_memory={})))
    if flags.placement != "cpu" and any(device.kind == "cpu" for device in devices):
        changes.append(("--placement cpu", replace(flags, placement="cpu")))
    if flags.placement == "cpu" and cards:
        changes.append(("--placement single", replace(flags, placement="single", devices=None)))
    return changes


def _remedy(decision: Plan) -> str:
    fitting = [suggestion for suggestion in decision.suggestions if suggestion.fits]
    if fitting:
        return "Would fit: " + "; ".join(f"{s.flags} ({gib(s.bytes)})" for s in fitting) + "."
    return f"Nothing on this machine would fit; it takes a device with {gib(_need(decision))} free."
