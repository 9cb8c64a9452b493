"""Visitors of a page in headless Chromium, and what their browsers complain of."""

import contextlib

from playwright.sync_api import expect

BOX = "#message textarea"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
FULL = "status of 503"  # what a browser says when the queue is full

# A script: the values of shifts that no input of the last half second explains, and what moved.
SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput)
    shifts.push([entry.value, entry.sources.map(({node}) => (node?.outerHTML ?? node?.data ?? '').slice(0, 200))]);
}).observe({type: 'layout-shift', buffered: true});
"""


@contextlib.contextmanager
def visitors(browser, *, allowed=None):
    """Opens an address as a new visitor; at the end nothing foreign was asked for, and nothing failed in the console
    but what is allowed. A tab's ``complaints`` are a list, which a test may clear."""
    visits = []

    def open_(url, *, script="", **options):
        context = browser.new_context(**{"viewport": DESK, "locale": "en-US", **options})
        tab = context.new_page()
        visits.append((context, tab))
        tab.complaints = []
        tab.on("console", lambda message: tab.complaints.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (tab.complaints.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: _note_foreign(tab, url.partition("?")[0], request.url))
        if script:
            tab.add_init_script(script)
        show(tab, url)
        return tab

    try:
        yield open_
    finally:
        for context, _ in visits:
            context.close()
    complaints = [text for _, tab in visits for text in tab.complaints if allowed is None or allowed not in text]
    assert not complaints


def show(tab, url):
    """Until the page can be used."""
    tab.goto(url)
    expect(tab.locator(BOX)).to_be_editable(timeout=30_000)


def _note_foreign(tab, home, url):
    if not url.startswith((home, "data:", "blob:")):
        tab.complaints.append(f"asked for {url}")
