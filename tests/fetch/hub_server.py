"""A loopback server that speaks what a data set on the Hub is published with: list, preupload, LFS, commit.

It holds what a hub holds: objects by their sha256, and a tree of paths that only a commit changes. An object is taken
only when its bytes have the hash it was announced with, a commit only from the head it names and of objects that are
here. ``faults`` are statuses to answer with, in order, by the kind of request; 0 cuts the connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY, TOKEN = "lab/atlas", "hf_secretsecretsecret"
LARGE_BYTES = 4096
_PAGE = 7


class HubServer(ThreadingHTTPServer):
    """``tree`` is what everybody sees: path -> bytes; ``objects`` what was sent; ``asked`` counts requests by kind."""

    daemon_threads = True

    def __init__(self, repository: str = REPOSITORY) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.tree: dict[str, bytes] = {".gitattributes": b"*.tar filter=lfs\n"}
        self.is_large: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.head = "0" * 40
        self.faults: dict[str, list[int]] = defaultdict(list)
        self.asked: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()
        self.trees: list[set[str]] = []
        self.turn = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self) -> None:
        kinds = {"/tree/": "tree", "/xet-write-token/": "xet"}
        self._answer(next((kind for part, kind in kinds.items() if part in self.path), "info"))

    def do_PUT(self) -> None:
        self._answer("put")

    def do_POST(self) -> None:
        path = self.path
        kinds = {"/preupload/": "preupload", "/commit/": "commit", "/objects/batch": "batch", "validate-yaml": "yaml"}
        self._answer(next((kind for part, kind in kinds.items() if part in path), "verify"))

    def _answer(self, kind: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        with self.server.turn:
            self.server.asked[kind] += 1
            fault = self.server.faults[kind].pop(0) if self.server.faults[kind] else None
            if fault == 0:
                self.close_connection = True
                self.connection.close()
                return
            if fault is not None:
                self._send(fault, {"error": f"told to say {fault}"})
                return
            if kind != "put" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                # As careless as a server may be: it says what it was given.
                self._send(401, {"error": f"Invalid credentials: {self.headers.get('Authorization')}"})
                return
            if kind not in ("put", "yaml", "verify") and self.server.repository not in self.path:
                self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
                return
            getattr(self, f"_{kind}")(body)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _xet(self, _: bytes) -> None:
        """It has no such store, as a hub of one's own has none."""
        self._send(404, {"error": "Not found"})

    def _info(self, _: bytes) -> None:
        if "/revision/" in self.path and not self.path.endswith("/revision/main"):
            self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return
        facts = {
            "_id": "1",
            "id": self.server.repository,
            "sha": self.server.head,
            "private": False,
            "tags": [],
            "siblings": [],
        }
        self._send(200, facts)

    def _tree(self, _: bytes) -> None:
        assert f"/tree/{self.server.head}" in self.path
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        names = sorted(self.server.tree)
        entries: list[dict[str, Any]] = [{"type": "directory", "oid": "1" * 40, "size": 0, "path": "data"}]
        for name in names[start : start + _PAGE]:
            data = self.server.tree[name]
            entry = {"type": "file", "path": name, "size": len(data), "oid": _git(data)}
            if name in self.server.is_large:
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        more = start + _PAGE
        url = f"{self.server.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={more}"
        self._send(200, entries, {"Link": f'<{url}>; rel="next"'} if more < len(names) else {})

    def _yaml(self, _: bytes) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def _preupload(self, body: bytes) -> None:
        found = []
        for file in json.loads(body)["files"]:
            large = file["size"] >= LARGE_BYTES or file["path"].endswith(".tar")
            found.append({"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
        self._send(200, {"files": found})

    def _batch(self, body: bytes) -> None:
        objects = []
        for wanted in json.loads(body)["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.objects:
                upload = {"href": f"{self.server.endpoint}/lfs/{wanted['oid']}", "header": {}}
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.server.endpoint}/lfs-verify"}}
            objects.append(entry)
        self._send(200, {"transfer": "basic", "objects": objects})

    def _put(self, body: bytes) -> None:
        oid = self.path.removeprefix("/lfs/")
        self.server.puts[oid] += 1
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(422, {"error": "other bytes than announced"})
            return
        self.server.objects[oid] = body
        self._send(200, {})

    def _verify(self, body: bytes) -> None:
        asked = json.loads(body)
        good = len(self.server.objects.get(asked["oid"], b"")) == asked["size"]
        self._send(200 if good else 404, {})

    def _commit(self, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        if lines[0]["value"].get("parentCommit") != self.server.head:
            self._send(412, {"error": "A commit has happened since"})
            return
        tree = dict(self.server.tree)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
                self.server.is_large.discard(value["path"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.server.objects[value["oid"]]
                self.server.is_large.add(value["path"])
            else:
                assert line["key"] == "deletedFile"
                del tree[value["path"]]
        self.server.tree = tree
        self.server.trees.append(set(tree))
        self.server.head = hashlib.sha1(self.server.head.encode() + body, usedforsecurity=False).hexdigest()
        told = {
            "commitUrl": f"{self.server.endpoint}/datasets/{self.server.repository}/commit/1",
            "commitOid": self.server.head,
            "pullRequestUrl": None,
        }
        if self.server.faults["after commit"]:
            # It was done, and the answer is lost.
            self._send(self.server.faults["after commit"].pop(0), {})
            return
        self._send(200, told)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def hub_serving(repository: str = REPOSITORY) -> Iterator[HubServer]:
    """The server, until the block ends."""
    server = HubServer(repository)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
