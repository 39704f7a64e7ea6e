"""How far the result of a joint fit is to be trusted: errors, and reasons against it.

At the end of a fit its spectra are looked at once more, pixel by pixel. Waves in the
baseline join the state, spikes and static pixels leave, the noise is measured, the
errors are those of the noise as it is; what the lines of a gas say against each other
and what all rows have in common become errors and flags.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval import noise
from tgo_spectra.retrieval.diagnostics import (
    at_least,
    gas_diagnostics,
    joined,
    positive,
    total_covariance,
)
from tgo_spectra.retrieval.end import WAVES, End, Step
from tgo_spectra.retrieval.limits import LayerEstimate, of_layer
from tgo_spectra.retrieval.noise import Screening, screen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.consistency import Agreement
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.limits import Layer
    from tgo_spectra.retrieval.linear import Expansion
    from tgo_spectra.retrieval.spectra import Whitened
    from tgo_spectra.retrieval.state import StateSpace, Turned

    Array = npt.NDArray[np.floating]
    Errors = Mapping[str, Mapping[str, Array]]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "PULLED",
    "WAVES",
    "Conclusion",
    "conclude",
    "conclude_plainly",
]


ROWS_LEAST = 0.5
"""Of the variance by white noise, what successive rows in common may leave of it: what
they share cancels in the difference of levels, but so would a misfit."""

PULLED = 2.0
"""Posterior standard errors of an element from which no linear step leads back."""

LOOKS = 3
"""At static pixels after the first: the worst ones hide others, and pull the fit."""


@dataclass(frozen=True)
class Conclusion:
    """The end of a joint fit with everything that it knows in one state.

    Attributes
    ----------
    space : StateSpace
        Of the fit, and waves.
    vector : array, shape (element,)
        After the last step.
    data_matrix, covariance, constraint : array, shape (element, element)
        K^T Se^-1 K; (K^T Se^-1 K + R)^-1; R.
    noise_matrix : array, shape (element, element)
        Covariance of K^T Se^-1 e, e being the noise as measured.
    noise : Noise
    pattern : float
        Stacked residual over its expectation.
    screening : Screening
    seen : Whitened
        The spectra at the end, with what the screening left.
    agreements : dict of Agreement
        By gas.
    layers : dict of LayerEstimate
        By gas.
    iterations : int
    converged : bool
        How the fit went.
    at_edge : bool
        Whether a search for the spectra ended at its edge.
    known : dict of str
        Name of the error by each block of a known source.
    along_rows : dict of array, shape (level, level) or (level + 1, level + 1)
        By profile: what the noise's correlation along rows adds to the covariance of
        its elements, last that of the layer's estimate where there is one.
    errors : dict of dict of array, shape (level,) or (level + 1,)
        By profile and source that is not in the fit: change of the elements by one
        standard error, last that of the layer's estimate where there is one.
    steps : dict of array, shape (change, element)
        By the same sources: change of the whole state by each.
    pulled : float
        How far static pixels had pulled the fit before they were left out: of the
        elements the largest change, in posterior standard errors.
    spread : array, shape (element of the fit, element of the fit), optional
        Of `Turned`; default: each element has an a priori of its own.
    amounts : dict of dict of array, shape (level,)
        As ``errors``, of the amount of a gas where the mole fraction is wrong for the
        air that it is over.
    """

    space: StateSpace
    vector: Array
    data_matrix: Array
    covariance: Array
    constraint: Array
    noise_matrix: Array
    noise: noise.Noise
    pattern: float
    screening: Screening
    seen: Whitened
    agreements: Mapping[str, Agreement]
    layers: Mapping[str, LayerEstimate]
    iterations: int
    converged: bool
    at_edge: bool
    known: Mapping[str, str]
    along_rows: Mapping[str, Array] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    steps: Mapping[str, Array] = field(default_factory=dict)
    pulled: float = 0.0
    spread: Array | None = None
    amounts: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)

    @property
    def state(self) -> dict[str, Array]:
        """Values of the blocks."""
        return self.space.unpack(self.vector)

    def diagnostics(
        self,
        name: str,
        beside: Sequence[str] = (),
        *,
        assumed: Array | None = None,
        smoothing_known: bool = True,
    ) -> GasDiagnostics:
        """Errors and resolution of a profile, the noise as it is.

        All that the fit leaves open is smoothing here, known sources too. In the
        elements of the fit: those of the profile, and of further blocks behind them.
        ``assumed``, ``smoothing_known``: as in `gas_diagnostics`.
        """
        every = np.arange(self.space.size)
        own = np.concatenate([every[self.space[one]] for one in (name, *beside)])
        d = gas_diagnostics(
            self.data_matrix, self.covariance, own, assumed,
            smoothing_known=smoothing_known,
        )  # fmt: skip
        gain = self.covariance[own]
        more = gain @ self.noise_matrix @ gain.T
        white = np.diag(d.noise_covariance)
        # correlation may not make errors smaller than white noise does
        more = at_least(more, white)
        if name in self.along_rows:
            count = self.space.block(name).size
            more[:count, :count] += self.along_rows[name][:count, :count]
            # nor much smaller what differs from row to row
            more = at_least(positive(more, white), ROWS_LEAST * white)
        total = d.total_covariance - d.noise_covariance + more
        return replace(
            d,
            noise_covariance=more,
            total_covariance=total,
            noise_error=np.sqrt(np.diag(more).clip(0.0)),
            total_error=np.sqrt(np.diag(total).clip(0.0)),
        )

    @functools.cached_property
    def _spread(self) -> Array:
        """Return ``spread`` of all elements, waves included."""
        whole = np.eye(self.space.size)
        if self.spread is not None:
            whole[: len(self.spread), : len(self.spread)] = self.spread
        return whole

    @functools.cached_property
    def _gathered(self) -> Array:
        """Return the inverse of ``spread``."""
        return np.asarray(np.linalg.inv(self._spread))

    def assumed(self) -> Array:
        """Return the a priori covariance of the elements, (element, element)."""
        spread = self._spread
        return np.asarray(spread @ self.space.covariance @ spread.T)

    def by_air(
        self,
        name: str,
        *,
        assumed: Array | None = None,
        smoothing_known: bool = True,
    ) -> Array:
        """Return what the air alone adds to the covariance of a gas, (level, level).

        In proportion to it: whether there is any gas does not depend on that.
        ``assumed``, ``smoothing_known``: as in `gas_diagnostics`.
        """
        own = self.space[name]
        found = np.zeros((self.space.block(name).size,) * 2)
        if self.spread is not None:
            amounts = self._gathered
            for sign, rows in (
                (1.0, np.eye(self.space.size)[own]),
                (-1.0, amounts[own]),
            ):
                found += sign * total_covariance(
                    rows, self.data_matrix, self.covariance, assumed,
                    smoothing_known=smoothing_known,
                )  # fmt: skip
        for source, there in self.amounts.get(name, {}).items():
            whole = self.errors[name][source][: there.size]
            found += np.outer(whole, whole) - np.outer(there, there)
        return found

    def by_block(self, weights: Array, ideal: Array | None = None) -> dict[str, Array]:
        """Error of some quantities by each block's a priori, without the noise.

        Parameters
        ----------
        weights : array, shape (quantity, element)
            Rows that take K^T Se^-1 (y - F) to the quantities.
        ideal : array, shape (quantity, element), optional
            What they should see of the true state; default: nothing.

        Returns
        -------
        dict of array, shape (quantity,)
            By block; with the sign of the response where the block is one element.
        """
        seen = 0.0 if ideal is None else ideal
        through = (weights @ self.data_matrix - seen) @ self._spread
        found = {}
        for block in self.space.blocks:
            own = through[:, self.space[block.name]]
            if block.size == 1:
                found[block.name] = own[:, 0] * np.sqrt(block.covariance[0, 0])
            else:
                squares = ((own @ block.covariance) * own).sum(axis=1)
                found[block.name] = np.sqrt(squares.clip(0.0))
        return found


def conclude(
    seen: Whitened,
    expand: Expansion,
    result: Result[Any],
    height_km: Array,
    altitude_km: Array,
    *,
    constraint: Array,
    wave_sigma: float = 0.0,
    waves_apart: bool = False,
    waves: Array | None = None,
    known: Mapping[str, str] | None = None,
    beside: Mapping[str, Sequence[Array]] | None = None,
    tested: Sequence[str] = (),
    line_sigma: float = 0.0,
    screened: bool = True,
    layer: npt.NDArray[np.bool_] | None = None,
    at_edge: bool = False,
    turned: Turned | None = None,
    denser: Mapping[str, Sequence[Array]] | None = None,
) -> Conclusion:
    """Conclude a joint fit.

    Parameters
    ----------
    seen : Whitened
        At the end of the fit.
    expand : Expansion
        Takes its fields to the state.
    result : Result
        Where it ended.
    height_km : array, shape (row,)
        Tangent altitudes.
    altitude_km : array, shape (level,)
    constraint : array, shape (element, element)
        R of the fit.
    wave_sigma : float
        A priori amplitude of the waves; zero: none.
    waves_apart : bool
        Whether each bin has its own.
    waves : array, shape (wave,), optional
        Those of which the spectra are free already, from `first_waves`.
    known : dict of str
        Name of the error by each block of a known source: its share is systematic.
    beside : dict of sequence of array, shape (row, pixel)
        Changes of the rows' transmittance by one standard error of what is not in the
        fit, by source; several are summed in squares.
    tested : sequence of str
        Gases whose lines are to agree.
    line_sigma : float
        Relative error of the lines of a manifold against those of another.
    screened : bool
        Whether spikes and static pixels are left out. Not where the instrument is not
        in the fit: what it leaves then looks like them.
    layer : array of bool, shape (level,), optional
        Of the layer estimate.
    at_edge : bool
        Whether the search for the spectra ended at its edge.
    turned : Turned, optional
        In which elements it is concluded; default: those of the fit.
    denser : dict of sequence of array, shape (level,), optional
        Relative change of the air's density by changes ``beside``, by source.
    """
    space, bins = expand.space, expand.bins
    vector, prior = space.pack(result.state), space.pack(space.prior)
    log = any(block.log for block in space.blocks)
    slope = space.slope(vector) if log else None
    if turned is not None:
        slope = space.slope(vector)[:, None] * turned.slope
        constraint = turned.slope.T @ constraint @ turned.slope
        prior = turned.prior(vector - prior)
        vector, expand = turned.vector, expand.of(turned.space)
    n_bins = int(bins.max()) + 1

    def ended(seen: Whitened) -> tuple[End, Array, Step, Array]:
        """Return the end, where its step starts, that, and the residual behind."""
        end = End(seen, expand, height_km, altitude_km, slope, wave_sigma, waves_apart)
        more = np.zeros(end.space.size - space.size)
        start = np.concatenate([vector, more if waves is None else waves])
        step = end.step(constraint, start, np.concatenate([prior, more]))
        return end, start, step, end.moved(step.change)

    screening, with_all = Screening.none(seen.used, n_bins), None
    if screened:
        screening = screen(seen.residual, seen.used, bins, n_bins)
        with_all = ended(seen)[2].change if screening.static.any() else None
        seen = seen.without(screening.masked(bins))
    end, start, last, residual = ended(seen)
    # what the worst pixels hid, and what they made of those beside them
    for _ in range(LOOKS if screening.static.any() else 0):
        more = screen(residual, seen.used, bins, n_bins)
        screening = screening.and_then(more)
        if not more.masked(bins).any():
            break
        seen = seen.without(more.masked(bins))
        end, start, last, residual = ended(seen)
    whole = end.space
    prior = np.concatenate([prior, np.zeros(whole.size - space.size)])
    r, matrix, gradient, covariance, step = last
    found = start + step
    after = replace(seen, residual=residual)
    freedom = float(np.einsum("ij,ji->", covariance, matrix))
    measured = noise.measured_noise(after, bins, freedom)
    correlation = measured.sure_along_pixels
    noisy = matrix * measured.scale**2
    if correlation.any():
        noisy = end.matrix(correlation) * measured.variance
    pulled = np.zeros(1) if with_all is None else np.abs(step - with_all)
    pulled = (pulled / np.sqrt(np.diag(covariance)))[: space.size]
    along, left = float(measured.sure_along_rows.sum()), end.left_by_waves()
    stack = noise.stacked(residual, seen.used, height_km, along, left)
    conclusion = Conclusion(
        space=whole,
        vector=found,
        data_matrix=matrix,
        covariance=covariance,
        constraint=r,
        noise_matrix=noisy,
        noise=measured,
        pattern=stack,
        screening=screening,
        seen=after,
        agreements={},
        layers={},
        iterations=result.iterations,
        converged=result.converged,
        at_edge=at_edge,
        known=dict(known or {}) | ({WAVES: "waves"} if wave_sigma > 0.0 else {}),
        pulled=float(pulled.max()),
        spread=None if turned is None else turned.spread,
    )
    changes = {
        source: [after.columns(one[:, None, :])[:, 0] for one in ones]
        for source, ones in (beside or {}).items()
    }
    gradients = {
        source: np.array([end.times(one) for one in ones])
        for source, ones in changes.items()
    }
    information = gradient - matrix @ step + matrix @ (found - prior)
    layers, agreements, errors, along_rows, amounts = {}, {}, {}, {}, {}
    ratio = {} if turned is None else turned.ratio
    for name in whole.names("level"):
        own = np.arange(whole[name].start, whole[name].stop)
        responses = covariance[own]
        inside = layer is not None and layer.any() and not whole.block(name).log
        if inside and name in tested:
            layers[name] = of_layer(matrix, r, whole, information, prior, own[layer])
            responses = np.concatenate([responses, layers[name].weights[None]])
        along_rows[name] = end.along_rows(responses, bins, measured)
        errors[name] = {
            source: joined(responses @ ones.T) for source, ones in gradients.items()
        }
        size = 1.0 if whole.block(name).log else found[own]
        amounts[name] = {
            source: joined(
                responses[: own.size] @ gradients[source].T - (size * np.array(ones)).T
            )
            for source, ones in (denser or {}).items()
        }
        if name in tested and layer is not None:
            agreements[name] = end.agreement(
                name, residual, responses, covariance, measured.of_sums, layer,
                [
                    pair
                    for source, ones in changes.items()
                    for pair in zip(ones, gradients[source], strict=True)
                ],
                line_sigma * whole.unpack(found)[name] * ratio.get(name, 1.0),
            )  # fmt: skip
    steps = {source: ones @ covariance for source, ones in gradients.items()}
    conclusion = replace(
        conclusion,
        agreements=agreements,
        errors=errors,
        steps=steps,
        along_rows=along_rows,
        amounts=amounts,
    )
    estimates = {
        name: _estimate(conclusion, made, name) for name, made in layers.items()
    }
    return replace(conclusion, layers=estimates)


def conclude_plainly(
    seen: Whitened,
    space: StateSpace,
    vector: Array,
    data_matrix: Array,
    covariance: Array,
    constraint: Array,
    bins: IntArray,
    height_km: Array,
    iterations: int,
    errors_of: Callable[[Whitened], tuple[Errors, Errors]],
    *,
    converged: bool,
    at_edge: bool,
) -> Conclusion:
    """Conclude what is no least-squares fit of all spectra together.

    No waves, no masks; the errors grow by one factor, the scalar form of what the
    residuals say of the noise. Parameters as those of `conclude` and the attributes of
    `Conclusion`; ``errors_of``: from the spectra to ``errors`` and ``amounts``.
    """
    freedom = float(np.einsum("ij,ji->", covariance, data_matrix))
    measured = noise.measured_noise(seen, bins, freedom)
    along = float(measured.sure_along_rows.sum())
    n_bins = int(bins.max()) + 1
    errors, amounts = errors_of(seen)
    return Conclusion(
        space=space,
        vector=vector,
        data_matrix=data_matrix,
        covariance=covariance,
        constraint=constraint,
        noise_matrix=data_matrix * measured.inflation**2,
        noise=measured,
        pattern=noise.stacked(seen.residual, seen.used, height_km, along),
        screening=Screening.none(seen.used, n_bins),
        seen=seen,
        agreements={},
        layers={},
        iterations=iterations,
        converged=converged,
        at_edge=at_edge,
        known={},
        errors=errors,
        amounts=amounts,
    )


def _estimate(end: Conclusion, made: Layer, name: str) -> LayerEstimate:
    """Split the error of a layer into noise, smoothing and sources."""
    w, space = made.weights, end.space
    white = float(w @ end.data_matrix @ w)
    # of what the estimate sees beside its layer, whatever the constraint
    inside = np.zeros(space.size)
    inside[made.elements] = made.kernel[made.elements]
    by_block = end.by_block(w[None], inside[None])
    systematic = {
        source: float(by_block[block][0]) for block, source in end.known.items()
    }
    left = made.undetermined + sum(
        float(error[0]) ** 2 for n, error in by_block.items() if n not in end.known
    )
    agreement = end.agreements[name]
    systematic["lines"] = float(agreement.error[-1])
    systematic |= {k: float(v[-1]) for k, v in end.errors[name].items()}
    variance = float(w @ end.noise_matrix @ w) + float(end.along_rows[name][-1, -1])
    return LayerEstimate(
        value=made.value,
        noise=float(np.sqrt(max(variance, white))),
        systematic=systematic,
        smoothing=float(np.sqrt(left)),
        weights=w,
    )
