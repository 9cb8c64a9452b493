"""What fewer bits cost and save: accuracy of the bundled model, memory and speed of a model of real size.

    python -m benchmarks.quantization draw --out scenes.npz [--scenes 60]
    python -m benchmarks.quantization run [--scenes scenes.npz [--first 20]] [--dir DIR/qwen2.5-vl-7b] [--part ...]

`draw` needs the sprites and photographs of `training/cache` and writes scenes of the bundled model's own test, with
their questions, so that `run` needs neither. `run` tries each library and kind in a process of its own and prints a
table and, last, one line of JSON. ``--part`` says what is quantized besides the decoder's layers. Bytes are integers.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import Child, Row
from benchmarks.circumstances import circumstances, save
from demo.catalog import BUNDLED
from demo.engine.devices import GIB

CHOICES = ("none", "bitsandbytes:int8", "bitsandbytes:int4", "torchao:int8", "torchao:int4")
PARTS = ("layers", "head", "vision", "all")
BATCH = 256
PROMPT_TOKENS = 400
FIRST_LETTER = 40  # a token that is an ordinary letter in every vocabulary of the benchmark's checkpoints
ANSWER_TOKENS = 64
SPEED_ROUNDS = 3


# --- scenes of the bundled model's test


def draw(options: argparse.Namespace) -> Row:
    """Scenes of each of the evaluation's sets, with the prompts of each, into one file."""
    from training.bank import Bank, Photos

    store(Bank.load(), Photos.load(), options.scenes, options.out)
    return {"benchmark": "quantization, draw", "scenes": options.scenes, "bytes": options.out.stat().st_size}


def store(bank: Any, photos: Any, count: int, path: Path) -> None:
    import torch

    from training import evaluate, sets

    stored: dict[str, np.ndarray] = {}
    for number, (name, config) in enumerate(sets.tests(bank, photos).items()):
        seed = evaluate.SEED + 1_000_000 * number
        album = evaluate.draw(bank, photos, config, count=count, seed=seed, device=torch.device("cpu"))
        chains = [[_plain(prompt) for prompt in chain] for chain in evaluate.prompts(album, bank, seed=seed)]
        pictures = [_compressed(picture.permute(1, 2, 0).numpy()) for picture in album.pictures]
        stored |= {f"{name}/{i}": np.frombuffer(picture, np.uint8) for i, picture in enumerate(pictures)}
        stored[f"{name}/prompts"] = np.frombuffer(json.dumps(chains).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **stored)


def _plain(prompt: Any) -> Row:
    turn = prompt.turn
    asked = {"task": turn.task, "question": turn.question, "answer": turn.answer}
    return {"scene": prompt.scene, "group": prompt.group, **asked}


def _compressed(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Set:
    """One of the evaluation's sets: the album and what is asked about it, fresh."""

    album: Any
    chains: list[list[Any]]


def scenes(path: Path, first: int | None = None) -> dict[str, Set]:
    """The sets in a file that `draw` wrote: all scenes of each, or the first few."""
    import torch
    from PIL import Image

    from training.asking import Turn
    from training.evaluate import Album, Prompt

    found: dict[str, Set] = {}
    with np.load(path, allow_pickle=False) as file:
        for name in (key.removesuffix("/prompts") for key in file.files if key.endswith("/prompts")):
            count = min(sum(key.startswith(f"{name}/") for key in file.files) - 1, first or sys.maxsize)
            pictures = [np.array(Image.open(io.BytesIO(file[f"{name}/{i}"].tobytes()))) for i in range(count)]
            chains: list[list[Any]] = []
            for chain in json.loads(file[f"{name}/prompts"].tobytes()):
                chains.append([])
                for told in (told for told in chain if told["scene"] < count):
                    turn = Turn(told["task"], told["question"], told["answer"])
                    chains[-1].append(Prompt(told["scene"], told["group"], turn, history=list(chains[-1])))
            tensor = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
            found[name] = Set(Album([], tensor), [chain for chain in chains if chain])
    return found


# --- in the child


def load(directory: Path, choice: str, part: str, device: str) -> Any:
    """The model in so many bits; everything else as the demo loads it."""
    import torch
    from transformers import AutoModelForImageTextToText

    from benchmarks import checkpoints
    from demo.models.cogvlm import CogVLMConfig, CogVLMForConditionalGeneration

    config = checkpoints.config_of(directory)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    how: dict[str, Any] = {"dtype": dtype, "device_map": {"": device}}
    if choice != "none":
        library, _, kind = choice.partition(":")
        skip = left_alone(checkpoints.on_meta(config), kind, part)
        how["quantization_config"] = recipe(library, kind, skip, dtype)
    cls = CogVLMForConditionalGeneration if isinstance(config, CogVLMConfig) else AutoModelForImageTextToText
    return cls.from_pretrained(directory, config=config, **how).eval()


def recipe(library: str, kind: str, skip: list[str], dtype: Any) -> Any:
    """The demo's own where it uses that library for that kind, else what would take its place."""
    from transformers import BitsAndBytesConfig, TorchAoConfig

    from demo.backends import quantizing

    if quantizing.LIBRARIES.get(kind) == library:
        return quantizing.config_for(kind, skip, dtype=dtype)
    if (library, kind) == ("bitsandbytes", "int8"):
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    if (library, kind) == ("torchao", "int4"):  # torch's own kernel, on a card; the other packings need a library more
        quantization = importlib.import_module("torchao.quantization")
        packed = quantization.Int4WeightOnlyConfig(group_size=128, int4_packing_format="tile_packed_to_4d")
        return TorchAoConfig(packed, modules_to_not_convert=skip)
    raise ValueError(f"{library} is not tried with {kind}")


def left_alone(model: Any, kind: str, part: str) -> list[str]:
    """The modules that keep their dtype: as the demo chooses them, less what ``part`` names."""
    from demo.backends import quantizing

    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    chosen = quantizing.left_alone(model, kind)
    taken: dict[str, Callable[[str], bool]] = {
        "layers": lambda _: False,
        "head": lambda path: path == head,
        "vision": lambda path: path != head,
        "all": lambda _: True,
    }
    return [path for path in chosen if not taken[part](path)]


def accuracy(options: argparse.Namespace) -> Row:
    """The evaluation's figures for each set, and all answers."""
    from training import tokenizer
    from training.evaluate import Answerer, ask_all, is_right, measure
    from training.nouns import load_nouns
    from training.scoring import NounCounter

    model = load(options.bundled, options.choice, options.part, options.device)
    count = NounCounter(load_nouns())
    words = tokenizer.load(options.bundled)
    started_s = time.perf_counter()
    sets, answers, right = {}, [], 0
    for name, part in scenes(options.scenes, options.first).items():
        asked = ask_all(part.chains, Answerer(model, words, part.album, BATCH))
        sets[name] = measure(asked, count)
        answers += [prompt.answer for prompt in asked]
        right += sum(is_right(prompt, count) for prompt in asked)
    return {
        "outcome": "measured",
        "right_percent": 100 * right / len(answers),
        "sets": sets,
        "answers": answers,
        "answering_s": time.perf_counter() - started_s,
        **_held(options.device),
    }


def speed(options: argparse.Namespace) -> Row:
    """Bytes of the loaded model and while it answers, tokens a second of one answer, without the engine."""
    import torch

    started_s = time.perf_counter()
    model = load(options.dir, options.choice, options.part, options.device)
    loaded = {f"loaded_{name}": value for name, value in _held(options.device).items()}
    load_s = time.perf_counter() - started_s
    ids = (FIRST_LETTER + torch.arange(PROMPT_TOKENS, device=options.device) % 26)[None]  # (1, T)

    def answer(tokens: int) -> float:
        begun_s = time.perf_counter()
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
            )
        assert made.shape[1] == PROMPT_TOKENS + tokens, "the answer ended early"
        made.cpu()  # waits for the card
        return time.perf_counter() - begun_s

    answer(4)
    firsts = [answer(1) for _ in range(SPEED_ROUNDS)]
    wholes = [answer(options.tokens) for _ in range(SPEED_ROUNDS)]
    prefill_s, whole_s = statistics.median(firsts), statistics.median(wholes)
    return {
        "outcome": "measured",
        "load_s": load_s,
        "prefill_s": prefill_s,
        "tokens_per_s": (options.tokens - 1) / max(1e-9, whole_s - prefill_s),
        **loaded,
        **_held(options.device),
    }


def _held(device: str) -> Row:
    """What torch's allocator holds of a card, after a moment's tidying; nothing on a CPU."""
    import torch

    if device == "cpu":
        return {"allocated": 0, "peak": 0}
    torch.cuda.synchronize(device)
    return {"allocated": torch.cuda.memory_allocated(device), "peak": torch.cuda.max_memory_reserved(device)}


def child(options: argparse.Namespace) -> int:
    """Measure one thing and print it; an error of the library is an outcome."""
    try:
        row = {"accuracy": accuracy, "speed": speed}[options.what](options)
    except Exception as error:  # noqa: BLE001 - a library that cannot do it is what is to be found out
        row = {"outcome": "failed", "error": f"{type(error).__name__}: {error}"[:400]}
    print(json.dumps(row))
    return 0


# --- all of them


def run(options: argparse.Namespace) -> Row:
    wanted = [
        (what, choice, part, source)
        for what, source in (("accuracy", options.scenes), ("speed", options.dir))
        if source is not None
        for choice in options.choice
        for part in (options.part if choice != "none" else options.part[:1])
    ]
    result = {"benchmark": "quantization", "dir": options.dir and options.dir.name, **circumstances(options.commit)}
    rows: list[Row] = []

    def measure(number: int) -> None:
        what, choice, part, source = wanted[number]
        device = options.device[number % len(options.device)]
        arguments = ["-m", "benchmarks.quantization", "one", what, "--choice", choice, "--part", part]
        arguments += ["--device", device, "--scenes" if what == "accuracy" else "--dir", str(source)]
        arguments += ["--bundled", str(options.bundled), "--tokens", str(options.tokens)]
        arguments += ["--first", str(options.first)] if options.first else []
        row = Child(arguments, options.limit_s).run()
        rows.append({"what": what, "choice": choice, "part": part, **row})
        print(f"# {what} {choice} {part}: {row['outcome']} in {row['seconds_s']} s", file=sys.stderr, flush=True)
        save(options.json, {**result, "rows": without_answers(rows)})

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(measure, range(len(wanted))))
    rows.sort(key=lambda row: [w[:3] for w in wanted].index((row["what"], row["choice"], row["part"])))
    rows = without_answers(compared(rows))
    print(table(rows))
    return {**result, "rows": rows}


def compared(rows: Sequence[Row]) -> list[Row]:
    """With the share of answers that are the same, word for word, as without quantization."""
    plain = next((row["answers"] for row in rows if row["choice"] == "none" and "answers" in row), None)

    def same(row: Row) -> Row:
        if plain is None or "answers" not in row:
            return {}
        return {"same_percent": 100 * sum(a == b for a, b in zip(row["answers"], plain, strict=True)) / len(plain)}

    return [{**row, **same(row)} for row in rows]


def without_answers(rows: Sequence[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "answers"} for row in rows]


def table(rows: Sequence[Row]) -> str:
    lines = []
    accuracies = [row for row in rows if row["what"] == "accuracy"]
    if accuracies:
        lines += ["| bundled model | quantized | right, % | as without, % | peak, GiB |", "|---|---|---|---|---|"]
        lines += [_line(row, "right_percent", "same_percent", gib=("peak",)) for row in accuracies]
    speeds = [row for row in rows if row["what"] == "speed"]
    if speeds:
        lines += ["", "| | quantized | tokens/s | prefill, s | load, s | loaded, GiB | peak of the load | peak |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        sizes = ("loaded_allocated", "loaded_peak", "peak")
        lines += [_line(row, "tokens_per_s", "prefill_s", "load_s", gib=sizes) for row in speeds]
    return "\n".join(lines)


def _line(row: Row, *names: str, gib: Sequence[str]) -> str:
    if row["outcome"] != "measured":
        cells = [f"{row['outcome']}: {row.get('error', '')}".replace("|", "/").replace("\n", " ")]
        return f"| {row['choice']} | {row['part']} | {cells[0]} |" + " |" * (len(names) + len(gib) - 1)
    cells = [f"{row[name]:.2f}" if name in row else "" for name in names]
    cells += [f"{row[name] / GIB:.2f}" for name in gib]
    return f"| {row['choice']} | {row['part']} | {' | '.join(cells)} |"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(json=None, commit=None)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="scenes of the bundled model's test")
    drawing.add_argument("--scenes", type=int, default=60, help="of each set")
    drawing.add_argument("--out", type=Path, required=True)
    all_ = commands.add_parser("run", help="measure")
    all_.add_argument("--choice", nargs="*", default=list(CHOICES), help="LIBRARY:KIND, or none")
    all_.add_argument("--part", nargs="*", default=["layers"], choices=PARTS)
    all_.add_argument("--device", nargs="*", default=["cuda:0"], help="taken in turn; cpu too")
    all_.add_argument("--jobs", type=int, default=1, help="at a time; for bytes and accuracy, not for speeds")
    all_.add_argument("--limit-s", type=float, default=240.0)
    all_.add_argument("--json", type=Path, help="also write the result here")
    all_.add_argument("--commit", help="what is measured, where git does not say it")
    one = commands.add_parser("one")  # what `run` starts
    one.add_argument("what", choices=("accuracy", "speed"))
    one.add_argument("--choice", required=True)
    one.add_argument("--part", required=True)
    one.add_argument("--device", required=True)
    for command in (all_, one):
        command.add_argument("--scenes", type=Path, help="a file of `draw`: measure the accuracy")
        command.add_argument("--first", type=int, help="only so many scenes of each set")
        command.add_argument("--dir", type=Path, help="a model's directory: measure bytes and speed")
        command.add_argument("--bundled", type=Path, default=BUNDLED)
        command.add_argument("--tokens", type=int, default=ANSWER_TOKENS, help="of an answer, for the speed")
    return parser.parse_args(argv)


def main() -> int:
    options = parse_args()
    if options.command == "one":
        return child(options)
    result = {"draw": draw, "run": run}[options.command](options)
    if options.command == "run":
        save(options.json, result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
