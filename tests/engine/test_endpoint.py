"""Replicas that are servers: no memory is planned, the least busy one answers, and one that is down is waited for."""

import pytest
from engine_kit import READY_S, ask, first, text_of, until

from demo.cli import main, parse_args
from demo.config import EngineConfig, ModelChoice
from demo.engine.events import Done, Ping, Token
from demo.engine.manager import ModelManager, resolve_roles
from demo.engine.replica import RestartPolicy
from demo.errors import ConfigError
from tests.backends.test_openai import Peer, chunk

QUICK = RestartPolicy(first_s=0.05, cap_s=0.1, max_failed_loads=2)


@pytest.fixture
def peers():
    peers = [Peer(), Peer()]
    yield peers
    for peer in peers:
        peer.close()


@pytest.fixture
def start():
    managers = []

    def build(*urls, model="fake", **options):
        config = EngineConfig(models=(ModelChoice(model),), endpoints=urls, **options)
        managers.append(ModelManager(config, devices=[], restart=QUICK))
        managers[-1].start()
        return managers[-1]

    yield build
    for manager in managers:
        manager.close()


def test_a_server_is_a_replica_that_takes_no_memory_here(start, peers):
    manager = start(*(peer.url for peer in peers), slots=3)
    assert manager.wait_ready(READY_S)
    snapshot = manager.snapshot()
    assert (snapshot.plan.placement, snapshot.plan.fits, snapshot.plan.slots) == ("endpoint", True, 3)
    assert all(peer.url in snapshot.plan.arithmetic for peer in peers)
    assert [replica.planned for replica in snapshot.replicas] == [{}, {}]
    assert not any(replica.devices for replica in snapshot.replicas)  # visitors are not told of addresses
    assert manager.capacity == 6
    assert text_of(manager.stream(ask())) == "Hello you."


def test_answers_at_a_time_are_shared_out_over_the_servers(start, peers):
    for peer in peers:
        peer.answer, peer.pause_s = [chunk("word ")] * 200, 0.02
    manager = start(*(peer.url for peer in peers))
    assert until(lambda: all(replica.state == "idle" for replica in manager.snapshot().replicas))
    streams = [manager.stream(ask()) for _ in range(4)]
    assert all(first(stream, Token) for stream in streams)
    assert [sum(method == "POST" for method, *_ in peer.asked) for peer in peers] == [2, 2]
    for stream in streams:
        stream.close()
    assert all(peer.broken.wait(READY_S) for peer in peers)
    assert until(lambda: not any(replica.running for replica in manager.snapshot().replicas))


def test_a_server_that_is_down_is_waited_for_however_long(start, peers):
    down = peers[0]
    down.models = {}  # it answers, but not as a model's server does
    manager = start(down.url)
    stream = manager.stream(ask())
    assert first(stream, Ping).state == "loading"
    assert until(lambda: manager.snapshot().replicas[0].deaths > QUICK.max_failed_loads)
    assert "does not list its models" in manager.snapshot().replicas[0].detail
    down.models = {"data": [{"id": "fake"}]}
    *_, done = stream
    assert isinstance(done, Done)


def test_an_unreadable_answer_fails_that_request_and_no_other(start, peers):
    manager = start(peers[0].url)
    peers[0].answer = ["{nonsense"]
    with pytest.raises(Exception, match="broke off"):
        list(manager.stream(ask()))
    peers[0].answer = [chunk("fine"), chunk(reason="stop")]
    assert text_of(manager.stream(ask())) == "fine"


@pytest.mark.parametrize(
    ("words", "name", "family", "dialect", "roles"),
    [
        ("", "remote", "generic", None, {"chat", "captioning"}),
        ("--model qwen3-vl-4b", "qwen3-vl-4b", "qwen3_vl", "qwen3_vl", {"chat", "grounding", "captioning"}),
        (
            "--model Qwen/Qwen3-VL-4B-Instruct",
            "qwen3-vl-4b",
            "qwen3_vl",
            "qwen3_vl",
            {"chat", "grounding", "captioning"},
        ),
        ("--model my/own?family=glm_v", "my/own", "glm_v", "glm", {"chat", "grounding", "captioning"}),
        ("--model some-name", "some-name", "generic", None, {"chat", "captioning"}),
    ],
)
def test_the_model_says_how_it_is_asked(words, name, family, dialect, roles):
    engine = parse_args([*words.split(), "--endpoint", "http://127.0.0.1:8000"], {}).engine
    assert engine.endpoints == ("http://127.0.0.1:8000/v1",)
    specs = resolve_roles(engine)
    assert specs.keys() == roles
    assert {(spec.name, spec.family, spec.dialect, spec.backend) for spec in specs.values()} == {
        (name, family, dialect, "openai")
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--endpoint ftp://host", "not the address"),
        ("--endpoint host:8000", "not the address"),
        ("--endpoint http://host:port/v1", "not the address"),
        ("--endpoint http://user:secret@host/v1", "not the address"),
        ("--endpoint http://host --placement cpu", "--placement means nothing"),
        ("--endpoint http://host --quantize int8", "--quantize means nothing"),
        ("--endpoint http://host --revision abc", "--revision means nothing"),
    ],
)
def test_what_makes_no_sense_with_a_server_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        parse_args(words.split(), {})


def test_an_unknown_family_lists_the_known_ones():
    engine = parse_args(["--endpoint", "http://host", "--model", "x?family=nope"], {}).engine
    with pytest.raises(ConfigError, match="qwen3_vl"):
        resolve_roles(engine)


def test_several_servers_are_several_replicas_in_the_environment_too():
    engine = parse_args([], {"DEMO_ENDPOINT": "http://one:1 http://two:2/v1"}).engine
    assert engine.endpoints == ("http://one:1/v1", "http://two:2/v1")


def test_the_plan_of_a_server_is_printed_without_asking_it(capsys):
    assert main(["--plan", "--endpoint", "http://127.0.0.1:9"], {}) == 0
    assert "served by http://127.0.0.1:9/v1; it takes no memory here" in capsys.readouterr().out
