"""Who works: one contract for this process, own processes and clusters.

A run gives an engine items while it has room and takes what is finished. What ends the
process of an item is the outcome of that item alone, a `Death`; the run decides whether
it is tried again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Death", "Engine", "Here", "as_they_come", "mapped"]


@dataclass(frozen=True)
class Death:
    """The process that worked on an item ended; a rule id, and the words for it.

    `tries` is how often it may happen before the item is given up.
    """

    rule: str
    message: str
    tries: int = 2


class Engine(Protocol):
    """What a run asks of those who work."""

    certain: bool
    """Whether a death is that of the very item; else items beside it are named too."""

    def use(self, task: Callable[[Any], Any]) -> None:
        """Take the task for all items that follow."""

    @property
    def room(self) -> int:
        """Number of items that it takes now."""

    def submit(self, item: Any) -> None:
        """Begin an item, which is told apart from others by its hash."""

    def finished(self, seconds: float) -> tuple[Any, Any] | None:
        """Give one finished item with its outcome; None after some seconds without."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End; what is not finished is dropped."""


class Here:
    """In this process, one item after another: nothing to be started, no limits."""

    certain = True

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def use(self, task: Callable[[Any], Any]) -> None:
        """Take the task for all items that follow."""
        self._task = task

    @property
    def room(self) -> int:
        """Number of items that it takes now."""
        return 1 - len(self._items)

    def submit(self, item: Any) -> None:
        """Keep an item until its outcome is asked for."""
        self._items.append(item)

    def finished(self, seconds: float) -> tuple[Any, Any] | None:
        """Do the item now, however long it takes."""
        if not self._items:
            return None
        item = self._items.popleft()
        return item, self._task(item)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._items.clear()


def mapped(
    engine: Engine, task: Callable[[Any], Any], items: Iterable[Any]
) -> list[Any]:
    """Outcomes of a task for different items, in their order.

    TgoError with the rule of its `Death` where an item ended its process.
    """
    return list(as_they_come(engine, task, items))


def as_they_come(
    engine: Engine, task: Callable[[Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    """Give the outcomes of `mapped`, each as soon as those before it are there.

    What is done with one is done while others are made.
    """
    engine.use(task)
    waiting, outcomes = deque(items), dict[Any, Any]()
    order = deque(waiting)
    while order:
        while waiting and engine.room > 0:
            engine.submit(waiting.popleft())
        if order[0] in outcomes:
            yield outcomes.pop(order.popleft())
            continue
        if (found := engine.finished(1.0)) is None:
            continue
        item, outcome = found
        if isinstance(outcome, Death):
            raise TgoError(outcome.message, value=item, rule=outcome.rule)
        outcomes[item] = outcome
