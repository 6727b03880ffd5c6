"""A server of W&B's that keeps what a client sends: as much of its API as runs and artifacts need.

A run's history is kept by line, as the real server does, so that what is sent again takes no
second place. `sent` has every line that arrived, the repeated ones too.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

__all__ = ["KEY", "WandbServer", "serving"]

pytest.importorskip("wandb", minversion="0.31")  # earlier clients ask other questions
KEY = "0123456789abcdef" * 2 + "01234567"  # any that looks like one
_NAMED = re.compile(r"(?:query|mutation)\s+(\w+)")
_STREAM = re.compile(r"/files/([^/]*)/([^/]*)/([^/]*)/file_stream")


class WandbServer:
    """What has arrived.

    Attributes:
        runs: by id, the fields of UpsertBucket that were not null, the last of each.
        history: by run's id, the rows by their line.
        sent: (moment, run's id, line, row) of every row in the order of arrival.
        artifacts: by name, what CreateArtifact said.
        views: saved workspaces by their id, as UpsertView2 had them.
        files: bodies of uploaded files, by path.
        silent: whether it takes connections and never answers.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, dict[int, dict[str, Any]]] = {}
        self.sent: list[tuple[float, str, int, dict[str, Any]]] = []
        self.finished: set[str] = set()
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.operations: list[str] = []
        self.silent = False
        self.lock = threading.Lock()
        self.http = _Http(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """Variables with which a client finds it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def rows(self, run: str) -> list[dict[str, Any]]:
        """A run's history in the order of its lines."""
        with self.lock:
            return [row for _, row in sorted(self.history.get(run, {}).items())]

    def config(self, run: str) -> dict[str, Any]:
        """A run's configuration, without W&B's own."""
        found = json.loads(self.runs[run]["config"])
        return {key: one["value"] for key, one in found.items() if key != "_wandb"}

    def answer(self, operation: str, given: dict[str, Any]) -> Any:
        """What GraphQL is told."""
        self.operations.append(operation)
        match operation:
            case "RunResumeStatus":
                return {"model": self._project(given.get("project")) | self._resumed(given["name"])}
            case "UpsertBucket":
                return {"upsertBucket": self._upsert(given)}
            case "CreateRunFiles":
                links = [{"name": n, "uploadUrl": f"{self.url}/up/{n}"} for n in given["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": links}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                given = given["input"]
                self.artifacts[given["artifactCollectionName"]] = given
                state = {"id": "a", "state": "PENDING", "artifactSequence": _SEQUENCE}
                return {"createArtifact": {"artifact": state}}
            case "CreateArtifactManifest":
                link = {"id": "f", "name": "m", "displayName": "m"}
                link |= {"uploadUrl": f"{self.url}/up/manifest", "uploadHeaders": []}
                made = {"id": "m", "file": link}
                return {"createArtifactManifest": {"artifactManifest": made}}
            case "CreateArtifactFiles":
                edges = [{"node": self._file(one)} for one in given["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
            case "UpsertView2":
                known = given.get("id") or f"view{len(self.views)}"
                self.views[known] = given
                view = {"id": known, "name": given["name"]}
                return {"upsertView": {"view": view, "inserted": "id" not in given}}
            case "Viewer" | "DefaultEntity":
                return {"viewer": {"id": "v", "entity": "lab", "username": "lab", "flags": "{}"}}
        self.unknown.append(operation)
        return {}

    def _file(self, entry: dict[str, Any]) -> dict[str, Any]:
        link = f"{self.url}/up/{entry['name']}"
        return {
            "id": "f",
            "name": entry["name"],
            "displayName": entry["name"],
            "uploadUrl": link,
            "uploadHeaders": [],
            "storagePath": "s",
            "artifact": {"id": "a"},
            "uploadMultipartUrls": None,
        }

    def _project(self, name: Any) -> dict[str, Any]:
        return {"id": "p", "name": name, "entity": {"id": "e", "name": "lab"}}

    def _resumed(self, run: str) -> dict[str, Any]:
        if run not in self.runs:
            return {"bucket": None}
        rows = self.rows(run)
        tail = [json.dumps(rows[-1])] if rows else []
        found = {"id": run, "name": run, "summaryMetrics": "{}", "displayName": run}
        found |= {"logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0}
        found |= {"historyTail": json.dumps(tail), "eventsTail": "[]", "tags": []}
        return {
            "bucket": found
            | {"config": self.runs[run]["config"], "notes": "", "wandbConfig": '{"t": {}}'}
        }

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = given["name"]
        inserted = run not in self.runs
        self.runs.setdefault(run, {}).update({k: v for k, v in given.items() if v is not None})
        bucket = {"id": run, "name": run, "displayName": run, "description": "", "sweepName": None}
        bucket |= {"config": "{}", "project": self._project(given["project"])}
        return {"bucket": bucket | {"historyLineCount": 0}, "inserted": inserted}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take in what a run's file stream has."""
        part = (body.get("files") or {}).get("wandb-history.jsonl", {})
        with self.lock:
            for line, text in enumerate(part.get("content", []), start=part.get("offset", 0)):
                row = json.loads(text)
                self.history.setdefault(run, {})[line] = row
                self.sent.append((time.time(), run, line, row))
            if body.get("complete"):
                self.finished.add(run)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """Nothing: a client that is killed resets its connections."""


_SEQUENCE = {"id": "s", "latestArtifact": None}


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            while server.silent:
                time.sleep(0.1)
            found: Any = {}
            if self.path.startswith("/graphql"):
                asked = json.loads(body)
                (name,) = _NAMED.findall(asked["query"])[:1] or [""]
                data = server.answer(name, asked.get("variables") or {})
                found = {"data": data}
            elif stream := _STREAM.fullmatch(self.path):
                server.stream(stream[3], json.loads(body))
            else:
                server.files[self.path.removeprefix("/up/")] = body
            self._say(json.dumps(found).encode())

        do_GET = do_PUT = do_POST = answer  # noqa: N815

        def _say(self, text: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


@contextmanager
def serving() -> Iterator[WandbServer]:
    """A server at work."""
    server = WandbServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silent = False
        server.http.shutdown()
        server.http.server_close()
