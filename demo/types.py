"""The words every part of the demo shares: sizes, boxes, pictures, conversations and generation requests.

Owns plain frozen data only. Knows nothing of models, devices, pages or files. Pixels are floats, boxes are
x0, y0, x1, y1 with the origin at the top left, bytes and counts are integers, seconds end in ``_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from demo.errors import InvalidInput

Role = Literal["chat", "grounding", "captioning"]
ROLES: tuple[Role, ...] = ("chat", "grounding", "captioning")

Speaker = Literal["system", "user", "assistant"]
StopReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of a picture, in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def within(self, max_side: int | None) -> Size:
        """This size, or the one in proportion whose longer side is ``max_side``; no side becomes nothing."""
        longer = max(self.width, self.height)
        if max_side is None or longer <= max_side:
            return self
        return Size(*(max(1, round(side * max_side / longer)) for side in (self.width, self.height)))


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels of the picture it belongs to, ``x0 <= x1`` and ``y0 <= y1``."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)


@dataclass(frozen=True, slots=True)
class Region:
    """A named place in a picture, found in a model's text.

    ``label_span`` and ``box_span`` are the half-open character ranges of the label's words and of the box's own
    syntax in the text that was parsed, so that a page can colour the words and hide the numbers. Boxes that share
    one piece of syntax (``[[a,b,c,d;e,f,g,h]]``) share both spans. ``label_span`` is None when the text has no words.
    ``picture`` is the index of its picture among those of the conversation, oldest first; None where the syntax alone
    does not say (see `demo.grounding.pictures`).
    """

    label: str
    box: Box
    label_span: tuple[int, int] | None
    box_span: tuple[int, int]
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright, 8-bit RGB, row by row. ``len(rgb) == 3 * width * height``."""

    size: Size
    rgb: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Clip:
    """A video as a model is shown it: a few frames in their order, and when in the video each of them is."""

    frames: tuple[Picture, ...]
    times_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: its pictures, then its clips, then its words.

    ``own`` are the half-open character ranges of the text that a prompt template wrote: only there a special token's
    spelling is one. Everything else is somebody's words.
    """

    speaker: Speaker
    text: str
    pictures: tuple[Picture, ...] = ()
    own: tuple[tuple[int, int], ...] = ()
    clips: tuple[Clip, ...] = ()

    @property
    def shown(self) -> tuple[Picture, ...]:
        """All that can be seen, frames among them, in the order in which a model is shown it."""
        return (*self.pictures, *(frame for clip in self.clips for frame in clip.frames))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 switch those filters off."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("max_new_tokens", self.max_new_tokens, low=1, high=8192)
        _check("temperature", self.temperature, low=0.0, high=5.0)
        _check("top_p", self.top_p, low=0.01, high=1.0)
        _check("top_k", self.top_k, low=0, high=1000)
        _check("repetition_penalty", self.repetition_penalty, low=0.5, high=2.0)
        if self.seed is not None:
            _check("seed", self.seed, low=0, high=2**32 - 1)


def _check(name: str, value: float, *, low: float, high: float) -> None:
    if not low <= value <= high:  # nor is what is no number
        raise InvalidInput(
            f"{name} is out of range", value=str(value)[:80], remedy=f"Choose a number from {low} to {high}."
        )


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One answer to be generated: the conversation so far, which ends with the user's turn."""

    request_id: str
    role: Role
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    is_patient: bool = False  # one of many of a job, for which nobody waits: others may go before it


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer cost. ``first_token_s`` counts from the moment the worker took the request up."""

    prompt_tokens: int
    completion_tokens: int
    first_token_s: float
    total_s: float

    @property
    def tokens_per_s(self) -> float:
        """Decode speed: tokens after the first over the time after the first; 0 when there is none."""
        decode_s = self.total_s - self.first_token_s
        return (self.completion_tokens - 1) / decode_s if self.completion_tokens > 1 and decode_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one replica's weights go, as its backend is told: the planner decides, the backend obeys.

    ``device_map`` maps module paths to devices ("cpu", "cuda:0"); the empty path is the whole model. ``planned`` are
    the bytes of weights that the plan expects on each device, ``caps`` the most that the process may take of it,
    everything counted; a device without an entry has none.
    """

    device_map: Mapping[str, str]
    dtype: str = "auto"  # "auto" is what the checkpoint's own configuration says
    attn: str = "sdpa"
    threads: int | None = None  # of the CPU; None leaves it to the framework
    quantization: str = "none"
    offload: bool = False  # layers mapped to "cpu" stay there and compute where the others do
    planned: Mapping[str, int] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    context: int | None = None  # tokens of a conversation that there is memory for; None: it was not planned
    slots: int = 1  # answers at a time that there is memory for
    prepares_ahead: bool = False  # prompts of those who wait for a slot, while others are answered
    graphs: bool = False  # steps are recorded as CUDA graphs, where the model is on cards alone
    kernels: bool = False  # steps may be computed by kernels of our own, compiled for the cards
    takes_turns: bool = False  # it leaves its cards between answers, and what it recorded with them

    def places(self, slots: int) -> int:
        """How many requests to take at a time of which so many are answered."""
        return slots * (2 if self.prepares_ahead else 1)


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """What a replica's process holds of one device, in bytes, as its framework counts."""

    allocated: int  # in live tensors
    reserved: int  # held by the framework's allocator, the live tensors among them
    peak: int  # the most that was reserved since the process started
