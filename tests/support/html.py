"""Pages as a reader takes them in: their elements, their texts, and what a person would make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br", "input", "hr", "base"}


@dataclass
class Element:
    """An element with its attributes; `text`: all text inside of it, white space as single spaces."""

    tag: str
    attributes: dict[str, str]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())


class Document(HTMLParser):
    """A page, parsed. Raises `AssertionError` if an element is closed that was not opened, or the other way about."""

    def __init__(self, page: bytes | str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page.decode() if isinstance(page, bytes) else page)
        self.close()
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.parts.append(data)

    def all(self, tag: str) -> list[Element]:
        """The elements of this name, in order."""
        return [element for element in self.elements if element.tag == tag]

    def one(self, tag: str) -> Element:
        """The only element of this name."""
        (found,) = self.all(tag)
        return found

    @property
    def links(self) -> dict[str, str]:
        """Where its links lead, by their texts."""
        return {element.text: element.attributes["href"] for element in self.all("a")}

    @property
    def facts(self) -> dict[str, str]:
        """Its definition list."""
        names, texts = self.all("dt"), self.all("dd")
        return {name.text: fact.text for name, fact in zip(names, texts, strict=True)}

    @property
    def shown(self) -> str:
        """All that a person reads of it."""
        return self.one("body").text
