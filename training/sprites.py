"""The sprite bank: emoji drawings of every noun in every permissive style, fetched from npm and cut to one size.

Owns: which packages the drawings come from (pinned), how one drawing becomes a sprite, and the file
`cache/sprites.npz`.
Does not know: scenes, texts, tensors. Nothing here is needed to run the demo; it is needed to train its model.
Units: sprite pixels are 0..255 with straight (not premultiplied) alpha; hull points are -1..1 of the sprite square.

`python -m training.sprites` fetches what is missing, writes the bank and prints how many nouns each style covers.
Styles of split "test" are for measuring only and must never be trained on.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.nouns import Noun, load_nouns

CACHE = Path(__file__).resolve().parent / "cache"
SIDE = 128  # sprite square, pixels
FITTED = 124  # longest side of the drawing inside it; the rim lets a mip pyramid fade out
HULL_POINTS = 48
BANK = CACHE / "sprites.npz"
ICON_NAMES = CACHE.parent / "icon_names.tsv"
SVG_SIDE = 320  # vector drawings are rasterised this large, then shrunk

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """One package of drawings. Sources of one style are the same hand; the first that has a noun gives it.

    `layout` is "files" (one file per code point, `pattern` names it) or "iconify" (icons.json, and chars.json or our
    own table from code points to icon names). `licence` is that of the drawings.
    """

    style: str
    package: str
    version: str
    licence: str
    layout: str
    pattern: str = ""
    split: str = "train"


SOURCES = (
    Source("fluent-3d", "@lobehub/fluent-emoji-3d", "1.1.0", "MIT", "files", "assets/{cp}.webp"),
    Source("fluent-color", "@lobehub/fluent-emoji-modern", "1.0.0", "MIT", "files", "assets/{cp}.svg"),
    Source("fluent-flat", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "iconify"),
    Source("noto", "@iconify-json/noto", "1.2.9", "Apache-2.0", "iconify"),
    Source("noto-2017", "asturur-noto-emoji", "3.0.3", "Apache-2.0", "files", "svg/emoji_u{cp}.svg"),
    Source("noto-2017", "emoji-datasource-google", "5.0.1", "Apache-2.0", "files", "img/google/64/{cp}.png"),
    Source("noto-2016", "@iconify-json/noto-v1", "1.2.5", "Apache-2.0", "iconify"),
    Source("fxemoji", "@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "iconify"),
    Source("twemoji", "emoji-datasource-twitter", "16.0.0", "CC-BY-4.0", "files", "img/twitter/64/{cp}.png", "test"),
)


def fetch_npm(package: str, version: str, cache: Path = CACHE) -> Path:
    """The package's archive, from the cache when it is there (so a second run needs no network)."""
    name = f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    target = cache / "packages" / name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"{package}@{version}", "--silent"]
        subprocess.run(command, cwd=target.parent, check=True, stdout=subprocess.DEVNULL)
    return target


def drawings(source: Source, archive: Path, codepoints: set[str]) -> dict[str, Image.Image]:
    """Code point -> drawing as RGBA, for those of `codepoints` that the package has."""
    reader = _iconify_drawings if source.layout == "iconify" else _file_drawings
    with tarfile.open(archive) as package:
        return dict(reader(source, package, codepoints))


def _file_drawings(source: Source, package: tarfile.TarFile, codepoints: set[str]) -> Iterator[tuple[str, Image.Image]]:
    wanted = {}
    for codepoint in codepoints:
        for spelling in (f"{codepoint}-fe0f", codepoint):
            wanted["package/" + source.pattern.format(cp=spelling)] = codepoint
    for member in package:
        codepoint = wanted.get(member.name)
        stream = package.extractfile(member) if codepoint else None
        if codepoint and stream:
            yield codepoint, _rasterise(stream.read(), member.name.endswith(".svg"))


def _iconify_drawings(
    source: Source, package: tarfile.TarFile, codepoints: set[str]
) -> Iterator[tuple[str, Image.Image]]:
    names = _member(package, "chars.json") or icon_names(source.style)
    icons = _member(package, "icons.json")
    for codepoint in sorted(codepoints):
        name = names.get(codepoint) or names.get(f"{codepoint}-fe0f")
        icon = icons["icons"].get(name)
        if icon:
            yield codepoint, _rasterise(_svg(icon, icons).encode(), True)


def _member(package: tarfile.TarFile, name: str) -> dict[str, Any]:
    stream = package.extractfile(f"package/{name}")
    if stream is None:
        raise ValueError(f"The archive {package.name!s} has no file {name}.")
    return json.load(stream)


def icon_names(style: str, table: Path = ICON_NAMES) -> dict[str, str]:
    """Code point -> icon name, for packages that name their drawings without saying which character each one is."""
    lines = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:])
    return {codepoint: icon for owner, codepoint, icon in lines if owner == style}


def _svg(icon: dict, icons: dict) -> str:
    """A whole SVG document from the body that the icon collection keeps."""
    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'{head} width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'


def _rasterise(data: bytes, is_svg: bool) -> Image.Image:
    if is_svg:
        import resvg_py

        data = bytes(resvg_py.svg_to_bytes(svg_string=data.decode(), width=SVG_SIDE, height=SVG_SIDE))
    return Image.open(io.BytesIO(data)).convert("RGBA")


def sprite_of(drawing: Image.Image) -> ByteArray | None:
    """(SIDE, SIDE, 4): cut to what is visible, longest side FITTED, centred. None if nothing is visible."""
    visible = drawing.getchannel("A").point(lambda alpha: 255 if alpha > 16 else 0).getbbox()
    if visible is None:
        return None
    cut = drawing.crop(visible)
    scale = FITTED / max(cut.size)
    size = tuple(max(1, round(side * scale)) for side in cut.size)
    # Colour is resized premultiplied, or transparent pixels would bleed into the rim.
    cut = cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(cut, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(square).copy()


def hull_of(sprite: ByteArray) -> FloatArray:
    """(HULL_POINTS, 2): the outermost visible point in each of evenly spaced directions.

    A box that is tight after any affine map is then the minimum and maximum over the mapped points.
    Pixel corners, not centres, so that the box covers the outermost pixels.
    """
    rows, columns = np.nonzero(sprite[:, :, 3] > 127)
    corners = np.concatenate([np.stack([columns + dx, rows + dy], 1) for dx in (0, 1) for dy in (0, 1)])
    points = corners * (2 / SIDE) - 1  # (P, 2)
    angles = np.arange(HULL_POINTS) * (2 * np.pi / HULL_POINTS)
    directions = np.stack([np.cos(angles), np.sin(angles)])  # (2, HULL_POINTS)
    return points[np.argmax(points @ directions, axis=0)].astype(np.float32)


@dataclass(frozen=True)
class Bank:
    """All sprites, one row each. `split` is per style: "train" or "test"."""

    rgba: ByteArray  # (N, SIDE, SIDE, 4)
    hull: FloatArray  # (N, HULL_POINTS, 2)
    style: npt.NDArray[np.int64]  # (N,) index into styles
    noun: npt.NDArray[np.int64]  # (N,) index into the nouns
    styles: tuple[str, ...]
    split: tuple[str, ...]
    nouns: tuple[str, ...]


def build_bank(nouns: tuple[Noun, ...], sources: tuple[Source, ...] = SOURCES, cache: Path = CACHE) -> Bank:
    """Fetches what is missing and draws every noun in every style that has it."""
    splits = {source.style: source.split for source in sources}
    sprites: dict[tuple[int, int], ByteArray] = {}  # by style and noun index, in that order
    for source in sources:
        found = drawings(source, fetch_npm(source.package, source.version, cache), {noun.codepoint for noun in nouns})
        style = list(splits).index(source.style)
        for index, noun in enumerate(nouns):
            sprite = sprite_of(found[noun.codepoint]) if noun.codepoint in found else None
            if sprite is not None:
                sprites.setdefault((style, index), sprite)
    keys = sorted(sprites)
    return Bank(
        rgba=np.stack([sprites[key] for key in keys]),
        hull=np.stack([hull_of(sprites[key]) for key in keys]),
        style=np.array([style for style, _ in keys]),
        noun=np.array([noun for _, noun in keys]),
        styles=tuple(splits),
        split=tuple(splits.values()),
        nouns=tuple(noun.name for noun in nouns),
    )


def save_bank(bank: Bank, path: Path) -> None:
    """One array per field, words as fixed-width strings, so that `numpy.load` needs no pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{field.name: getattr(bank, field.name) for field in fields(bank)})


def coverage(bank: Bank) -> str:
    """A table: how many nouns each style has, and which nouns it lacks."""
    rows = []
    for index, (style, split) in enumerate(zip(bank.styles, bank.split, strict=True)):
        have = {bank.nouns[noun] for noun in bank.noun[bank.style == index]}
        missing = ", ".join(noun for noun in bank.nouns if noun not in have)
        rows.append(f"{style:14} {split:5} {len(have):4}  missing: {missing or 'none'}")
    return "\n".join(rows)


def contact_sheet(bank: Bank, nouns: Sequence[int], cell: int = 64) -> Image.Image:
    """Nouns as rows, styles as columns, for looking at what is called by the same name."""
    rows = {noun: row for row, noun in enumerate(nouns)}
    sheet = Image.new("RGB", (110 + cell * len(bank.styles), cell * len(rows)), (200, 205, 210))
    pen = ImageDraw.Draw(sheet)
    for noun, row in rows.items():
        pen.text((4, row * cell + cell // 3), bank.nouns[noun], fill=0)
    for rgba, style, noun in zip(bank.rgba, bank.style, bank.noun, strict=True):
        if noun in rows:
            sprite = Image.fromarray(rgba).resize((cell - 2, cell - 2))
            sheet.paste(sprite, (110 + cell * int(style), rows[noun] * cell), sprite)
    return sheet


def main() -> None:
    """Writes the bank, and a contact sheet if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m training.sprites", description=__doc__.splitlines()[0])
    parser.add_argument("--sheet", type=Path, help="also write contact sheets into this directory")
    arguments = parser.parse_args()
    bank = build_bank(load_nouns())
    save_bank(bank, BANK)
    print(coverage(bank))
    print(f"{len(bank.rgba)} sprites in {BANK} ({BANK.stat().st_size / 2**20:.1f} MiB)")
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(bank.nouns), 20):
            page = range(start, min(start + 20, len(bank.nouns)))
            contact_sheet(bank, page).save(arguments.sheet / f"sheet_{start:03d}.png")


if __name__ == "__main__":
    main()
