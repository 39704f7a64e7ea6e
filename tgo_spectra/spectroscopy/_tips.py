"""Write ``data/tips2021.csv`` from the hitran-api package.

Run ``python -m tgo_spectra.spectroscopy._tips`` to make the file anew; it needs
the ``lines`` extra. The package itself only reads the file.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from tgo_spectra.spectroscopy import gas_info, gas_names

__all__ = ["TEMPERATURES_K", "write_partition_sums"]

# K; denser where rotational levels make ln Q curve, and 296 K, HITRAN's reference
TEMPERATURES_K = (
    *range(40, 80, 2),
    *range(80, 120, 4),
    *range(120, 290, 10),
    290, 296, 302, 310,
    *range(320, 401, 10),
)  # fmt: skip

# HITRAN's O2, SO2 and C2H2, beside the molecules of gases.toml
_OTHERS = (7, 9, 26)

_HEADER = """\
# Total internal partition sums, TIPS-2021: R. R. Gamache et al. 2021, JQSRT 271, 107713.
# Made with the hitran-api package (MIT licence), partitionSum(version=2021);
# terrestrial abundance and molar mass (g/mol) as in the same package.
"""  # noqa: E501


def write_partition_sums(path: Path) -> int:
    """Tabulate Q(T) of every isotopologue that TIPS-2021 has.

    Parameters
    ----------
    path : Path
        File to write.

    Returns
    -------
    int
        Number of isotopologues.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        import hapi
    molecules = {*_OTHERS, *(gas_info(gas).molecule for gas in gas_names())}
    index = hapi.ISO_INDEX
    rows = ["molecule,isotopologue,name,abundance,mass"]
    rows[0] += "".join(f",{t}" for t in TEMPERATURES_K)
    for (molecule, iso), data in sorted(hapi.ISO.items()):
        if molecule not in molecules:
            continue
        try:
            sums = [
                hapi.partitionSum(molecule, iso, float(t), version=2021)
                for t in TEMPERATURES_K
            ]
        except (KeyError, ValueError, IndexError):
            continue
        head = f"{molecule},{iso},{data[index['iso_name']]}"
        head += f",{data[index['abundance']]},{data[index['mass']]}"
        rows.append(head + "".join(f",{q:.7g}" for q in sums))
    path.write_text(_HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    return len(rows) - 1


if __name__ == "__main__":
    write_partition_sums(Path(__file__).with_name("data") / "tips2021.csv")
