from dataclasses import replace

from demo.ui.language import load_languages
from demo.ui.status import Drawn, status_html

LANGUAGES = load_languages()
ENGLISH = LANGUAGES.english


def showing(context, **changes):
    """A sample in which the only replica is different."""
    status = context.look()
    replica = replace(status.manager.replicas[0], **changes)
    return replace(status, manager=replace(status.manager, replicas=(replica,)))


def test_a_ready_model_is_shown_with_the_place_and_size_of_its_weights(make):
    context = make(parameters=50_000_000)
    shown = status_html(ENGLISH, context.look())
    assert "Ready" in shown
    assert "CPU, 191 MiB" in shown
    assert "No one is waiting" in shown
    assert "2 waiting" in status_html(ENGLISH, context.look(), waiting=2)


def test_every_state_has_words_and_foreign_text_stays_text(make):
    context = make()
    loading = status_html(ENGLISH, showing(context, state="loading", detail="loading <weights>", fraction=0.4))
    assert "Loading" in loading
    assert "loading &lt;weights&gt;" in loading
    assert "value='0.400'" in loading
    assert "no room" in status_html(ENGLISH, showing(context, state="failed", detail="no room"))
    assert "GPU 1, 20.0 GiB" in status_html(
        ENGLISH, showing(context, state="busy", resident_bytes={"cuda:1": 20 * 2**30})
    )
    assert "<progress" not in status_html(ENGLISH, showing(context, state="idle"))


def test_a_sample_is_drawn_once_however_many_look(make):
    status, waiting, drawings = make().look(), 0, []

    def draw(*given):
        drawings.append(given)
        return f"drawing {len(drawings)}"

    shown = Drawn(lambda: status, lambda: waiting, draw)
    assert {shown(ENGLISH) for _ in range(100)} == {"drawing 1"}
    waiting = 1
    assert shown(ENGLISH) == "drawing 2"
    status = replace(status, uptime_s=9.0)
    assert {shown(ENGLISH) for _ in range(100)} == {"drawing 3"}
    assert {shown(LANGUAGES.texts["zh"]) for _ in range(100)} == {"drawing 4"}
    assert shown(ENGLISH) == "drawing 3"  # each language keeps its own


def test_many_replicas_are_counted_in_one_line(make):
    status = make().look()
    states = ("busy", "idle", "loading", "failed", "failed")
    replicas = tuple(replace(status.manager.replicas[0], replica_id=i, state=state) for i, state in enumerate(states))
    shown = status_html(ENGLISH, replace(status, manager=replace(status.manager, replicas=replicas)))
    texts = ("2 of 5 replicas ready", "1 answering", "1 loading", "2 failed")
    assert [text for text in texts if f"<span>{text}</span>" in shown] == list(texts)
    assert shown.count("<span>") == len(texts)
