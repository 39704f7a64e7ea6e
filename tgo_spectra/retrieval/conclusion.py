"""How far the result of a joint fit is to be trusted: errors, and reasons against it.

At the end of a fit its spectra are looked at once more, pixel by pixel. Waves in the
baseline join the state, spikes and static pixels leave, the noise is measured, the
errors are those of the noise as it is; what the lines of a gas say against each other
and what all rows have in common become errors and flags.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval import noise, pattern
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.end import WAVES, End
from tgo_spectra.retrieval.layer import of_layer
from tgo_spectra.retrieval.screening import Screening, screen
from tgo_spectra.retrieval.solve import invert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.consistency import Agreement
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.layer import Layer
    from tgo_spectra.retrieval.linear import Expansion
    from tgo_spectra.retrieval.state import StateSpace
    from tgo_spectra.retrieval.whitened import Whitened

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "WAVES",
    "Conclusion",
    "LayerEstimate",
    "conclude",
    "conclude_plainly",
    "joined",
]


@dataclass(frozen=True)
class LayerEstimate:
    """One mole fraction for the layer of a gas, with the parts of its error."""

    value: float
    noise: float
    systematic: Mapping[str, float]
    smoothing: float
    weights: Array


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
    known : dict of str
        Name of the error by each block of a known source.
    errors : dict of dict of array, shape (level,) or (level + 1,)
        By profile and source that is not in the fit: change of the elements by one
        standard error, last that of the layer's estimate where there is one.
    steps : dict of array, shape (change, element)
        By the same sources: change of the whole state by each.
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
    known: Mapping[str, str]
    errors: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    steps: Mapping[str, Array] = field(default_factory=dict)

    @property
    def state(self) -> dict[str, Array]:
        """Values of the blocks."""
        return self.space.unpack(self.vector)

    @property
    def baseline(self) -> Array:
        """Coefficients of the rows."""
        return self.seen.baseline

    @property
    def chi_square(self) -> float:
        """Sum of the squares of the whitened residuals."""
        return self.seen.chi_square

    def noise_covariance(self, elements: slice) -> Array:
        """Covariance of some elements by noise, (element, element)."""
        gain = self.covariance[elements]
        return np.asarray(gain @ self.noise_matrix @ gain.T)

    def diagnostics(
        self, name: str, *, assumed: Array | None = None, smoothing_known: bool = True
    ) -> GasDiagnostics:
        """Errors and resolution of a profile, the noise as it is.

        All that the fit leaves open is smoothing here, known sources too. In the
        elements of the fit. ``assumed``, ``smoothing_known``: as in `gas_diagnostics`.
        """
        own = self.space[name]
        d = gas_diagnostics(
            self.data_matrix, self.covariance, own, assumed,
            smoothing_known=smoothing_known,
        )  # fmt: skip
        more = self.noise_covariance(own)
        # correlation may not make errors smaller than white noise does
        if np.trace(more) < np.trace(d.noise_covariance):
            more = d.noise_covariance
        total = d.total_covariance - d.noise_covariance + more
        return replace(
            d,
            noise_covariance=more,
            total_covariance=total,
            noise_error=np.sqrt(np.diag(more).clip(0.0)),
            total_error=np.sqrt(np.diag(total).clip(0.0)),
        )

    def by_block(self, weights: Array) -> dict[str, Array]:
        """Error of some quantities by each block's a priori, without the noise.

        Parameters
        ----------
        weights : array, shape (quantity, element)
            Rows that take K^T Se^-1 (y - F) to the quantities.

        Returns
        -------
        dict of array, shape (quantity,)
            By block; with the sign of the response where the block is one element.
        """
        through = weights @ self.data_matrix
        found = {}
        for block in self.space.blocks:
            own = through[:, self.space[block.name]]
            if block.size == 1:
                found[block.name] = own[:, 0] * np.sqrt(block.covariance[0, 0])
            else:
                squares = np.einsum("qi,ij,qj->q", own, block.covariance, own)
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
    known: Mapping[str, str] | None = None,
    beside: Mapping[str, Sequence[Array]] | None = None,
    tested: Sequence[str] = (),
    line_sigma: float = 0.0,
    screened: bool = True,
    layer: npt.NDArray[np.bool_] | None = None,
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
    """
    space, bins = expand.space, expand.bins
    vector = space.pack(result.state)
    log = any(block.log for block in space.blocks)
    slope = space.slope(vector) if log else None
    n_bins = int(bins.max()) + 1
    screening = Screening.none(seen.used, n_bins)
    if screened:
        screening = screen(seen.residual, seen.used, bins, n_bins)
    masked = screening.masked(bins)
    if masked.any():
        seen = seen.without(masked)
    end = End(seen, expand, height_km, altitude_km, slope, wave_sigma, waves_apart)
    whole = end.space
    size = whole.size
    r = np.zeros((size, size))
    r[: space.size, : space.size] = constraint
    if size > space.size:
        r[space.size :, space.size :] = np.eye(size - space.size) / wave_sigma**2
    start = np.concatenate([vector, np.zeros(size - space.size)])
    prior = whole.pack(whole.prior)
    matrix, gradient = end.matrix(), end.gradient()
    covariance = invert(matrix + r)
    step = covariance @ (gradient - r @ (start - prior))
    found = start + step
    residual = end.moved(step)
    after = replace(seen, residual=residual)
    freedom = float(np.einsum("ij,ji->", covariance, matrix))
    measured = noise.measured_noise(after, bins, freedom)
    correlation = measured.sure_along_pixels
    noisy = matrix * measured.scale**2
    if correlation.any():
        noisy = end.matrix(correlation) * measured.variance
    stack = pattern.stacked(
        residual, seen.used, height_km, float(measured.sure_along_rows.sum())
    )
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
        known=dict(known or {}) | ({WAVES: "waves"} if wave_sigma > 0.0 else {}),
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
    layers, agreements, errors = {}, {}, {}
    for name in whole.names("level"):
        own = np.arange(whole[name].start, whole[name].stop)
        responses = covariance[own]
        inside = layer is not None and layer.any() and not whole.block(name).log
        if inside and name in tested:
            layers[name] = of_layer(matrix, r, whole, information, prior, own[layer])
            responses = np.concatenate([responses, layers[name].weights[None]])
        errors[name] = {
            source: joined(responses @ ones.T) for source, ones in gradients.items()
        }
        if name in tested and layer is not None:
            agreements[name] = end.agreement(
                name, residual, responses, covariance, measured.inflation, layer,
                [one for ones in changes.values() for one in ones],
                line_sigma * whole.unpack(found)[name],
            )  # fmt: skip
    steps = {source: ones @ covariance for source, ones in gradients.items()}
    conclusion = replace(conclusion, agreements=agreements, errors=errors, steps=steps)
    estimates = {
        name: _estimate(conclusion, end, made, bins, name)
        for name, made in layers.items()
    }
    return replace(conclusion, layers=estimates)


def joined(responses: Array) -> Array:
    """Response to one change, with its sign, or the root of the squares of several."""
    if responses.shape[1] == 1:
        return np.asarray(responses[:, 0])
    return np.asarray(np.sqrt((responses**2).sum(axis=1)))


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
    errors_of: Callable[[Whitened], Mapping[str, Mapping[str, Array]]],
    *,
    converged: bool,
) -> Conclusion:
    """Conclude what is no least-squares fit of all spectra together.

    No waves, no masks; the errors grow by one factor, the scalar form of what the
    residuals say of the noise. Parameters as those of `conclude` and the attributes of
    `Conclusion`; ``errors_of``: from the spectra to ``errors``.
    """
    freedom = float(np.einsum("ij,ji->", covariance, data_matrix))
    measured = noise.measured_noise(seen, bins, freedom)
    along = float(measured.sure_along_rows.sum())
    n_bins = int(bins.max()) + 1
    return Conclusion(
        space=space,
        vector=vector,
        data_matrix=data_matrix,
        covariance=covariance,
        constraint=constraint,
        noise_matrix=data_matrix * measured.inflation**2,
        noise=measured,
        pattern=pattern.stacked(seen.residual, seen.used, height_km, along),
        screening=Screening.none(seen.used, n_bins),
        seen=seen,
        agreements={},
        layers={},
        iterations=iterations,
        converged=converged,
        known={},
        errors=errors_of(seen),
    )


def _estimate(
    end: Conclusion, spectra: End, made: Layer, bins: IntArray, name: str
) -> LayerEstimate:
    """Split the error of a layer into noise, smoothing and sources."""
    w = made.weights
    white = float(w @ end.data_matrix @ w)
    by_block = end.by_block(w[None])
    systematic = {
        source: float(by_block[block][0]) for block, source in end.known.items()
    }
    left = made.variance - white - sum(v**2 for v in systematic.values())
    agreement = end.agreements[name]
    systematic["lines"] = float(agreement.error[-1])
    systematic |= {k: float(v[-1]) for k, v in end.errors[name].items()}
    # rows that follow each other: what a single level need not know
    variance = float(w @ end.noise_matrix @ w)
    seen = spectra.in_spectra(w)
    for lag, value in enumerate(end.noise.sure_along_rows, 1):
        if value:
            first, second = noise.successive(bins, lag)
            product = float((seen[first] * seen[second]).sum())
            variance += 2.0 * value * product * end.noise.variance
    return LayerEstimate(
        value=made.value,
        noise=float(np.sqrt(max(variance, white))),
        systematic=systematic,
        smoothing=float(np.sqrt(max(left, 0.0))),
        weights=w,
    )
