"""Check the links of the built pages that stay within them, and of the Markdown files.

``python docs/links.py docs/_build/html`` says what leads nowhere, a line each, and ends
with 1 if anything does. Links to other hosts are counted: ``python -m sphinx -b
linkcheck docs docs/_build/links`` follows them, and needs the network.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag names and what it leads to."""
        for key, value in attrs:
            if value is None:
                continue
            if key == "id" or (key == "name" and tag == "a"):
                self.anchors.add(value)
            elif key in {"href", "src"} and tag not in {"use", "base"}:
                self.links.append(value)


def broken(pages: Path) -> tuple[list[str], int]:
    """Return what leads nowhere in a folder of pages, and how many links leave it."""
    read = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(pages.rglob("*.html"))
        if "_static" not in path.parts  # templates of the theme
    }
    found, outside = [], 0
    for path, page in read.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                outside += parts.scheme in {"http", "https"}
                continue
            here = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if here.is_dir():
                here = here / "index.html"
            where = f"{path.relative_to(pages.resolve())}: {link}"
            if not here.exists():
                found.append(f"{where}: no such file")
            elif here in read and unquote(parts.fragment) not in read[here].anchors:
                found.append(f"{where}: no such place in the page")
    return found, outside


def broken_markdown(folder: Path) -> list[str]:
    """Return links of Markdown files in a folder to files that are not there."""
    return [
        f"{path.name}: {link}: no such file"
        for path in sorted(folder.glob("*.md"))
        for link in MARKDOWN.findall(path.read_text(encoding="utf-8"))
        if not urlsplit(link).scheme and urlsplit(link).path
        if not (path.parent / unquote(urlsplit(link).path)).exists()
    ]


if __name__ == "__main__":
    bad, others = broken(Path(sys.argv[1]))
    bad += broken_markdown(ROOT)
    for line in bad:
        print(line)
    print(f"{len(bad)} broken links; {others} to other hosts, not followed")
    sys.exit(1 if bad else 0)
