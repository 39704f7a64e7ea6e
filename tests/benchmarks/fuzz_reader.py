"""Coverage-guided fuzzing of the PDS4 reader: only its own errors may come out.

Not part of the test run; needs the package atheris, which is no dependency::

    python -m pip install atheris
    python tests/benchmarks/fuzz_reader.py -max_total_time=120

Further options are those of libFuzzer. One input is a label and a data file, joined by
`MARK`; the seeds are the products of ``tests/corpus.py`` and all other kinds of object.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import re
import sys
import tempfile
import warnings
from pathlib import Path

MARK = b"\n=====\n"
TESTS = Path(__file__).parents[1]
FILES = ("p.tab", "p.dat")  # what the seeds call their data
BYTES_MAX = 16_384
MODES = ("strict", "repair", "warn")


def seeds() -> list[bytes]:
    """Labels with their data: every listed product, and one of each kind of object."""
    sys.path.append(str(TESTS))
    corpus = importlib.import_module("corpus")
    found = []
    with tempfile.TemporaryDirectory() as name:
        for k, case in enumerate(corpus.CASES):
            if case.absurd or case.name[0] not in "DLAMT":
                continue
            folder = Path(name) / str(k)
            folder.mkdir()
            path = case.build(folder)
            if _is_plain(path):
                data = [
                    f.read_bytes() for f in map(folder.joinpath, FILES) if _is_plain(f)
                ]
                found.append(path.read_bytes() + MARK + b"".join(data))
    return [seed for seed in found if len(seed) < BYTES_MAX] + [
        text.encode() + MARK + data for text, data in other_kinds(corpus)
    ]


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def other_kinds(corpus) -> list[tuple[str, bytes]]:
    """Products with a header, a binary and a delimited table, and an array."""

    def byte(name: str, value: int) -> str:
        return f'<{name} unit="byte">{value}</{name}>'

    def label(objects: str) -> str:
        return corpus.product_xml(f"<File><file_name>p.tab</file_name></File>{objects}")

    special = "<Special_Constants><missing_constant>-9</missing_constant>"
    scale = f"<scaling_factor>2</scaling_factor>{special}</Special_Constants>"
    fields = "".join(
        f"<Field_Binary><name>F{k}</name>{byte('field_location', start)}"
        f"<data_type>{kind}</data_type>{byte('field_length', length)}"
        f"{scale if k == 1 else ''}</Field_Binary>"
        for k, (kind, start, length) in enumerate(
            (("SignedMSB4", 1, 4), ("IEEE754LSBDouble", 5, 8), ("ASCII_Real", 13, 5))
        )
    )
    record = b"\0\0\0\7" + bytes(8) + b" 1.50" + b"12"
    group = (
        f"<Group_Field_Binary><repetitions>2</repetitions>{byte('group_location', 18)}"
        f"{byte('group_length', 2)}<Field_Binary><name>G</name>"
        f"{byte('field_location', 1)}<data_type>UnsignedByte</data_type>"
        f"{byte('field_length', 1)}</Field_Binary></Group_Field_Binary>"
    )
    binary = (
        f"<Table_Binary><name>B</name>{byte('offset', 10)}<records>3</records>"
        f"<Record_Binary>{byte('record_length', 19)}{fields}{group}</Record_Binary>"
        "</Table_Binary>"
    )
    header = f"<Header><name>H</name>{byte('offset', 0)}{byte('object_length', 10)}"
    lines = b'1.5,2,"a,b",1,2\r\n,3,c,4,5\r\n'
    words = "".join(
        f"<Field_Delimited><name>{name}</name><data_type>{kind}</data_type>"
        "</Field_Delimited>"
        for name, kind in (
            ("r", "ASCII_Real"),
            ("i", "ASCII_Integer"),
            ("s", "UTF8_String"),
        )
    )
    repeated = (
        "<Group_Field_Delimited><repetitions>2</repetitions><Field_Delimited>"
        "<name>g</name><data_type>ASCII_Boolean</data_type></Field_Delimited>"
        "</Group_Field_Delimited>"
    ).replace("ASCII_Boolean", "ASCII_Integer")
    delimited = (
        f"<Table_Delimited><name>D</name>{byte('offset', 0)}<records>2</records>"
        f"<record_delimiter>{corpus.CRLF}</record_delimiter>"
        "<field_delimiter>Comma</field_delimiter><Record_Delimited>"
        f"<fields>3</fields><groups>1</groups>{words}{repeated}</Record_Delimited>"
        "</Table_Delimited>"
    )
    return [
        (label(f"{header}</Header>{binary}"), b"HEADER\r\n\r\n" + record * 3),
        (label(delimited), lines),
        (label(corpus.array_xml()), corpus.ARRAY),
        (label(corpus.array_xml() + corpus.table_xml()), corpus.TABLE),
    ]


class Target:
    """Reads one input in every way there is."""

    def __init__(self, folder: Path) -> None:
        from tgo_spectra import open_product
        from tgo_spectra.archive import verify
        from tgo_spectra.errors import TgoError
        from tgo_spectra.pds4 import open_structures
        from tgo_spectra.pds4.check import check_product

        self.folder = folder
        self.error = TgoError
        self.check = check_product
        self.open = open_structures
        self.product = open_product
        self.verify = verify

    def __call__(self, data: bytes) -> None:
        label, _, table = data.partition(MARK)
        path = self.folder / "p.xml"
        path.write_bytes(label)
        for name in FILES:
            if b">%b<" % name.encode() in label:
                (self.folder / name).write_bytes(table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for mode in MODES:
                with contextlib.suppress(self.error):
                    self.check(path, mode=mode, monotonic=("Number",))
            with contextlib.suppress(self.error):
                self.read(path)
            with contextlib.suppress(self.error):
                self.product(path).load()
            self.verify(path)

    def read(self, path: Path) -> None:
        """Read every value of every object."""
        for item in self.open(path).values():
            layout = getattr(item, "layout", None)
            if layout is None:
                item.read()
                continue
            for one in layout.fields:
                text = hasattr(item, "records")
                name = " / ".join((*one.groups, one.name))
                with contextlib.suppress(self.error):
                    item.read([one]) if text else item.read(name)


def mutate(data: bytes, size: int, seed: int, plain) -> bytes:
    """Change a number, exchange two pieces of a label, or flip bytes as usual."""
    rng = random.Random(seed)
    choice = rng.random()
    numbers = list(re.finditer(rb">[0-9]+<", data))
    pieces = list(re.finditer(rb"<(\w+)[^<>]*>[^<>]*</\1>", data))
    if choice < 0.3 and numbers:
        found = rng.choice(numbers)
        value = rng.choice((0, 1, 2, 57, 255, 2**31, 2**63, rng.randint(0, 600)))
        text = b">%d<" % value
        return (data[: found.start()] + text + data[found.end() :])[:size]
    if choice < 0.5 and len(pieces) > 1:
        here, there = rng.choice(pieces), rng.choice(pieces)
        text = rng.choice((b"", there[0], here[0] * 2))
        return (data[: here.start()] + text + data[here.end() :])[:size]
    return plain(data, size)


def main() -> None:
    """Fuzz until the time is over or an exception is not ours."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: python -m pip install atheris")
    # compiled code cannot be followed
    exclude = ["tgo_spectra.pds4.numbers"]
    with atheris.instrument_imports(include=["tgo_spectra.pds4"], exclude=exclude):
        importlib.import_module("tgo_spectra.pds4.check")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        for k, seed in enumerate(seeds()):
            (folder / "seeds" / str(k)).write_bytes(seed)
        (folder / "product").mkdir()
        target = Target(folder / "product")

        def custom(data: bytes, size: int, seed: int) -> bytes:
            return mutate(data, size, seed, atheris.Mutate)

        options = [f"-max_len={BYTES_MAX}", "-timeout=10", "-rss_limit_mb=2048"]
        arguments = [sys.argv[0], *options, *sys.argv[1:], str(folder / "seeds")]
        atheris.Setup(arguments, target, custom_mutator=custom)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
