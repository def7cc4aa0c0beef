"""Names to things: lazy `module:attribute` targets, nearest known names, optional packages."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Generic, TypeVar

from eotune.core.errors import InputError, MissingExtraError, shown

Kind = TypeVar("Kind")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to ``name``, or None when nothing is near.

    Example:
        >>> nearest("lerning_rate", ["learning_rate", "epochs"])
        'learning_rate'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that nobody knows, with the nearest known one.

    Example:
        >>> str(unknown_name("method", "harmma", ["harma", "lora"]))
        "unknown method 'harmma'; did you mean 'harma'? Known: harma, lora"
    """
    known = sorted(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return InputError(f"unknown {kind} {shown(name)}", remedy=f"{hint}Known: {', '.join(known)}")


def resolve(target: str) -> Any:
    """Import ``module:attribute`` and return the attribute.

    Example:
        >>> resolve("math:floor")(2.5)
        2
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Family(Generic[Kind]):
    """Classes of one name and base, a file each in one package: the file's name is theirs, and no table knows it.

    Args:
        word: What one of them is called in messages.
        package: Where the files are.
        base: Whose subclasses they are; they have its name.
    """

    def __init__(self, word: str, package: str, base: type[Kind]) -> None:
        self._word, self._package, self._base = word, package, base

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        folder = importlib.import_module(self._package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(folder) if self.find(module.name) is not None)

    def named(self, name: object) -> type[Kind]:
        """Return the class called ``name``.

        Raises:
            InputError: There is none.
        """
        kind = self.find(name) if isinstance(name, str) and name.isidentifier() else None
        if kind is None:
            raise unknown_name(self._word, str(name), self.names())
        return kind

    def find(self, name: str) -> type[Kind] | None:
        """Return the class that the module of this name defines, or None."""
        target = f"{self._package}.{name}"
        try:
            module = importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name == target:
                return None
            raise
        kind = getattr(module, self._base.__name__, None)
        if not inspect.isclass(kind) or kind.__module__ != target or inspect.isabstract(kind):
            return None
        return kind if issubclass(kind, self._base) else None


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingExtraError: It is not installed; the message has the pip command.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A broken dependency inside an installed package is not a missing extra: let that through.
        if error.name != package.partition(".")[0]:
            raise
        raise MissingExtraError(package, extra) from None
