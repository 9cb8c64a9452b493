"""Runs any vision-language model that transformers can run, our own CogVLM among them, in this process.

Owns the order of things: fetch, load, prove, warm up, answer. One thread generates, always the same one, so that the
CPU's thread pool is made once; the caller's thread yields what comes out. Knows nothing of pipes and replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from demo.backends import hub, loading, memory, proving
from demo.backends.base import Finish, LoadFacts, Progress
from demo.backends.parking import Garage
from demo.backends.prompting import Prompter, thought_words
from demo.backends.spreading import input_device
from demo.backends.streaming import (
    Tap,
    TextDecoder,
    end_tokens,
    hidden_tokens,
    neutral_settings,
    settings_for,
)
from demo.catalog import spec_of_directory
from demo.errors import BrokenCheckpoint
from demo.types import DeviceMemory, GenerateRequest, Message, Picture, Placement, Sampling, Size, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

WARM_UP_TOKENS = 4
WARM_UP_SIDE_PX = 64
SMALL_MODEL = 2_000_000_000  # parameters; on a CPU a larger one is warmed up without a picture, which takes minutes


class HFBackend:
    """One model, loaded once; see `demo.backends.base.Backend` for the protocol."""

    def load(self, spec: ModelSpec, placement: Placement, progress: Progress) -> LoadFacts:
        self._thread = ThreadPoolExecutor(1, "generate", initializer=_prepare_thread, initargs=(placement,))
        directory = hub.fetch_model(spec, progress)
        spec = _settled(spec, directory)
        words = hub.fetch_tokenizer(spec, progress) or directory
        progress("loading weights", None)
        _prepare_thread(placement)
        loaded = loading.load(spec, directory, words, placement)
        self._model = loaded.model
        self._devices = memory.devices_of(placement)
        self._garage = Garage(loaded.model)
        self._tokenizer = loaded.tokenizer
        self._hidden = hidden_tokens(loaded.tokenizer, keeps_boxes=spec.dialect is not None, kept=thought_words(spec))
        _pin_pixels(loaded.processor, spec)
        self._settings = neutral_settings(loaded.model, loaded.tokenizer)
        # generate() fills gaps in what it is told from here; the model's own opinions must not come back that way
        self._model.generation_config = self._settings
        self._prompter = Prompter(
            loaded.processor, spec, context=_context(loaded.model.config), planned=placement.context
        )
        facts = proving.facts(loaded.model)
        progress("warming up", None)
        with memory.refusals_explained(placement):
            self._warm_up(spec, facts)
        return facts

    def stream(self, request: GenerateRequest, cancelled: Callable[[], bool]) -> Iterator[str | Finish]:
        if self._garage.is_parked:
            raise RuntimeError("the model is parked: its weights are not on the card")
        tap = Tap(TextDecoder(self._tokenizer, self._hidden), cancelled)
        inputs = self._prompter.prepare(request.messages)
        num_prompt = inputs["input_ids"].shape[1]
        room = self._prompter.room(num_prompt, request.sampling.max_new_tokens)
        opening = self._prompter.opening(inputs)
        job = self._start(inputs, request.sampling, room, tap)
        try:
            if opening:
                yield opening
            yield from tap
            job.result()  # raises what generate() raised
        finally:
            tap.close()
            wait([job])
        if rest := tap.rest():
            yield rest
        reason = tap.reason(end_tokens(self._settings))
        yield Finish(reason, Usage(num_prompt, tap.num_tokens, tap.first_token_s, tap.elapsed_s))

    def memory(self) -> dict[str, DeviceMemory]:
        return memory.held((*self._devices, "cpu") if self._garage.has_copy else self._devices)

    def park(self) -> None:
        self._garage.park()

    def resume(self) -> None:
        self._garage.resume()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _start(self, inputs: Any, sampling: Sampling, room: int, tap: Tap) -> Future[None]:
        job = self._thread.submit(self._generate, inputs, sampling, room, tap)
        job.add_done_callback(lambda _: tap.finish())  # after an error too, else the reader would wait for ever
        return job

    @torch.inference_mode()
    def _generate(self, inputs: Any, sampling: Sampling, room: int, tap: Tap) -> None:
        _seed(sampling.seed)
        settings = settings_for(sampling, self._settings, max_new_tokens=room)
        inputs = self._placed(inputs)
        self._model.generate(**inputs, generation_config=settings, streamer=tap, stopping_criteria=[tap])

    def _placed(self, inputs: Any) -> Any:
        return inputs.to(input_device(self._model), dtype=self._model.dtype)  # only floats change their dtype

    def _warm_up(self, spec: ModelSpec, facts: LoadFacts) -> None:
        """Answer a tiny question: the first user is then served like the tenth, and the numbers have proved sound."""
        with_picture = facts.parameters < SMALL_MODEL or "cpu" not in facts.resident_bytes
        pictures = (_grey_picture(),) if with_picture or spec.traits.needs_picture else ()
        question = Message("user", "What is in the picture?", pictures)
        inputs = self._prompter.prepare([question])
        if not self._thread.submit(self._has_sound_logits, inputs).result():
            remedy = "Try --dtype bfloat16 or float32; if that does not help, the weights are damaged."
            raise BrokenCheckpoint("The model computes numbers that are not finite", value=spec.name, remedy=remedy)

    @torch.inference_mode()
    def _has_sound_logits(self, inputs: Any) -> bool:
        settings = settings_for(Sampling(), self._settings, max_new_tokens=WARM_UP_TOKENS)
        settings.output_logits = settings.return_dict_in_generate = True
        inputs = self._placed(inputs)
        found = self._model.generate(**inputs, generation_config=settings)
        # a vocabulary may be padded with -inf by design: the best score has to be a number, and NaN is the best of any
        return all(bool(torch.isfinite(step.max())) for step in found.logits)


def _settled(spec: ModelSpec, directory: Path) -> ModelSpec:
    """The spec with the family that the files show, where it was not known before the download."""
    if spec.family != "auto":
        return spec
    found = spec_of_directory(directory, name=spec.name)
    return replace(found, trust_remote_code=spec.trust_remote_code, tokenizer=spec.tokenizer or found.tokenizer)


def _pin_pixels(processor: Any, spec: ModelSpec) -> None:
    """Have pictures resized within the limits that the page assumes when it reads boxes in pixels of the result."""
    if spec.traits.pixels is None:
        return
    least, most = spec.traits.pixels
    pictures = processor.image_processor
    pictures.size = {"shortest_edge": least, "longest_edge": most}
    for name in ("min_pixels", "max_pixels"):  # they would go before the size
        if getattr(pictures, name, None) is not None:
            setattr(pictures, name, None)


def _context(config: Any) -> int | None:
    context: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return context


def _prepare_thread(placement: Placement) -> None:
    """Give the calling thread its share of the cores, and its first card as CUDA's current one.

    A call that names no card would open a context on card 0 otherwise, on top of the replica that lives there.
    """
    if placement.threads is not None:
        torch.set_num_threads(placement.threads)
    cards = [name for name in memory.devices_of(placement) if name.startswith("cuda")]
    if cards:
        torch.cuda.set_device(cards[0])


def _seed(seed: int | None) -> None:
    if seed is None:
        torch.seed()  # else a request after a seeded one would repeat itself as well
    else:
        torch.manual_seed(seed)


def _grey_picture() -> Picture:
    return Picture(Size(WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), bytes([128]) * (3 * WARM_UP_SIDE_PX**2))
