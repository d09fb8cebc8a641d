"""The files that pages load: style sheets, the logo, and Swagger UI, which is vendored with its licence.

>>> sorted(name for name in FILES if name.startswith("swagger"))
['swagger-ui-bundle.js', 'swagger-ui.css']
"""

from __future__ import annotations

import base64
import colorsys
import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.documentation.site import FOLDER

if TYPE_CHECKING:
    from gateway.configuration.kinds import Docs

FILES = {
    "docs.css": "text/css; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
#: The tinted grounds of each scheme: on the plain ones there is more contrast still.
_GROUNDS = {"light": (238, 240, 255), "dark": (29, 32, 54)}
#: What WCAG 2 asks of text (1.4.3), and a little more.
_CONTRAST = 4.7


class Asset(NamedTuple):
    """A file: its bytes and media type."""

    body: bytes
    content_type: str


def asset(name: str, docs: Docs) -> Asset | None:
    """The file of that name, as the settings have it."""
    if name == "brand.css":
        return Asset(brand(docs).encode(), FILES["docs.css"])
    if name == "logo":
        return logo(docs)
    return Asset(_file(name), FILES[name]) if name in FILES else None


@cache
def _file(name: str) -> bytes:
    return (FOLDER / "static" / name).read_bytes()


def brand(docs: Docs) -> str:
    """The style sheet of the settings: their colour, made readable on each ground, and their own rules."""
    light, dark = tints(docs.colour)
    return (
        f":root {{ --accent: {light}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; }} }}\n{docs.css}\n"
    )


def tints(colour: str) -> tuple[str, str]:
    """*colour* as it can be read in the light scheme, and in the dark one."""
    light, dark = (readable(colour, ground) for ground in _GROUNDS.values())
    return light, dark


def logo(docs: Docs) -> Asset:
    """The logo of the settings; else the first letter of the title on their colour."""
    return mark(docs.logo, docs.title, docs.colour)


def mark(picture: str, title: str, colour: str) -> Asset:
    """A *picture* as settings have it; where it is empty, the first letter of *title* on *colour*."""
    given = picture.strip()
    if given.startswith("data:"):
        head, _, body = given.partition(",")
        return Asset(base64.b64decode(body), head[5:].partition(";")[0])
    if given:
        return Asset(given.encode(), "image/svg+xml")
    letter = next((character.upper() for character in title if character.isalnum()), "A")
    colour = readable(colour, (255, 255, 255))
    return Asset(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="{colour}"/>'
        f'<text x="16" y="22.5" text-anchor="middle" font-family="system-ui,sans-serif" font-weight="700" font-size="19" '
        f'fill="#fff">{letter}</text></svg>'.encode(),
        "image/svg+xml",
    )


def readable(colour: str, ground: tuple[int, int, int]) -> str:
    """*colour*, made darker or lighter until text in it can be read on *ground*.

    >>> readable("#4f46e5", (255, 255, 255)), readable("#ffff00", (255, 255, 255)), readable("#4f46e5", (13, 14, 21))
    ('#4f46e5', '#757500', '#756eeb')
    """
    red, green, blue = (int(part, 16) / 255 for part in re.findall("..", colour[1:]))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    step = -0.01 if sum(ground) > 382 else 0.01
    while _contrast((red, green, blue), ground) < _CONTRAST and 0 < lightness + step < 1:
        lightness += step
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#{:02x}{:02x}{:02x}".format(*(round(part * 255) for part in (red, green, blue)))


def _contrast(colour: tuple[float, float, float], ground: tuple[int, int, int]) -> float:
    one, other = sorted((_luminance(colour), _luminance(tuple(part / 255 for part in ground))))
    return (other + 0.05) / (one + 0.05)


def _luminance(colour: tuple[float, ...]) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
