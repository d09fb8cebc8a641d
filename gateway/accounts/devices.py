"""What people call the thing that they sit at: a browser and a system, as a User-Agent tells of them.

>>> name_of("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36")
('Chrome', 'Windows')
>>> name_of("curl/8.5.0"), name_of("")
(('curl', ''), ('', ''))
"""

from __future__ import annotations

from typing import Final

#: What a User-Agent holds, and who is meant; the first that fits, for each browser claims to be those before it.
_BROWSERS: Final = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Vivaldi", "Vivaldi"), ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("HeadlessChrome", "Chrome"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def name_of(user_agent: str) -> tuple[str, str]:
    """The browser or program, and the system; each empty where it is not known."""
    browser = next((name for part, name in _BROWSERS if part in user_agent), "")
    system = next((name for part, name in _SYSTEMS if part in user_agent), "")
    return browser or user_agent.partition("/")[0].partition(" ")[0][:40], system
