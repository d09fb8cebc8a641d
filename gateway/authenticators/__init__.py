"""Authenticators: the ways callers prove who they are. One file a type; each defines a class `Authenticator`.

This page holds the base class and nothing else.
"""

from __future__ import annotations

from typing import ClassVar

from specs import settings
from specs.settings import setting


class Authenticator:
    """The code behind a security type."""

    word: ClassVar[str] = ""

    class Settings(settings.Settings):
        """What every security definition can be told."""

        description: str = setting("a sentence for documents", default="")
