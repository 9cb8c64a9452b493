"""What a plan is made of, as frozen data: the flags it obeys, the bytes on each device, and the decision itself.

Owns the fields and the object that ``--plan --json`` prints. Knows nothing of how a decision is made (see
`demo.engine.planner`). Bytes are integers; devices go by torch's names for them ("cuda:0", "cpu").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.config import EngineConfig
from demo.types import Placement

GRAPHS: Mapping[str, bool | None] = {"auto": None, "graphs": True, "off": False}  # --compile
MOST_SLOTS = 16
MOST_SLOTS_OF_A_BATCH = 32  # twice as many take longer, but not twice as long, and nobody waits for a single one


@dataclass(frozen=True, slots=True)
class Flags:
    """What the user asked for; ``devices`` are card numbers, ``max_memory`` their budgets."""

    placement: str = "auto"
    devices: tuple[int, ...] | None = None
    max_memory: Mapping[int, int] = field(default_factory=dict)
    dtype: str = "auto"
    quantization: str = "none"
    offload: bool = False
    slots: int | None = 1  # answers at a time in one replica; None: as many as there is room for beside the weights
    most_slots: int = MOST_SLOTS  # of them where ``slots`` is None
    context: int | None = None  # tokens planned for; None: the model's, or 8192 where that is less
    swap: bool = False
    attn: str = "sdpa"
    graphs: bool | None = False  # steps recorded as CUDA graphs; None: where there is room for them
    kernels: bool = False  # steps computed by kernels of our own, which are compiled at the load
    endpoints: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: EngineConfig) -> Flags:
        return cls(
            placement=config.placement,
            devices=config.devices,
            max_memory=config.max_memory,
            dtype=config.dtype,
            quantization=config.quantize,
            offload=config.offload,
            slots=config.slots,
            most_slots=MOST_SLOTS_OF_A_BATCH if config.is_batch else MOST_SLOTS,
            context=config.context,
            swap=config.swap,
            graphs=GRAPHS[config.compile],
            kernels=config.compile != "off",
            endpoints=config.endpoints,
        )


NO_FLAGS = Flags()


@dataclass(frozen=True, slots=True)
class Load:
    """What one replica takes of one device."""

    weights: int = 0
    kv_cache: int = 0
    activations: int = 0
    reserve: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.activations + self.reserve


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One replica: what it will take of each device, and which part of the model goes where."""

    loads: Mapping[str, Load]
    device_map: Mapping[str, str]  # module path -> device; the empty path is the whole model
    caps: Mapping[str, int] = field(default_factory=dict)  # device -> the most its process may take, where there is one

    @property
    def devices(self) -> dict[str, int]:
        """Device -> bytes, everything counted."""
        return {device: load.total for device, load in self.loads.items()}

    @property
    def weights(self) -> dict[str, int]:
        """Device -> bytes of weights alone."""
        return {device: load.weights for device, load in self.loads.items()}

    @property
    def load(self) -> Load:
        """Its bytes on all devices together."""
        loads = self.loads.values()
        names = ("weights", "kv_cache", "activations", "reserve")
        return Load(**{name: sum(getattr(load, name) for load in loads) for name in names})

    @property
    def cards(self) -> tuple[str, ...]:
        return tuple(device for device in self.loads if device != "cpu")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Flags that would change the outcome, and the bytes they need on the fullest device."""

    flags: str
    fits: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision. Sizes and ``fits`` are None for a model whose files are not here yet.

    ``kv_cache_bytes``, ``activation_bytes`` and ``reserve_bytes`` are those of one replica, all its devices together;
    of a refusal they are those of what was tried. ``shortfall_bytes`` is the least that each device tried would need
    to have free besides, so that it fitted.
    """

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
    context: int = 0  # tokens planned for; 0 where that is not known
    shortfall_bytes: int = 0
    suggestions: tuple[Suggestion, ...] = ()
    arithmetic: str = ""  # sentences for people
    attn: str = "sdpa"
    tried: ReplicaPlan | None = None  # the first replica; of a refusal, how it would lie on devices with the shortfall
    can_split: bool = True  # whether the model's parts are known
    takes_turns: bool = False  # it holds its cards only while it answers; in between its weights are in main memory
    slots: int = 1  # answers that each replica has room for at a time; ``context`` is that of one
    graphs: bool = False  # steps are recorded as CUDA graphs
    kernels: bool = False  # on cards they may be computed by kernels of our own

    def to_json(self) -> dict[str, Any]:
        """The object that ``--plan --json`` prints."""
        plain = ("model", "dtype", "quantization", "placement", "fits", "weights_bytes", "parameters")
        sizes = ("kv_cache_bytes", "activation_bytes", "reserve_bytes")
        return {
            **{name: getattr(self, name) for name in (*plain, *sizes)},
            "replicas": [{"devices": replica.devices, "weights": replica.weights} for replica in self.replicas],
            "shortfall_bytes": self.shortfall_bytes,
            "suggestions": [{"flags": s.flags, "fits": s.fits, "bytes": s.bytes} for s in self.suggestions],
            "context": self.context,
            "slots": self.slots,
            "graphs": self.graphs,
            "takes_turns": self.takes_turns,
            "arithmetic": self.arithmetic,
        }

    def placement_of(self, replica: int, *, threads: int) -> Placement:
        """What the replica's backend is told."""
        chosen = self.replicas[replica]
        return Placement(
            chosen.device_map,
            dtype=self.dtype,
            attn=self.attn,
            threads=threads,
            quantization=self.quantization,
            offload=len(chosen.device_map) > 1 and "cpu" in chosen.device_map.values(),
            planned=chosen.weights,
            caps=chosen.caps,
            context=self.context or None,
            slots=self.slots,
            prepares_ahead=self._prepares_ahead(chosen),
            graphs=self.graphs,
            kernels=self.kernels,
            takes_turns=self.takes_turns,
        )

    def _prepares_ahead(self, chosen: ReplicaPlan) -> bool:
        """Not where it would slow down what a CPU computes, nor where a turn on the card has to end soon."""
        is_on_cards = bool(chosen.devices) and all(device.startswith("cuda") for device in chosen.devices)
        return is_on_cards and not self.takes_turns
