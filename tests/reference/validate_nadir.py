"""Closed-loop validation of the nadir columns on simulated LNO spectra.

Nothing here has seen a real file: the numbers tell whether fit and error bars are
consistent with the simulator, whose calculation is finer than the fit's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval.models.lno import retrieve_nadir
from tgo_spectra.retrieval.models.lno.setup import NadirSetup
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate.nadir import simulate_nadir_level1

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = ["validate_nadir"]

_ANY_MOLE_FRACTION = 1e-4
"""Profile whose factor is fitted where the truth has no gas."""


def validate_nadir(
    n_draws: int = 200,
    seed: int = 0,
    *,
    setup: NadirSetup | str = "lno_189_190_co",
    scenario: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Measure bias, coverage of error bars and false positives.

    Parameters
    ----------
    n_draws : int
        Spectra with the gas, and as many without; each has noise of its own.
    seed : int
    setup : NadirSetup or str
        Or the name of a shipped one; the last of its orders is simulated.
    scenario : mapping, optional
        Fields of `NadirScenario`.

    Returns
    -------
    dict of str to float
        ``mean_z``, ``z_width``, ``coverage`` (within 1 sigma), ``within_two_sigma``
        of the column;
        ``relative_bias`` of the mean column; ``noiseless_bias``: the same without
        noise; ``bias_in_errors``: that over the median error by
        noise; ``relative_error``: median; ``variance_ratio`` (with a noise given:
        ``reduced_chi_square``);
        ``converged``; ``false_positive_rate``;
        ``null_mean_z``, ``null_coverage``, ``null_within_two_sigma``,
        ``null_converged``. Those with ``null`` and the rate are of spectra without the
        gas, whose error is so large against its lines' curve of growth that z is a
        little skew.

    Raises
    ------
    SetupError
        The setup or an option of the scenario is wrong.

    Examples
    --------
    >>> figures = validate_nadir(2)
    >>> 0.0 <= figures["coverage"] <= 1.0
    True
    """
    chosen = setup if isinstance(setup, NadirSetup) else load_setup(setup)
    # of noise alone: what else may be wrong is not wrong here
    chosen = chosen.replace(systematics={"enabled": False})
    options = {"order": chosen.orders[-1], **dict(scenario or {})}
    column, error, true, level2 = _columns(chosen, options, n_draws, seed)
    z = (column - true) / error
    quiet, _, quiet_true, _ = _columns(chosen, {**options, "noise": False}, 8, seed)
    bias = float(np.mean(quiet / quiet_true) - 1.0)
    relative = float(np.median(error / true))
    ratio = "variance_ratio" if chosen.noise is None else "reduced_chi_square"
    figures = {
        "mean_z": float(z.mean()),
        "z_width": float(z.std()),
        "coverage": float((np.abs(z) < 1.0).mean()),
        "within_two_sigma": float((np.abs(z) < 2.0).mean()),
        "relative_bias": float(column.sum() / true.sum() - 1.0),
        "noiseless_bias": bias,
        "bias_in_errors": bias / relative,
        "relative_error": relative,
        ratio: float(level2[f"spectrum_{ratio}"].mean()),
        "converged": float((level2["status"] == 0).mean()),
    }
    return figures | _without_gas(chosen, options, n_draws, seed + 1)


def _columns(
    setup: NadirSetup, options: Mapping[str, Any], n: int, seed: int
) -> tuple[Array, Array, Array, xr.Dataset]:
    """Column, error and truth of the spectra that have a result."""
    given = {**options, "n_spectra": n, "seed": seed}
    level1, truth = simulate_nadir_level1(**given)
    profiles = [f"{gas}_vmr" for gas in setup.gases]
    air = truth[["pressure", "temperature", "number_density", *profiles]]
    gas = setup.gas
    if not air[f"{gas}_vmr"].any():
        # the column is a factor on a profile: where there is no gas, take any other
        profile = air[f"{gas}_vmr"]
        air[f"{gas}_vmr"] = profile.copy(data=profile.values + _ANY_MOLE_FRACTION)
    level2 = retrieve_nadir(level1, setup, air)
    column = np.asarray(level2[f"{gas}_column"].values)
    good = np.isfinite(column)
    return (
        column[good],
        np.asarray(level2[f"{gas}_column_noise_error"].values)[good],
        np.asarray(truth[f"{gas}_column"].values)[good],
        level2,
    )


def _without_gas(
    setup: NadirSetup, options: Mapping[str, Any], n: int, seed: int
) -> dict[str, float]:
    given = {**options, "mole_fraction": {setup.gas: 0.0}}
    column, error, _, level2 = _columns(setup, given, n, seed)
    z = column / error
    detected = level2[f"{setup.gas}_column_detected"].values
    return {
        "null_mean_z": float(z.mean()),
        "null_coverage": float((np.abs(z) < 1.0).mean()),
        "null_within_two_sigma": float((np.abs(z) < 2.0).mean()),
        "null_converged": float((level2["status"] == 0).mean()),
        "false_positive_rate": float(detected.mean()),
    }
