r"""The exact derivative of the spectra to every state element.

The slow companion of `tgo_spectra.forward.transmittance`: double precision, all
vectors of the cross-sections, the field of view averaged after the product. With T the
monochromatic transmittance on the nodes, R the instrument operator, V the rows' fields
of view, B the baseline:

.. math:: y = B \circ V\, R\, T, \qquad
          \frac{\partial y}{\partial x_l} = -B \circ V \sum_k
          R (T \circ U_k)\, \frac{\partial W_k}{\partial x_l}

for everything that acts through the optical depth (mole fractions, temperature,
pressure). The fields R (T U_k) are made for a few heights at a time: nothing of the
size (node, level, height) exists. `spectra_and_jacobian` gives the matrices, `tangent`
and `adjoint` products with a vector without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reference.operator_matrix import apply_transposed
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward.sight import absorption_weights
from tgo_spectra.instruments.response.tabulated import apply, apply_factors, apply_many

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tgo_spectra.forward.sight import AirState, Sight, Weights
    from tgo_spectra.instruments.response.tabulated import Operator

    Array = NDArray[np.float64]

__all__ = [
    "ELEMENTS",
    "Light",
    "View",
    "adjoint",
    "monochromatic",
    "spectra",
    "spectra_and_jacobian",
    "tangent",
]

#: State elements beside the mole fractions ``<gas>_vmr``.
ELEMENTS = (
    "temperature",
    "pressure_scale",
    "aerosol_depth",
    "aerosol_exponent",
    "baseline",
    "shift",
    "stretch",
    "ghost_amplitude",
    "aotf_offset",
)
_INSTRUMENT = {"ghost_amplitude": "ghost_amplitude", "aotf_offset": "aotf_offset"}
#: Heights whose fields are made at once: 16 heights of 57 levels and 300 pixels take
#: 2 MB for each element.
HEIGHTS_AT_ONCE = 16


@dataclass(frozen=True)
class Light:
    """What dims the light beside the gases.

    Attributes
    ----------
    aerosol_depth : ndarray, shape (height,), optional
        Slant optical depth at the reference wavenumber; None: no aerosol.
    aerosol_exponent : float
        The depth goes with the wavenumber to this power.
    reference_cm1 : float, optional
        Needed with an aerosol.
    baseline : ndarray, shape (row, coefficient), optional
        Coefficients of the polynomials that multiply a row; None: one.
    """

    aerosol_depth: Array | None = None
    aerosol_exponent: float = 0.0
    reference_cm1: float = float("nan")
    baseline: Array | None = None

    def __post_init__(self) -> None:
        """Refuse an aerosol without its reference."""
        if self.aerosol_depth is not None and not self.reference_cm1 > 0.0:
            message = "an aerosol needs its reference wavenumber, cm-1"
            raise RetrievalError(
                message,
                field="reference_cm1",
                value=self.reference_cm1,
                rule="jacobian.reference",
            )


@dataclass(frozen=True)
class View:
    """How heights and nodes are seen.

    Attributes
    ----------
    operator : Operator
        From `tgo_spectra.instruments.response.derivative.build_exact_operator`, at the
        shift and stretch of the state.
    rows : ndarray, shape (row, height)
        From heights to rows, from `tgo_spectra.geometry.fov_operator`.
    dispersion_cm1 : ndarray, shape (pixel,)
        Wavenumber per pixel, which a shift is measured in.
    position : ndarray, shape (pixel,)
        Position on the detector from -1 to 1: what a stretch multiplies.
    polynomials : ndarray, shape (coefficient, pixel)
        Of the baseline.
    """

    operator: Operator
    rows: Array
    dispersion_cm1: Array
    position: Array
    polynomials: Array


def monochromatic(
    sight: Sight, weights: Weights, light: Light, heights: slice = slice(None)
) -> Array:
    """Transmittance on the nodes of the table.

    Parameters
    ----------
    sight : Sight
        Line of sight.
    weights : Weights
        From `tgo_spectra.forward.sight.absorption_weights`.
    light : Light
        Aerosol; a baseline plays no part.
    heights : slice
        Heights wanted.

    Returns
    -------
    ndarray, shape (node, height)
    """
    depth = np.zeros((sight.band.nodes_cm1.size, sight.height_km[heights].size))
    for gas, w in weights.value.items():
        depth += _vectors(sight, gas) @ w[:, heights]
    if light.aerosol_depth is not None:
        depth += _colour(sight, light)[:, None] * light.aerosol_depth[heights]
    np.negative(depth, out=depth)
    return np.asarray(np.exp(depth, out=depth))


def _vectors(sight: Sight, gas: str) -> Array:
    return sight.band.vectors[gas].T.astype(np.float64)


def _colour(sight: Sight, light: Light) -> Array:
    """Depth of the aerosol relative to that at the reference wavenumber."""
    return np.asarray(np.exp(light.aerosol_exponent * _log_nodes(sight, light)))


def _log_nodes(sight: Sight, light: Light) -> Array:
    return np.asarray(np.log(sight.band.nodes_cm1 / light.reference_cm1))


def _baseline(view: View, light: Light) -> Array:
    if light.baseline is None:
        return np.ones((view.rows.shape[0], view.position.size))
    return light.baseline @ view.polynomials


def spectra(sight: Sight, air: AirState, light: Light, view: View) -> Array:
    """Spectra of the rows.

    Parameters
    ----------
    sight, air, light, view
        Line of sight, state of the air, what else dims, and the instrument.

    Returns
    -------
    ndarray, shape (row, pixel)

    Raises
    ------
    TableError, AtmosphereError
        As `tgo_spectra.forward.sight.absorption_weights`.
    """
    weights = absorption_weights(sight, air, derivatives=False)
    t = monochromatic(sight, weights, light)
    seen = view.rows @ apply(view.operator, t).T
    return np.asarray(_baseline(view, light) * seen)


def spectra_and_jacobian(
    sight: Sight,
    air: AirState,
    light: Light,
    view: View,
    elements: Sequence[str] | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Spectra of the rows and their derivative to every state element.

    Parameters
    ----------
    sight, air, light, view
        Line of sight, state of the air, what else dims, and the instrument.
    elements : sequence of str, optional
        ``<gas>_vmr`` and names of `ELEMENTS`; default all that the state has.

    Returns
    -------
    spectrum : ndarray, shape (row, pixel)
    jacobian : dict of ndarray
        By element: ``<gas>_vmr`` and ``temperature`` (K) with shape (row, pixel,
        level), ``aerosol_depth`` (row, pixel, height), ``baseline`` (row, pixel,
        coefficient: only of the row itself), the others (row, pixel); shift and
        stretch per pixel, AOTF offset per cm-1.

    Raises
    ------
    RetrievalError
        An element that the state does not have.
    TableError, AtmosphereError
        As `tgo_spectra.forward.sight.absorption_weights`.
    """
    wanted = _wanted(air, light, elements)
    weights = absorption_weights(sight, air)
    n_rows, n_pixels = view.rows.shape[0], view.position.size
    seen = np.zeros((len(view.operator.kinds), n_rows, n_pixels))
    jacobian = _empty(wanted, sight, (n_rows, n_pixels))
    for heights in _chunks(sight):
        rows = view.rows[:, heights]
        t = monochromatic(sight, weights, light, heights)
        seen += rows @ apply_many(view.operator, t).transpose(0, 2, 1)
        _add_gases(jacobian, sight, weights, view, t, heights)
        _add_aerosol(jacobian, sight, light, view, t, heights)
    base = _baseline(view, light)
    for name, values in jacobian.items():
        if name in ("temperature", "aerosol_depth") or name.endswith("_vmr"):
            values *= base[:, :, None]
        elif name in ("pressure_scale", "aerosol_exponent"):
            values *= base
    small = _small_elements(view, base, seen)
    jacobian.update((name, small[name]) for name in wanted if name in small)
    if "baseline" in wanted:
        jacobian["baseline"] = seen[0][:, :, None] * view.polynomials.T
    ordered = {name: jacobian[name] for name in wanted}
    return base * seen[0], ordered


def _small_elements(view: View, base: Array, seen: Array) -> dict[str, Array]:
    """Differentiate by what the instrument has one of, each (row, pixel)."""
    kinds = view.operator.kinds
    if "wavenumber" not in kinds:
        return {}
    shift = base * seen[kinds.index("wavenumber")] * view.dispersion_cm1
    found = {"shift": shift, "stretch": shift * view.position}
    for name, kind in _INSTRUMENT.items():
        found[name] = base * seen[kinds.index(kind)]
    return found


def _wanted(
    air: AirState, light: Light, elements: Sequence[str] | None
) -> tuple[str, ...]:
    known = [f"{gas}_vmr" for gas in air.vmr] + list(ELEMENTS)
    if light.aerosol_depth is None:
        known = [name for name in known if not name.startswith("aerosol")]
    if light.baseline is None:
        known.remove("baseline")
    for name in elements or ():
        if name not in known:
            message = f"no such state element here; there are {', '.join(known)}"
            raise RetrievalError(
                message, field="elements", value=name, rule="jacobian.element"
            )
    return tuple(known if elements is None else elements)


def _empty(
    wanted: Sequence[str], sight: Sight, shape: tuple[int, int]
) -> dict[str, Array]:
    """Zeros for the elements that are summed over heights."""
    levels, heights = sight.altitude_km.size, sight.height_km.size
    found = {}
    for name in wanted:
        if name == "temperature" or name.endswith("_vmr"):
            found[name] = np.zeros((*shape, levels))
        elif name == "aerosol_depth":
            found[name] = np.zeros((*shape, heights))
        elif name in ("pressure_scale", "aerosol_exponent"):
            found[name] = np.zeros(shape)
    return found


def _chunks(sight: Sight) -> Iterator[slice]:
    for start in range(0, sight.height_km.size, HEIGHTS_AT_ONCE):
        yield slice(start, min(start + HEIGHTS_AT_ONCE, sight.height_km.size))


def _add_gases(
    jacobian: dict[str, Array],
    sight: Sight,
    weights: Weights,
    view: View,
    t: Array,
    heights: slice,
) -> None:
    """Add what acts through the gases' optical depth, some heights' worth."""
    rows = view.rows[:, heights]
    for gas, by_vmr in weights.vmr.items():
        paths = {f"{gas}_vmr": by_vmr, "temperature": weights.temperature[gas]}
        paths["pressure_scale"] = weights.pressure[gas][:, :, None]
        paths = {name: path for name, path in paths.items() if name in jacobian}
        if not paths:
            continue
        field = apply_factors(view.operator, _vectors(sight, gas), t)
        field = np.ascontiguousarray(field.transpose(2, 0, 1))  # (height, pixel, k)
        for name, path in paths.items():
            by_height = field @ path[:, heights].transpose(1, 0, 2)
            flat = rows @ by_height.reshape(t.shape[1], -1)
            jacobian[name] -= flat.reshape(jacobian[name].shape)


def _add_aerosol(
    jacobian: dict[str, Array],
    sight: Sight,
    light: Light,
    view: View,
    t: Array,
    heights: slice,
) -> None:
    """Add the derivatives to the aerosol's depths and exponent."""
    if light.aerosol_depth is None:
        return
    coloured = t * _colour(sight, light)[:, None]
    rows = view.rows[:, heights]
    if "aerosol_depth" in jacobian:
        field = apply(view.operator, coloured)
        jacobian["aerosol_depth"][:, :, heights] = -rows[:, None, :] * field
    if "aerosol_exponent" in jacobian:
        log = _log_nodes(sight, light)
        coloured *= log[:, None] * light.aerosol_depth[heights]
        jacobian["aerosol_exponent"] -= rows @ apply(view.operator, coloured).T


def tangent(
    sight: Sight,
    air: AirState,
    light: Light,
    view: View,
    change: Mapping[str, Array | float],
) -> Array:
    """Jacobian times a change of the state, without the Jacobian.

    Parameters
    ----------
    sight, air, light, view
        Line of sight, state of the air, what else dims, and the instrument.
    change : dict
        By element: (level,) for mole fractions and temperature, (height,) for
        ``aerosol_depth``, (row, coefficient) for ``baseline``, else a number.

    Returns
    -------
    ndarray, shape (row, pixel)

    Raises
    ------
    RetrievalError
        An element that the state does not have.
    """
    _wanted(air, light, list(change))
    weights = absorption_weights(sight, air)
    t = monochromatic(sight, weights, light)
    depth = np.zeros_like(t)
    for gas, by_vmr in weights.vmr.items():
        w = np.zeros(by_vmr.shape[:2])
        if f"{gas}_vmr" in change:
            w += by_vmr @ np.asarray(change[f"{gas}_vmr"])
        if "temperature" in change:
            w += weights.temperature[gas] @ np.asarray(change["temperature"])
        w += weights.pressure[gas] * change.get("pressure_scale", 0.0)
        depth += _vectors(sight, gas) @ w
    if light.aerosol_depth is not None:
        aerosol = np.zeros(sight.height_km.size) + change.get("aerosol_depth", 0.0)
        colour = _colour(sight, light)[:, None]
        log = _log_nodes(sight, light)[:, None]
        steeper = light.aerosol_depth * change.get("aerosol_exponent", 0.0)
        depth += colour * (aerosol + log * steeper)
    seen = view.rows @ apply_many(view.operator, t).transpose(0, 2, 1)
    base = _baseline(view, light)
    result = -base * (view.rows @ apply(view.operator, t * depth).T)
    for name, field in _small_elements(view, base, seen).items():
        result += field * change.get(name, 0.0)
    if "baseline" in change:
        result += (np.asarray(change["baseline"]) @ view.polynomials) * seen[0]
    return np.asarray(result)


def adjoint(
    sight: Sight, air: AirState, light: Light, view: View, weight: Array
) -> dict[str, Array]:
    """Transposed Jacobian times spectra, without the Jacobian.

    Parameters
    ----------
    sight, air, light, view
        Line of sight, state of the air, what else dims, and the instrument.
    weight : ndarray, shape (row, pixel)
        What the rows of the Jacobian are summed with.

    Returns
    -------
    dict of ndarray
        For all elements of the state, in the shapes that `tangent` takes.
    """
    weights = absorption_weights(sight, air)
    t = monochromatic(sight, weights, light)
    base = _baseline(view, light)
    back = apply_transposed(view.operator, (base * weight).T @ view.rows)
    back *= -t
    result: dict[str, Array] = {}
    temperature = np.zeros(sight.altitude_km.size)
    pressure = np.zeros(())
    for gas, by_vmr in weights.vmr.items():
        w = _vectors(sight, gas).T @ back
        result[f"{gas}_vmr"] = np.einsum("khl,kh->l", by_vmr, w)
        temperature += np.einsum("khl,kh->l", weights.temperature[gas], w)
        pressure = pressure + np.sum(weights.pressure[gas] * w)
    result |= {"temperature": temperature, "pressure_scale": pressure}
    if light.aerosol_depth is not None:
        colour = _colour(sight, light)
        log = _log_nodes(sight, light)
        result["aerosol_depth"] = colour @ back
        steeper = ((colour * log) @ back) @ light.aerosol_depth
        result["aerosol_exponent"] = np.asarray(steeper)
    seen = view.rows @ apply_many(view.operator, t).transpose(0, 2, 1)
    for name, field in _small_elements(view, base, seen).items():
        result[name] = np.asarray(np.sum(field * weight))
    if light.baseline is not None:
        result["baseline"] = (weight * seen[0]) @ view.polynomials.T
    return result
