"""The `eotune` command: sub-commands are imported when they are called, errors become one line."""

import errno
import importlib
import logging
import sys
import warnings
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import eotune
from eotune.core.errors import EotuneError

# What `eotune --help` shows; a command's module is imported only to run it, so that help comes at once.
COMMANDS = {
    "demo": "Adapt the bundled model to synthetic overhead scenes, offline, in minutes.",
    "run": "Run a recipe: adapt a model, measure it, write a report.",
    "sweep": "Run a recipe over a grid of settings and seeds: one table, one plot.",
    "compare": "Set finished runs side by side: intervals, differences, what each takes.",
    "select": "Choose the part of an image-text set that is worth training on.",
    "evaluate": "Measure a model: retrieval, long-tailed classes, or zero-shot classification.",
    "predict": "Classify images by a run of long-tailed classes: probabilities, footprints.",
    "embed": "Write embeddings of images and captions to Parquet.",
    "index": "Make an archive of images searchable, or bring its index up to date.",
    "query": "Find places in an indexed archive by words or by an image.",
    "serve": "Serve a web page and a JSON API to search an indexed archive.",
    "export": "Write a finished run as transformers, open_clip, peft or ONNX load it.",
    "check": "List every problem of captioned or labelled data, and what splits share.",
    "chips": "Cut the objects of labelled boxes (DOTA, YOLO-OBB) out of large images.",
    "doctor": "Tell what is installed, what each extra would add, and the devices.",
}


class _Lazy(TyperGroup):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in COMMANDS:
            from eotune.core.lookup import unknown_name

            raise unknown_name("command", cmd_name, COMMANDS)
        module = importlib.import_module(f"eotune.cli.{cmd_name}")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name=cmd_name)(module.command)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=_Lazy,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Adapt pretrained vision-language models to remote-sensing imagery.",
)

# Typer carries click inside it from 0.26 on and depends on it before. BadParameter, which it exports either way,
# leads to the base of all usage errors.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

# No space, a quota, a limit on file sizes; torch does not tell these apart, and is given the last.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"eotune {eotune.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def main() -> None:
    """Run the command line; exit 0 only on success, 2 for wrong input with one clear line."""
    # PIL warns of damaged tags in images that it reads all the same, and logs what bands it leaves to rasterio, both
    # without naming the file.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    try:
        status = app(standalone_mode=False)  # returns the code of an Exit instead of raising it
    except _UsageError as error:
        _fail(_usage(error), 2)
    except EotuneError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        remedy = "; free space there, then start again (a run with --resume)" if error.errno in _FULL else ""
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}{remedy}", 1)
    except Exception as error:
        lacking = _lacking(error)
        if lacking is None:
            raise
        _fail(lacking, 1)
    if status == 130:  # recent typer turns Ctrl-C into this
        _fail("interrupted", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _lacking(error: Exception) -> str | None:
    """Return what the machine ran out of, as torch and safetensors, which are not imported here, say it; or None."""
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
        return "out of memory; lower the batch size or the image size"
    if any(words in str(error) for words in ("No space left on device", "PytorchStreamWriter failed writing")):
        return "no space left on device; make room, then go on with --resume"
    return None


def _usage(error: Any) -> str:
    """Return what was wrong with the arguments and where the right ones stand, on one line."""
    words = " ".join(str(error.format_message()).split()).rstrip(".")
    command = f" {error.ctx.command.name}" if error.ctx is not None and error.ctx.command.name in COMMANDS else ""
    return f"{words[:1].lower()}{words[1:]}; see eotune{command} --help"


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
