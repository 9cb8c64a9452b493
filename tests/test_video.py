"""Clips: a few frames of a video or an animation, evenly spaced and as they are seen, or a clear refusal."""

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo import video
from demo.errors import ClipError
from demo.imaging import to_pil
from demo.video import is_clip, is_video, open_clip, spaced


def animation(num_frames=10, size=(64, 48), format="GIF", duration=100):
    """Frame number n is grey of the shade 20 n."""
    frames = [Image.new("RGB", size, (20 * n % 256,) * 3) for n in range(num_frames)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:], duration=duration, lossless=True)
    return out.getvalue()


def film(num_frames=50, size=(64, 48), format="mp4", codec="mpeg4", rate=25):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install -r requirements-video.txt")
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(num_frames):
            pixels = np.full((size[1], size[0], 3), 5 * n % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def shades(clip):
    return [int(np.asarray(to_pil(frame)).mean()) for frame in clip.frames]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_evenly_spaced_frames_with_their_times(format):
    data = animation(format=format)
    assert is_clip(data)
    assert not is_video(data)
    clip = open_clip(data, most=4, side=32)
    assert shades(clip) == pytest.approx([0, 60, 120, 180], abs=3)
    assert clip.times_s == pytest.approx((0, 0.3, 0.6, 0.9))
    assert {(frame.size.width, frame.size.height) for frame in clip.frames} == {(32, 24)}


def test_a_short_animation_gives_all_it_has():
    assert shades(open_clip(animation(3), most=16, side=64)) == pytest.approx([0, 20, 40], abs=2)


def test_one_frame_is_the_middle_one():
    assert shades(open_clip(animation(9), most=1, side=64)) == pytest.approx([80], abs=2)


def test_an_animation_that_says_no_times_has_some():
    clip = open_clip(animation(3, duration=0), most=3, side=64)
    assert clip.times_s == pytest.approx((0, 0.1, 0.2))


def test_what_is_transparent_is_white_as_in_pictures():
    frames = [Image.new("RGBA", (8, 8), (0, 0, 0, 0)), Image.new("RGBA", (8, 8), (255, 0, 0, 255))]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], duration=50, disposal=1)
    assert to_pil(open_clip(out.getvalue(), most=2, side=8).frames[0]).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("format", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("webm", "vp8")]
)
def test_a_video_gives_evenly_spaced_frames_with_their_times(format, codec):
    codec = {"vp8": "libvpx"}.get(codec, codec)
    data = film(format=format, codec=codec)
    assert is_clip(data)
    assert is_video(data)
    clip = open_clip(data, most=5, side=32)
    assert clip.times_s == pytest.approx((0.2, 0.6, 1.0, 1.4, 1.8), abs=0.05)  # of two seconds
    assert shades(clip) == pytest.approx([25, 75, 125, 175, 225], abs=12)


def test_a_video_with_fewer_frames_than_wanted_repeats_none():
    clip = open_clip(film(num_frames=3), most=16, side=32)
    assert len(clip.frames) == len(set(clip.times_s)) == 3


def test_a_video_of_unknown_length_is_read_to_its_end():
    class Pipe(io.RawIOBase):
        """What a browser's recorder writes to: nothing can be put in at the beginning afterwards."""

        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.data += data
            return len(data)

    av = pytest.importorskip("av")
    pipe = Pipe()
    with av.open(pipe, "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(100):
            pixels = np.full((48, 64, 3), 2 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    clip = open_clip(bytes(pipe.data), most=4, side=32)
    assert len(clip.frames) == 4
    assert clip.times_s[0] == pytest.approx(0, abs=0.1)
    assert clip.times_s[-1] > 3
    assert shades(clip) == sorted(shades(clip))


def test_without_its_library_a_video_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClipError, match=r"PyAV, which is not installed.*requirements-video\.txt"):
        open_clip(b"\x00\x00\x00\x20ftypisom" + bytes(64), most=4, side=64)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x20ftypisom" + bytes(64),
        b"\x1a\x45\xdf\xa3" + bytes(64),
        b"RIFF\x00\x00\x00\x00AVI " + bytes(64),
        b"OggS" + bytes(64),
    ],
)
def test_a_broken_video_is_called_damaged(data):
    pytest.importorskip("av")
    with pytest.raises(ClipError, match="damaged"):
        open_clip(data, most=4, side=64)


def test_a_cut_video_gives_what_is_there_or_is_called_damaged():
    data = film(format="matroska")
    ends = range(200, len(data), 997)
    assert all(opened_or_refused(data[:end]) for end in ends)
    assert any(not isinstance(opened_or_refused(data[:end]), ClipError) for end in ends)


def test_a_playlist_opens_no_other_file(tmp_path):
    """FFmpeg would follow what stands in one."""
    (tmp_path / "secret.mp4").write_bytes(b"x")
    playlist = f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n".encode()
    assert not is_clip(playlist)
    with pytest.raises(ClipError, match="no video that can be opened"):
        open_clip(playlist, most=4, side=64)


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_ANIMATION_FRAMES", 9), ("MAX_ANIMATION_PIXELS", 100), ("MAX_PIXELS", 9)]
)
def test_animations_beyond_a_limit_are_refused(monkeypatch, limit, value):
    monkeypatch.setattr(video, limit, value)
    with pytest.raises(ClipError, match="too"):
        open_clip(animation(), most=4, side=64)


def test_videos_beyond_a_limit_are_refused(monkeypatch, tmp_path):
    data = film()
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    for limit, value, words in (
        ("MAX_SECONDS", 1.0, "too long"),
        ("MAX_PIXELS", 9, "frames are too large"),
        ("MAX_FILE_BYTES", 9, "file is too large"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(video, limit, value)
            with pytest.raises(ClipError, match=words):
                open_clip(path, most=4, side=64)
    assert len(open_clip(path, most=4, side=64).frames) == 4


@pytest.mark.parametrize("name", ["absent.mp4", "", "a\x00b", "."])
def test_a_file_that_is_not_there_is_no_clip_and_says_so(tmp_path, name):
    path = str(tmp_path / name)
    assert not is_clip(path)
    with pytest.raises(ClipError):
        open_clip(path, most=4, side=64)


def test_a_still_picture_is_no_clip():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    assert not is_clip(out.getvalue())
    assert not is_video(out.getvalue())


def opened_or_refused(data):
    try:
        return open_clip(data, most=2, side=8).frames
    except ClipError as error:
        return error


@given(st.one_of(st.binary(max_size=200), st.sampled_from([b"\x1a\x45\xdf\xa3", b"GIF89a", b"OggS"])))
def test_any_bytes_are_a_clip_or_a_refusal(data):
    is_clip(data)
    assert opened_or_refused(data)


@given(st.integers(0, 5000), st.integers(1, 64))
def test_chosen_frames_are_few_in_order_and_as_far_apart_as_can_be(num_frames, most):
    chosen = spaced(num_frames, most)
    assert len(chosen) == min(num_frames, most)
    assert chosen == sorted(set(chosen))
    steps = [after - before for before, after in itertools.pairwise(chosen)]
    assert not steps or max(steps) - min(steps) <= 1
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (0, num_frames - 1)
