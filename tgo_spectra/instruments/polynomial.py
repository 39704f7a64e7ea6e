"""Power series of the parameter table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["power_series"]


def power_series(
    coefficient: tuple[float, ...], argument: ArrayLike
) -> NDArray[np.float64]:
    """Sum of coefficients times powers of the argument, from the power 0.

    Parameters
    ----------
    coefficient : tuple of float
        As the parameter table lists them.
    argument : array_like
        In the unit that goes with them.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(power_series((1.0, 2.0, 3.0), 2.0))
    17.0
    """
    x = np.asarray(argument, dtype=np.float64)
    total = np.full(x.shape, coefficient[-1])
    for value in coefficient[-2::-1]:
        total = total * x + value
    return np.asarray(total)
