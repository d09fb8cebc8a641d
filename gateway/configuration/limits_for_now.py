"""The settings of a limit definition, until `security.limits.rules` brings them."""

from __future__ import annotations

from typing import Any, Literal

from specs.settings import Settings, setting


class LimitDefinition(Settings):
    """How often, from where."""

    rules: list[dict[str, Any]] | str = setting("rules: a list, or one `address = rate` per line")
    match: Literal["first", "longest-prefix"] | None = setting("which rule counts where several fit", default=None)
    algorithm: Literal["gcra", "sliding-log", "fixed-window"] = setting("how hits are counted", default="gcra")
    burst: int | None = setting("hits that may come at once", default=None)
    mode: Literal["enforce", "shadow"] = setting("refuse, or only say what would be refused", default="enforce")
