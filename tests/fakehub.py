"""A small hub on 127.0.0.1: speaks what huggingface_hub needs to look up and download models, and can misbehave.

Owns repositories kept in memory. It is a real HTTP server, so that the real client meets real headers and real breaks.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """One model repository: ``commits`` maps a commit to its files, ``refs`` a branch or tag to its commit."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: bool = False
    token: str | None = None  # a gated or private repository opens with this one
    private: bool = False

    @property
    def is_open(self) -> bool:
        return not (self.gated or self.private)


@dataclass
class Faults:
    """What goes wrong: the status of every answer, files cut off after some bytes, or a file that never ends."""

    status: int = 0
    cut_after: dict[str, int] = field(default_factory=dict)
    cuts_left: int = 0
    stall: str = ""  # half of this file is sent, and then nothing until the hub closes


class FakeHub:
    """``with FakeHub() as hub: hub.add("org/model", {"config.json": b"{}"})``; its address is ``hub.url``."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []  # method and path, in order
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], **how) -> str:
        """Add a repository, or another commit to its main branch; returns the commit."""
        digest = hashlib.sha1(name.encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        commit = digest.hexdigest()
        repo = self.repos.setdefault(name, Repo({}, {}, **how))
        repo.commits[commit] = dict(files)
        repo.refs["main"] = commit
        return commit

    def downloads(self) -> list[str]:
        """The names of the files that were asked for, in order."""
        return [path.rpartition("/")[2] for method, path in self.requests if method == "GET" and "/resolve/" in path]

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *args) -> None:
            pass

        def _answer(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            self._with_body = with_body
            if hub.faults.status:
                return self._send(hub.faults.status, b"the hub is ill")
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
                return self._api(*found.groups())
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self._resolve(*found.groups())
            return self._send(404, b"{}")

        def _api(self, name: str, what: str | None, revision: str | None) -> None:
            commit = self._commit(name, revision or "main", metadata_only=True)
            if commit is None:
                return None
            files = hub.repos[name].commits[commit]
            listed = [{"type": "file", "path": path, **_entry(content)} for path, content in files.items()]
            if what == "tree":
                return self._send(200, json.dumps(listed).encode(), kind="application/json")
            siblings = [{"rfilename": path, "size": len(c), "blobId": _oid(c)} for path, c in files.items()]
            info = {"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
            return self._send(200, json.dumps(info).encode(), kind="application/json")

        def _resolve(self, name: str, revision: str, path: str) -> None:
            commit = self._commit(name, revision)
            if commit is None:
                return None
            content = hub.repos[name].commits[commit].get(path)
            if content is None:
                return self._send(404, b"", code="EntryNotFound")
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cut = hub.faults.cut_after.get(path) if hub.faults.cuts_left and self._with_body else None
            hub.faults.cuts_left -= cut is not None
            if self._with_body and path == hub.faults.stall:
                return self._stall(content, headers)
            return self._send(206 if start else 200, content[start:], headers=headers, cut=cut)

        def _stall(self, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            hub.closing.wait()
            self.close_connection = True

        def _commit(self, name: str, revision: str, metadata_only: bool = False) -> str | None:
            """The commit that is asked for; None when the refusal has been sent."""
            repo = hub.repos.get(name)
            has_token = repo is not None and self.headers.get("Authorization") == f"Bearer {repo.token}"
            allowed = repo is not None and (repo.is_open or has_token)
            if repo is None or (repo.private and not allowed):
                self._send(401, b"", code="RepoNotFound")
                return None
            if repo.gated and not allowed and not metadata_only:
                self._send(403, b"", code="GatedRepo")
                return None
            commit = repo.refs.get(revision, revision)
            if commit not in repo.commits:
                self._send(404, b"", code="RevisionNotFound")
                return None
            return commit

        def _send(self, status, body, *, kind="application/octet-stream", headers=None, code=None, cut=None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", code)
            self.end_headers()
            if self._with_body:
                self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(content: bytes) -> dict[str, object]:
    return {"size": len(content), "oid": _oid(content)}
