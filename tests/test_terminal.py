"""The demo without its page, in real processes, with the fake model."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SLOW = "fake?token_s=0.05&tokens=400"
TIMEOUT_S = 120


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}


def launch(*arguments, stdin=""):
    return subprocess.run(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.fixture
def animation(tmp_path):
    path = tmp_path / "film.gif"
    frames = [Image.new("RGB", (64, 48), (9 * n, 0, 0)) for n in range(20)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "scene.png"
    Image.new("RGB", (640, 480), (120, 120, 120)).save(path)
    return path


# --- chat


def test_one_question_about_a_picture_is_answered_once(picture):
    finished = launch("chat", picture, "-q", "What is this?", "--model", "fake")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ("You asked: What is this? I see a picture of 640 x 480 pixels, and this is turn 1.\n")
    assert finished.stderr == ""


def test_a_question_without_a_picture_is_answered_too():
    finished = launch("chat", "-q", "Hello", "--model", "fake")
    assert "I see no picture" in finished.stdout


def test_a_clip_is_shown_to_a_model_that_follows_some_and_its_first_frame_to_others(animation, picture):
    asked = ("chat", animation, "-q", "What?", "--model")
    film = launch(*asked, "fake?max_frames=8")
    assert film.stdout == "You asked: What? I see a clip of 8 frames up to 1.9 s, and this is turn 1.\n"
    assert film.stderr == "film.gif: 8 frames of it are shown to the model, up to 1.9 s.\n"
    still = launch(*asked, "fake")
    assert "a picture of 64 x 48 pixels" in still.stdout
    assert "only its first frame is used" in still.stderr
    video = animation.with_name("film.mp4")
    video.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(64))
    refused = launch("chat", video, "-q", "What?", "--model", "fake")
    assert refused.returncode == 2
    assert "film.mp4: This model looks at pictures only" in refused.stderr
    twice = launch("chat", animation, animation, picture, "-q", "What?", "--model", "fake?max_frames=8")
    assert "Too many clips (2). This model takes 1 in one conversation." in twice.stderr


def test_the_reasoning_is_left_out_of_what_is_not_a_terminal_with_a_word(picture):
    model = "fake?thought_tokens=7"
    finished = launch("chat", picture, "-q", "What is this?", "--model", model)
    assert finished.stdout == "You asked: What is this? I see a picture of 640 x 480 pixels, and this is turn 1.\n"
    assert re.fullmatch(r"\(thought for \d+\.\d s\)\n", finished.stderr)
    found = json.loads(launch("ground", picture, "the dog", "--json", "--model", model).stdout)
    assert found["answer"] == "the dog [[100,200,300,400]]"
    assert len(found["regions"]) == 1


def test_the_reasoning_is_dimmed_on_a_terminal(picture):
    reader, writer = os.openpty()
    command = [sys.executable, "launch.py", "chat", str(picture), "-q", "What?", "--model", "fake?thought_tokens=3"]
    ran = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    told = b""
    with contextlib.suppress(OSError):  # what a terminal says when nobody writes to it any more
        while piece := os.read(reader, 4096):
            told += piece
    os.close(reader)
    assert ran.wait(TIMEOUT_S) == 0
    dimmed = "".join(re.findall(r"\x1b\[2m(.*?)\x1b\[0m", told.decode(), re.DOTALL))
    assert dimmed.split() == ["Let", "me", "look:"]
    assert "You asked: What?" in re.sub(r"\x1b\[2m.*?\x1b\[0m", "", told.decode(), flags=re.DOTALL)


def test_a_conversation_goes_on_after_an_error_and_remembers_its_turns(picture, tmp_path):
    lines = ["hello", "", f"/open {tmp_path}/absent.png", f"/open {picture}", f"/open {picture}", "and now?"]
    finished = launch("chat", "--model", "fake", stdin="\n".join([*lines, "/clear", "again", "/quit", "never"]))
    assert finished.returncode == 0
    assert finished.stdout.splitlines() == [
        "You asked: hello I see no picture, and this is turn 1.",
        "You asked: and now? I see a picture of 640 x 480 pixels, and this is turn 3.",
        "You asked: again I see no picture, and this is turn 1.",
    ]
    errors = finished.stderr.splitlines()
    assert [error.partition(":")[0] for error in errors] == ["error", "error"]
    assert "absent.png: There is no such file" in errors[0]
    assert "Too many pictures" in errors[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chat", "-q", "   "], "question is empty"),
        (["chat", "absent.png", "-q", "x"], "absent.png"),
        (["chat", "launch.py", "-q", "x"], "not a picture"),
        (["ground", "absent.png", "dog"], "absent.png"),
        (["ground", "PICTURE", " "], "phrase is empty"),
        (["ground", "PICTURE", ";;;"], "The phrase is empty. Type a phrase first."),
        (["ground", "PICTURE", "dog", "--out", "x.txt"], "--out.*x.txt"),
        (["ground", "PICTURE", "dog", "--out", "PICTURE"], "the picture itself"),
        (["ground", "PICTURE", "dog", "--out", "absent/x.png"], "no existing folder"),
        (["caption", "absent"], "no such file or folder"),
        (["caption", "demo"], r"no pictures in this folder \(demo\)\. Endings looked for"),
        (["caption", "EMPTY"], r"no pictures in this archive \(.*empty\.zip\)\. Endings looked for"),
        (["caption", "EMPTY", "demo"], r"no pictures in these \(.*empty\.zip, demo\)\. Endings looked for"),
        (["caption", "launch.py"], "launch.py: The file is not a picture"),
        (["caption", "PICTURE", "--out", "launch.py"], "not a folder"),
        (["caption", "PICTURE", "--existing", "keep"], "no such choice.*keep"),
        (["chat", "PICTURE", "PICTURE", "-q", "x"], "Too many pictures"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(arguments, says, picture):
    empty = picture.with_name("empty.zip")
    empty.write_bytes(b"PK\x05\x06" + bytes(18))
    made = {"PICTURE": str(picture), "EMPTY": str(empty)}
    given = [made.get(argument, argument) for argument in arguments]
    finished = launch(*given, "--model", "fake")
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert re.search(says, line), line


def test_an_engine_error_is_exit_code_one(picture):
    finished = launch("chat", picture, "-q", "x", "--model", "fake?oom_at=2")
    assert finished.returncode == 1
    assert "memory" in finished.stderr
    assert "Traceback" not in finished.stderr


def started(*arguments):
    """A program in a process group of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(stream, word):
    text = ""
    while word not in text:
        char = stream.read(1)
        assert char, f"the program ended before it said {word!r}: {text!r}"
        text += char
    return text


def group_is_gone(group):
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_stops_a_single_answer_and_leaves_no_process():
    with started("chat", "-q", "Hello", "--model", SLOW) as program:
        read_until(program.stdout, "You asked")
        os.killpg(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 1
    assert "stopped" in err
    assert "Traceback" not in err
    assert len(out.split()) < 200
    assert group_is_gone(program.pid)


def test_ctrl_c_stops_one_answer_of_a_conversation_which_goes_on():
    with started("chat", "--model", SLOW) as program:
        for turn in (1, 3):
            program.stdin.write("Hello\n")
            program.stdin.flush()
            read_until(program.stdout, f"this is turn {turn}")
            os.killpg(program.pid, signal.SIGINT)
            read_until(program.stderr, "stopped")
        program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 0
    assert group_is_gone(program.pid)


# --- grounding


def test_grounding_prints_pixels_and_json_and_draws_a_copy(picture, tmp_path):
    before = picture.read_bytes()
    finished = launch("ground", picture, "the red car", "--model", "fake")
    assert (finished.returncode, finished.stdout) == (0, "red car: 64 96 192 192\n")

    out = tmp_path / "drawn.png"
    finished = launch("ground", picture, "the red car", "--json", "--out", out, "--model", "fake")
    assert finished.returncode == 0
    assert json.loads(finished.stdout) == {
        "phrase": "the red car",
        "answer": "the red car [[100,200,300,400]]",
        "regions": [{"label": "red car", "box": [64, 96, 192, 192], "box_normalized": [0.1, 0.2, 0.3, 0.4]}],
    }
    drawn = np.asarray(Image.open(out))
    assert drawn.shape == (480, 640, 3)
    assert (drawn[300:, 250:] == 120).all()
    assert (drawn[94:99, 100:180] != 120).any()
    assert picture.read_bytes() == before


def test_each_of_several_phrases_is_looked_for(picture, tmp_path):
    finished = launch("ground", picture, "the dog; the cat", "--model", "fake")
    assert (finished.returncode, finished.stdout) == (0, "the dog: 64 96 192 192\nthe cat: 64 96 192 192\n")
    launch("ground", picture, "the cat", "--out", tmp_path / "one.png", "--model", "fake")
    finished = launch(
        "ground", picture, "the dog; the cat", "--json", "--out", tmp_path / "both.png", "--model", "fake"
    )
    found = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [one["phrase"] for one in found] == ["the dog", "the cat"]
    assert [[region["label"] for region in one["regions"]] for one in found] == [["the dog"], ["the cat"]]
    one, both = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "both"))
    assert (one != both).any()


def test_an_answer_without_a_box_is_printed_as_it_is(picture):
    finished = launch("ground", picture, "dog", "--model", "fake?box=nowhere")
    assert finished.returncode == 0
    assert finished.stdout == "dog [[nowhere]]\n"
    assert "no box" in finished.stderr


def test_boxes_of_a_rotated_photo_are_pixels_of_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (640, 480)).save(tmp_path / "photo.jpg", exif=exif)
    finished = launch("ground", tmp_path / "photo.jpg", "dog", "--json", "--model", "fake")
    assert json.loads(finished.stdout)["regions"][0]["box"] == [48, 128, 144, 256]


# --- captions


def test_one_caption_is_printed_alone(picture):
    finished = launch("caption", picture, "--model", "fake")
    assert finished.returncode == 0
    assert finished.stdout.startswith("You asked: Describe the image in one short sentence.")


def test_a_grounded_caption_is_text_without_numbers_and_its_boxes(picture):
    finished = launch("caption", picture, "--style", "grounded", "--model", "fake")
    assert finished.stdout == "A small thing in front of a plain background.\nsmall thing: 64 96 192 192\n"


def test_a_folder_is_captioned_broken_files_are_named_and_the_rest_goes_on(tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.png", "a.jpg", "more/a.png", "z.webp", ".hidden/h.png"):
        Image.new("RGB", (64, 48)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("left alone")
    finished = launch("caption", folder, "--style", "grounded", "--json", "--out", out, "--model", "fake")
    assert finished.returncode == 1
    assert finished.stderr == (
        "error: broken.png: The file is not a picture that can be opened. "
        "Use a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF picture.\n"
    )
    found = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [Path(each["file"]).relative_to(folder).as_posix() for each in found] == [
        "a.jpg",
        "a.png",
        "more/a.png",
        "z.webp",
    ]
    assert found[0]["caption"] == "A small thing in front of a plain background."
    assert found[0]["regions"][0]["box"] == pytest.approx([6.4, 9.6, 19.2, 19.2])
    texts = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.txt")}
    assert sorted(texts) == ["a.png.txt", "a.txt", "more/a.txt", "z.txt"]
    assert set(texts.values()) == {"A small thing in front of a plain background.\n"}
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["notes.txt"]


def test_an_archive_is_captioned_and_the_results_are_in_the_folder(tmp_path):
    for index in range(3):
        Image.new("RGB", (64 + index, 48)).save(tmp_path / f"{index}.png")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for index in range(3):
            archive.write(tmp_path / f"{index}.png", f"in/{index}.png")
        archive.writestr("../out.png", "leads out")
    out = tmp_path / "out"
    finished = launch("caption", tmp_path / "many.zip", "--out", out, "--model", "fake")
    assert finished.returncode == 1
    assert [line.partition(": You asked")[0] for line in finished.stdout.splitlines()] == [
        f"{tmp_path}/many.zip/in/{index}.png" for index in range(3)
    ]
    assert "many.zip/out.png: Its name leads out of the archive." in finished.stderr
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert made == ["captions.csv", "captions.jsonl", "in/0.txt", "in/1.txt", "in/2.txt"]


def test_a_job_that_was_killed_goes_on_and_no_picture_is_captioned_twice(tmp_path):
    folder, out, journal = tmp_path / "pictures", tmp_path / "out", tmp_path / "asked"
    folder.mkdir()
    for index in range(5):
        Image.new("RGB", (64 + index, 48)).save(folder / f"{index}.png")
    model = f"fake?token_s=0.03&journal={journal}"
    with started("caption", folder, "--out", out, "--json", "--model", model) as program:
        assert json.loads(program.stdout.readline())["file"] == str(folder / "0.png")
        assert json.loads(program.stdout.readline())["file"] == str(folder / "1.png")
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate(timeout=TIMEOUT_S)
    killed_at = len(journal.read_text().splitlines())
    finished = launch("caption", folder, "--out", out, "--json", "--model", model)
    assert finished.returncode == 0, finished.stderr
    assert [json.loads(line)["file"] for line in finished.stdout.splitlines()] == [
        str(folder / f"{index}.png") for index in range(5)
    ]
    begun = [line for line in journal.read_text().splitlines()[killed_at:] if line.startswith("begin")]
    assert len(begun) == 3
    lines = [json.loads(line)["file"] for line in (out / "captions.jsonl").read_text().splitlines()]
    assert lines == [f"{index}.png" for index in range(5)]
    assert len(list(out.glob("*.txt"))) == 5
    again = launch("caption", folder, "--out", out, "--json", "--model", "fake?fail_load=error")
    assert again.returncode == 0  # nothing was left to do, so no model was loaded
    assert again.stdout == finished.stdout


def test_ctrl_c_ends_the_job_and_what_was_finished_is_kept(tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (64 + index, 48)).save(folder / f"{index}.png")
    with started("caption", folder, "--out", out, "--model", "fake?token_s=0.05") as program:
        program.stdout.readline()
        os.killpg(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 1
    assert "stopped" in err
    assert "Traceback" not in err
    assert group_is_gone(program.pid)
    assert 1 <= len((out / "captions.jsonl").read_text().splitlines()) < 4


def test_captions_that_are_there_are_left_alone_unless_others_are_wanted(picture, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "scene.txt").write_text("by hand\n")
    finished = launch("caption", picture, "--out", out, "--model", "fake")
    assert finished.returncode == 0
    assert finished.stdout == ""
    assert "left alone" in finished.stderr
    finished = launch(
        "caption", picture, "--out", out, "--existing", "append", "--style", "grounded", "--model", "fake"
    )
    assert finished.returncode == 0
    assert (out / "scene.txt").read_text() == "by hand\nA small thing in front of a plain background.\n"


def test_captions_are_as_wished_and_exported(picture, tmp_path):
    out = tmp_path / "out"
    wished = ("--words", "25", "--instruction", "Name the colours.", "--prefix", "a photo: ", "--suffix", " #art")
    finished = launch("caption", picture, *wished, "--out", out, "--export", "zip", "--model", "fake")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    asked = "Describe the image in one short sentence. Name the colours. Use about 25 words."
    assert finished.stdout.startswith(f"a photo: You asked: {asked} I see")
    assert finished.stdout.endswith(" #art\n")
    with zipfile.ZipFile(out / "captions.zip") as made:
        assert sorted(made.namelist()) == ["captions.csv", "captions.jsonl", "scene.txt"]
    again = launch("caption", picture, *wished, "--out", out, "--model", "fake?fail_load=error")
    assert again.stdout == finished.stdout  # resumed: the same wishes are the same job


def test_an_export_that_cannot_be_is_refused_before_anything_is_done(picture, tmp_path):
    finished = launch("caption", picture, "--export", "zip", "--model", "fake")
    assert finished.returncode == 2
    assert "--export goes with --out" in finished.stderr
    if importlib.util.find_spec("pyarrow") is None:
        finished = launch("caption", picture, "--out", tmp_path / "o", "--export", "parquet", "--model", "fake")
        assert finished.returncode == 2
        assert "pip install pyarrow" in finished.stderr
        assert not (tmp_path / "o").exists()


def test_a_model_of_fixed_questions_is_told_of(picture):
    finished = launch("caption", picture, "--words", "25", "--model", "bundled")
    assert finished.returncode == 0, finished.stderr
    assert "knows fixed questions only" in finished.stderr


def test_a_shortage_of_memory_costs_no_caption_and_is_told(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (64 + index, 48)).save(folder / f"{index}.png")
    finished = launch("caption", folder, "--slots", "4", "--model", "fake?most_at_once=1&token_s=0.1")
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == 3
    assert "memory ran out; from now on at most" in finished.stderr


def test_a_reader_that_has_seen_enough_ends_it_without_a_trace():
    command = [sys.executable, "launch.py", "chat", "-q", "hi", "--model", "fake?token_s=0.05"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout.read(1)
        ran.stdout.close()
        assert ran.wait(30) == 1
        assert b"Traceback" not in ran.stderr.read()
