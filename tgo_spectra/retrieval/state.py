"""The state of a fit: a list of blocks, and the vector that they make.

A block is a part of the state with a name, an a priori and its covariance: the profile
of a gas or of temperature, a shift for each bin, one stretch, one amplitude of a ghost.
What a fit may vary is this list and nothing else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import RetrievalError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    State = Mapping[str, Array]

__all__ = [
    "FIXED",
    "Block",
    "StateSpace",
    "Turned",
    "exponential_covariance",
    "independent",
    "profile",
]

FIXED = 1e-9
"""Variance, in squared units of an element, that keeps it where its a priori is."""

LARGEST_LOG = 50.0
"""Beyond e^50 a mole fraction is none; the forward model refuses it."""


@dataclass(frozen=True)
class Block:
    """One part of the state.

    Attributes
    ----------
    name : str
        Key of its values in a state.
    prior : array, shape (element,)
        A priori, in the units of the quantity.
    covariance : array, shape (element, element)
        A priori covariance; of the natural logarithms where ``log``.
    per : {"level", "bin", "product"}
        What its elements belong to: levels of a profile, bins of the detector, the
        whole product.
    log : bool
        Whether the elements of the vector are natural logarithms of the quantity.
    variable : str
        Name of its level-2 variable where the name is not that; of profiles, which have
        many, none is made from it. ``"-"``: not written.
    correlation_km : float
        Length over which the a priori of a profile is correlated.
    searched : bool
        Whether the spectra are searched for it: its a priori helps where they say
        nothing and does not say how far it can be.
    """

    name: str
    prior: Array
    covariance: Array
    per: Literal["level", "bin", "product"] = "product"
    log: bool = False
    variable: str = ""
    correlation_km: float = 0.0
    searched: bool = False

    def __post_init__(self) -> None:
        if self.log and not (self.prior > 0.0).all():
            raise SetupError(
                "a gas whose a priori is not positive has no logarithm",
                field=f"prior.{self.name}.state",
                value=float(self.prior.min()),
                rule="setup.log_of_zero",
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.prior.size)

    @property
    def sigma(self) -> Array:
        """A priori standard error of the quantity, (element,)."""
        sigma = np.sqrt(np.diag(self.covariance))
        return np.asarray(sigma * self.prior if self.log else sigma)

    @functools.cached_property
    def constraint(self) -> Array:
        """Inverse of the a priori covariance; spaces of a fit share their blocks."""
        from tgo_spectra.retrieval.solve import invert

        return invert(self.covariance)


def exponential_covariance(
    altitude_km: Array, sigma: Array, correlation_km: float
) -> Array:
    """Return the a priori covariance with exponential correlation between levels."""
    distance = np.abs(altitude_km[:, None] - altitude_km[None, :])
    return sigma[:, None] * sigma[None, :] * np.exp(-distance / correlation_km)


def independent(
    name: str,
    sigma: float,
    *,
    prior: float = 0.0,
    size: int = 1,
    per: Literal["level", "bin", "product"] = "product",
    variable: str = "",
    searched: bool = False,
) -> Block:
    """Return a block of independent elements; a sigma of zero keeps them fixed.

    Examples
    --------
    >>> independent("wavenumber_shift", 1.5, size=2, per="bin").covariance.tolist()
    [[2.25, 0.0], [0.0, 2.25]]
    """
    variance = max(sigma**2, FIXED)
    start = np.full(size, prior)
    covariance = variance * np.eye(size)
    return Block(name, start, covariance, per, variable=variable, searched=searched)


def profile(
    name: str,
    altitude_km: Array,
    prior: Array | float,
    sigma: Array | float,
    correlation_km: float,
    *,
    log: bool = False,
) -> Block:
    """Return the block of a profile whose a priori is correlated along altitude.

    Examples
    --------
    >>> block = profile("ch4", np.array([0.0, 4.0]), 0.0, 5e-9, 4.0)
    >>> block.per, block.sigma.tolist(), f"{block.covariance[0, 1] / 25e-18:.4f}"
    ('level', [5e-09, 5e-09], '0.3679')
    """
    start, size = (np.array(np.broadcast_to(v, altitude_km.shape), dtype=float)
                   for v in (prior, sigma))  # fmt: skip
    covariance = exponential_covariance(altitude_km, size, correlation_km)
    return Block(name, start, covariance, "level", log, correlation_km=correlation_km)


@dataclass(frozen=True)
class StateSpace:
    """All blocks of a fit in the order of the state vector; levels come first."""

    blocks: tuple[Block, ...]

    @functools.cached_property
    def _slices(self) -> dict[str, slice]:
        ends = np.cumsum([0, *(block.size for block in self.blocks)]).tolist()
        return {
            block.name: slice(start, stop)
            for block, start, stop in zip(self.blocks, ends[:-1], ends[1:], strict=True)
        }

    @functools.cached_property
    def size(self) -> int:
        """Number of elements of the vector."""
        return sum(block.size for block in self.blocks)

    def __getitem__(self, name: str) -> slice:
        """Elements of one block."""
        return self._slices[name]

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a block of that name."""
        return name in self._slices

    def block(self, name: str) -> Block:
        """Return one block."""
        return next(block for block in self.blocks if block.name == name)

    def names(self, per: str) -> tuple[str, ...]:
        """Names of the blocks whose elements belong to levels, bins or the product."""
        return tuple(block.name for block in self.blocks if block.per == per)

    @functools.cached_property
    def profiles(self) -> slice:
        """Elements of all profiles."""
        return slice(0, sum(b.size for b in self.blocks if b.per == "level"))

    @functools.cached_property
    def prior(self) -> State:
        """A priori of every block."""
        return {block.name: block.prior for block in self.blocks}

    @functools.cached_property
    def covariance(self) -> Array:
        """A priori covariance of the vector, blocks independent of each other."""
        from scipy.linalg import block_diag

        return np.asarray(block_diag(*(block.covariance for block in self.blocks)))

    @functools.cached_property
    def constraint(self) -> Array:
        """Inverse of the a priori covariance."""
        from scipy.linalg import block_diag

        return np.asarray(block_diag(*(block.constraint for block in self.blocks)))

    def pack(self, state: State) -> Array:
        """State as a vector, shape (element,).

        Raises
        ------
        RetrievalError
            ``fit.log_of_zero``: what stands as a logarithm is not positive.
        """
        parts = []
        for block in self.blocks:
            values = np.asarray(state[block.name], dtype=float)
            if block.log:
                if not (values > 0.0).all():
                    raise RetrievalError(
                        "a mole fraction must be positive to have a logarithm",
                        field=block.name,
                        value=float(values.min()),
                        rule="fit.log_of_zero",
                    )
                values = np.log(values)
            parts.append(values)
        return np.concatenate(parts)

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Vector as a state."""
        state = {}
        for block in self.blocks:
            values = vector[self[block.name]]
            state[block.name] = (
                np.exp(np.minimum(values, LARGEST_LOG)) if block.log else values
            )
        return state

    def slope(self, vector: Array) -> Array:
        """Return d(quantity)/d(element): the quantity itself of a logarithm."""
        slope = np.ones(self.size)
        for block in self.blocks:
            if block.log:
                part = self[block.name]
                slope[part] = np.exp(np.minimum(vector[part], LARGEST_LOG))
        return slope


@dataclass(frozen=True)
class Turned:
    """Other elements in which a fit is concluded than those in which it was made.

    What is asked for, mole fractions in the air that was found, of what was fitted,
    amounts relative to the air as given, whose a priori knows nothing of that air.

    Attributes
    ----------
    space : StateSpace
        The same blocks; a priori and covariance by what a block alone leaves open.
    vector : array, shape (element,)
        Where the fit ended.
    spread : array, shape (element, element)
        d(element)/d(what has an a priori of its own): one, and off the diagonal what a
        correction of the air does to the mole fraction of an amount.
    ratio : dict of array, shape (level,)
        By profile: amount over mole fraction.
    """

    space: StateSpace
    vector: Array
    spread: Array
    ratio: Mapping[str, Array]

    @functools.cached_property
    def slope(self) -> Array:
        """d(element of the fit)/d(element), (element, element)."""
        slope = np.linalg.inv(self.spread)
        for name, ratio in self.ratio.items():
            if not self.space.block(name).log:
                slope[self.space[name]] *= ratio[:, None]
        return np.asarray(slope)

    def prior(self, off: Array) -> Array:
        """Return the a priori state, linear from where the fit ended, (element,).

        ``off``: the end less the a priori in the elements of the fit.
        """
        return np.asarray(self.vector - np.linalg.solve(self.slope, off))
