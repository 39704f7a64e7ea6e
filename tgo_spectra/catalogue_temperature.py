"""What is known of the variables of retrievals of temperature and density."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tgo_spectra.quantity import FORMULAE, Dims, Variable, at_level

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gas_density", "temperature_level2"]

_Z: Dims = ("altitude",)
_ZZ: Dims = ("altitude", "altitude_in")
_NO: Dims = ()
_one = partial(at_level, 2)
_ERRORS = (
    ("error", "total random standard error of the {}"),
    ("noise_error", "standard error of the {} from noise"),
    ("smoothing_error", "standard error of the {} from smoothing"),
)
_SYSTEMATIC = (
    (
        "composition",
        "error of the {} by the assumed mole fraction of CO2",
        "retrieved less true for one standard error too little CO2 assumed, with sign",
    ),
    (
        "pointing",
        "error of the {} by the tangent altitude",
        "retrieved less true for tangent points one standard error higher, with sign",
    ),
)


def temperature_level2() -> Iterator[tuple[str, Variable]]:
    """Yield what is not of one gas."""
    for name, units, text in (
        ("temperature", "K", "temperature"),
        ("pressure", "Pa", "pressure"),
        ("number_density", "cm-3", "number of molecules per volume"),
    ):
        yield f"{name}_apriori", _one(_Z, units, f"a priori {text}")
        yield from _errors(name, units, text)
    kernel = "averaging kernel of the temperature"
    yield "temperature_averaging_kernel", _one(_ZZ, "1", kernel)
    noise = "error covariance of the temperature from noise"
    yield "temperature_noise_covariance", _one(_ZZ, "K2", noise)
    yield (
        "temperature_response",
        _one(_Z, "1", f"sum of a row of the {kernel}", None, "1: nothing of the prior"),
    )
    yield (
        "temperature_vertical_resolution",
        _one(_Z, "km", "spacing of the levels over the diagonal of the kernel"),
    )
    freedom = "degrees of freedom for signal of the temperature"
    yield "temperature_degrees_of_freedom", _one(_NO, "1", freedom)
    yield "reference_altitude", _one(_NO, "km", "altitude of the fitted pressure")
    scale = "logarithm of the pressure there over the a priori"
    yield "log_pressure_scale", _one(_NO, "1", scale)
    yield "log_pressure_scale_error", _one(_NO, "1", f"standard error of the {scale}")


def gas_density(gas: str) -> Iterator[tuple[str, Variable]]:
    """Yield the number density of a gas and its errors."""
    text = f"number of {FORMULAE[gas]} molecules per volume"
    # the standard name exists for ozone only
    standard = "number_concentration_of_ozone_molecules_in_air" if gas == "o3" else None
    yield f"{gas}_number_density", _one(_Z, "cm-3", text, standard)
    yield from _errors(f"{gas}_number_density", "cm-3", text)


def _errors(name: str, units: str, text: str) -> Iterator[tuple[str, Variable]]:
    for kind, form in _ERRORS:
        yield f"{name}_{kind}", _one(_Z, units, form.format(text))
    for source, form, comment in _SYSTEMATIC:
        long_name = form.format(text)
        yield f"{name}_error_{source}", _one(_Z, units, long_name, None, comment)
