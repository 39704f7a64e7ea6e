"""Parts of pages that are made from the package itself, so that they hold."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tgo_spectra import plots
from tgo_spectra.cli import cli
from tgo_spectra.quality import REASONS
from tgo_spectra.retrieval.setups import shipped
from tgo_spectra.spectroscopy.tables.files import list_tables, open_table, table_path
from tgo_spectra.variables import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CURES = Path(__file__).with_name("cures.toml")
PACKAGE = Path(__file__).resolve().parent.parent / "tgo_spectra"


def list_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows, the first of which are the headings, as a table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def variables() -> str:
    """Return the catalogue as tables: what stands in names first, then the names."""
    raw = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    rows = [("``<quantity>``", "units", "meaning ``<text>``")]
    rows += [(f"``{k}``", r["units"], r["text"]) for k, r in raw["quantities"].items()]
    text = list_table(rows)
    rows = [("``<field>`` of a map", "units", "meaning ``<text>``")]
    rows += [(f"``{k}``", r["units"], r["text"]) for k, r in raw["fields"].items()]
    text += list_table(rows)
    sources = raw["sources"].items()
    text += list_table(
        [
            ("``<source>`` of an error", "meaning"),
            *((f"``{k}``", t) for k, t in sources),
        ]
    )
    names = [("name", "level", "dimensions", "units", "meaning")]
    for name, entry in raw["variables"].items():
        if "dims" not in entry:  # a word more on a name of a family
            continue
        first = next(iter(entry["dims"].values()))
        dims = first if isinstance(first, str) else first[0]
        meaning = entry["long_name"]
        if "comment" in entry:
            meaning += f" ({entry['comment']})"
        dims = {"": "scalar", "...": "of the map"}.get(dims, ", ".join(dims.split()))
        levels = ", ".join(sorted(entry["dims"]))
        names.append((f"``{name}``", levels, dims, entry["units"] or "–", meaning))
    return text + list_table(names)


def tables() -> str:
    """Return the measured errors of the shipped tables, from their attributes."""
    head = ("table", "gases", "orders", "to Pa", "vectors", "nodes", "kB", "CPU s")
    against = ("against the full axis", "against line by line")
    words = (*(f"{words}, largest / rms" for words in against), "atmospheres")
    rows, size = [(*head, *words)], 0
    for name in list_tables():
        table = open_table(name)
        attrs = table.attrs
        largest, rms = "truncation_error_transmittance", "truncation_error_rms"
        exact, exact_rms = "line_by_line_error_transmittance", "line_by_line_error_rms"
        own = table_path(name).stat().st_size // 1000
        size += own
        rows.append(
            (
                f"``{name}``",
                str(attrs["gases"]),
                str(attrs["orders"]),
                f"{float(table['pressure'].max()):.0f}",
                str(attrs["ranks"]),
                str(table.sizes["node"]),
                str(own),
                f"{attrs['build_cpu_seconds']:.0f}",
                f"{attrs[largest]:.1e} / {attrs[rms]:.1e}",
                f"{attrs[exact]:.1e} / {attrs[exact_rms]:.1e}",
                str(attrs["line_by_line_error_measured"]).split(" ", 1)[0],
            )
        )
    empty = ("",) * (len(rows[0]) - 7)
    rows.append(("all", "", "", "", "", "", str(size), *empty))
    return list_table(rows)


def modules() -> str:
    """Return every module with the first sentence of its docstring, by package."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda p: (p.parent, p.stem)):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(text.split("\n\n")[0].split())
        lines.append(f"* ``{name.removesuffix('.__init__')}``: {first}")
    return "\n".join(lines) + "\n"


def quality() -> str:
    """Return the reasons against a result, by bit."""
    rows = [("bit", "reason", "meaning")]
    for reason in REASONS:
        name = f"``{reason.name}``{' *' if reason.severe else ''}"
        rows.append((str(reason.mask), name, reason.meaning))
    return list_table(rows)


def setups() -> str:
    """Return the shipped setups: what they fit in which products, what is absent."""
    rows = [("setup", "channel", "orders", "gases", "table", "absent")]
    there = list_tables()
    for _, setup in shipped():
        table = getattr(setup, "table", None)
        if table is not None:
            table = f"``{table}``{'' if table in there else ', not in the package'}"
        rows.append(
            (
                f"``{setup.name}``",
                setup.channel,
                " ".join(map(str, setup.orders)) or "–",
                " ".join(setup.gases),
                table or "none",
                ", ".join(getattr(setup, "interferents_absent", ())) or "–",
            )
        )
    return list_table(rows)


def pictures() -> str:
    """Return the functions that draw, each with what it shows."""
    rows = [("function", "what it shows")]
    for name in plots.__all__:
        text = (getattr(plots, name).__doc__ or "").partition("\n\n")[0]
        shown = " ".join(text.removeprefix("Draw ").split())
        rows.append((f"`~tgo_spectra.plots.{name}`", shown[:1].upper() + shown[1:]))
    return list_table(rows)


def commands() -> str:
    """Return all commands with their options, as their help has them."""
    lines = []
    for name, command in _leaves("tgo-spectra", cli):
        context = click.Context(command, info_name=name)
        lines += [f"``{name}``", "-" * (len(name) + 4), "", _text(command.help), ""]
        lines += [".. code-block:: text", ""]
        lines += [f"   {name} {' '.join(command.collect_usage_pieces(context))}", ""]
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None:
                lines += [f"``{record[0]}``", f"   {_text(record[1]) or '–'}", ""]
    return "\n".join(lines)


def _text(text: str | None) -> str:
    """Return help as one paragraph in which no character means anything."""
    words = " ".join((text or "").split())
    return "".join(f"\\{c}" if c in "*`|_\\" else c for c in words)


def _leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Give the commands in a group with their whole names."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for part in sorted(command.commands):
        yield from _leaves(f"{name} {part}", command.commands[part])


def rules() -> str:
    """Return the rules of errors that stand in the source, with what the errors say."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for rule, message in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(rule, set()).add(message)
    cures = tomllib.loads(CURES.read_text(encoding="utf-8"))
    lines: list[str] = []
    area = ""
    for rule in sorted(found):
        first = rule.partition(".")[0]
        if first != area:
            area = first
            lines += [area, "-" * len(area), ""]
            lines += [f"*What to do:* {cures.get(area, '–')}", ""]
        lines.append(f"``{rule}``")
        said = sorted(m for m in found[rule] if m) or [""]
        lines += [
            f"   | {_text(message) or 'said where it is found'}" for message in said
        ]
        if rule in cures:
            lines.append(f"   | *What to do:* {cures[rule]}")
        lines.append("")
    return "\n".join(lines)


def _raised(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give rules and messages of the calls that have both."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        messages: dict[str, list[tuple[int, str]]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                text = _literal(node.value)
                messages.setdefault(node.targets[0].id, []).append((node.lineno, text))
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            rule = next((k.value for k in node.keywords if k.arg == "rule"), None)
            if not isinstance(rule, ast.Constant) or not isinstance(rule.value, str):
                continue
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Name):
                before = [m for m in messages.get(first.id, []) if m[0] < node.lineno]
                yield rule.value, max(before)[1] if before else ""
            else:
                yield rule.value, _literal(first) if first is not None else ""


def _literal(node: ast.expr) -> str:
    """Return the words of a text, with … for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    return ""


PARTS = {
    "variables": variables,
    "modules": modules,
    "tables": tables,
    "quality": quality,
    "setups": setups,
    "commands": commands,
    "pictures": pictures,
    "rules": rules,
}
"""By the name of the file that a page includes."""


def write(folder: Path) -> None:
    """Write all parts as files that pages include."""
    folder.mkdir(exist_ok=True)
    for name, make in PARTS.items():
        (folder / f"{name}.inc.rst").write_text(make(), encoding="utf-8")
