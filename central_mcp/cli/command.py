"""What all commands share: the one boundary where errors become words and exit codes, and the options they repeat."""

import functools
import sys
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

from .errors import INTERRUPTED, CliError
from .output import print_error

P = ParamSpec("P")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Project = Annotated[
    str | None,
    typer.Option("--project", "-p", help="Project; default: the one of ./central.yml, else the cloud's only one."),
]


def new_app(help_text: str) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Register a function as `central <name>`; its docstring is the help, `example` its last lines."""

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            as_json = bool(kwargs.get("as_json"))
            try:
                function(*args, **kwargs)
            except CliError as exc:
                print_error(exc.message, exc.next_step, exc.code, as_json)
                raise typer.Exit(exc.code) from exc
            except KeyboardInterrupt as exc:
                print_error("interrupted", "the same command goes on where this one stopped", INTERRUPTED, as_json)
                raise typer.Exit(INTERRUPTED) from exc
            except BrokenPipeError as exc:  # `central logs git | head`
                sys.stderr.close()
                raise typer.Exit(0) from exc

        text = f"{(function.__doc__ or '').strip()}\n\n\b\nExample:\n" + "\n".join(
            f"  {line}" for line in example.splitlines()
        )
        app.command(name, help=text)(guarded)
        return guarded

    return register
