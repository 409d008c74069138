"""Signals that ask a run to end: Ctrl-C, SIGTERM, SIGHUP, and those that SLURM sends in time."""

import os
import signal
import time
from typing import Any

from triad.config.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
APART_S = 1.0  # Ctrl-C may reach a process twice, from the terminal and from its launcher


class Signals:
    """Those that came to this process: the first asks it to end, one after APART_S to end at once."""

    def __init__(self) -> None:
        self.first = 0  # its number
        self.since_s = 0.0
        self.again = False

    def catch(self) -> dict[int, Any]:
        """Note them from now on; return the handlers of before. A SIGHUP that nohup ignores stays ignored."""
        numbers = [one for one in ENDING if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
        return {number: signal.signal(number, self.note) for number in numbers}

    def note(self, number: int, _: Any) -> None:
        """Handle a signal."""
        if not self.first:
            self.first, self.since_s = number, time.monotonic()
        elif time.monotonic() - self.since_s > APART_S:
            self.again = True


class RankSignals(Signals):
    """Those of a rank: the first ends it at once before training, and then after a step that all agree on."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False
        self.agreed = 0  # the signal by which all ranks end

    def note(self, number: int, _: Any) -> None:
        """Handle a signal. Raises Interrupted before training."""
        known = self.first
        super().note(number, _)
        if self.again:
            os._exit(128 + self.first)
        if not (self.training or known):
            raise Interrupted(128 + number)


signals = RankSignals()  # the system keeps one set of handlers for each process
