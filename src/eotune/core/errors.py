"""The errors that a user may meet; each message names what was wrong, the value, and the remedy."""


class EotuneError(Exception):
    """Base of every error that eotune raises on purpose. The command line prints it as one line."""

    exit_code = 1


class InputError(EotuneError):
    """What the user handed over is wrong: a recipe, a file, a flag. Exit status 2.

    Args:
        message: What was wrong, with the file and the value.
        remedy: What to do next; appended to the message.

    Example:
        >>> str(InputError("a.json: no key 'images'", remedy="use the Karpathy layout"))
        "a.json: no key 'images'; use the Karpathy layout"
    """

    exit_code = 2

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)


class MissingExtraError(InputError):
    """An optional package is asked for that is not installed.

    Args:
        package: The module that could not be imported.
        extra: The name of the extra that installs it.

    Example:
        >>> str(MissingExtraError("timm", "interop"))
        "the package 'timm' is not installed; run: pip install 'eotune[interop]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", remedy=f"run: pip install 'eotune[{extra}]'")


class InterruptedRunError(EotuneError):
    """A run was interrupted (Ctrl-C, SIGTERM) after its state was saved. Exit status 130."""

    exit_code = 130


def shown(value: object, limit: int = 80) -> str:
    """Return ``repr(value)``, cut in the middle where it is longer than ``limit``: a message stays readable.

    Example:
        >>> shown("a" * 1000, limit=20)
        "'aaaaaaa...aaaaaaaa'"
    """
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    if len(text) <= limit:
        return text
    kept = limit - 3
    return f"{text[: kept // 2]}...{text[-(kept - kept // 2) :]}"
