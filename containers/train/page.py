"""A self-contained page for people: sections of plain words, tables and pictures in one HTML file.

No script and nothing from elsewhere, so that it opens from a disk, a bucket or an e-mail, and prints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Fact:
    """A number at the head of the page: ``Fact("exact counts", "44.1 %", "40.2 to 48.0 %")``."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Cells are text; what follows a line break in a number's cell, its interval, is set smaller.

    align: a letter for each column, l or r; by default all but the first are r. strong: indices of
    rows that stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str = ""
    strong: Sequence[int] = ()
    note: str = ""

    def side(self, column: int) -> str:
        letters = self.align or "l" + "r" * (len(self.columns) - 1)
        return {"l": "left", "r": "right"}[letters[column]]


@dataclass(frozen=True)
class Picture:
    """markup: an inline ``<svg>``, or an ``<img>`` with a data: address. It is put in as it is."""

    markup: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """text: paragraphs in plain English, an empty line between two of them."""

    heading: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = field(default=())

    @property
    def paragraphs(self) -> list[str]:
        return [p for p in self.text.split("\n\n") if p.strip()]


def render(title: str, sections: Sequence[Section], lead: str = "", facts: Sequence[Fact] = ()) -> str:
    """The whole page. Everything but ``Picture.markup`` is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(title=title, sections=sections, lead=lead, facts=facts)
