"""A small reverse proxy, set up as nginx would be: it shows a page under a prefix, which it takes off."""

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "host"}


class Proxy:
    """``url`` is where the page is seen; ``strays`` are requests that left the prefix, which reach nobody."""

    def __init__(self, port, prefix, *, says_prefix=True):
        self.strays = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port, prefix, says_prefix, self.strays))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{prefix}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(port, prefix, says_prefix, strays):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(f"{prefix}/"):
                strays.append(self.path)
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as upstream:
                upstream.request(self.command, self.path.removeprefix(prefix), body=body, headers=self._passed_on())
                with contextlib.suppress(OSError):  # the visitor has left
                    self._answer(upstream.getresponse())

        do_POST = do_HEAD = do_GET  # noqa: N815 - the names that the server looks for

        def _passed_on(self):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            headers |= {"Host": f"127.0.0.1:{port}", "X-Forwarded-Host": self.headers["host"]}
            headers |= {"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1"}
            return {**headers, "X-Forwarded-Prefix": prefix} if says_prefix else headers

        def _answer(self, response):
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := response.read1(65536):  # each as it comes
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler
