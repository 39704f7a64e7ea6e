"""How values become samples of a map: what may be chosen, and what may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tgo_spectra.errors import TgoError
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BY_GAS", "RATIOS", "Choice", "WithoutKernel", "check_choices"]

RATIOS = ("deuterium_ratio",)
"""Profiles of ratios of gases, which have no kernel but a flag for each level."""
BY_GAS = "by_gas"
"""Weights that differ from gas to gas: random effects where nature scatters."""

WithoutKernel = Literal["refuse", "leave_out", "prior_free"]


@dataclass(frozen=True)
class Choice:
    """How values become samples, as in `tgo_spectra.grid_level2`."""

    sigma_level: float
    minimum_response: float
    correlation_km: float | Literal["covariance"] | None
    without_kernel: WithoutKernel
    proportional_errors: bool | None


_CHOICES: dict[str, tuple[Any, ...]] = {
    "weights": (BY_GAS, "random_effects", "inverse_variance", "uniform"),
    "quality": ("good", "all"),
    "without_kernel": ("refuse", "leave_out", "prior_free"),
    "form": (None, "dense", "sparse"),
}


def check_choices(
    choice: Choice,
    weights: str,
    quality: str,
    gases: Sequence[str] | None,
    form: str | None,
) -> None:
    """Refuse a choice that there is not (TgoError ``map.*``)."""
    given = {
        "weights": weights,
        "quality": quality,
        "without_kernel": choice.without_kernel,
        "form": form,
    }
    for name, value in given.items():
        if value not in _CHOICES[name]:
            message = f"{name} is one of {', '.join(map(str, _CHOICES[name]))}"
            raise TgoError(message, field=name, value=value, rule=f"map.{name}")
    if not choice.sigma_level > 0:
        message = "the sigma level must be positive"
        raise TgoError(message, value=choice.sigma_level, rule="map.sigma_level")
    if not 0.0 <= choice.minimum_response <= 1.0:
        message = "the minimum response lies between 0 and 1"
        raise TgoError(message, value=choice.minimum_response, rule="map.response")
    correlation_km = choice.correlation_km
    wrong = correlation_km is not None and not (
        correlation_km == "covariance"
        if isinstance(correlation_km, str)
        else correlation_km >= 0
    )
    if wrong:
        message = "the correlation is km, not negative, or 'covariance'"
        raise TgoError(message, value=correlation_km, rule="map.correlation")
    for gas in gases or ():
        if gas not in (*GASES, *RATIOS):
            message = f"unknown gas; there are {', '.join((*GASES, *RATIOS))}"
            raise TgoError(message, value=gas, rule="map.gas")
