"""What of real calls is kept, so that examples can be made of them: `Sampling`, which channels and services may have."""

from __future__ import annotations

from gateway.configuration.parts import Texts
from specs.problems import ConfigurationError
from specs.settings import Seconds, Settings, setting


class Sampling(Settings):
    """Real calls that are kept for a while, with their secrets taken out, to make examples of them."""

    every: Seconds = setting("a worker keeps one call of a service in this time at most", default="1m")
    most: int = setting("how many are kept of a service and channel, the newest", default=20)
    redact: Texts = setting("names of members that are not kept, beside those that hold credentials", default=[])

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if not 1 <= self.most <= 1000:
            raise ConfigurationError(f"{path}.most", f"{self.most} samples cannot be kept", "write 1 to 1000")
