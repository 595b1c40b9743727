"""Reading the report as a browser does, with the standard library's parser."""

from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """The page's tags, and its text and tables by section.

    Attributes:
        tags: every tag with its attributes, in order.
        texts: section id -> its text.
        tables: section id -> its tables, each a list of rows of cell texts.
        broken: tags that close what is not open, or stay open.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.broken: list[str] = []
        self._open: list[str] = []
        self._section = ""
        self.feed(html)
        self.close()
        self.broken += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a tag."""
        known = {name: value or "" for name, value in attrs}
        self.tags.append((tag, known))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = known["id"]
        tables = self.tables.setdefault(self._section, [])
        if tag == "table":
            tables.append([])
        elif tag == "tr":
            tables[-1].append([])
        elif tag in ("td", "th"):
            tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Closes a tag, which must be the last one opened."""
        if not self._open or self._open.pop() != tag:
            self.broken.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        """Keeps text where it stands."""
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.texts[self._section] = self.texts.get(self._section, "") + data
        if "td" in self._open or "th" in self._open:
            self.tables[self._section][-1][-1][-1] += data

    def text(self, section: str) -> str:
        """A section's text with single spaces."""
        return " ".join(self.texts[section].split())

    def rows(self, section: str, number: int = 0) -> list[list[str]]:
        """A table's rows, heading first, with single spaces."""
        return [[" ".join(cell.split()) for cell in row] for row in self.tables[section][number]]

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
