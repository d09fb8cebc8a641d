"""XML over HTTP: a REST channel that speaks XML unless it is told otherwise."""

from __future__ import annotations

from gateway.channels import rest
from gateway.configuration.parts import Formats
from specs.settings import setting


class Channel(rest.Channel):
    """A service behind a path, in XML."""

    word = "xml"

    class Settings(rest.Channel.Settings):
        """Settings of an XML channel: those of a REST channel, with another default format."""

        format: Formats = setting("xml, json or a list of both, the preferred one first", default=["xml"])
