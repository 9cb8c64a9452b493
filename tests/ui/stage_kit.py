"""gradio without a server or a browser: the events of a built page, run step by step and delivered when a test says.

A view is made, then put into the session, then shown; gradio may do other things between any two of these, and may
never come to the next one.
"""

import gradio as gr
from gradio.queueing import Event
from starlette.requests import Request

from demo.ui.sessions import Session


class Tab:
    """One visitor's page, and what the server keeps of it."""

    def __init__(self, page):
        self._page = page
        self._session = Session(page)
        scope = {"type": "http", "headers": [], "query_string": b"", "path": "/"}
        self._request = gr.Request(Request(scope), session_hash="here")
        self._shown = {}

    def shows(self, name, key="value"):
        """What the part of this id shows."""
        return self._shown.get((self._part(name)._id, key))

    def holds(self, name, place):
        """What the page has in the last part that an event changes."""
        return self._shown.get((self._function(name, place).outputs[-1]._id, "value"))

    def types(self, name, value):
        self._shown[self._part(name)._id, "value"] = value

    def gives(self, name, place, **values):
        """Values for inputs of an event, by the keys of their labels."""
        for part in self._function(name, place).inputs:
            key = getattr(getattr(part, "label", None), "key", "").rpartition(".")[2]
            if key in values:
                self._shown[part._id, "value"] = values[key]

    async def loads(self, token=""):
        """As a browser that has kept this token; returns the next one."""
        function = self._function("restore", "conversation")
        part = function.outputs[-1]
        self._shown[part._id, "value"] = token
        await self.does("restore", "conversation")
        return self._shown[part._id, "value"]

    async def does(self, name, place):
        """An event from its beginning to what it shows."""
        await (await self.makes(name, place)).lands()

    async def makes(self, name, place):
        """An event that made what it shows; it is not in the session yet."""
        function = self._function(name, place)
        return View(self, function, (await self._called(function))["prediction"])

    def begins(self, name, place):
        """An event that is stopped between its steps."""
        return Run(self, self._function(name, place))

    def waits(self, name, place):
        """An event that is in gradio's queue, alone."""
        queue = self._page._queue
        function = self._function(name, place)
        queue.create_event_queue_for_fn(function)
        line = queue.event_queue_per_concurrency_id[function.concurrency_id]
        line.queue[:] = [Event(self._request.session_hash, function, None, None)]

    async def _called(self, function, iterator=None):
        given = [] if iterator else await self._page.preprocess_data(function, self._inputs(function), self._session)
        return await self._page.call_function(
            function, given, iterator, self._request, "event", None, True, self._session
        )

    def _inputs(self, function):
        return [self._shown.get((part._id, "value"), getattr(part, "value", None)) for part in function.inputs]

    def _function(self, name, place):
        """The event of this name whose outputs include the part of this id."""
        part = self._part(place)
        return next(one for one in self._page.fns.values() if one.name == name and part in one.outputs)

    def _part(self, name):
        return next(block for block in self._page.blocks.values() if block.elem_id == name)

    async def _into_session(self, function, prediction):
        return await self._page.postprocess_data(function, prediction, self._session)

    def _onto_page(self, function, data):
        for part, value in zip(function.outputs, data, strict=True):
            changes = value if isinstance(value, dict) and value.get("__type__") == "update" else {"value": value}
            self._shown |= {(part._id, key): new for key, new in changes.items() if key != "__type__"}


class View:
    """What an event shows, on its way."""

    def __init__(self, tab, function, prediction):
        self._tab, self._function, self._prediction = tab, function, prediction
        self._data = None

    async def arrives(self):
        """In the session."""
        self._data = await self._tab._into_session(self._function, self._prediction)

    def is_shown(self):
        self._tab._onto_page(self._function, self._data)

    async def lands(self):
        await self.arrives()
        self.is_shown()


class Run:
    """An event that shows several views."""

    def __init__(self, tab, function):
        self._tab, self._function, self._iterator = tab, function, None

    async def makes(self):
        """Its next view, or None at its end."""
        result = await self._tab._called(self._function, self._iterator)
        self._iterator = result["iterator"]
        return View(self._tab, self._function, result["prediction"]) if result["is_generating"] else None

    async def ends(self):
        """Shows all that is still to come."""
        while (view := await self.makes()) is not None:
            await view.lands()

    async def is_cancelled(self):
        if self._iterator is not None:
            await self._iterator.aclose()
