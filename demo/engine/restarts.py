"""When a worker that died is started again, and when its model is given up.

Owns the delays, the counts that they depend on, and the reason why a replica serves no more. Knows nothing of
processes. Seconds end in ``_s``.
"""

from __future__ import annotations

from dataclasses import dataclass

from demo.errors import DemoError, ReplicaDied, from_kind


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A worker that died starts again after ``first_s``, and after twice as long each time it died without an answer.

    Only a model that fails to load ``max_failed_loads`` times in a row is given up. One that loads is always started
    again: else a single picture that kills its worker would end the demo for everyone.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    max_failed_loads: int = 5

    def delay_s(self, deaths: int) -> float:
        return min(self.cap_s, self.first_s * 2.0 ** (deaths - 1))


DEFAULT_RESTART = RestartPolicy()


class Restarts:
    """One replica's deaths, as far as they matter for the next start."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths = 0  # since the last answer that ended well
        self._failed_loads = 0  # since the last that succeeded
        self._is_loaded = False  # the process that runs
        self._failure: DemoError | None = None

    @property
    def delay_s(self) -> float:
        return self._policy.delay_s(self._deaths)

    @property
    def failure(self) -> DemoError | None:
        """Why it was given up for good; a fresh exception each time, since a raised one collects its tracebacks."""
        failure = self._failure
        return None if failure is None else from_kind(failure.kind, str(failure))

    def give_up(self, failure: DemoError) -> None:
        self._failure = failure

    def has_loaded(self) -> None:
        self._failed_loads = 0
        self._is_loaded = True

    def has_answered(self) -> None:
        self._deaths = 0

    def has_died(self, reason: str) -> None:
        self._deaths += 1
        self._failed_loads += not self._is_loaded
        self._is_loaded = False
        if self._failed_loads >= self._policy.max_failed_loads:
            self._failure = ReplicaDied(
                f"The model could not be loaded {self._failed_loads} times in a row, so it is not tried again",
                value=reason,
                remedy="The server's log says more; restart the demo once the cause is gone.",
            )
