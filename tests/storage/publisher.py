"""A server on this machine that publishes one file, and has the faults that it is told to have."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

DATA = bytes(range(256)) * 1200


class Publisher(ThreadingHTTPServer):
    """Listens on a free port until it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/data.bin"
        self.data, self.announced, self.most, self.knows_ranges = DATA, "exact", len(DATA), True
        self.shift = 0  # by how many bytes a range begins too late
        self.asked: list[tuple[str, str | None]] = []  # path and range of each request
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.url)
            self.end_headers()
            return
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if self.path != "/data.bin":
            self.send_error(404)
            return
        begin = int(re.findall(r"\d+", asked)[0]) if asked and server.knows_ranges else 0
        begin += server.shift if begin else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.data) - 1}/{len(server.data)}")
        if server.announced is not None:
            length = len(server.data) - begin if server.announced == "exact" else server.announced
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(server.data[begin : begin + server.most])

    def log_message(self, *_: Any) -> None:
        pass
