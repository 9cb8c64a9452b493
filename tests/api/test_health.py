from types import SimpleNamespace

import pytest

from demo.api.health import health


def engine(*states):
    return SimpleNamespace(model="tiny", waiting=3, replicas=[SimpleNamespace(state=state) for state in states])


@pytest.mark.parametrize(
    ("states", "queue_is_alive", "status"),
    [
        (["idle"], True, "ok"),
        (["failed", "busy"], True, "ok"),
        (["parked"], True, "ok"),  # it is asked for its turn
        (["starting"], True, "loading"),
        (["failed", "loading"], True, "loading"),
        (["failed"], True, "failed"),
        (["failed", "closed"], True, "failed"),
        (["idle"], False, "failed"),  # nobody could ask it
    ],
)
def test_health_is_whether_a_question_would_be_answered(states, queue_is_alive, status):
    report = health(engine(*states), queue_is_alive)
    assert report == {"status": status, "model": "tiny", "replicas": states, "waiting": 3}
