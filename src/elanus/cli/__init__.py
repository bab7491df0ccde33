"""The command `elanus`."""

from __future__ import annotations

from typing import Annotated

import typer

from elanus.version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Elanus, a vector database.")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"elanus {__version__}")
        raise typer.Exit


@app.callback()
def elanus(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main() -> None:
    """Run the command; the entry point of the package."""
    app()
