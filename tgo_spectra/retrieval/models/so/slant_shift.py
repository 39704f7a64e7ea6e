"""Whole-pixel shift of a product's spectra, for slant columns: of all, not of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.models.so.slant_rows import Rows
from tgo_spectra.retrieval.spectra import SEARCH_GAIN, best_shift

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.models.so.slant_fields import Instrument
    from tgo_spectra.retrieval.models.so.slant_rows import Choices, Spectra

    Array = npt.NDArray[np.floating]

__all__ = ["whole_shift"]

FAR_PX = 48
"""Pixels beyond the search where lines are looked for that are not where they should
be: nothing is fitted there, it is said."""


def whole_shift(
    spectra: Spectra,
    choices: Choices,
    instrument: Instrument,
    weights: Array,
    field: Array,
) -> tuple[int, bool]:
    """Find the whole-pixel shift of spectra that share their wavenumbers.

    A single spectrum may show no line, or not which is which. Parameters as `fit`.

    Returns
    -------
    shift : int
        True wavenumber less that of the spectra, pixels.
    elsewhere : bool
        Whether a shift farther than the search goes suits far better: lines are then
        not where they are looked for.
    """
    rows = Rows(spectra, choices, instrument.pixels)
    reach, pixels = choices.search_px, instrument.pixels
    wide = np.arange(pixels[0] - reach, pixels[-1] + reach + 1)
    factors = rows.state[:, : rows.n_gas]
    everyone = np.arange(len(weights))
    seen = instrument.few(wide, [0.0])
    four, gas = rows.seen_by(seen, everyone, factors, weights, field)
    chi, left = rows.compared(four, gas)
    near = (chi / left[:, None]).sum(axis=0)
    chi, left = rows.compared(four, gas, inner=FAR_PX)
    far = (chi / left[:, None]).sum(axis=0)
    inside = np.abs(np.arange(far.size) - far.size // 2) <= reach
    gain = far[inside].min() - far[~inside].min()
    return int(best_shift(near)), bool(gain > SEARCH_GAIN)
