"""Make golden files again: ``remake.py --why TEXT [NAME...]``.

Says in words what changed; writes only what did, and puts the words with the reason
into ``CHANGES.md``. ``--check`` writes nothing; ``--inputs so_134,mir`` makes stored
products and tables again first.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
from pathlib import Path

# kernels compiled at different times round differently: here all are compiled together,
# as in a fresh clone
KERNELS = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = KERNELS.name

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import golden_cases  # noqa: E402
import golden_inputs  # noqa: E402
import golden_pins  # noqa: E402

CHANGES = HERE / "CHANGES.md"
SHOWN = 12
"""Most lines of a golden file that the record of changes repeats."""


def main() -> int:
    """Compare, say, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--why", help="reason, for CHANGES.md")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--inputs", metavar="NAME,...", help="make these again first")
    given = parser.parse_args()
    unknown = set(given.names) - set(golden_cases.CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; {', '.join(golden_cases.CASES)}")
    if not (given.check or given.why):
        parser.error("say why the numbers may move: --why TEXT")
    entry: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        if given.inputs:
            names = given.inputs.split(",")
            golden_inputs.store(golden_inputs.make(names, Path(name) / "new"))
            entry.append(f"- inputs made again: {', '.join(names)}")
        workshop = golden_cases.Workshop(Path(name) / "work")
        for case in given.names or golden_cases.CASES:
            new = golden_cases.CASES[case](workshop)
            said = ["new"]
            if (golden_pins.PINS / f"{case}.json").is_file():
                said = golden_pins.differences(golden_pins.load(case), new)
            for line in said:
                print(f"{case}: {line}")
            if said and not given.check:
                golden_pins.save(case, new)
            entry += [f"- {case}: {line}" for line in said[:SHOWN]]
            if len(said) > SHOWN:
                entry.append(f"- {case}: and {len(said) - SHOWN} more")
    if entry and not given.check:
        today = dt.datetime.now(dt.UTC).date().isoformat()
        head, mark, rest = CHANGES.read_text(encoding="utf-8").partition("\n## ")
        text = "\n".join(entry)
        new_text = f"{head}\n## {today}: {given.why}\n\n{text}\n{mark}{rest}"
        CHANGES.write_text(new_text, encoding="utf-8")
    return int(bool(entry) and given.check)


if __name__ == "__main__":
    sys.exit(main())
