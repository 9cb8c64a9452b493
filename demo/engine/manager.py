"""The one owner of all models in a process: plans them, starts them, hands out their answers, ends them.

Owns the order of these steps and the snapshot of it all. Knows nothing of pages, routes or how a model runs. Built
once, at launch, and handed down; building a second one while the first lives is an error.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from demo.catalog import ModelSpec, resolve, resolve_remote
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import Device, cpu_threads, detect
from demo.engine.events import Ping, StreamEvent
from demo.engine.handover import Handover, Part
from demo.engine.planner import Flags, Plan, checked
from demo.engine.planning import plans_for
from demo.engine.pool import Pool
from demo.engine.replica import DEFAULT_RESTART, ProcessReplica, RestartPolicy
from demo.engine.snapshots import ReplicaSnapshot
from demo.engine.throughput import Throughput, TokenHistory
from demo.engine.turns import Turnstile, rivals
from demo.engine.worker import WorkerJob
from demo.errors import ConfigError, InvalidInput, ReplicaDied
from demo.types import ROLES, GenerateRequest, Role

__all__ = [
    "ManagerSnapshot",
    "ModelManager",
    "ReplicaSnapshot",
    "plan_all",
    "resolve_roles",
    "share_threads",
]

CLOSE_S = 2.0
POLL_S = 0.05
PREPARING = 4  # threads of the CPU that reading one prompt's pictures is worth

_only_one = threading.Lock()  # held by the manager that lives


@dataclass(frozen=True, slots=True)
class ManagerSnapshot:
    """Everything at one moment. ``model``, ``spec`` and ``plan`` are the first role's; ``plans`` has all of them."""

    model: str
    spec: ModelSpec
    plan: Plan
    plans: tuple[Plan, ...]
    replicas: tuple[ReplicaSnapshot, ...]
    waiting: int
    tokens: TokenHistory  # that all models made


class ModelManager:
    """Plans in the constructor (raises `DoesNotFit`), starts with `start`, serves with `stream`, ends with `close`."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        specs: Mapping[Role, ModelSpec] | None = None,
        devices: Sequence[Device] | None = None,
        stall_s: float = 300.0,
        restart: RestartPolicy = DEFAULT_RESTART,
    ) -> None:
        if not _only_one.acquire(blocking=False):
            remedy = "Hand down the one that was built at launch, or close it first."
            raise ConfigError("There is a model manager in this process already", remedy=remedy)
        try:
            self.specs: Mapping[Role, ModelSpec] = MappingProxyType(dict(specs or resolve_roles(config)))
            self._plans = plan_all(config, self.specs, detect() if devices is None else devices)
        except BaseException:
            _only_one.release()
            raise
        self._is_closed = False
        self._throughput = Throughput()
        self._pools = self._build_pools(stall_s, restart)
        self._turnstiles = [Turnstile(pools) for pools in rivals(self._turn_takers())]
        atexit.register(self.close)

    def _build_pools(self, stall_s: float, restart: RestartPolicy) -> dict[ModelSpec, Pool]:
        pools: dict[ModelSpec, Pool] = {}
        threads = share_threads(self._plans.values(), cores=cpu_threads())
        level = logging.getLogger("demo").getEffectiveLevel()
        count = 0
        for spec, plan_ in self._plans.items():
            replicas = []
            handover = Handover()
            for index, chosen in enumerate(plan_.replicas):
                placement = plan_.placement_of(index, threads=threads["cpu" in chosen.devices])
                part = _part(plan_, index)
                job = WorkerJob(spec, placement, dict(chosen.devices), plan_.takes_turns, part, level)
                patience = _patience(spec, restart)
                replicas.append(ProcessReplica(count, job, stall_s=stall_s, restart=patience, handover=handover))
                count += 1
            pools[spec] = Pool(replicas)
        return pools

    def _turn_takers(self) -> list[tuple[Pool, set[str]]]:
        """The models that take turns, and the devices that they do it on."""
        takers = [(spec, plan_) for spec, plan_ in self._plans.items() if plan_.takes_turns]
        return [(self._pools[s], {id for replica in p.replicas for id in replica.devices}) for s, p in takers]

    def start(self) -> None:
        """Start every worker; they load side by side, but for those that take turns; requests may come at once."""
        for pool in self._pools.values():
            for replica in pool.replicas:
                replica.start(on_change=pool.refresh)
        for turnstile in self._turnstiles:
            turnstile.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether each model has a loaded replica within the time; raises the reason why one never will."""
        end_s = time.monotonic() + timeout_s
        while not all(any(replica.is_loaded for replica in pool.replicas) for pool in self._pools.values()):
            for pool in self._pools.values():
                if (failure := pool.failure()) is not None:
                    raise failure
            if time.monotonic() >= end_s:
                return False
            time.sleep(POLL_S)
        return True

    def stream(self, request: GenerateRequest) -> Generator[StreamEvent, None, None]:
        """`Ping`, `Token` ... and one last `Done`; raises the `DemoError` that ended the answer.

        Closing the iterator cancels the answer and returns at once. A request that lost its replica before the first
        token is asked once more.
        """
        if request.role not in self.specs:
            remedy = f"Roles served: {', '.join(self.specs)}."
            raise InvalidInput("No model is loaded for this", value=request.role, remedy=remedy)
        pool = self._pools[self.specs[request.role]]
        if not (yield from _attempt(pool, request, self._throughput, is_last=False)):
            yield Ping("loading", "the model's process ended; asking again")
            yield from _attempt(pool, request, self._throughput, is_last=True)

    def snapshot(self) -> ManagerSnapshot:
        plans = tuple(self._plans.values())
        spec = next(iter(self._plans))
        replicas = tuple(replica.snapshot() for pool in self._pools.values() for replica in pool.replicas)
        waiting = sum(pool.waiting for pool in self._pools.values())
        return ManagerSnapshot(spec.name, spec, plans[0], plans, replicas, waiting, self._throughput.history())

    @property
    def capacity(self) -> int:
        """How many requests to let in at a time: as many as can be answered, and where models take turns enough more
        for a turn's worth of each to be seen waiting; else each answer would be followed by a change of turns."""
        ahead = sum(turnstile.lookahead for turnstile in self._turnstiles)
        return sum(pool.capacity for pool in self._pools.values()) + ahead

    @property
    def places(self) -> int:
        """How many requests a job of many is best made of at a time: as many as can be answered and prepared."""
        return sum(pool.places for pool in self._pools.values())

    def close(self) -> None:
        """Refuse new requests, end the open ones with `ShuttingDown`, and end every worker. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        for turnstile in self._turnstiles:
            turnstile.close()
        for pool in self._pools.values():
            pool.close()
        replicas = [replica for pool in self._pools.values() for replica in pool.replicas]
        for replica in replicas:
            replica.request_close()
        end_s = time.monotonic() + CLOSE_S
        for replica in replicas:
            replica.join(max(0.0, end_s - time.monotonic()))
        atexit.unregister(self.close)
        _only_one.release()

    def __enter__(self) -> ModelManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _part(plan_: Plan, index: int) -> Part:
    """A replica's part in the handing on of weights: of several on cards the first gives, unless they come and go."""
    devices = {device for replica in plan_.replicas for device in replica.devices}
    are_on_cards = bool(devices) and all(device.startswith("cuda") for device in devices)
    if len(plan_.replicas) == 1 or plan_.takes_turns or not are_on_cards:
        return ""
    return "takes" if index else "gives"


def _patience(spec: ModelSpec, policy: RestartPolicy) -> RestartPolicy:
    """A server that is down may come back at any time; a model of our own that does not load will not."""
    return replace(policy, max_failed_loads=sys.maxsize) if spec.backend == "openai" else policy


def resolve_roles(config: EngineConfig) -> dict[Role, ModelSpec]:
    """The model of each role: the one named for it, else the one named for all; none where it cannot serve the role."""
    specs: dict[Role, ModelSpec] = {}
    for role in ROLES:
        named = [choice for choice in config.models if choice.role == role]
        choices = named or [choice for choice in config.models if choice.role is None]
        if choices:
            spec = _resolved(choices[-1], config)
            if role in spec.roles:
                specs[role] = spec
    if not specs:
        raise ConfigError("No model was chosen", remedy="Name one with --model.")
    return specs


def _resolved(choice: ModelChoice, config: EngineConfig) -> ModelSpec:
    if config.endpoints:
        return resolve_remote(choice)
    return resolve(choice, revision=config.revision, trust_remote_code=config.trust_remote_code)


def plan_all(config: EngineConfig, specs: Mapping[Role, ModelSpec], devices: Sequence[Device]) -> dict[ModelSpec, Plan]:
    """A plan for each model, all packed together. Raises `DoesNotFit` for the first that does not fit."""
    plans = plans_for(specs.values(), devices, Flags.of(config))
    return {spec: checked(plan_) for spec, plan_ in plans.items()}


def share_threads(plans: Iterable[Plan], *, cores: int) -> dict[bool, int]:
    """Threads of a replica that computes on the CPU (True) and of one that does not (False).

    Those that do share the cores, but for one that each of the others needs before its first token. These only prepare
    prompts, several at a time, each in a thread of its own that would start as many.
    """
    replicas = [replica for plan in plans for replica in plan.replicas]
    on_cpu = sum("cpu" in replica.devices for replica in replicas)
    on_cards = len(replicas) - on_cpu
    return {True: max(1, (cores - on_cards) // max(1, on_cpu)), False: max(1, min(PREPARING, cores // len(replicas)))}


def _attempt(
    pool: Pool, request: GenerateRequest, throughput: Throughput, *, is_last: bool
) -> Generator[StreamEvent, None, bool]:
    """Stream one answer; False where it was lost before its first token and may be asked again."""
    with pool.lease(first=is_last, is_patient=request.is_patient) as lease:
        yield from lease.wait()
        answer = lease.open(request)
        try:
            yield from throughput.counted(answer)
        except ReplicaDied:
            if is_last or answer.has_text or not answer.is_lost:
                raise
            return False
        finally:
            answer.close()
    return True
