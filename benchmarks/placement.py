"""Predicted against measured bytes, loads, speed and answers of each placement, on models of real shapes.

    python -m benchmarks.placement write --out DIR [--model NAME ...] [--layers N]
    python -m benchmarks.placement run --dir DIR [--model NAME ...] [--placement single ...] [--cap 24GiB] [--gaps]
    python -m benchmarks.placement seed-case --dir DIR

`write` makes checkpoints with random weights (`benchmarks.checkpoints`). `run` measures each model in each placement in
a process of its own, through the real engine (`benchmarks.measuring`), and says with `--gaps` how close the scores were
where answers differ (`benchmarks.gaps`). `seed-case` is what this project began with:
about 33 GiB on two cards of 24 GiB. Each prints a table and, last, one line of JSON. Bytes are integers, GiB in the
table; a process's bytes are those of the worker processes alone, the CUDA context among them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import gaps
from benchmarks.children import Child, Row
from benchmarks.circumstances import ROOT, circumstances, save
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, parse_bytes

PLACEMENTS = ("single", "replicate", "shard")
SEED_MODEL = "cogvlm-17b"
OVER, UNDER = 5.0, -2.0  # per cent: a plan may ask for that much more or less than is taken


# --- run


def one_child(options: argparse.Namespace, directory: Path, placement: str, cap: int | None) -> Child:
    arguments = ["-m", "benchmarks.placement", "one", "--dir", str(directory), "--placement", placement]
    arguments += ["--picture-px", str(options.picture_px), "--rounds", str(options.rounds)]
    arguments += ["--ready-s", str(options.limit_s * 0.8)]
    arguments += ["--quantize", options.quantize, "--dtype", options.dtype, "--compile", options.compile]
    if options.pictures is not None:
        arguments += ["--pictures", str(options.pictures)]
    if options.devices:
        arguments += ["--devices", options.devices]
    if cap is not None:
        arguments += ["--cap", str(cap)]
    return Child(arguments, options.limit_s)


def measure_one(options: argparse.Namespace) -> None:
    """In the child: measure, and print the outcome as one line."""
    from benchmarks.measuring import Wanted, measure_placement
    from demo.engine.devices import detect

    cards = tuple(int(number) for number in options.devices.split(",")) if options.devices else None
    there = [device.index for device in detect() if device.index is not None]
    capped = {} if options.cap is None else dict.fromkeys(cards or there, parse_bytes(options.cap))
    model = (ModelChoice(str(options.dir)),)
    flags = {name: getattr(options, name) for name in ("placement", "quantize", "dtype", "compile")}
    config = EngineConfig(model, devices=cards, max_memory=capped, **flags)
    wanted = Wanted(config, options.pictures, options.picture_px, options.rounds, options.ready_s)
    print(json.dumps(measure_placement(wanted)))


def run(options: argparse.Namespace) -> Row:
    """Every model in every placement, ``--jobs`` at a time; the file is written anew after each."""
    models = options.model or sorted(path.name for path in options.dir.iterdir() if (path / "config.json").exists())
    cap = None if options.cap is None else parse_bytes(options.cap)
    wanted = [(model, placement) for model in models for placement in options.placement]
    how = {"cap": cap, "quantize": options.quantize, "dtype": options.dtype, "compile": options.compile}
    result = {"benchmark": "placement", **how, **circumstances(options.commit)}
    rows: list[Row] = []

    def measure(pair: tuple[str, str]) -> None:
        model, placement = pair
        row = {"model": model, "asked": placement}
        row |= one_child(options, options.dir / model, placement, cap).run()
        rows.append({**row, "verdicts": verdicts(row)})
        print(f"# {model} {placement}: {row['outcome']} in {row['seconds_s']} s", file=sys.stderr, flush=True)
        save(options.json, {**result, "rows": rows})

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(measure, wanted))
    rows.sort(key=lambda row: wanted.index((row["model"], row["asked"])))
    print(table(rows))
    result |= {"rows": rows, "equal_answers": equal_answers(rows)}
    if not options.gaps:
        return result
    found = gaps_of(options, rows)
    print(gaps.table(found))
    return {**result, "gaps": found}


def gaps_of(options: argparse.Namespace, rows: Sequence[Row]) -> dict[str, Row]:
    """For each model that answered in more than one way: where its answers part, and by how much."""
    found = {}
    for model, is_equal in equal_answers(rows).items():
        if not is_equal:
            answered = [row for row in rows if row["model"] == model and row["outcome"] == "answered"]
            arguments = ["-m", "benchmarks.gaps", "--dir", str(options.dir / model), "--given", all_given(answered)]
            arguments += ["--placement", answered[0]["asked"], "--picture-px", str(options.picture_px)]
            arguments += ["--quantize", options.quantize, "--dtype", options.dtype]
            found[model] = Child(arguments, options.limit_s).run()
    return found


def all_given(rows: Sequence[Row]) -> str:
    """Each question with the different answers to it in all placements, as JSON."""
    questions = {name: dict(asked) for name, asked in rows[0]["given"].items()}
    for name, asked in questions.items():
        asked["answers"] = list(dict.fromkeys(words for row in rows for words in row["given"][name]["answers"]))
    return json.dumps({name: asked for name, asked in questions.items() if len(asked["answers"]) > 1})


def verdicts(row: Row) -> dict[str, Row]:
    """Device by device, what was planned beside what the processes took at most."""
    found: dict[str, Row] = {}
    for device, planned in row.get("planned", {}).items():
        taken = row["process_peak"].get(device)
        error = None if not taken else 100 * (planned - taken) / taken
        holds = {
            "allocator_peak": sum(r["allocator"].get(device, {}).get("peak", 0) for r in row["replicas"]),
            "parts": row["planned_parts"][device],
            "resident": sum(r["resident"].get(device, 0) for r in row["replicas"]),
        }
        is_close = error is not None and UNDER <= error <= OVER
        found[device] = {"planned": planned, "taken": taken, "error_percent": error, "is_close": is_close, **holds}
    return found


def equal_answers(rows: Sequence[Row]) -> dict[str, bool]:
    """Whether every replica of every placement of a model gave the same answers."""
    given: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        if row["outcome"] == "answered":
            given[row["model"]].add(tuple(row["answers"]))
    return {model: len(answers) == 1 and len(set(next(iter(answers)))) <= 2 for model, answers in given.items()}


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| model | placement | device | planned | taken | error | allocator | weights, KV, activations, reserve "
        "| resident | loads | slots "
        "| load, s | prefill, s | tokens/s | context | answers |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["outcome"] != "answered":
            said = str(row.get("error", "")).replace("|", "/")
            lines.append(f"| {row['model']} | {row['asked']} | {row['outcome']}: {said} |" + " |" * 13)
            continue
        loads = "+".join(str(replica["total_loads"]) for replica in row["replicas"])
        slots = "+".join(str(replica["slots"]) for replica in row["replicas"])
        rest = f"{max(r['load_s'] for r in row['replicas']):.1f} | {row['prefill_s']:.2f} | {row['tokens_per_s']:.1f}"
        rest += f" | {row['total_tokens']} of {row['context']} | {' '.join(row['answers'])}"
        for device, found in row["verdicts"].items():
            lines.append(
                f"| {row['model']} | {row['asked']} | {device} | {_cells(found)} | {loads} | {slots} | {rest} |"
            )
    return "\n".join(lines)


def _cells(found: Row) -> str:
    error = "?" if found["error_percent"] is None else f"{found['error_percent']:+.1f} %"
    parts = " + ".join(_gib(size) for size in found["parts"].values())
    sizes = [_gib(found["planned"]), _gib(found["taken"]), error, _gib(found["allocator_peak"])]
    return " | ".join([*sizes, parts, _gib(found["resident"])])


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / GIB:.2f}"


# --- the seed's case


def seed_case(options: argparse.Namespace) -> Row:
    """`auto` shards and answers, whole copies are refused before any load, the other ways run out of memory."""
    directory, cap = options.dir / options.model, parse_bytes(options.cap)
    rows = [_auto(options, directory, cap)]
    rows += [_refusal(options, directory, cap, placement) for placement in ("replicate", "single")]
    rows += [_other_way(options, directory, cap, way) for way in ("composite", "dispatch")]
    print("| way | outcome | as expected | seconds | what was said |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['way']} | {row['outcome']} | {row['as_expected']} | {row['seconds_s']} | {row['said']} |")
    result = {"benchmark": "placement, the seed's case", "cap": cap, **circumstances(options.commit), "rows": rows}
    return {**result, "as_expected": all(row["as_expected"] for row in rows)}


def _auto(options: argparse.Namespace, directory: Path, cap: int) -> Row:
    row = one_child(options, directory, "auto", cap).run()
    found = verdicts(row)
    places = [f"{device} {_gib(f['planned'])} planned, {_gib(f['taken'])} taken" for device, f in found.items()]
    expected = row["outcome"] == "answered" and row["placement"] == "shard"
    expected = expected and all((f["taken"] or f["allocator_peak"]) <= cap for f in found.values())
    said = ", ".join([f"{row.get('placement', '')}", *places]) if places else row.get("error", "")
    return {"way": "auto", "as_expected": expected, "said": said, **row, "verdicts": found}


def _refusal(options: argparse.Namespace, directory: Path, cap: int, placement: str) -> Row:
    """The command line itself, asked to answer: it refuses with exit code 2 and its arithmetic."""
    budgets = ",".join(f"{card}={cap}" for card in (options.devices or "0,1").split(","))
    arguments = ["launch.py", "chat", "-q", "What is this?", "--model", str(directory), "--placement", placement]
    arguments += ["--max-memory", budgets]
    if options.devices:
        arguments += ["--devices", options.devices]
    row = Child(arguments, options.limit_s).exit_code()
    expected = row["code"] == 2 and "GiB" in row["said"]
    return {"way": placement, "outcome": f"exit code {row['code']}", "as_expected": expected, **row}


def _other_way(options: argparse.Namespace, directory: Path, cap: int, way: str) -> Row:
    row = Child(["-m", "benchmarks.other_ways", way, str(directory), str(cap)], options.limit_s).run()
    steps = row.get("steps", [])
    said = "; ".join(f"{step['step']}: {step['outcome']} ({step['seconds_s']} s)" for step in steps)
    expected = row["outcome"] == "out of memory" and bool(steps) and steps[-1]["step"] == '.to("cuda:0")'
    return {"as_expected": expected, "said": said or row.get("error", ""), **row, "way": way}


# --- the command line


def write(options: argparse.Namespace) -> Row:
    from benchmarks import checkpoints

    shapes = {path.name: path for path in sorted(options.shapes.iterdir()) if (path / "config.json").exists()}
    chosen = [shapes[name] for name in options.model or shapes]
    written = checkpoints.write(chosen, options.out, layers=options.layers, jobs=options.jobs)
    print("| model | bytes | GiB | files |")
    print("|---|---|---|---|")
    for row in written:
        print(f"| {row['model']} | {row['bytes']} | {_gib(row['bytes'])} | {row['files']} |")
    return {"benchmark": "placement, write", **circumstances(options.commit), "rows": written}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(json=None, commit=None)
    commands = parser.add_subparsers(dest="command", required=True)
    out = commands.add_parser("write", help="write checkpoints with random weights")
    out.add_argument("--out", type=Path, required=True)
    out.add_argument("--model", nargs="*", help="names of shapes; all by default")
    out.add_argument("--layers", type=int, help="so many layers of the decoder and of the tower only")
    out.add_argument("--jobs", type=int, default=8, help="files written at a time")
    out.add_argument("--shapes", type=Path, default=ROOT / "benchmarks" / "shapes", help=argparse.SUPPRESS)
    all_ = commands.add_parser("run", help="measure models in placements")
    all_.add_argument("--model", nargs="*", help="names of directories below --dir; all by default")
    all_.add_argument("--placement", nargs="*", default=list(PLACEMENTS), help="also 2x2, cpu, auto")
    all_.add_argument("--cap", help="budget and hard limit of every card, like 24GiB")
    all_.add_argument("--gaps", action="store_true", help="how close the scores were where answers differ; loads again")
    all_.add_argument("--jobs", type=int, default=1, help="measurements at a time; for bytes, not for speeds")
    seed = commands.add_parser("seed-case", help="about 33 GiB on two cards of 24 GiB")
    seed.add_argument("--model", default=SEED_MODEL)
    seed.add_argument("--cap", default="24GiB")
    child = commands.add_parser("one")  # what `run` starts
    child.add_argument("--placement", required=True)
    child.add_argument("--cap")
    child.add_argument("--ready-s", type=float, default=300.0)
    for command in (all_, seed, child):
        command.add_argument("--dir", type=Path, required=True, help="where the models are")
        command.add_argument("--devices", help="cards, like 0,1; all by default")
        command.add_argument("--quantize", default="none", choices=("none", "int8", "int4"))
        command.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
        command.add_argument("--compile", default="auto", choices=("auto", "graphs", "off"))
        command.add_argument("--pictures", type=int, help="in the longest conversation; as many as planned by default")
        command.add_argument("--picture-px", type=int, default=1568, help="side of the pictures")
        command.add_argument("--rounds", type=int, default=2, help="short answers for the speed")
    for command in (all_, seed):
        command.add_argument("--limit-s", type=float, default=240.0, help="most that one measurement may take")
    for command in (out, all_, seed):
        command.add_argument("--json", type=Path, help="also write the result here")
        command.add_argument("--commit", help="what is measured, where git does not say it")
    return parser.parse_args(argv)


def main() -> int:
    options = parse_args()
    if options.command == "one":
        measure_one(options)
        return 0
    result = {"write": write, "run": run, "seed-case": seed_case}[options.command](options)
    save(options.json, result)
    print(json.dumps(result))
    return 0 if result.get("as_expected", True) else 1


if __name__ == "__main__":
    sys.exit(main())
