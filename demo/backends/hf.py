"""Runs any vision-language model that transformers can run, our own CogVLM among them, in this process.

Owns the order of things: fetch, load, prove, warm up, answer. One thread generates, always the same one, so that the
CPU's thread pool is made once; the callers' threads, one an answer, prepare what it reads and yield what comes out.
Knows nothing of pipes and replicas.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from demo.backends import hub, loading, memory, proving
from demo.backends.attending import attend_in_fewer_kernels, plan_for_shapes
from demo.backends.base import Feed, Finish, LoadFacts, Progress
from demo.backends.choosing import Chooser
from demo.backends.exchanging import exchange
from demo.backends.feeding import CARD_WIRE, Exchange, Wire
from demo.backends.forwards import Forwards
from demo.backends.joining import planned
from demo.backends.kernels.launching import Kernels
from demo.backends.parking import Garage
from demo.backends.preparing import remember_pictures
from demo.backends.processors import pin_pixels
from demo.backends.prompting import Prompter, end_of_pictures, thought_words
from demo.backends.recorded import Recorder, on_cards
from demo.backends.rehearsing import Truth, read_at_once, rehearse
from demo.backends.rolling import LEAST_SHARED, Rolling
from demo.backends.rounding import noise_of
from demo.backends.rows import Row, fingerprint
from demo.backends.slots import SlotCache
from demo.backends.spreading import input_device
from demo.backends.streaming import (
    Outlet,
    Tap,
    TextDecoder,
    end_tokens,
    hidden_tokens,
    neutral_settings,
    settings_for,
)
from demo.backends.windows import attend_windows
from demo.catalog import spec_of_directory
from demo.errors import BrokenCheckpoint
from demo.spans import Stopwatch
from demo.types import DeviceMemory, GenerateRequest, Message, Picture, Placement, Sampling, Size, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

WARM_UP_TOKENS = 4
WARM_UP_QUESTIONS = ("What is in the picture?", "What is in the picture? And where is it?")
WARM_UP_SIDE_PX = 64
RECORDING_S = 30.0  # at most; what is not recorded by then is when it is needed
# Parameters. A larger model on a CPU is warmed up without a picture, which takes it minutes; a rehearsal reads several.
SMALL_MODEL = 2_000_000_000
TINY_MODEL = 200_000_000


class HFBackend:
    """One model, loaded once; see `demo.backends.base.Backend` for the protocol."""

    def __init__(self, wire: Wire = CARD_WIRE) -> None:
        self._wire = wire
        self._kernels: Kernels | None = None
        self._patience = threading.Lock()

    def load(self, spec: ModelSpec, placement: Placement, progress: Progress, feed: Feed | None = None) -> LoadFacts:
        self._watch = watch = Stopwatch()
        watch.begin("files")
        self._thread = ThreadPoolExecutor(1, "generate", initializer=_prepare_thread, initargs=(placement,))
        directory = hub.fetch_model(spec, progress)
        spec = _settled(spec, directory)
        words = hub.fetch_tokenizer(spec, progress) or directory
        progress("loading weights", None)
        watch.begin("devices")
        _prepare_thread(placement)
        attend_in_fewer_kernels()
        handed_on = Exchange.of(feed, self._wire, spec, directory, placement)
        loaded = loading.load(spec, directory, words, placement, watch, handed_on)
        self._model = loaded.model
        attend_windows(loaded.model)
        self._devices = memory.devices_of(placement)
        if any(device.startswith("cuda") for device in self._devices):
            watch.begin("kernels")
            self._kernels = exchange(loaded.model, placement, self._devices, progress)
            remember_pictures(loaded.processor)
        self._garage = Garage(loaded.model)
        self._tokenizer = loaded.tokenizer
        self._hidden = hidden_tokens(loaded.tokenizer, keeps_boxes=spec.dialect is not None, kept=thought_words(spec))
        pin_pixels(loaded.processor, spec)
        self._settings = neutral_settings(loaded.model, loaded.tokenizer)
        # generate() fills gaps in what it is told from here; the model's own opinions must not come back that way
        self._model.generation_config = self._settings
        self._prompter = Prompter(
            loaded.processor, spec, context=_context(loaded.model.config), planned=placement.context
        )
        facts = proving.facts(loaded.model)
        progress("warming up", None)
        with memory.refusals_explained(placement):
            watch.begin("warm_up")
            first = self._warm_up(spec, facts)
            progress("rehearsing", None)
            watch.begin("rehearsal")
            self._rolling = self._rehearsed(spec, facts, placement, progress, first)
        return replace(facts, slots=placement.slots if self._rolling else 1, spans_s=watch.stop())

    def stream(self, request: GenerateRequest, cancelled: Callable[[], bool]) -> Iterator[str | Finish]:
        if self._garage.is_parked:
            raise RuntimeError("the model is parked: its weights are not on the card")
        outlet = self._outlet(cancelled, is_patient=request.is_patient)
        inputs = self._prepared(request)
        num_prompt = inputs["input_ids"].shape[1]
        room = self._prompter.room(num_prompt, request.sampling.max_new_tokens)
        opening = self._prompter.opening(inputs)
        if self._rolling is None:
            self._thread.submit(self._generate, inputs, request.sampling, room, outlet)
        else:
            row = self._row(inputs, request.messages, request.sampling, room, outlet)
            self._rolling.submit(replace(row, is_patient=request.is_patient))
        try:
            if opening:
                yield opening
            yield from outlet
        finally:
            outlet.close()
        if rest := outlet.rest():
            yield rest
        reason = outlet.reason(end_tokens(self._settings))
        yield Finish(reason, Usage(num_prompt, outlet.num_tokens, outlet.first_token_s, outlet.elapsed_s))

    def _prepared(self, request: GenerateRequest) -> Any:
        """A prompt, cast here on the caller's thread, for the one that generates has all the others to serve.

        The patient are prepared one by one: several keep that thread from Python while it tells a card what to do.
        """
        with self._patience if request.is_patient else nullcontext():
            return self._prompter.prepare(request.messages).to(dtype=self._model.dtype)

    def memory(self) -> dict[str, DeviceMemory]:
        return memory.held((*self._devices, "cpu") if self._garage.has_copy else self._devices)

    def park(self) -> None:
        if self._rolling is not None:
            self._rolling.forget()
        self._garage.park()

    def resume(self) -> None:
        self._garage.resume()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _outlet(self, cancelled: Callable[[], bool], *, is_patient: bool = False) -> Outlet:
        return Outlet(TextDecoder(self._tokenizer, self._hidden), cancelled, is_patient=is_patient)

    # --- an answer of its own, where the model cannot answer several at a time

    def _generate(self, inputs: Any, sampling: Sampling, room: int, outlet: Outlet) -> None:
        if outlet.should_stop:  # while it waited for the one before
            outlet.finish()
            return
        try:
            self._generate_into(inputs, sampling, room, Tap(outlet))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            outlet.finish(error)
        else:
            outlet.finish()

    @torch.inference_mode()
    def _generate_into(self, inputs: Any, sampling: Sampling, room: int, tap: Tap) -> None:
        _seed(sampling.seed)
        settings = settings_for(sampling, self._settings, max_new_tokens=room)
        inputs = self._placed(inputs)
        plan_for_shapes(False)
        self._model.generate(**inputs, generation_config=settings, streamer=tap, stopping_criteria=[tap])

    def _placed(self, inputs: Any) -> Any:
        return inputs.to(input_device(self._model), dtype=self._model.dtype)  # only floats change their dtype

    # --- an answer among others

    def _row(self, inputs: Any, messages: Sequence[Message], sampling: Sampling, room: int, outlet: Outlet) -> Row:
        settings = settings_for(sampling, self._settings, max_new_tokens=room)
        return Row(
            inputs,
            lambda prompt: Chooser(self._model, settings, prompt, sampling.seed),
            room,
            outlet,
            pictures=tuple(fingerprint(picture) for picture in self._prompter.kept(messages)),
            seen_until=end_of_pictures(inputs, self._model.config),
        )

    # --- the first questions, asked before any user's

    def _warm_up(self, spec: ModelSpec, facts: LoadFacts) -> Truth:
        """Answer a tiny question: the first user is then served like the tenth, and the numbers have proved sound."""
        truth = self._truth(WARM_UP_QUESTIONS[0], _warm_up_pictures(spec, facts, SMALL_MODEL))
        # a vocabulary may be padded with -inf by design: the best score has to be a number, and NaN is the best of any
        if not bool(truth.scores.amax(dim=-1).isfinite().all()):
            remedy = "Try --dtype bfloat16 or float32; if that does not help, the weights are damaged."
            raise BrokenCheckpoint("The model computes numbers that are not finite", value=spec.name, remedy=remedy)
        return truth

    def _truth(self, words: str, pictures: tuple[Picture, ...]) -> Truth:
        question = Message("user", words, pictures)
        inputs = self._prompter.prepare([question])
        found = self._thread.submit(self._generated, inputs).result()
        tokens = found.sequences[0, -len(found.logits) :]

        def make_row() -> Row:
            return self._row(inputs, [question], Sampling(), len(tokens), self._outlet(lambda: False))

        return Truth(make_row, tokens, torch.cat(found.logits).float())

    @torch.inference_mode()
    def _generated(self, inputs: Any) -> Any:
        settings = settings_for(Sampling(), self._settings, max_new_tokens=WARM_UP_TOKENS)
        settings.min_new_tokens = WARM_UP_TOKENS  # who ends at once would have taken no step to be compared
        settings.output_logits = settings.return_dict_in_generate = True
        plan_for_shapes(False)  # as for prompts in slots, which are to be compared with this
        return self._model.generate(**self._placed(inputs), generation_config=settings)

    def _rehearsed(
        self, spec: ModelSpec, facts: LoadFacts, placement: Placement, progress: Progress, first: Truth
    ) -> Rolling | None:
        """What answers several at a time; None where the model cannot. ``first`` is what it was warmed up with."""
        if not Forwards.suit(self._model):
            return None
        pictures = _warm_up_pictures(spec, facts, TINY_MODEL)
        is_same = pictures == _warm_up_pictures(spec, facts, SMALL_MODEL)  # then it was answered already
        truths = [self._truth(words, pictures) for words in WARM_UP_QUESTIONS[is_same:]]
        truths = [first, *truths] if is_same else truths
        again = functools.partial(self._truth, WARM_UP_QUESTIONS[0], _warm_up_pictures(spec, facts, SMALL_MODEL))
        noise = functools.cache(lambda: noise_of(self._model, first.scores, lambda: again().scores))
        write = None if self._kernels is None else self._kernels.write
        cache = SlotCache(max(2, placement.slots), placement.context, write=write)
        for recorder in _ways_to_record(placement):
            forwards = Forwards(self._model, cache, recorder=recorder)
            make = functools.partial(Rolling, forwards, cache, self._thread, end_tokens=end_tokens(self._settings))
            ability = rehearse(make, truths, self._model.dtype, noise)
            cache.release()
            if ability.in_batch:
                trial = make(least_shared=None, together=planned(spec, placement))
                together = read_at_once(trial, forwards, truths, ability)
                cache.release()
                cache.num_slots = placement.slots
                rolling = make(least_shared=LEAST_SHARED if ability.reuses else None, together=together)
                if recorder is not None and not placement.takes_turns:  # else the first park would undo it
                    self._watch.begin("recording")
                    self._record_all(rolling, forwards, truths[0].make_row(), progress)
                return rolling
        return None

    def _record_all(self, rolling: Rolling, forwards: Forwards, row: Row, progress: Progress) -> None:
        """Record steps of every shape; an answer comes first, for which the slots' memory is taken."""
        rolling.submit(row)
        list(row.outlet)
        told = functools.partial(progress, "recording steps")
        self._thread.submit(forwards.record_all, told, limit_s=RECORDING_S).result()


def _ways_to_record(placement: Placement) -> Iterator[Recorder | None]:
    """The ways to make steps of fixed shapes, the best first; the last is not to."""
    cards = memory.devices_of(placement)
    if placement.graphs and all(card.startswith("cuda") for card in cards):
        yield on_cards(cards)
    yield None


def _settled(spec: ModelSpec, directory: Path) -> ModelSpec:
    """The spec with the family that the files show, where it was not known before the download."""
    if spec.family != "auto":
        return spec
    found = spec_of_directory(directory, name=spec.name)
    return replace(found, trust_remote_code=spec.trust_remote_code, tokenizer=spec.tokenizer or found.tokenizer)


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


def _warm_up_pictures(spec: ModelSpec, facts: LoadFacts, most: int) -> tuple[Picture, ...]:
    is_quick = facts.parameters < most or "cpu" not in facts.resident_bytes
    return (_grey_picture(),) if is_quick or spec.traits.needs_picture else ()


def _grey_picture() -> Picture:
    return Picture(Size(WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), bytes([128]) * (3 * WARM_UP_SIDE_PX**2))
