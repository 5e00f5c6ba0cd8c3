"""A plot as SVG: within a page, where it takes the page's text colour, and as a file of its own."""

from dataclasses import dataclass
from html import escape

_READERS_INK = (
    "<style>svg{color:#1d2226;color-scheme:light dark}"
    "@media(prefers-color-scheme:dark){svg{color:#e4e8ea}}</style>"
)


@dataclass(frozen=True)
class Picture:
    """A plot. `name` is its file's, `words` say what it shows to those who do not see it."""

    name: str
    title: str
    words: str
    body: str  # what stands within the svg element
    size: tuple[float, float]  # width and height in points

    @property
    def inline(self) -> str:
        """The picture as an element of an HTML page."""
        return self._element("")

    @property
    def alone(self) -> str:
        """The picture as a file of its own."""
        return '<?xml version="1.0" encoding="utf-8"?>\n' + self._element(_READERS_INK)

    def _element(self, style: str) -> str:
        width, height = (f"{side:g}" for side in self.size)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}pt" height="{height}pt" '
            'stroke-linejoin="round" role="img" '
            f'aria-labelledby="{self.name}-title {self.name}-words">\n'
            f'<title id="{self.name}-title">{escape(self.title)}</title>\n'
            f'<desc id="{self.name}-words">{escape(self.words)}</desc>\n'
            f"{style}{self.body}</svg>\n"
        )


def printable(text: str) -> str:
    """The text with a mark in place of what XML cannot hold and a reader cannot see."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
