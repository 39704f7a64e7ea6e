"""The one place where kernels are compiled.

Only kernel modules import this one, and nothing imports those before a kernel is
needed: ``import tgo_spectra`` stays free of numba.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba.core import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., Any]")

prange = numba.prange


def compiled(
    *, parallel: bool = False, fastmath: bool = False, part: bool = False
) -> Callable[[F], F]:
    """Return a decorator: machine code on first call, GIL released, code cached.

    What others call and what may be reordered (``fastmath``) is a ``part`` of them:
    else the process that compiles it and those that find it in the cache would run two
    versions of it, which round differently. The Python original stays reachable as
    ``kernel.py_func`` for the tests.
    """

    def decorate(function: F) -> F:
        return cast(
            "F",
            numba.njit(
                nogil=True,
                cache=True,
                parallel=parallel,
                fastmath=fastmath,
                forceinline=part,
            )(function),
        )

    return decorate


@contextlib.contextmanager
def timed_compilation() -> Iterator[list[float]]:
    """Give a list that holds the seconds of compiling at the end; empty without any.

    What is found in a cache is not compiled.
    """
    spent: list[float] = []
    with event.install_timer("numba:compile", spent.append):
        yield spent
