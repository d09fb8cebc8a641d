from typing import Any, final

@final
class Plan:
    def __init__(
        self,
        make: type[dict[str, Any]],
        maps: type[dict[str, Any]],
        members: tuple[tuple[str, Any, bool, bool], ...],
        /,
    ) -> None: ...
    def apply(self, value: Any, /) -> Any: ...

@final
class Attribute:
    def __init__(self, name: str, /) -> None: ...

class Guarded: ...
