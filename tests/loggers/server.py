"""A server of W&B's as far as its client asks: it takes a run, its figures and its files, and keeps them."""

import gzip
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

PROJECT = {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}}


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine until it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, dict[str, Any]] = {}  # what was said of each, by id
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.artifacts: list[tuple[str, str, set[str]]] = []  # kind, name and aliases
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def graphql(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a query, or None to one that it does not know."""
        if name == "RunResumeStatus":
            return {"model": PROJECT | {"bucket": self._bucket(given["name"])}}
        if name == "UpsertBucket":
            told = {key: value for key, value in given.items() if value is not None}
            self.runs[given["name"]] = self.runs.get(given["name"], {}) | told
            return {"upsertBucket": {"bucket": self._bucket(given["name"]), "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":  # noted, and then refused
            made = given["input"]
            aliases = {alias["alias"] for alias in made["aliases"]}
            self.artifacts.append((made["artifactTypeName"], made["artifactCollectionName"], aliases))
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "Viewer":
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}}
        return None

    def _bucket(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        rows = self.history.get(run, [])
        tail = json.dumps([json.dumps(row) for row in rows[-1:]])
        told = self.runs[run]
        return {
            "id": f"id-{run}",
            "name": run,
            "displayName": told.get("displayName"),
            "project": PROJECT,
            "historyLineCount": len(rows),
            "historyTail": tail,
            "summaryMetrics": "{}",
            "logLineCount": 0,
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "config": told.get("config", "{}"),
            "tags": told.get("tags", []),
            "wandbConfig": '{"t": 1}',
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_PUT(self) -> None:
        self.server.files[self.path.lstrip("/")] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            data = self.server.graphql(name[1] if name else "", asked.get("variables") or {})
            self._answer({"data": data} if data else {"data": None, "errors": [{"message": "unknown"}]})
        else:
            if found := re.fullmatch(r"/files/me/p/([^/]+)/file_stream", self.path):
                self._stream(found[1], json.loads(body).get("files") or {})
            self._answer({"exitcode": None, "limits": {}})

    def _stream(self, run: str, files: dict[str, Any]) -> None:
        if part := files.get("wandb-history.jsonl"):
            rows = self.server.history.setdefault(run, [])
            rows[part["offset"] :] = [json.loads(line) for line in part["content"]]

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
