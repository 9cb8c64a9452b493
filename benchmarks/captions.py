"""Captions of a folder of pictures: one after the other, beside the folder's worker with as many at a time as there are
places.

Owns the folder, which is made of the example pictures, each a little different, so that nothing is remembered of one
for another. Both ways ask a fresh engine of their own in the words of the caption command, and take turns; one picture
each is a warm-up. The first of them is one slot and one picture at a time. A table stands first, one line of JSON last.
Times are seconds.

    python -m benchmarks.captions [--model bundled] [--pictures 32] [--style short] [--tokens 512] [--uneven]
                                  [--slots N] [--placement auto] [--device cpu] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.circumstances import circumstances, save
from benchmarks.engine import EXAMPLES, READY_S, marked
from demo.captioning.captioner import Caption, Captioner, Wishes
from demo.captioning.room import Room
from demo.captioning.work import work
from demo.captioning.worklist import Item, work_list
from demo.config import EngineConfig, ModelChoice
from demo.engine.manager import ModelManager
from demo.imaging import open_picture, to_pil
from demo.prompts import load_prompts
from demo.types import Picture, Sampling


@dataclass(frozen=True, slots=True)
class Pace:
    """One way through the folder. ``captions`` are in the order of the pictures; empty where one failed."""

    at_a_time: int
    total_s: float
    captions: tuple[str, ...]

    @property
    def per_s(self) -> float:
        return len(self.captions) / self.total_s


@dataclass(frozen=True, slots=True)
class Row:
    """The median of several rounds. ``differing`` captions are not word for word those of one at a time."""

    way: str
    at_a_time: int
    pictures: int
    total_s: float
    per_s: float
    per_s_rounds: tuple[float, ...]
    failed: int
    differing: int

    @staticmethod
    def of(way: str, paces: Sequence[Pace], right: Sequence[str]) -> Row:
        last = paces[-1].captions
        return Row(
            way,
            paces[-1].at_a_time,
            len(last),
            statistics.median(pace.total_s for pace in paces),
            statistics.median(pace.per_s for pace in paces),
            tuple(round(pace.per_s, 3) for pace in paces),
            sum(not caption for caption in last),
            sum(a != b for a, b in zip(last, right, strict=True)),
        )


class Uneven(Captioner):
    """Ends captions that find no end where real ones would, each elsewhere: between 0.5 and 1.5 times the tokens."""

    def caption(self, picture: Picture, cancelled: Callable[[], bool]) -> Caption | None:
        most = self.wishes.sampling.max_new_tokens
        tokens = most // 2 + zlib.crc32(picture.rgb) % (most + 1)
        wishes = replace(self.wishes, sampling=replace(self.wishes.sampling, max_new_tokens=tokens))
        return Captioner(self.engine, self.spec, self.prompts, wishes).caption(picture, cancelled)


def make_folder(folder: Path, count: int) -> list[Item]:
    """``count`` pictures as files, no two of them the same."""
    files = sorted(EXAMPLES.glob("*.png"))
    for number in range(count):
        picture = marked(open_picture(files[number % len(files)]), number)
        to_pil(picture).save(folder / f"{number:05}.png")
    return list(work_list([folder]).items)


def through(
    items: Sequence[Item],
    config: EngineConfig,
    wishes: Wishes,
    at_a_time: int | None,
    kind: type[Captioner] = Captioner,
) -> Pace:
    """The whole folder once, ``at_a_time`` pictures or as many as there are places; loading does not count."""
    with ModelManager(config) as manager:
        manager.start()
        if not manager.wait_ready(READY_S):
            raise SystemExit(f"The model was not ready after {READY_S:.0f} s.")
        spec = manager.specs["captioning"]
        captioner = kind(manager, spec, load_prompts(spec.prompts), wishes)
        captioner.caption(marked(open_picture(items[0].path), 65_535), lambda: False)
        room = Room(at_a_time or manager.places)
        started_s = time.perf_counter()
        found = {result.item.key: result for result in work(items, captioner, room=room) if result is not None}
        total_s = time.perf_counter() - started_s
    captions = (found[item.key].caption for item in items)
    return Pace(room.places, total_s, tuple(caption.text if caption else "" for caption in captions))


def measure(items: Sequence[Item], options: argparse.Namespace) -> list[Row]:
    model = ModelChoice(options.model, "captioning")
    placement = "cpu" if options.device == "cpu" else options.placement
    one = EngineConfig(models=(model,), placement=placement, slots=1)
    many = EngineConfig(models=(model,), placement=placement, slots=options.slots, is_batch=True)
    wishes = Wishes(options.style, sampling=Sampling(max_new_tokens=options.tokens))
    kind = Uneven if options.uneven else Captioner
    alone, together = [], []
    for _ in range(options.rounds):
        alone.append(through(items, one, wishes, 1, kind))
        together.append(through(items, many, wishes, None, kind))
    right = alone[0].captions
    return [Row.of("one after the other", alone, right), Row.of("the folder's worker", together, right)]


NAMES = ("", "at a time", "pictures", "seconds", "pictures/s", "each round", "failed", "differing")
HEAD = f"| {' | '.join(NAMES)} |\n{'|---' * len(NAMES)}|"


def line_of(row: Row) -> str:
    rounds = ", ".join(f"{per_s:.2f}" for per_s in row.per_s_rounds)
    counts = f"{row.failed} | {row.differing}"
    return (
        f"| {row.way} | {row.at_a_time} | {row.pictures} | {row.total_s:.1f} | {row.per_s:.2f} | {rounds} | {counts} |"
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="as launch.py takes it")
    parser.add_argument("--pictures", type=int, default=32, help="in the folder")
    parser.add_argument("--style", default="short", help="of the captions")
    parser.add_argument("--tokens", type=int, default=512, help="the most of a caption; random weights find no end")
    parser.add_argument("--uneven", action="store_true", help="captions end at 0.5 to 1.5 times --tokens")
    parser.add_argument("--slots", type=int, help="of each replica of the worker; default: as many as fit")
    parser.add_argument("--placement", default="auto", help="as launch.py takes it")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="cpu: whatever cards there are")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commit", help="where git does not say it")
    parser.add_argument("--json", type=Path, help="also write the result here")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    facts = circumstances(options.commit)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(make_folder(Path(folder), options.pictures), options)
    print(HEAD)
    print("\n".join(map(line_of, rows)))
    ratio = rows[1].per_s / rows[0].per_s
    print(f"\nthe worker / one after the other: {ratio:.2f}")
    asked = {
        name: getattr(options, name)
        for name in ("model", "style", "tokens", "uneven", "placement", "device", "slots", "rounds")
    }
    result = {"benchmark": "captions", **asked, **facts, "rows": [asdict(row) for row in rows], "ratio": ratio}
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
