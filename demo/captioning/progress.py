"""How far a job is, how fast it goes and how long it may take. Pure. Seconds end in ``_s``."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` and ``failed`` are of all runs; the rate is of what this one did while it worked."""

    total: int
    done: int = 0
    failed: int = 0
    made: int = 0  # by this run, the failed ones too
    worked_s: float = 0.0

    @property
    def left(self) -> int:
        return self.total - self.done - self.failed

    @property
    def per_s(self) -> float:
        return self.made / self.worked_s if self.worked_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """None while there is nothing to tell it from."""
        return self.left / self.per_s if self.per_s else None

    def after(self, *, is_error: bool, worked_s: float) -> Progress:
        failed = int(is_error)
        return replace(
            self, done=self.done + 1 - failed, failed=self.failed + failed, made=self.made + 1, worked_s=worked_s
        )

    def __str__(self) -> str:
        parts = [f"{self.done + self.failed} of {self.total}"]
        if self.failed:
            parts.append(f"{self.failed} could not be captioned")
        if self.made:
            parts.append(_rate(self.per_s))
        if self.left and self.left_s is not None:
            parts.append(f"about {duration(self.left_s)} left")
        return " · ".join(parts)


def _rate(per_s: float) -> str:
    return f"{per_s:.1f} a second" if per_s >= 1 else f"{60 * per_s:.1f} a minute"


def duration(seconds_s: float) -> str:
    whole = max(1, round(seconds_s))
    if whole < 60:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
