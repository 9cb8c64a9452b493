"""What ``--plan`` prints, for people and as JSON."""

import json
import shutil

import pytest

from demo.catalog import BUNDLED
from demo.cli import main
from demo.engine.devices import GIB

BIG = "fake?parameters=17700000000"


def printed(capsys, *arguments):
    """The exit code and what is on stdout."""
    code = main(["--plan", *arguments], {})
    return code, capsys.readouterr().out


def test_people_see_a_table_of_what_each_device_holds(capsys):
    code, text = printed(capsys, "--model", BIG, "--dtype", "bfloat16", "--assume", "2x24GiB", "--compile", "off")
    head, arithmetic, *table = text.splitlines()
    assert code == 0
    assert head == "fake: fits (shard, bfloat16)"
    assert "weights 33.0 GiB (17.7 billion parameters in bfloat16)" in arithmetic
    assert [" ".join(row.split()) for row in table] == [
        "replica device weights KV cache activations reserve total of free",
        "0 cuda:0 16.5 GiB 0.0 MiB 0.0 MiB 0.8 GiB 17.2 GiB 24.0 GiB",
        "0 cuda:1 16.5 GiB 0.0 MiB 0.0 MiB 0.8 GiB 17.2 GiB 24.0 GiB",
    ]
    assert len({len(row) for row in table}) == 1


def test_a_refusal_has_no_table_but_what_would_fit(capsys):
    code, text = printed(
        capsys, "--model", BIG, "--dtype", "bfloat16", "--assume", "2x24GiB", "--placement", "replicate"
    )
    head, arithmetic, *advice = text.splitlines()
    assert code == 2
    assert head == "fake: does not fit (replicate, bfloat16)"
    assert "9.7 GiB short" in arithmetic
    assert advice[0].strip() == "--placement shard: would fit, needs 17.2 GiB on the fullest device"


def test_people_are_told_that_models_take_turns(capsys):
    small = "fake?parameters=400000000"
    models = ("--model", small, "--model", f"grounding={small}&tokens=1", "--dtype", "bfloat16", "--swap")
    code, text = printed(capsys, *models, "--assume", "2.5GiB")
    assert (code, text.count("fits (single, bfloat16, in turns with the others)")) == (0, 2)
    assert "in turns" not in printed(capsys, *models, "--assume", "2x2.5GiB")[1]


@pytest.mark.parametrize("placement", ["auto", "shard"])
def test_a_configuration_alone_is_enough_for_a_plan(tmp_path, capsys, placement):
    shutil.copy(BUNDLED / "config.json", tmp_path)
    arguments = ("--model", str(tmp_path), "--assume", "2x24GiB", "--placement", placement)
    code, text = printed(capsys, "--json", *arguments)
    plan = json.loads(text)
    assert (code, plan["fits"]) == (0, True)
    whole = json.loads(printed(capsys, "--json", "--assume", "2x24GiB")[1])
    assert {name: plan[name] for name in ("weights_bytes", "parameters")} == {
        name: whole[name] for name in ("weights_bytes", "parameters")
    }
    cards = [set(replica["devices"]) for replica in plan["replicas"]]
    assert cards == {"auto": [{"cuda:0"}, {"cuda:1"}], "shard": [{"cuda:0", "cuda:1"}]}[placement]
    assert all(size <= 24 * GIB for replica in plan["replicas"] for size in replica["devices"].values())


def test_all_plans_of_several_models_are_in_the_one_object(capsys):
    arguments = ("--model", "fake?parameters=9", "--model", "grounding=fake?parameters=8", "--assume", "2x24GiB")
    code, text = printed(capsys, "--json", *arguments)
    plan = json.loads(text)
    assert code == 0
    assert [len(each["replicas"]) for each in (plan, *plan["others"])] == [2, 2]
