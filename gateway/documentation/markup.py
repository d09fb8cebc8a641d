"""Texts as safe HTML: Markdown of docstrings, and code with its words told apart.

>>> markdown("Gives **all** of it. <script>alert(1)</script>")
Markup('<p>Gives <strong>all</strong> of it. &lt;script&gt;alert(1)&lt;/script&gt;</p>\\n')
>>> code('{"a": 1}', "json")
Markup('{<i class="k">&#34;a&#34;</i>: <i class="n">1</i>}')
"""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

# SECURITY: HTML in a docstring is shown and never taken; pictures are left out, since they would be fetched from elsewhere.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")
setattr(_MARKDOWN, "validateLink", lambda url: urlsplit(url.strip()).scheme.lower() in ("", "http", "https", "mailto"))  # noqa: B010

_CODE = {
    "json": re.compile(
        r'(?P<k>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<s>"(?:[^"\\]|\\.)*")|(?P<n>-?\b\d[\d.eE+-]*\b|\b(?:true|false|null)\b)'
    ),
    "xml": re.compile(r"(?P<c><!--.*?-->|<\?.*?\?>)|(?P<k></?[\w:.-]+|/?>)|(?P<s>\"[^\"]*\")", re.DOTALL),
    "code": re.compile(
        r"(?P<u>https?://[^\s\"'`<>]+)|(?P<c>(?:^|(?<=\s))//.*?$|^#.*?$|<\?php)|(?P<s>\"\"\"[\s\S]*?\"\"\"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`)"
        r"|(?P<k>\b(?:import|from|const|await|async|new|using|var|if|throw|return|print|curl|echo|true|false|null|True|False|None)\b)"
        r"|(?P<n>\b\d+(?:\.\d+)?\b)|(?P<o>(?<=\s)--?[A-Za-z][\w-]*)",
        re.MULTILINE,
    ),
}  # fmt: skip


@lru_cache(maxsize=1024)
def markdown(text: str) -> Markup:
    """Markdown as HTML; its headings begin at the third level."""
    rendered: str = _MARKDOWN.render(inspect.cleandoc(text))
    for level in (6, 5, 4, 3, 2, 1):
        shifted = min(6, level + 2)
        rendered = rendered.replace(f"<h{level}>", f"<h{shifted}>").replace(f"</h{level}>", f"</h{shifted}>")
    return Markup(rendered.replace("<a href=", '<a rel="nofollow noopener" href='))  # noqa: S704


@lru_cache(maxsize=4096)
def code(text: str, language: str) -> Markup:
    """Code as HTML: keys, texts, numbers and comments are ``<i>`` elements of a class each."""
    pieces: list[Markup | str] = []
    at = 0
    for match in _CODE.get(language, _CODE["code"]).finditer(text):
        pieces += [escape(text[at : match.start()]), Markup('<i class="{}">{}</i>').format(match.lastgroup, match[0])]
        at = match.end()
    return Markup("").join([*pieces, escape(text[at:])])
