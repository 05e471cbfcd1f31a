"""Templates and the one way to fill them: whatever is not marked as markup is escaped."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template


class Markup(str):
    """HTML that is escaped where it has to be."""

    __slots__ = ()


def text(plain: str) -> Markup:
    """A text as markup: escaped, for contents and quoted attributes alike."""
    return Markup(escape(plain))


def template(name: str) -> Template:
    """A file of `gateway/templates`, in which `$name` stands for a text."""
    return Template(files("gateway").joinpath("templates", name).read_text(encoding="utf-8").rstrip("\n"))


def fill(form: Template, **parts: str) -> Markup:
    """The template with its parts, as `text` unless they are `Markup`. Raises `KeyError` for one that is missing."""
    return Markup(
        form.substitute({name: part if isinstance(part, Markup) else text(part) for name, part in parts.items()})
    )
