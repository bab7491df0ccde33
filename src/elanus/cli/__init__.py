"""The command `elanus`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from elanus.model.errors import ElanusError
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


@app.command("inspect")
def inspect_folder(
    path: Annotated[Path, typer.Argument(help="The folder of a database.", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and check all checksums.")] = False,
) -> None:
    """List collections, segments and files. Only reads, takes no lock, and may run beside a writer."""
    from elanus.cli.inspect import run  # the engine is loaded by the commands that need it

    raise typer.Exit(run(path, verify))


@app.command("serve")
def serve(
    data: Annotated[
        str, typer.Option("--data", help="The folder of the database, or s3://bucket/path; made where there is none.")
    ] = "elanus.data",
    host: Annotated[str, typer.Option("--host", help="The address to listen at, 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 19530,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only read, beside the process that writes, or without one.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Take the place of a process that writes: of a folder, by ending that process."
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Serving processes behind the port; one of them writes.")
    ] = 1,
    local_log: Annotated[
        str,
        typer.Option(
            "--local-log",
            help="A folder where the log of a database in a bucket goes first, and is acknowledged: writes do not wait "
            "for the bucket. With that disk are lost the last seconds of writes.",
        ),
    ] = "",
) -> None:
    """Serve a database to Milvus clients over gRPC, until SIGTERM or SIGINT."""
    from elanus.cli.serve import run

    raise typer.Exit(
        run(data, host, port, read_only=read_only, take_over=take_over, workers=workers, local_log=local_log)
    )


def main() -> None:
    """Run the command; the entry point of the package. What went wrong is one sentence, and exit code 1."""
    try:
        app()
    except ElanusError as error:
        typer.echo(f"elanus: {error}", err=True)
        sys.exit(1)
