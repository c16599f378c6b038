"""Strict parser of an HTML report."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}


class PageReader(HTMLParser):
    """The text, tables, ids and external references of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.ids: list[str] = []
        self.references = set(re.findall(r"url\(#([^)]+)\)", html))
        self.loads: list[str] = re.findall(r"url\((?!#)[^)]*\)|@import", html)
        self.rows: list[list[str]] = []
        self.quotes: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def row(self, name: str) -> list[str]:
        """Return the other cells of the only row that begins with `name`."""
        (found,) = [cells for cells in self.rows if cells and cells[0] == name]
        return found[1:]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self._refer(value or "")
            assert not name.startswith("on"), f"{tag} {name}"
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag == "code":
            self.quotes.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "code":
            self.quotes[-1] += data
        if self.open and self.open[-1] != "style":
            self.words += data.split()

    def _refer(self, value: str) -> None:
        if value.startswith("#"):
            self.references.add(value[1:])
        elif not value.startswith("data:image/png;base64,"):
            self.loads.append(value)
