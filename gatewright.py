"""What authors of services import. Everything here is handed on from `backends`.

>>> from gatewright import Service, Int, List, Problem, invoke
"""

from backends import *  # noqa: F403
from backends import __all__ as __all__
