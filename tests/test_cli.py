"""Flags, their environment twins, and what the program says and returns."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.catalog import CATALOG
from demo.cli import Caption, Chat, Command, Ground, Serve, ShowModels, ShowPlan, main, parse_args
from demo.config import EngineConfig, ModelChoice, ServerConfig
from demo.errors import ConfigError
from demo.families import FAMILIES
from demo.flags import FLAGS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "gradio", "PIL", "numpy", "huggingface_hub", "fastapi")


def parse(line, **environ):
    return parse_args(line.split(), environ)


def launch(*arguments, **environ):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    return subprocess.run(
        [sys.executable, "launch.py", *arguments],
        cwd=ROOT,
        env={**clean, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_nothing_said_means_the_bundled_model_on_the_usual_port():
    assert parse("") == Command(EngineConfig(), Serve(ServerConfig()))


def test_every_flag_of_the_engine_reaches_its_field():
    command = parse(
        "--model fake --placement single --devices 0,1 --max-memory 0=20GiB,1=500MB --dtype float16 --quantize int8 "
        "--offload --revision abc --trust-remote-code"
    )
    assert command.engine == EngineConfig(
        models=(ModelChoice("fake"),),
        placement="single",
        devices=(0, 1),
        max_memory={0: 20 * 2**30, 1: 500_000_000},
        dtype="float16",
        quantize="int8",
        offload=True,
        revision="abc",
        trust_remote_code=True,
    )


def test_every_flag_of_the_page_reaches_its_field():
    command = parse("--host 0.0.0.0 --port 0 --share --auth ada:a:b --api-key k --max-queue 5")
    assert command.task == Serve(ServerConfig("0.0.0.0", 0, share=True, auth=("ada", "a:b"), api_key="k", max_queue=5))


@pytest.mark.parametrize(
    ("line", "models"),
    [
        ("--model cogvlm2", (ModelChoice("cogvlm2"),)),
        ("--model fake?token_s=0.1&tokens=3", (ModelChoice("fake?token_s=0.1&tokens=3"),)),
        ("--model ./dir=x/y", (ModelChoice("./dir=x/y"),)),
        ("--model grounding=fake", (ModelChoice("bundled"), ModelChoice("fake", "grounding"))),
        ("--model a --model chat=b", (ModelChoice("a"), ModelChoice("b", "chat"))),
        (
            "--model chat=a --model grounding=b --model captioning=fake?tokens=1",
            (ModelChoice("a", "chat"), ModelChoice("b", "grounding"), ModelChoice("fake?tokens=1", "captioning")),
        ),
    ],
)
def test_models_are_named_for_all_roles_or_for_one(line, models):
    assert parse(line).engine.models == models


@pytest.mark.parametrize(
    ("line", "task"),
    [
        ("chat", Chat((), None)),
        ("chat a.png b.png -q hello", Chat(("a.png", "b.png"), "hello")),
        ("ground a.png dog", Ground("a.png", "dog", json=False, out=None)),
        ("ground a.png dog --json --out d.png", Ground("a.png", "dog", json=True, out="d.png")),
        ("caption a.png d", Caption(("a.png", "d"), "short", json=False, out=None)),
        ("caption d --style grounded --out t", Caption(("d",), "grounded", json=False, out="t")),
        ("caption d --out t --existing append", Caption(("d",), "short", json=False, out="t", existing="append")),
        (
            "caption d --out t --export zip --export parquet --words 25 --instruction Shout. --prefix a_ --suffix _z",
            Caption(
                ("d",),
                "short",
                json=False,
                out="t",
                export=("zip", "parquet"),
                instruction="Shout.",
                words=25,
                prefix="a_",
                suffix="_z",
            ),
        ),
        ("--plan", ShowPlan(json=False, assume=None)),
        ("--plan --json --assume 2x24GiB", ShowPlan(json=True, assume="2x24GiB")),
        ("models", ShowModels()),
    ],
)
def test_each_form_of_the_command_line_is_its_task(line, task):
    assert parse(line).task == task


def test_flags_may_stand_before_and_after_the_sub_command():
    command = parse("--model a --dtype float32 chat x.png --model grounding=b --dtype float16")
    assert command.engine.models == (ModelChoice("a"), ModelChoice("b", "grounding"))
    assert command.engine.dtype == "float16"
    assert parse("chat --offload").engine.offload
    assert parse("--offload chat").engine.offload


SAMPLES = {
    "--model": "fake",
    "--placement": "cpu",
    "--devices": "0,2",
    "--max-memory": "0=1GiB",
    "--dtype": "float32",
    "--quantize": "int4",
    "--revision": "abc",
    "--host": "0.0.0.0",
    "--port": "8000",
    "--auth": "a:b",
    "--api-key": "k",
    "--max-queue": "7",
    "--root-path": "/demo",
    "--state": "kept",
    "--context": "4096",
    "--slots": "4",
    "--compile": "graphs",
    "--endpoint": "http://127.0.0.1:8000/v1",
    "--assume": "24GiB",
    "--question": "why",
    "--out": "x.png",
    "--style": "detailed",
    "--existing": "append",
    "--export": "zip",
    "--instruction": "Name the colours.",
    "--words": "25",
    "--prefix": "a photo: ",
    "--suffix": " #art",
}
POSITIONALS = {"serve": [], "chat": ["chat"], "ground": ["ground", "i", "p"], "caption": ["caption", "i"]}
NEEDS = {"--json": ["--plan"], "--assume": ["--plan"], "--trust-remote-code": ["--revision", "abc"]}


@pytest.mark.parametrize("command", POSITIONALS)
def test_only_who_has_captions_written_waits_for_no_single_answer(command):
    assert parse_args(POSITIONALS[command], {}).engine.is_batch is (command == "caption")


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, flag) for command, flags in FLAGS.items() for flag in flags],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_flag_and_its_environment_twin_say_the_same(command, flag):
    value = [SAMPLES[flag.name]] if flag.metavar else []
    base = [*POSITIONALS[command], *(NEEDS.get(flag.name, []) if command == "serve" or "-remote" in flag.name else [])]
    by_flag = parse_args([*base, flag.name, *value], {})
    assert parse_args(base, {flag.variable: value[0] if value else "1"}) == by_flag
    if flag.name != "--model" or command == "serve":
        assert by_flag != parse_args(base, {})


def test_argv_wins_over_the_environment():
    assert parse("--port 1", DEMO_PORT="2").task == Serve(ServerConfig(port=1))
    assert parse("--model a", DEMO_MODEL="b").engine.models == (ModelChoice("a"),)
    assert not parse("", DEMO_SHARE="0", DEMO_OFFLOAD="").engine.offload


def test_several_models_in_the_environment_are_separated_by_blanks():
    command = parse("", DEMO_MODEL="fake grounding='a dir'")
    assert command.engine.models == (ModelChoice("fake"), ModelChoice("a dir", "grounding"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--bogus", "--bogus"),
        ("--por=1", "--por"),
        ("dance", "dance"),
        ("ground a.png", "PHRASE"),
        ("caption", "PATH"),
        ("--port", "--port"),
        ("--port http", "--port.*http.*0 to 65535"),
        ("--port 65536", "65536"),
        ("--max-queue 0", "from 1"),
        ("--root-path demo", "--root-path.*demo.*/demo"),
        ("--root-path /a'b", "--root-path"),
        ("--devices 0,a", "--devices.*0,a"),
        ("--devices 1,1", "--devices"),
        ("--max-memory 20GiB", "--max-memory.*0=20GiB"),
        ("--max-memory 0=lots", "lots"),
        ("--max-memory 0=1GiB,0=2GiB", "--max-memory"),
        ("--dtype int3", "int3.*bfloat16"),
        ("--auth ada", "USER:PASSWORD"),
        ("--auth :x", "USER:PASSWORD"),
        ("--model groundng=fake", "groundng.*chat, grounding, captioning"),
        ("--model chat=", "names no model"),
        ("--model a --model b", "Two models.*all roles"),
        ("--model chat=a --model chat=b", "Two models.*chat"),
        ("--json", "--json goes with --plan"),
        ("--assume 24GiB", "--assume goes with --plan"),
        ("--trust-remote-code", "--revision"),
        ("--port 1 chat", "--port does not go with chat"),
        ("chat --port 1", "--port"),
        ("caption x --style poem", "poem.*short, detailed, grounded"),
    ],
)
def test_a_wrong_flag_is_one_sentence_that_names_it(line, says):
    with pytest.raises(ConfigError, match=says):
        parse(line)


def test_a_wrong_variable_names_the_variable():
    with pytest.raises(ConfigError, match=r"DEMO_SHARE.*maybe"):
        parse("", DEMO_SHARE="maybe")
    with pytest.raises(ConfigError, match="DEMO_MODEL"):
        parse("", DEMO_MODEL="'open")


def test_a_wrong_login_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        parse("--auth hunter2")
    assert "hunter2" not in str(caught.value)


words = st.text(max_size=12) | st.sampled_from(
    [name for flags in FLAGS.values() for flag in flags for name in (flag.name, *SAMPLES.get(flag.name, "").split())]
)


@given(st.lists(words.filter(lambda word: not word.startswith(("-h", "--help"))), max_size=6))
def test_any_argv_is_a_command_or_a_config_error(argv):
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_args(argv, {}), Command)


# --- the program itself


def test_help_is_complete_and_imports_nothing_heavy():
    finished = launch("--help")
    assert finished.returncode == 0
    for flag in FLAGS["serve"]:
        assert flag.name in finished.stdout
    for name in ("chat", "ground", "caption", "models"):
        assert name in finished.stdout
        assert launch(name, "--help").returncode == 0
    code = f"import sys, demo.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_wrong_use_is_one_line_on_stderr_and_exit_code_two():
    for arguments in (["--bogus"], ["--placement", "nowhere", "--plan", "--model", "fake"], ["--plan", "--model", "x"]):
        finished = launch(*arguments)
        assert finished.returncode == 2
        assert finished.stdout == ""
        assert finished.stderr.startswith("error: ")
        assert "Traceback" not in finished.stderr


def test_all_models_and_families_are_listed_with_what_they_can_do():
    finished = launch("models")
    assert finished.returncode == 0
    blocks = {block.split()[0]: block for block in finished.stdout.split("\n\n")[1:]}
    assert set(FAMILIES) <= set(blocks)
    for name, spec in CATALOG.items():
        assert f" {name} " in blocks[spec.family if spec.family in FAMILIES else name]
    qwen = blocks["qwen3_vl"]
    for fact in ("chat, grounding, captioning", "boxes as qwen3_vl", "8 pictures", "clips as 16 frames", "think aloud"):
        assert fact in qwen
    assert "not verified: the grounded caption's words" in qwen
    assert "verified against published sources" in blocks["florence2"]
    assert "verified" not in blocks["llava"]
    assert "(chat, captioning; 1 picture in a conversation)" in blocks["cogvlm2"]  # less than its family


def test_a_plan_needs_no_more_of_a_cogagent_than_its_configuration(capsys):
    model = str(ROOT / "benchmarks" / "shapes" / "cogagent-18b")
    assert main(["--plan", "--json", "--model", model, "--assume", "2x24GiB"], {}) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["fits"], plan["placement"], plan["dtype"]) == (True, "shard", "bfloat16")
    assert plan["weights_bytes"] == 2 * plan["parameters"]
    assert plan["kv_cache_bytes"] == 800 * 2**20 + 2048 * 2 * 32 * 4096 * 2
    assert list(plan["replicas"][0]["devices"]) == ["cuda:0", "cuda:1"]


def test_a_plan_is_printed_as_one_object_of_whole_bytes(capsys):
    assert main(["--plan", "--json", "--model", "fake?parameters=1000000000", "--assume", "2x24GiB"], {}) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["fits"] is True
    assert plan["weights_bytes"] == 4_000_000_000
    assert plan["parameters"] == 1_000_000_000
    assert list(plan["replicas"][0]["devices"]) == ["cuda:0"]
    for key in ("dtype", "quantization", "placement", "kv_cache_bytes", "activation_bytes", "reserve_bytes"):
        assert key in plan
    assert isinstance(plan["shortfall_bytes"], int)
    assert plan["suggestions"] == []


def test_a_plan_that_does_not_fit_shows_its_arithmetic_and_returns_two(capsys):
    asked = ["--plan", "--model", "fake?parameters=99000000000", "--assume", "24GiB", "--placement", "single"]
    assert main(asked, {}) == 2
    assert "does not fit" in capsys.readouterr().out
    assert main([*asked, "--json"], {}) == 2
    plan = json.loads(capsys.readouterr().out)
    assert plan["fits"] is False
    assert plan["shortfall_bytes"] > 300 * 10**9


def test_models_that_fit_alone_but_not_together_are_refused_unless_they_may_take_turns(capsys):
    big = "fake?parameters=4000000000"
    asked = ["--plan", "--json", "--assume", "24GiB", "--model", big, "--model", f"grounding={big}&tokens=1"]
    assert main(asked, {}) == 2
    plan = json.loads(capsys.readouterr().out)
    assert [each["fits"] for each in (plan, *plan["others"])] == [False, False]
    assert plan["shortfall_bytes"] == 2 * 16 * 10**9 + 2 * 768 * 2**20 - 24 * 2**30
    assert {k: plan["suggestions"][0][k] for k in ("flags", "fits")} == {"flags": "--dtype bfloat16", "fits": True}
    assert main([*asked, "--dtype", "bfloat16"], {}) == 0


def test_a_taken_port_ends_the_program_before_a_model_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        finished = launch("--model", "fake", "--port", port)
    assert finished.returncode == 2
    assert port in finished.stderr


def test_importing_the_entry_starts_nothing():
    code = "import launch, sys; print('demo.ui.app' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.stdout.strip() == "False", finished.stderr


@pytest.mark.parametrize("path", ["/demo", "/some/prefix", "https://example.org/demo"])
def test_the_path_behind_a_proxy_has_no_slash_at_its_end(path):
    for line in (f"--root-path {path}", f"--root-path {path}/"):
        assert parse(line).task.server.root_path == path
    assert parse("", GRADIO_ROOT_PATH=path).task.server.root_path == path


def test_a_space_tells_its_address_through_gradios_variables_and_ours_go_first():
    environ = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "8123"}
    assert parse_args([], environ).task.server.host == "0.0.0.0"
    assert parse_args([], environ).task.server.port == 8123
    assert parse_args([], environ | {"DEMO_HOST": "127.0.0.1"}).task.server.host == "127.0.0.1"
    assert parse_args(["--port", "9000"], environ).task.server.port == 9000
