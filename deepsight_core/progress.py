"""What the user sees while a run works: phases, samples, tokens a second, time left, unscored and errors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from deepsight_core.engine import Tally


class Progress:
    """Writes to stderr; `quiet` writes nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._bar: tqdm[Any] | None = None
        self._began = 0.0

    def say(self, text: str) -> None:
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def phase(self, name: str, text: str = "") -> Iterator[None]:
        """Announce a phase and take its wall time."""
        if text:
            self.say(f"· {text}")
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)

    @contextmanager
    def samples(self, total: int, done: int) -> Iterator[None]:
        """A bar over the samples of the run, of which `done` were on disk already."""
        if self.quiet:
            yield
            return
        self._began = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" samples",
            file=sys.stderr,
            mininterval=0.5 if sys.stderr.isatty() else 5.0,
            dynamic_ncols=True,
        )
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def update(self, tally: Tally) -> None:
        """The engine's state after a turn."""
        bar = self._bar
        if bar is None:
            return
        rate = tally.tokens_out / max(time.monotonic() - self._began, 1e-9)
        bar.set_postfix_str(f"{rate:.0f} tokens/s, {tally.unscored} unscored, {tally.errors} errors", refresh=False)
        bar.update(bar.initial + tally.records - bar.n)
