"""Claims: several runs on one output folder share the work, each product once.

A claim is a file that only one run can create, and it names its run. Of each run one
file changes while it lives, and says from where on its journal is about now. Nothing
depends on locks or on clocks: a run of this machine whose process is gone is dead, any
other one when its file has not changed while this run looked at it for a minute. No
result depends on claims either: two runs that take the same product write the same
file twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

from tgo_spectra.files.atomic import host_tag, is_alive, output_folder, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Claims"]

_BEAT_S = 10.0
"""Between two signs of life of a run."""
_DEAD_S = 60.0
"""Without a sign of life, as seen from here."""


class Claims:
    """What this run has taken, in the folder ``claims`` of the output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "claims"
        self.run = f"{host_tag()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._held: set[Path] = set()
        self._about = ("", 0)
        self._seen: dict[Path, tuple[str, float]] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        output_folder(self._folder)
        for file in self._folder.iterdir():
            if not file.suffix:
                self._is_left(file)
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            for file in (*self._held, self._sign(self.run)):
                file.unlink(missing_ok=True)
            self._folder.rmdir()  # unless another run is there

    def take(self, name: str) -> bool:
        """Claim something; False where a run that lives has it."""
        file = self._file(name)
        with writing(file):
            for _ in range(2):
                try:
                    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                except FileExistsError:
                    if not self._is_left(file):
                        return False
                    continue
                self._held.add(file)
                with os.fdopen(handle, "w") as stream:
                    stream.write(self.run)
                return True
        return False

    def release(self, name: str) -> None:
        """Give something back, so that others see what became of it."""
        file = self._file(name)
        if file in self._held:
            self._held.discard(file)
            with writing(file):
                file.unlink(missing_ok=True)

    def announce(self, journal: Path) -> None:
        """Say where the rows of this run will stand, from the present end on."""
        size = journal.stat().st_size if journal.is_file() else 0
        self._about = (journal.name, size)
        self._beat(0)

    def others(self) -> Iterator[tuple[str, int]]:
        """Journal of each other run that lives, and where in it its rows begin."""
        for sign in self._folder.glob("*.run"):
            if sign.stem == self.run:
                continue
            if not self._lives(sign, sign.stem):
                sign.unlink(missing_ok=True)
            else:
                with contextlib.suppress(OSError, ValueError, LookupError):
                    found = json.loads(sign.read_text())
                    yield str(found["journal"]), int(found["from"])

    def _file(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:24]

    @property
    def sign(self) -> Path:
        """A file that is there while this run lives."""
        return self._sign(self.run)

    def _sign(self, run: str) -> Path:
        return self._folder / f"{run}.run"

    def _live(self) -> None:
        count = 0
        while not self._ended.wait(_BEAT_S):
            count += 1
            # a disk that is full now may not be at the next time
            with contextlib.suppress(OSError):
                self._beat(count)

    def _beat(self, count: int) -> None:
        sign, (name, size) = self._sign(self.run), self._about
        with writing(sign):
            sign.write_text(json.dumps({"beat": count, "journal": name, "from": size}))

    def _is_left(self, file: Path) -> bool:
        """Tell whether a claim's run is dead; the claim is removed then."""
        try:
            run = file.read_text()
        except FileNotFoundError:
            return True
        if self._lives(file, run):
            return False
        aside = file.with_name(f"{file.name}.left-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(FileNotFoundError):
            file.rename(aside)  # of several that see it, one succeeds
            if aside.read_text() != run:
                # another run was faster and has claimed it since
                with contextlib.suppress(FileExistsError):
                    os.link(aside, file)
            aside.unlink()
        return not file.exists()

    def _lives(self, file: Path, run: str) -> bool:
        if run == self.run:
            return True
        place, _, rest = run.partition("-")
        pid = rest.partition("-")[0]
        if place == host_tag() and pid.isdigit() and not is_alive(int(pid)):
            return False
        try:
            sign = self._sign(run).read_text() if run else ""
        except FileNotFoundError:
            sign = ""
        now = time.monotonic()
        former, since = self._seen.get(file, ("", now))
        if (run + sign) != former or file not in self._seen:
            self._seen[file] = run + sign, now
            return True
        return now < since + _DEAD_S
