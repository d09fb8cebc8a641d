"""Loading: from the files of a version to modules, classes and contracts.

The files of one version form a private package that stands on no path: its modules import one another by plain
``import helpers``, nobody else finds them, and a file called ``security.py`` hides nothing of ours. Each version has modules of
its own, so that calls which are under way in the old one go on with its code; the last of them lets it go.

>>> loaded = load({"rates.py": b"from table import RATE", "table.py": b"RATE = 1.22"}, "services", 1)
>>> loaded.module("rates.py").RATE
1.22
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from backends.answers import answers_in
from backends.catalogue import describe, services_in
from backends.deadlines import Deadline
from backends.patience import within
from backends.service import Service
from security.threads import give_way
from specs.contract import Contract
from specs.problems import ConfigurationError, ConfigurationErrors

PACKAGE = "gatewright_services"
#: The longest that one file may take to be imported while it is checked, in seconds.
PATIENCE = 15.0
_numbers = count(1)


class DeploymentError(ConfigurationError):
    """A file that cannot be deployed: *path* is ``file.py:12``, *message* the reason."""

    @property
    def file(self) -> str:
        """The file, relative to its folder."""
        return self.path.rpartition(":")[0] if self.line else self.path

    @property
    def line(self) -> int:
        """The line, 0 where none is known."""
        last = self.path.rpartition(":")[2]
        return int(last) if last.isdecimal() and ":" in self.path else 0

    @classmethod
    def at(cls, file: str, line: int | None, reason: str, remedy: str = "") -> DeploymentError:
        """The error at a line of a file."""
        return cls(f"{file}:{line}" if line else file, reason, remedy)


class DeploymentErrors(DeploymentError, ConfigurationErrors):
    """Every file that cannot be deployed, found in one go: `errors` has one for each."""

    errors: tuple[DeploymentError, ...]

    def __init__(self, errors: Iterable[DeploymentError]) -> None:
        ConfigurationErrors.__init__(self, errors)


class Loaded:
    """The modules of one version. When the last call and catalogue let go of it, its modules are forgotten."""

    def __init__(self, importer: _Importer, set_name: str, version: int) -> None:
        self.set_name = set_name
        self.version = version
        self._importer = importer
        weakref.finalize(self, _forget, importer.package).atexit = False

    def module(self, file: str) -> ModuleType:
        """The module of a file, loaded when first asked for. Raises DeploymentError."""
        try:
            return self._importer.load(module_name(file))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # A file may do anything while it is imported, `sys.exit()` included.
            raise self._importer.explain(error, file) from error


def load(files: Mapping[str, bytes], set_name: str, version: int) -> Loaded:
    """The modules of every top file, loaded. Raises DeploymentErrors, which has an error for each file that cannot be."""
    loaded = Loaded(_Importer(files, set_name, version), set_name, version)
    errors = []
    for file in service_files(files):
        try:
            loaded.module(file)
        except DeploymentError as error:
            errors.append(error)
        give_way()  # a hundred modules take a while
    if errors:
        raise DeploymentErrors({str(error): error for error in errors}.values())
    return loaded


def contracts_of(files: Mapping[str, bytes], set_name: str, *, patience: float = PATIENCE) -> list[Contract]:
    """The contract of every service that *files* define, found by loading them, each in *patience* seconds at most.

    Raises DeploymentErrors.
    """
    errors: list[DeploymentError] = []
    loaded = Loaded(_Importer(files, set_name, 0), set_name, 0)
    found: dict[str, tuple[str, Contract]] = {}
    with TemporaryDirectory(prefix="gatewright-") as folder:
        root = Path(folder)
        for name, content in files.items():
            if name.endswith(".json"):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        for file in service_files(files):
            try:
                with within(patience):
                    module = loaded.module(file)
            except DeploymentError as error:
                errors.append(error)
                continue
            for service_class in services_in(module):
                try:
                    contract = _describe(service_class, module, file, root)
                    statuses, problems = answers_in(files[file], service_class.__name__)
                    contract = replace(contract, statuses=statuses, problems=problems)
                except ConfigurationError as error:
                    line = line_of(files[file], service_class.__name__)
                    reason = str(error).replace(f"{root}/", "")
                    errors.append(DeploymentError.at(file, line, reason))
                    continue
                other, first = found.setdefault(contract.service, (file, contract))
                if first is not contract:
                    reason = f"the service '{contract.service}' stands in {other} too ({first.class_name})"
                    line = line_of(files[file], service_class.__name__)
                    errors.append(DeploymentError.at(file, line, reason, "give one of them another `name`"))
    if errors:
        raise DeploymentErrors({str(error): error for error in errors}.values())
    return [contract for _, contract in found.values()]


def service_files(files: Iterable[str]) -> list[str]:
    """The files that may define services: those at the top. Python files in folders are there to be imported."""
    return sorted(file for file in files if file.endswith(".py") and "/" not in file and file != "__init__.py")


def module_name(file: str) -> str:
    """The name that a file is imported by.

    >>> module_name("rates.py"), module_name("lib/__init__.py"), module_name("lib/table.py")
    ('rates', 'lib', 'lib.table')
    """
    path = PurePosixPath(file)
    parts = [*path.parts[:-1], path.stem.replace(".", "_")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def line_of(source: bytes, class_name: str) -> int:
    """The line that a class begins at, 0 where it is not found."""
    match = re.search(rb"^[ \t]*class[ \t]+%s\b" % re.escape(class_name.encode()), source, re.MULTILINE)
    return source.count(b"\n", 0, match.start()) + 1 if match else 0


def _describe(service_class: type[Service], module: ModuleType, file: str, root: Path) -> Contract:
    namespace = getattr(module, "namespace", "")
    return describe(
        service_class,
        module=module_name(file),
        root=root,
        namespace=namespace if isinstance(namespace, str) else "",
    )


class _Importer:
    """What ``import`` does in the files of one version: their own modules first, then whatever Python finds.

    It is the ``__import__`` of their builtins, so that it is asked by them alone, wherever the statement stands.
    """

    def __init__(self, files: Mapping[str, bytes], set_name: str, version: int) -> None:
        self.package = f"{PACKAGE}.v{version}_{next(_numbers)}"
        self._folder = f"{set_name}/v{version}" if version else set_name
        self._sources = {module_name(file): (file, content) for file, content in files.items() if file.endswith(".py")}
        self._sources.pop("", None)
        # Folders are packages, with or without an __init__.py.
        self._packages = {
            str(parent).replace("/", ".")
            for file, _ in self._sources.values()
            for parent in PurePosixPath(file).parents
            if str(parent) != "."
        }
        self._modules: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self}

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  (the signature of __import__)
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        importer = str((globals or {}).get("__name__", ""))
        if level:
            absolute = importlib.util.resolve_name("." * level + name, str((globals or {}).get("__package__", "")))
            if absolute == self.package:
                return self._root(fromlist or ())
            wanted = absolute.removeprefix(f"{self.package}.")
        else:
            top = name.partition(".")[0]
            # A file that imports its own name means the installed library it is named after.
            if not self._has(top) or importer == f"{self.package}.{top}":
                return builtins.__import__(name, globals, locals, fromlist or (), 0)
            wanted = name
        module = self.load(wanted)
        for item in fromlist or ():
            if not hasattr(module, item) and self._has(f"{wanted}.{item}"):
                self.load(f"{wanted}.{item}")
        return module if fromlist else self.load(wanted.partition(".")[0])

    def load(self, name: str) -> ModuleType:
        """The module of that name, and the packages around it, loaded when first asked for."""
        found = self._modules.get(name)
        if found is not None:
            return found
        if not self._has(name):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        parent_name, _, last = name.rpartition(".")
        parent = self.load(parent_name) if parent_name else None
        module = self._new_module(name)
        if name in self._sources:
            try:
                self._execute(module, name)
            except BaseException:
                del self._modules[name]
                sys.modules.pop(module.__name__, None)
                raise
        if parent is not None:
            setattr(parent, last, module)
        return module

    def explain(self, error: BaseException, file: str) -> DeploymentError:
        """The error that names the file, the line and the reason."""
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, Deadline):
            reason = "importing it takes too long: does it work, or wait, outside of its services?"
        if isinstance(error, SyntaxError):
            place = self._file_of(error.filename or "") or file
            return DeploymentError.at(place, error.lineno, f"{type(error).__name__}: {error.msg}")
        line, step = 0, error.__traceback__
        while step is not None:
            within = self._file_of(step.tb_frame.f_code.co_filename)
            if within:
                file, line = within, step.tb_lineno
            step = step.tb_next
        return DeploymentError.at(file, line, reason)

    def _root(self, fromlist: Sequence[str]) -> ModuleType:
        root = ModuleType(self.package)
        for item in fromlist:
            setattr(root, item, self.load(item))
        return root

    def _has(self, name: str) -> bool:
        return name in self._sources or name in self._packages

    def _file_of(self, filename: str) -> str:
        return filename.removeprefix(f"{self._folder}/") if filename.startswith(f"{self._folder}/") else ""

    def _new_module(self, name: str) -> ModuleType:
        full = f"{self.package}.{name}"
        module = ModuleType(full)
        is_package = name in self._packages
        file, content = self._sources.get(name, (name, b""))
        module.__file__ = f"{self._folder}/{file}"
        module.__package__ = full if is_package else full.rpartition(".")[0]
        loader = _Source(content)
        module.__loader__ = loader
        module.__spec__ = importlib.machinery.ModuleSpec(full, loader, origin=module.__file__, is_package=is_package)
        vars(module)["__builtins__"] = self._builtins
        self._modules[name] = sys.modules[full] = module
        return module

    def _execute(self, module: ModuleType, name: str) -> None:
        _, content = self._sources[name]
        code = compile(content, module.__file__ or name, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - running what authors deployed is what this is for


class _Source(importlib.abc.InspectLoader):
    """Gives tracebacks the lines of a module that stands in no file."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def get_source(self, fullname: str) -> str:
        """The text of the module."""
        return importlib.util.decode_source(self._content)


def _forget(package: str) -> None:
    for name in [name for name in list(sys.modules) if name.startswith(f"{package}.")]:
        sys.modules.pop(name, None)
