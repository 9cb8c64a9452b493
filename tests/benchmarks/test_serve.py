"""The benchmark of many users: what its figures mean, and that it runs to its line of JSON beside another design."""

import json
import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.peers import peer
from benchmarks.serve import TURNS, Load, Said, own_picture, talk, under_load
from demo.catalog import resolve
from demo.config import EngineConfig, ModelChoice
from demo.types import Message
from tests.tinymodels import save_cogvlm, save_llava

ROOT = Path(__file__).parents[2]


def test_the_figures_of_a_load_are_of_all_its_users():
    said = [Said(0, "a", 10, 0.2), Said(1, "b", 30, 0.1), Said(0, "c", 10, 0.4), Said(1, "d", 10, 0.3)]
    load = Load.of(2, said, total_s=3.0)
    assert (load.users, load.tokens, load.tokens_per_s) == (2, 60, 20)
    assert load.first_token_s == pytest.approx(0.3)
    assert load.later_first_token_s == pytest.approx(0.2)
    assert load.first_token_p95_s == 0.4


def test_no_two_conversations_show_the_same_picture():
    pictures = [own_picture(number) for number in (0, 1, 7, 256)]
    assert len({picture.rgb for picture in pictures}) == len(pictures)
    assert all(len(picture.rgb) == 3 * picture.size.pixels for picture in pictures)


def test_a_conversation_shows_its_picture_once_and_carries_its_answers_on():
    heard = []

    def ask(messages):
        heard.append(messages)
        return f"answer {len(heard)}", 2, 0.1

    said = talk(ask, own_picture(3))
    assert [answer.turn for answer in said] == list(range(len(TURNS)))
    assert [len(message.pictures) for message in heard[-1]] == [1, 0, 0, 0, 0]
    assert [message.text for message in heard[-1][1::2]] == ["answer 1", "answer 2"]


def test_answers_stand_in_the_order_of_their_pictures():
    def ask(messages):
        return str(messages[0].pictures[0].rgb[0]), 1, 0.1

    load, texts = under_load(ask, users=3, num=4)
    assert texts == [str(number) for number in range(4) for _ in TURNS]
    assert load.tokens == len(texts)


def test_what_fails_in_a_copy_is_raised_where_it_is_waited_for(tmp_path):
    spec = resolve(ModelChoice(str(save_llava(tmp_path / "model"))))
    with peer(EngineConfig((ModelChoice(spec.source),), placement="cpu"), spec, copies=2) as copies:
        with pytest.raises(RuntimeError, match="max_new_tokens"):
            copies.ask((Message("user", TURNS[0]),), -1)
        assert copies.ask((Message("user", TURNS[0]),), 2).tokens == 2


def test_copies_whose_process_ends_are_waited_for_no_longer(tmp_path):
    spec = resolve(ModelChoice(str(save_llava(tmp_path / "model"))))
    with peer(EngineConfig((ModelChoice(spec.source),), placement="cpu"), spec, copies=1) as copies:
        ends = []

        def ask():
            try:
                ends.append(copies.ask((Message("user", TURNS[0]),), 10**4))
            except (RuntimeError, OSError) as error:
                ends.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        for child in multiprocessing.active_children():
            child.kill()
        asking.join(60)
    assert isinstance(ends[0], RuntimeError | OSError)


@pytest.mark.slow
def test_it_compares_slots_with_a_bare_model_and_the_answers_are_the_same(tmp_path):
    model = save_cogvlm(tmp_path / "model", max_position_embeddings=2048)
    arguments = ["--model", str(model), "--users", "1", "2", "--slots", "2", "--rounds", "1", "--peers", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serve", *arguments, "--json", str(tmp_path / "out.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "out.json").read_text())
    assert {"cores", "versions", "commit"} <= result.keys()
    rows = {(name, load["users"]): load for name, loads in result["loads"].items() for load in loads}
    assert rows.keys() == {(name, users) for name in ("engine, slots 2", "generate(), one copy") for users in (1, 2)}
    assert len({load["tokens"] for load in rows.values()}) == 1
    assert all(load["differing"] == 0 for load in rows.values())
    assert len([line for line in run.stdout.splitlines() if line.startswith("| ")]) == 5


@pytest.mark.slow
def test_it_asks_transformers_serve_the_same(tmp_path):
    model = save_llava(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 2048
    (model / "config.json").write_text(json.dumps(config))
    arguments = ["--model", str(model), "--users", "2", "--slots", "2", "--rounds", "1", "--served"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serve", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    loads = json.loads(run.stdout.splitlines()[-1])["loads"]
    assert loads.keys() == {"engine, slots 2", "transformers serve"}
    assert loads["transformers serve"][0]["tokens"] > 0
