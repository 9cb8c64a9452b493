"""What a visitor's browser sees of an answer: when the first word is painted, how fast words come, in how many updates.

Owns the driving of headless Chromium and the script that watches the conversation. Knows nothing of the table.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Page as Tab
from playwright.sync_api import expect, sync_playwright

from benchmarks.pages import Page
from demo.types import Usage

BOX = "#message textarea"
DONE_MS = 300_000
# Notes when the question is sent, and at each frame in which the answer has grown, how many words it has.
WATCH = """() => {
  window.sent = 0; window.frames = [];
  const turns = () => document.querySelectorAll('#conversation .user-row').length;
  let before = 0;
  window.addEventListener('keydown', event => {  // before the page hears of it
    if (event.key === 'Enter') { sent = performance.now(); before = turns(); frames.length = 0; }
  }, true);
  let isDue = false;
  new MutationObserver(() => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (turns() === before) return;
      const last = [...document.querySelectorAll('#conversation .message-row')].at(-1);
      const parts = [...(last?.querySelectorAll('.bot .message-content') ?? [])];
      const answer = parts.find(part => !part.querySelector('.remark, .pending, .failure'));
      const words = answer ? answer.innerText.trim().split(/\\s+/).length : 0;
      if (words && words !== frames.at(-1)?.[1]) frames.push([performance.now(), words]);
    });
  }).observe(document.querySelector('#conversation'), {childList: true, characterData: true, subtree: true});
}"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, in the browser and in the engine. ``added_s`` is what the way to the page adds to the first token."""

    words: int
    updates_per_s: float
    browser_tokens_per_s: float
    engine_tokens_per_s: float
    browser_first_s: float
    engine_first_s: float

    @property
    def added_s(self) -> float:
        return self.browser_first_s - self.engine_first_s

    @property
    def share(self) -> float:
        """How much of the engine's speed the browser sees."""
        return self.browser_tokens_per_s / self.engine_tokens_per_s


@contextmanager
def opened(page: Page) -> Iterator[Tab]:
    """A visitor's tab, ready to ask."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-US")
        tab.goto(page.url)
        expect(tab.locator(BOX)).to_be_editable(timeout=30_000)
        tab.evaluate(WATCH)
        yield tab
        browser.close()


def ask(tab: Tab, page: Page, question: str, number: int) -> Seen:
    """The ``number``th question of a tab, answered to its end."""
    tab.fill(BOX, question)
    tab.press(BOX, "Enter")
    done = tab.locator("#conversation .bot .remark").filter(has_text="tokens")
    expect(done).to_have_count(number, timeout=DONE_MS)
    said = done.last.inner_text()
    sent_ms, frames = tab.evaluate("[sent, frames]")
    first_ms, last_ms, words = frames[0][0], frames[-1][0], frames[-1][1]
    tokens = int(re.search(r"([\d,]+) tokens", said)[1].replace(",", ""))  # type: ignore[index]
    first_s = (first_ms - sent_ms) / 1e3
    usage = Usage(0, tokens, first_s, (last_ms - sent_ms) / 1e3)
    return Seen(
        words=words,
        updates_per_s=(len(frames) - 1) / ((last_ms - first_ms) / 1e3) if last_ms > first_ms else 0.0,
        browser_tokens_per_s=usage.tokens_per_s,
        engine_tokens_per_s=page.tokens_per_s(),
        browser_first_s=first_s,
        engine_first_s=_first_s(said),
    )


def _first_s(said: str) -> float:
    """The engine's time to its first token, which stands below each answer."""
    found = re.search(r"first after ([\d.]+) (ms|s)", said)
    if found is None:
        raise SystemExit(f"The line below the answer does not tell the first token: {said}")
    return float(found[1]) / (1e3 if found[2] == "ms" else 1)
