"""The `eotune` command: sub-commands are imported when they are called, errors become one line."""

import importlib
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup

import eotune
from eotune.core.errors import EotuneError

# What `eotune --help` shows; a command's module is imported only to run it, so that help comes at once.
COMMANDS = {
    "demo": "Adapt the bundled model to synthetic overhead scenes, offline, in minutes.",
    "run": "Run a recipe: adapt a model, measure it, write a report.",
    "evaluate": "Measure a model: retrieval, or zero-shot classification.",
    "embed": "Write embeddings of images and captions to Parquet.",
    "check": "List every problem of captioned data sets, and what their splits share.",
    "doctor": "Tell what is installed, what each extra would add, and the devices.",
}


class _Lazy(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if ctx.resilient_parsing or "--help" in sys.argv[1:2] or len(sys.argv) == 1:
            return click.Command(cmd_name, help=COMMANDS[cmd_name], short_help=COMMANDS[cmd_name])
        module = importlib.import_module(f"eotune.cli.{cmd_name}")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name=cmd_name)(module.command)
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Adapt pretrained vision-language models to remote-sensing imagery.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"eotune {eotune.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def main() -> None:
    """Run the command line; exit 0 only on success, 2 for wrong input with one clear line."""
    try:
        status = app(standalone_mode=False)  # click returns the code of an Exit instead of raising it
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EotuneError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}", 1)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
