"""The planner's sentences for people: what a model needs, what there is, and what would help.

Owns the words only; every number comes from the plan. GiB appear here and in `demo.report`, bytes everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from demo.engine.devices import GIB, Device
from demo.engine.plans import Plan, ReplicaPlan
from demo.engine.site import Site, grid


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def arithmetic(decision: Plan, site: Site) -> str:
    """What one replica needs, what is free, and the verdict."""
    tried = decision.tried
    if tried is None:
        return ""
    devices = site.cards or (() if site.main_memory is None else (site.main_memory,))
    free = ", ".join(_free(devices))
    words = [f"{decision.model} needs {_sum(decision, tried)}; {free}: {_verdict(decision)}."]
    if site.cards:
        words += [*_skipped(decision, site), *_spilt(tried), *_missing(decision, site)]
    return " ".join(words)


def beside(name: str, names: Sequence[str]) -> str:
    """Why a model that fits alone is refused."""
    others = " and ".join(other for other in names if other != name) or "itself"
    return f"It has to be there together with {others}."


def served_elsewhere(name: str, urls: Sequence[str]) -> str:
    """For a model that others serve."""
    return f"{name} is served by {' and '.join(urls)}; it takes no memory here."


def unmeasured(name: str, places: Sequence[str]) -> str:
    """For a model that nothing is known of but its name."""
    where = " and ".join(places)
    return f"The size of {name} is not known before its files are here, so whether it fits {where} is not either."


def remedy(decision: Plan) -> str:
    """What a refusal advises."""
    if decision.suggestions:
        return "Would fit: " + "; ".join(f"{s.flags} ({gib(s.bytes)})" for s in decision.suggestions) + "."
    return "No other flags would make it fit here."


def _free(devices: Sequence[Device]) -> list[str]:
    """What is free where; devices with as much are named together."""
    alike: dict[str, list[str]] = {}
    for device in devices:
        alike.setdefault(gib(device.free_bytes), []).append(device.id)
    return [
        f"{names[0]} has {size} free" if len(names) == 1 else f"{', '.join(names)} have {size} free each"
        for size, names in alike.items()
    ]


def _sum(decision: Plan, tried: ReplicaPlan) -> str:
    load, count = tried.load, len(tried.loads)
    stored = decision.dtype if decision.quantization == "none" else f"{decision.quantization} and {decision.dtype}"
    numbers = f"{_count(decision.parameters or 0)} parameters in {stored}"
    parts = (
        f"weights {gib(load.weights)} ({numbers})",
        f"KV cache {gib(load.kv_cache)} ({_conversations(decision)})",
        f"activations {gib(load.activations)}",
        f"reserve {gib(load.reserve)}",
    )
    where = "one device" if count == 1 else f"{count} devices"
    return f"{gib(load.total)} on {where}: {' + '.join(parts)}"


def _conversations(decision: Plan) -> str:
    tokens = f"{decision.context} tokens"
    return tokens if decision.slots == 1 else f"{decision.slots} conversations of {tokens}"


def _verdict(decision: Plan) -> str:
    if not decision.fits:
        each = " on each" if decision.tried is not None and len(decision.tried.loads) > 1 else ""
        return f"{gib(decision.shortfall_bytes)} short{each}"
    count = len(decision.replicas)
    return "it fits" if count == 1 else f"{count} replicas fit"


def _skipped(decision: Plan, site: Site) -> list[str]:
    """Cards that a placement for all of them leaves out."""
    used = {card: load for replica in decision.replicas for card, load in replica.loads.items()}
    if not used or decision.placement == "single" or grid(decision.placement) is not None:
        return []
    left = [card for card in site.cards if card.id not in used]
    smallest = min(load.total for load in used.values())
    full = [f"{card.id} ({gib(card.free_bytes)} free)" for card in left if card.free_bytes < smallest]
    idle = [card.id for card in left if card.free_bytes >= smallest]
    words = [f"Skipped, too full: {', '.join(full)}."] if full else []
    return words + ([f"Not needed: {', '.join(idle)}."] if idle else [])


def _spilt(tried: ReplicaPlan) -> list[str]:
    below = tried.loads.get("cpu")
    if below is None:
        return []
    count = list(tried.device_map.values()).count("cpu")
    return [f"{count} layers ({gib(below.weights)}) stay in main memory, which makes every token slower."]


def _missing(decision: Plan, site: Site) -> list[str]:
    rows, columns = grid(decision.placement) or (1, 1)
    if rows * columns > len(site.cards):
        return [f"{decision.placement} takes {rows * columns} cards, and there are {len(site.cards)}."]
    if not decision.fits and not decision.can_split and decision.placement not in ("single", "replicate"):
        return ["Its parts are not known, so it cannot be split."]
    return []


def _count(number: int) -> str:
    return f"{number / 1e9:.1f} billion" if number >= 1e8 else f"{number / 1e6:.1f} million"
