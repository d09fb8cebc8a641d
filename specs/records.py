"""`Record`, the input that a service gets, and `OutputRecord`, the payload that it fills in.

Both are dictionaries that give their members as attributes. A declared member that is absent is ``None`` as an attribute
and not in the dictionary: absent is not empty.

>>> Order = shape((Field("id", "int"), Field("items", "list", required=False), Field("token", "secret", required=False)))
>>> order = Order({"id": 7, "token": "t0p"})
>>> order.id, order.items, "items" in order
(7, None, False)
>>> order
Record({'id': 7, 'token': '***'})
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from specs.contract import Field
from specs.problems import Fault, Problem, nearest

try:
    from specs import _records
except ImportError:  # there was no compiler, or no header of Python's
    _records = None  # type: ignore[assignment]

#: What `_records.c` has for records, where it was built: see also `specs.plans`.
NATIVE = _records

#: Own words of a record, which a member of the same name does not hide. Any other method of ``dict`` it does (``items``).
RESERVED = frozenset({"get", "deepcopy", "require_any"})


class Record(dict[str, Any]):
    """A dictionary whose declared members are attributes. An unknown attribute is an AttributeError naming the nearest.

    Secrets are plain texts here; ``repr`` masks them, at any depth, so that a logged input shows none.
    """

    __slots__ = ()
    _names: ClassVar[tuple[str, ...]] = ()
    _secrets: ClassVar[frozenset[str]] = frozenset()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name in self._names:
                return None
            remedy = nearest(name, {*self._names, *dict.keys(self)})
            raise AttributeError(f"no element called '{name}': {remedy}", name=name, obj=self) from None

    def __repr__(self) -> str:
        shown = {key: "***" if key in self._secrets else value for key, value in dict.items(self)}
        return f"{Record.__name__}({shown!r})"

    def deepcopy(self) -> Self:
        """An independent copy, members and all."""
        return type(self)({key: copy.deepcopy(value) for key, value in dict.items(self)})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.deepcopy()

    def __copy__(self) -> Self:
        return type(self)(self)

    def require_any(self, *names: str) -> None:
        """Raise Problem 400 ``invalid-input`` where none of *names* was given."""
        if not any(name in self for name in names):
            detail = f"one of these is required: {', '.join(names)}"
            faults = [Fault(f"/{escape(name)}", "missing", detail) for name in names]
            raise Problem.of("invalid-input", detail, errors=faults)


if TYPE_CHECKING or NATIVE is None:

    class Guarded:
        """A class beside a record's: what is assigned goes to its `_assign`, which refuses what is no member."""

        __slots__ = ()

        def __setattr__(self, name: str, value: Any) -> None:
            self._assign(name, value)

        def _assign(self, name: str, value: Any) -> None:
            raise NotImplementedError

else:
    Guarded = NATIVE.Guarded


class OutputRecord(Guarded, Record):
    """``self.response.payload`` where an output is declared: members are assigned, ``payload[:] = rows`` gives a whole list.

    A name that is not declared is an AttributeError (or KeyError, for an item) naming the nearest.
    """

    __slots__ = ("_rows",)
    _rows: list[Any] | None
    _members: ClassVar[frozenset[str]] = frozenset()
    _repeated: ClassVar[bool] = False

    def _assign(self, name: str, value: Any) -> None:
        # PERF: assigning a member is most of what a service does with its answer: 0.15 us here, 0.03 in C.
        if name in self._members:
            _set_item(self, name, value)
        else:
            raise AttributeError(f"no output called '{name}': {nearest(name, self._names)}", name=name, obj=self)

    def __setitem__(self, key: str | slice, value: Any) -> None:
        if isinstance(key, slice):
            self._all_rows()[key] = value
        elif key in self._members:
            _set_item(self, key, value)
        else:
            raise KeyError(f"no output called '{key}': {nearest(key, self._names)}")

    def append(self, row: Any) -> None:
        """One more row of a repeated output."""
        self._all_rows().append(row)

    def extend(self, rows: Iterable[Any]) -> None:
        """More rows of a repeated output."""
        self._all_rows().extend(rows)

    def _all_rows(self) -> list[Any]:
        if not self._repeated:
            raise TypeError("this output is one record, not a list: declare output_repeated = True")
        rows = rows_of(self)
        if rows is None:
            rows = []
            _set_rows(self, rows)
        return rows

    def __bool__(self) -> bool:
        rows = rows_of(self)
        return bool(rows) if rows is not None else len(self) > 0


# WHY: the class refuses every name that is no member, so its own slot is reached through the slot. PERF: it is empty until there
# are rows: an `__init__` that fills it takes 0.4 us.
_get_rows = OutputRecord.__dict__["_rows"].__get__
_set_rows = OutputRecord.__dict__["_rows"].__set__
_set_item = dict.__setitem__


def rows_of(payload: OutputRecord) -> list[Any] | None:
    """The rows that a repeated output was given, ``None`` where its members were assigned or nothing was."""
    try:
        return cast("list[Any]", _get_rows(payload))
    except AttributeError:
        return None


def shape(fields: Sequence[Field], base: type[Record] = Record, *, repeated: bool = False) -> type[Record]:
    """A class of records with the members *fields*. Made once per contract; a record costs no more than a dictionary."""
    names = tuple(field.name for field in fields)
    members: dict[str, Any] = {
        "__slots__": (),
        "_names": names,
        "_members": frozenset(names),
        "_secrets": frozenset(field.name for field in fields if field.type == "secret"),
    }
    if repeated:
        members["_repeated"] = True
    for name in names:
        # WHY: a member called "items" is what an author means by `input.items`, not the method of dict.
        # PERF: a property is found by the ordinary look-up: 0.06 us, where falling through to __getattr__ took 0.5.
        if not name.startswith("_") and name not in RESERVED:
            members[name] = _member(name)
    return cast("type[Record]", type(base.__name__, (base,), members))


def _member(name: str) -> Any:
    if NATIVE is not None:
        return NATIVE.Attribute(name)

    def write(record: Record, value: Any) -> None:
        _set_item(record, name, value)

    return property(methodcaller("get", name), write)


def escape(name: str) -> str:
    """*name* as a part of a JSON pointer (RFC 6901)."""
    if "~" in name or "/" in name:
        return name.replace("~", "~0").replace("/", "~1")
    return name


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON pointer of a path.

    >>> pointer(["addresses", 0, "zip/code"])
    '/addresses/0/zip~1code'
    """
    return "".join(_parts(parts))


def _parts(parts: Iterable[str | int]) -> Iterator[str]:
    for part in parts:
        yield f"/{escape(part) if isinstance(part, str) else part}"
