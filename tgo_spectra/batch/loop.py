"""The loop of a run: feeds an engine, notes what became of each product, goes on.

A product that ends its process is tried again when all others are done, and given up
when that happens too often; this is remembered, so that a later run does not try it
again under the same conditions. Ctrl-C and SIGTERM drop what is being worked on.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tgo_spectra.batch.engines import Death
from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.batch.record import remaining
from tgo_spectra.errors import OutputError, Terminated
from tgo_spectra.readers.finding import split_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from tgo_spectra.batch.claims import Claims
    from tgo_spectra.batch.engines import Engine
    from tgo_spectra.batch.record import Record

__all__ = ["Loop", "Progress"]

_LOG = logging.getLogger(__name__)

# Faults that every other product would meet too.
_STOPPING = frozenset(
    {
        *("io.no_space", "io.quota", "io.device", "io.stale"),
        *("io.permission", "io.no_folder", "io.not_a_folder", "batch.not_shared"),
    }
)
_SAY_S = 60.0  # between two lines
_DRAW_S = 0.3  # between two pictures of the bar in a notebook
_COMPILED_S = 1.0  # of a product, from which on it is said
_ECHO_S = 2.0  # between two SIGTERM that are one
_WAIT_S = 1.0  # for an outcome, before the loop looks for anything else to do


@dataclass
class Loop:
    """A run: who works, what is known, who else is at it, and how far it is.

    `key_of` gives the conditions under which a product has ended its process.
    """

    _engine: Engine
    _record: Record
    _claims: Claims
    _progress: Progress
    _key_of: Callable[[Path], str]

    def __post_init__(self) -> None:
        self._suspects: deque[Path] = deque()
        self._elsewhere: deque[Path] = deque()
        self._running = 0

    def work(self, products: Sequence[str]) -> None:
        """Work through all products; the record has their rows at the end.

        What is known is written also where an error or a signal ends the loop:
        KeyboardInterrupt, or `Terminated`, which say how far it came; OutputError for
        faults of the folder.
        """
        try:
            with self._progress, self._engine, _told_to_end():
                self._run(products)
        except BaseException as end:
            with contextlib.suppress(OutputError):
                self._record.write()
            if not isinstance(end, KeyboardInterrupt):
                raise
            done = sum(row.state != "failed" for row in self._record.rows())
            text = f"stopped, {done} of {len(products)} done, run again to continue"
            raise type(end)(text) from None
        self._record.write()

    def _run(self, products: Sequence[str]) -> None:
        fresh = map(Path, products)  # one at a time: a path takes more than its text
        while True:
            self._feed(fresh)
            if not self._running:
                if not self._elsewhere:
                    return
                self._wait_for_others()
                continue
            found = self._engine.finished(_WAIT_S)
            self._progress.say()
            if found is not None:
                self._running -= 1
                self._note(*found)

    def _feed(self, fresh: Iterator[Path]) -> None:
        """Fill the engine; with what is suspect only when all else is done."""
        while self._engine.room > 0:
            path = next(fresh, None)
            if path is None:
                break
            if str(path) not in self._record.crashes:
                self._begin(path)
            elif not self._is_given_up(path):
                self._suspects.append(path)
        while self._suspects and self._engine.room > 0:
            # beside others it may be named for what these do
            if self._running and not self._engine.certain:
                return
            self._begin(self._suspects.popleft())

    def _begin(self, path: Path) -> None:
        """Give a product to the engine, unless another run has it or had it."""
        if not self._claims.take(str(path)):
            self._elsewhere.append(path)
            return
        self._record.hear(self._claims.others())
        former = self._record.row_of(str(path))
        if former is not None:
            self._claims.release(str(path))
            self._progress.advance(former)
            return
        self._running += 1
        self._engine.submit(path)

    def _wait_for_others(self) -> None:
        """Look again at what other runs have; what one has left is taken over."""
        waiting, self._elsewhere = self._elsewhere, deque()
        for path in waiting:
            if self._engine.room > 0:
                self._begin(path)
            else:
                self._elsewhere.append(path)
        if not self._running and self._elsewhere:
            time.sleep(_WAIT_S)

    def _is_given_up(self, path: Path) -> bool:
        """Tell whether a former run gave it up, under these conditions; note it."""
        key = self._key_of(path)
        former = [
            row
            for row in self._record.crashes[str(path)]
            if row.resume_key == key and row.state == "failed"
        ]
        if not former:
            return False
        self._end(former[-1])
        return True

    def _note(self, path: Path, outcome: Any) -> None:
        if not isinstance(outcome, Death):
            self._end(outcome)
            return
        key = self._key_of(path)
        row = ProductStatus(
            str(path), "crashed", rule=outcome.rule, message=outcome.message
        )
        row = replace(row, resume_key=key)
        former = self._record.crashes.get(str(path), [])
        count = 1 + sum(one.resume_key == key for one in former)
        if count < outcome.tries:
            _LOG.warning("%s %s; it is tried again", path, outcome.message)
            self._record.note(row)
            self._claims.release(str(path))
            self._suspects.append(path)
            return
        message = f"{outcome.message} (try {count}, not tried again)"
        self._end(replace(row, state="failed", message=message))

    def _end(self, row: ProductStatus) -> None:
        if row.rule == "product.missing" and Path(split_place(row.product)[0]).exists():
            message = "a worker does not see this product; all must see one disk"
            row = replace(row, rule="batch.not_shared", message=message)
        self._record.note(row)
        self._claims.release(row.product)
        self._progress.advance(row)
        if row.rule in _STOPPING:
            fault = (row.message or "").removesuffix(f" [rule {row.rule}]")
            message = f"stopped, the same call goes on later: {fault}"
            raise OutputError(message, path=self._record.folder, rule=row.rule)


class _Stop:
    """What SIGTERM does: the first raises `Terminated`, one much later ends at once.

    Batch systems and scripts may tell a process together with its shell, which passes
    it on: what comes shortly after the first one is the same.
    """

    def __init__(self) -> None:
        self.told = float("inf")

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.told > now:
            self.told = now
            raise Terminated
        if self.told + _ECHO_S < now:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """Raise `Terminated` at the first SIGTERM.

    Only in the main thread, which alone gets signals, and only where nobody else has
    said what is to be done.
    """
    here = threading.current_thread() is threading.main_thread()
    former = signal.getsignal(signal.SIGTERM)
    if not here or not (former is signal.SIG_DFL or isinstance(former, _Stop)):
        yield
        return
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if stop.told == float("inf"):  # else it goes on hearing while the run ends
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook; IPython is not imported for it."""
    found = sys.modules.get("IPython")
    shell = None if found is None else found.get_ipython()
    return hasattr(shell, "kernel")


class NotebookBar:
    """A bar below a cell of a notebook, which needs no widgets."""

    def __init__(self, total: int) -> None:
        self._total, self._ended, self._text = total, 0, "products"
        self._handle: Any = None
        self._drawn = 0.0

    def start(self) -> None:
        """Show it."""
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._handle = display(HTML(self.text()), display_id=True)

    def update(self, _line: int, *, advance: int, description: str) -> None:
        """Count; it is drawn at most some times a second."""
        self._ended += advance
        self._text = description
        now = time.monotonic()
        if now > self._drawn + _DRAW_S:
            self._drawn = now
            self._draw()

    def stop(self) -> None:
        """Draw how it ended."""
        self._draw()

    def _draw(self) -> None:
        if self._handle is not None:  # there is no front end
            self._handle.update(self._html(self.text()))

    def text(self) -> str:
        """Return it as HTML."""
        bar = f'<progress value="{self._ended}" max="{max(self._total, 1)}"></progress>'
        return f"{bar} {self._ended} of {self._total} {self._text}"


class Progress:
    """A bar on a terminal and in a notebook, otherwise a line a minute.

    And one line in the log a product.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar: Any = None
        self._total, self._ended, self._failed = total, 0, 0
        self._shown, self._told = shown, False
        self._begun = self._said = time.monotonic()
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True))
            self._line = self._bar.add_task("products", total=total)
        elif shown and _in_notebook():
            self._bar = NotebookBar(total)
            self._line = 0

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, row: ProductStatus) -> None:
        """Count one product."""
        _LOG.info("%s %s %s", row.state, row.product, row.message or "")
        self._ended += 1
        self._failed += row.state == "failed"
        if self._shown and not self._told and row.compile_seconds > _COMPILED_S:
            self._told = True
            text = f"{row.compile_seconds:.0f} of the {row.seconds:.0f} s of the first "
            self._write(f"{text}product compiled code, which is kept for those to come")
        if self._bar is not None:
            text = f"products, {self._failed} failed" if self._failed else "products"
            self._bar.update(self._line, advance=1, description=text)

    def say(self) -> None:
        """Say how far it is, where there is no bar and a minute has gone."""
        now = time.monotonic()
        if self._bar is not None or not self._shown or now < self._said + _SAY_S:
            return
        self._said = now
        text = f"{self._ended} of {self._total}, {self._failed} failed"
        if self._ended:
            left = self._total - self._ended
            text += f": {remaining(self._ended, now - self._begun, left)}"
        self._write(text)

    def _write(self, text: str) -> None:
        console = getattr(self._bar, "console", None)  # a notebook has none
        if console is not None:
            console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{text}\n")
