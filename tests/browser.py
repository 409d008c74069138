"""Headless Chromium, driven through two pipes: what a page measures on a screen of some width.

The DevTools protocol over --remote-debugging-pipe: messages of JSON, each ended by a zero byte.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

LONGEST_S = 60  # until an answer
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
OPTIONS += "--disable-component-update --disable-sync --remote-debugging-pipe"
# Chromium reads from descriptor 3 and writes to 4
AS_3_AND_4 = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
AS_3_AND_4 += "os.execv(sys.argv[3], sys.argv[3:])"


def find_chromium() -> str | None:
    """The program, if one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """A page in Chromium. `evaluate` gives the value of an expression of JavaScript on it."""

    def __init__(self, program: str, profile: Path) -> None:
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for pair in (os.pipe(), os.pipe()) for end in pair]
        its_input, ours, self.answers, its_output = ends
        self.commands = os.fdopen(ours, "wb", buffering=0)
        start = [sys.executable, "-S", "-c", AS_3_AND_4, str(its_input), str(its_output), program]
        self.process = subprocess.Popen(
            [*start, *OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(its_input, its_output),
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self.number, self.session, self.unread = 0, {}, b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = {
            "sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        }
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **self.session}
        self.commands.write(json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda one: one.get("id") == self.number)
        assert "result" in answer, answer
        return answer["result"]

    def _wait(self, fits: Any) -> dict[str, Any]:
        while True:
            while b"\0" not in self.unread:
                assert select.select([self.answers], [], [], LONGEST_S)[0], "Chromium does not answer"
                piece = os.read(self.answers, 1 << 16)
                assert piece, "Chromium has ended"
                self.unread += piece
            text, self.unread = self.unread.split(b"\0", 1)
            if fits(message := json.loads(text)):
                return message

    def open(self, page: Path, width: int, scheme: str = "light") -> None:
        """Show a file on a screen of some width, 800 high."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.ask("Page.navigate", url=page.resolve().as_uri())
        self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, as JSON has it; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self.commands.close()
        os.close(self.answers)
        self.process.terminate()
        self.process.wait()
