"""The command line `pgcad`. Every command imports what it needs itself, so that `pgcad --help` answers at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="pgcad",
    help="Find CAD parts from SQL: by text, picture, file, point cloud or example.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULT_STATE = Path(".pgcad")
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

State = Annotated[Path, typer.Option("--state", help="Folder of the local cluster and service.")]
Dsn = Annotated[
    Optional[str],
    typer.Option(
        "--dsn",
        help="libpq connection string. Default: $PGCAD_DSN, else the local cluster in .pgcad, else libpq's environment.",
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Connections that work on the queue.")
]
Limit = Annotated[Optional[int], typer.Option("--limit", min=1, help="Load at most this many files.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Put rows that failed before back into the queue.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the encoder service when it is down.")]
FailOk = Annotated[bool, typer.Option("--fail-ok", help="Exit with 0 even when some files failed.")]

JOBS_DEFAULT = os.cpu_count() or 1
WAIT_DEFAULT_S = 120.0


# --- the service and the models -----------------------------------------------------------------------------------


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Run the encoder service (see `pgcad serve --help`)."""
    from pgcad.service.server import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train the encoders (see `pgcad train --help`)."""
    from pgcad.training.train import main

    raise typer.Exit(main(context.args))


@app.command("eval", context_settings=PASS_THROUGH, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure the encoders (see `pgcad eval --help`)."""
    from pgcad.training.evaluate import main

    raise typer.Exit(main(context.args))


# --- the local cluster --------------------------------------------------------------------------------------------


@app.command()
def up(state: State = DEFAULT_STATE) -> None:
    """Start a local cluster and its encoder service; returns when both answer."""
    from pgcad_load import cluster

    cluster.up(state)


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop the local cluster and its encoder service."""
    from pgcad_load import cluster

    cluster.down(state)


@app.command("dsn")
def print_dsn(state: State = DEFAULT_STATE) -> None:
    """Print the connection string of the local cluster and nothing else."""
    from pgcad_load import cluster

    print(cluster.dsn(state))
