from dataclasses import replace

from demo.ui.context import UiContext
from demo.ui.status import about_html, status_html


class Frozen:
    """An engine whose snapshot does not move."""

    def __init__(self, snapshot):
        self._snapshot = snapshot

    def snapshot(self):
        return self._snapshot


def showing(context: UiContext, **changes) -> UiContext:
    snapshot = context.engine.snapshot()
    replica = replace(snapshot.replicas[0], **changes)
    return replace(context, engine=Frozen(replace(snapshot, replicas=(replica,))))


def test_a_ready_model_is_shown_with_the_place_and_size_of_its_weights(make):
    context = make(parameters=50_000_000)
    shown = status_html(context)
    assert "Ready" in shown
    assert "CPU, 191 MiB" in shown
    assert "No one is waiting" in shown
    assert "2 waiting" in status_html(context, waiting=2)


def test_every_state_has_words_and_foreign_text_stays_text(make):
    context = make()
    loading = status_html(showing(context, state="loading", detail="loading <weights>", fraction=0.4))
    assert "Loading" in loading
    assert "loading &lt;weights&gt;" in loading
    assert "value='0.400'" in loading
    assert "no room" in status_html(showing(context, state="failed", detail="no room"))
    assert "GPU 1, 20.0 GiB" in status_html(showing(context, state="busy", resident_bytes={"cuda:1": 20 * 2**30}))
    assert "<progress" not in status_html(showing(context, state="idle"))


def test_the_heading_says_what_the_model_can_do_and_what_its_maker_says_of_it(make):
    context = make()
    spec = replace(context.specs["chat"], note="Photos are <not> its world.")
    shown = about_html(replace(context, specs=dict.fromkeys(context.specs, spec)))
    assert "answers questions, finds things and writes captions" in shown
    assert shown.count("Photos are &lt;not&gt; its world.") == 1
