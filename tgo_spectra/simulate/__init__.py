"""Simulated occultations, written as archive products with the truth beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.simulate.detector import Simulation
    from tgo_spectra.simulate.options import Profile

__all__ = ["redraw", "simulate_level1", "simulate_product"]


def simulate_product(
    out_dir: str | Path,
    *,
    order: int = 134,
    ch4: Profile | None = None,
    h2o: Profile | None = None,
    co: Profile | None = None,
    seed: int = 0,
    zip: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Simulate one NOMAD SO occultation and write it as an archive product.

    The spectra come from a finer calculation than the retrieval's own (see
    ``tgo_spectra.simulate.occultation``), with hidden wavenumber shifts, aerosol,
    brightness changes, noisy pixels and noise.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    order : int
        Diffraction order that the absorption table covers.
    ch4, h2o, co : float or (altitudes, values), optional
        Mole fraction (1), 0 to 1, or its profile over altitude in km. Default: the
        atmosphere's, which for the reference one is zero for CH4.
    seed : int
        Of noise and hidden shifts: equal arguments give equal bytes.
    zip : bool
        Write the archive's delivery zip instead of label and table.
    overwrite : bool
        Replace a product of the same name; by default that is refused.
    **options
        Fields of `tgo_spectra.simulate.scenario.SoScenario`: ``atmosphere``, ``table``,
        ``start``, ``latitude``, ``longitude``, ``local_time``, ``observation``,
        ``altitude_range``, ``seconds``, ``shift_px``, ``snr``, ``aerosol_depth`` ...

    Returns
    -------
    Path
        Label (``.xml``), or the zip. The truth is beside it, ``<name>.truth.nc``:
        profiles, shifts, spectra without noise, all options.

    Raises
    ------
    SetupError
        Unknown option, or a value that makes no product (``simulate.option``,
        ``simulate.profile``).
    TableError
        The table does not cover the order, a gas, pressure or temperature.
    AtmosphereError
        The atmosphere is not usable.
    OutputError
        A product of this name is there (``io.exists``), or the folder cannot be
        written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> path = simulate_product(folder, ch4=2e-9, altitude_range=(5.0, 30.0), seed=1)
    >>> path.name
    'nmd_cal_sc_so_20180614T030920-20180614T031341-a-i-134.xml'
    >>> sorted(p.suffix for p in path.parent.iterdir())
    ['.nc', '.tab', '.xml']
    """
    from tgo_spectra.simulate.product import write_simulated

    given = {"ch4": ch4, "h2o": h2o, "co": co} | dict(options.pop("vmr", {}))
    vmr = {gas: value for gas, value in given.items() if value is not None}
    result = simulate_level1(order=order, vmr=vmr, seed=seed, **options)
    return write_simulated(
        out_dir,
        result.level1,
        result.truth,
        window=result.window,
        archive=zip,
        overwrite=overwrite,
    )


def simulate_level1(**options: Any) -> Simulation:
    """Simulate one occultation in memory.

    Parameters
    ----------
    **options
        Fields of `tgo_spectra.simulate.scenario.SoScenario`.

    Returns
    -------
    Simulation
        ``level1`` as `open_product` gives it, before rounding to the table's digits;
        ``truth``; ``window`` of the telecommand. Many noise draws of one truth are
        made of it by `redraw`.

    Raises
    ------
    SetupError, TableError, AtmosphereError
        As `simulate_product`.

    Examples
    --------
    >>> result = simulate_level1(altitude_range=(10.0, 20.0), noise=False)
    >>> result.level1.transmittance.dims
    ('spectrum', 'pixel')
    """
    from tgo_spectra.simulate.occultation import simulate
    from tgo_spectra.simulate.options import make_scenario
    from tgo_spectra.simulate.scenario import SoScenario

    return simulate(make_scenario(SoScenario, options))


def redraw(made: Simulation, seed: int) -> xr.Dataset:
    """Draw the noise of a simulation again, with all else as it was.

    Noise and spikes are new; the truth, brightness changes and what is fixed in the
    instrument stay. A simulation of another seed would differ in those too.

    Parameters
    ----------
    made : Simulation
        From `simulate_level1`.
    seed : int
        Of the noise.

    Returns
    -------
    Dataset
        Level 1 as `open_product` gives it, before rounding.

    Raises
    ------
    SetupError
        ``simulate.option``: no such seed.

    Examples
    --------
    >>> made = simulate_level1(altitude_range=(10.0, 20.0))
    >>> other = redraw(made, 1).transmittance - made.level1.transmittance
    >>> bool((other != 0.0).all())
    True
    """
    from tgo_spectra.simulate import detector

    return detector.redraw(made, seed)
