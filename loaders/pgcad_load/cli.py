"""The command line `pgcad`. Every command imports what it needs itself, so that `pgcad --help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgcad_load.vector_kind import Kind

if TYPE_CHECKING:
    from pgcad_load.discovery import PartFile
    from pgcad_load.ingest_queue import Unreadable
    from pgcad_load.loading import Tally

app = typer.Typer(
    name="pgcad",
    help="Find CAD parts from SQL: by text, picture, file, point cloud or example.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULT_STATE = Path(".pgcad")
SAMPLES = Path("samples")
JOBS = os.cpu_count() or 1
WAIT_S = 120.0
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

State = Annotated[Path, typer.Option("--state", help="Folder of the local cluster and service.")]
Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        help="libpq connection string. Default: $PGCAD_DSN, else the local cluster in .pgcad, else libpq's own.",
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Connections that work on the queue.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Load at most this many files.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try failed files of the queue again.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the encoder service when it is away.")]
FailOk = Annotated[bool, typer.Option("--fail-ok", help="Exit with 0 even when files failed.")]
Translate = Annotated[
    str | None,
    typer.Option(
        "--translate",
        metavar="glossary|URL",
        help="Fill in Chinese names and descriptions that are missing: by pgcad's glossary, or by a language model at "
        "an OpenAI-compatible address, up to /v1.",
    ),
]
TranslateModel = Annotated[str | None, typer.Option("--translate-model", help="The service's name of the model.")]
TranslateKeyEnv = Annotated[
    str | None, typer.Option("--translate-key-env", help="Environment variable that holds the service's key.")
]
Family = Annotated[str | None, typer.Option("--family", help="Only this family.")]
Filters = Annotated[str, typer.Option("--filters", metavar="JSON", help='Such as {"material": "steel"}.')]
OptionsJson = Annotated[str, typer.Option("--options", metavar="JSON", help='Such as {"against": "shape"}.')]
Html = Annotated[Path | None, typer.Option("--html", dir_okay=False, help="Write the result as a page, too.")]
ExistingFile = typer.Option(exists=True, dir_okay=False, readable=True)


# --- the service and the models -----------------------------------------------------------------------------------


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Run the encoder service (see `pgcad serve --help`)."""
    from pgcad.service.server import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train the encoders (see `pgcad train --help`)."""
    from pgcad.training.command import main

    with _clear_errors():
        raise typer.Exit(main(context.args))


@app.command("eval", context_settings=PASS_THROUGH, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure the encoders (see `pgcad eval --help`)."""
    from pgcad.evaluation.command import main

    raise typer.Exit(main(context.args))


# --- the local cluster --------------------------------------------------------------------------------------------


@app.command()
def up(state: State = DEFAULT_STATE) -> None:
    """Start a local cluster and its encoder service; returns when both answer."""
    from pgcad_load import cluster

    with _clear_errors():
        cluster.up(state)


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop the local cluster and its encoder service."""
    from pgcad_load import cluster

    with _clear_errors():
        cluster.down(state)


@app.command("dsn")
def print_dsn(state: State = DEFAULT_STATE) -> None:
    """Print the connection string of the local cluster and nothing else."""
    from pgcad_load import cluster

    with _clear_errors():
        print(cluster.dsn(state))


@app.command(context_settings=PASS_THROUGH)
def psql(context: typer.Context, state: State = DEFAULT_STATE) -> None:
    """Run psql on the local cluster; further arguments are psql's."""
    from pgcad_load import cluster

    with _clear_errors():
        raise typer.Exit(cluster.psql(state, context.args))


# --- loading ------------------------------------------------------------------------------------------------------


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files and folders.")],
    metadata: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV or JSON table with a column `file`.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Family of files that no sidecar gives one.")] = None,
    translate: Translate = None,
    translate_model: TranslateModel = None,
    translate_key_env: TranslateKeyEnv = None,
    limit: Limit = None,
    jobs: Jobs = JOBS,
    retry_failed: RetryFailed = False,
    wait: Wait = WAIT_S,
    fail_ok: FailOk = False,
    dsn: Dsn = None,
) -> None:
    """Load part files: STEP, STL, OBJ, PLY, GLB, 3MF, OFF, xyz and npy, folders with all that is below them.

    What is known of the parts comes from `parts.csv` or `parts.json` in a folder and `<file>.json` beside a file. Run
    it again after whatever stopped it: it goes on where it was, and loads nothing twice.
    """
    from pgcad_load.discovery import discover
    from pgcad_load.display import console, printable_path

    with _clear_errors():
        found = discover(paths, family, metadata)
        for suffix, number in sorted(found.other_types.items()):
            console.print(f"{number} files of another type left out: {suffix or 'no extension'}", markup=False)
        for path in found.named_but_missing:
            console.print(f"named in a sidecar, but not there: {printable_path(path)}", markup=False)
        parts = found.parts[:limit]
        if translate:
            parts = _in_chinese(parts, translate, translate_model, translate_key_env)
        tally = _load(parts, [], dsn, jobs, wait, retry_failed)
    _finish(tally, fail_ok)


@app.command("load-kicad")
def load_kicad(
    cache: Annotated[
        Path | None, typer.Option(help="Default: $PGCAD_CACHE, /var/cache/pgcad or ~/.cache/pgcad.")
    ] = None,
    family: Annotated[str, typer.Option(metavar="GLOB", help="Such as 'Package_*'.")] = "*",
    hide_captions: Annotated[
        bool, typer.Option("--hide-captions", help="Load geometry only, nothing that names a part: for evaluation.")
    ] = False,
    limit: Limit = None,
    jobs: Jobs = JOBS,
    retry_failed: RetryFailed = False,
    wait: Wait = WAIT_S,
    fail_ok: FailOk = False,
    dsn: Dsn = None,
) -> None:
    """Load the 6,227 STEP models of KiCad 6 (downloads 400 MB, unpacks to 6 GB), captioned from its footprints."""
    from pgcad.cache import cache_folder

    from pgcad_load import kicad
    from pgcad_load.display import console

    with _clear_errors():
        folder = cache or cache_folder()
        console.print(f"KiCad models in {folder} ({kicad.ATTRIBUTION})", markup=False)
        parts = kicad.part_files(kicad.fetch(folder), family, hide_captions)
        tally = _load(parts[:limit], [], dsn, jobs, wait, retry_failed)
    _finish(tally, fail_ok)


@app.command("load-warehouse")
def load_warehouse(
    cache: Annotated[
        Path | None, typer.Option(help="Default: $PGCAD_CACHE, /var/cache/pgcad or ~/.cache/pgcad.")
    ] = None,
    limit: Limit = None,
    jobs: Jobs = JOBS,
    retry_failed: RetryFailed = False,
    wait: Wait = WAIT_S,
    fail_ok: FailOk = False,
    dsn: Dsn = None,
) -> None:
    """Generate standard parts (screws, nuts, bearings, flanges, gears, ...) and load them."""
    from pgcad.cache import cache_folder
    from rich.progress import track

    from pgcad_load.discovery import PartFile
    from pgcad_load.display import console
    from pgcad_load.generation import generate
    from pgcad_load.ingest_queue import Unreadable
    from pgcad_load.warehouse import catalogue

    with _clear_errors():
        wanted = catalogue()[:limit]
        generated = list(
            track(
                generate(wanted, (cache or cache_folder()) / "warehouse", jobs),
                "generating",
                total=len(wanted),
                console=console,
            )
        )
        parts = [item for item in generated if isinstance(item, PartFile)]
        failed = [item for item in generated if isinstance(item, Unreadable)]
        tally = _load(parts, failed, dsn, jobs, wait, retry_failed)
    _finish(tally, fail_ok)


@app.command()
def ingest(
    jobs: Jobs = JOBS,
    retry_failed: RetryFailed = False,
    wait: Wait = WAIT_S,
    fail_ok: FailOk = False,
    dsn: Dsn = None,
) -> None:
    """Work off what waits in the queue, whoever put it there."""
    from pgcad_load import connection, ingest_queue, loading

    with _clear_errors():
        options = loading.Options(connection.resolve(dsn), jobs, wait, retry_failed)
        tally = loading.run(ingest_queue.pending, 0, options)
    _finish(tally, fail_ok)


@app.command("import-vectors")
def import_vectors(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A file .npz or .parquet.")],
    space: Annotated[str, typer.Option(metavar="NAME", help="The external space that takes them.")],
    create: Annotated[bool, typer.Option("--create", help="Add the space where it is not there.")] = False,
    kind: Annotated[
        Kind | None, typer.Option("--as", help="Which vector of a part they are. Default: the fused one, or several.")
    ] = None,
    dsn: Dsn = None,
) -> None:
    """Import vectors that another model made, one or many per part, into an external space.

    An npz file has the arrays `ids` (strings) and `vectors` (n x d numbers); a Parquet file the columns `id` and
    `vector`. An id is a model_id or a part number. The vectors are scaled to length 1.

    Several vectors of one part are taken for those of pictures of it: they become its view vectors, and their
    normalised mean its image vector. Without --as that mean, or the one vector that there is, is the fused vector too,
    and what the space had of the part is replaced. With --as text, image, shape or brep its other vectors stay, and the
    fused vector becomes the normalised mean of those that it has; with --as fused it is set.

    Everything is checked before anything is written, and all of it is written in one transaction: after an error, or
    Ctrl-C, mend the file and run it again. It takes an admin (cad.grant_to).
    """
    from pgcad_load import connection, vector_file
    from pgcad_load import import_vectors as importing

    with _clear_errors():
        vectors = vector_file.read(file)
        with connection.connect(connection.resolve(dsn)) as database:
            print(importing.import_vectors(database, vectors, space, kind, create))


# --- looking ------------------------------------------------------------------------------------------------------


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="English or Chinese, a description or a part number.")] = None,
    image: Annotated[Path | None, ExistingFile] = None,
    file: Annotated[Path | None, ExistingFile] = None,
    points: Annotated[Path | None, ExistingFile] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    family: Family = None,
    filters: Filters = "{}",
    options: OptionsJson = "{}",
    html: Html = None,
    dsn: Dsn = None,
) -> None:
    """Search by text, picture, file or point cloud; text, picture and file may be combined."""
    from rich.console import Console

    from pgcad_load import connection
    from pgcad_load.search import Question, ask, table

    with _clear_errors():
        question = Question(
            text, image, file, points, k, family, _object(filters, "--filters"), _object(options, "--options")
        )
        with connection.connect(connection.resolve(dsn)) as database:
            answer = ask(database, question)
            Console().print(table(answer))
            if html:
                from pgcad_load.result_page import write_page

                write_page(database, [answer], html)
                print(html.resolve())


@app.command()
def demo(
    state: State = DEFAULT_STATE,
    samples: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the sample corpus.")] = SAMPLES,
    jobs: Jobs = JOBS,
) -> None:
    """Load the sample corpus into the local cluster and write a page of four searches."""
    from pgcad_load import cluster, connection
    from pgcad_load.discovery import discover
    from pgcad_load.result_page import write_page
    from pgcad_load.search import Question, ask

    questions = [
        Question(text="M8 flange bolt, 40 mm", k=6),
        Question(text="深沟球轴承", k=6),
        Question(image=samples / "queries" / "flange_bolt.png", k=6),
        Question(file=samples / "queries" / "bracket.step", k=6),
    ]
    with _clear_errors():
        tally = _load(discover([samples / "parts"]).parts, [], cluster.dsn(state), jobs, WAIT_S, False)
        with connection.connect(cluster.dsn(state)) as database:
            page = state / "demo.html"
            write_page(database, [ask(database, question) for question in questions], page)
    _finish(tally, fail_ok=False)
    print(f"Four searches and what they found: {page.resolve()}")


@app.command()
def status(dsn: Dsn = None) -> None:
    """Show the queue, the families and what the database's doctor says."""
    from rich.console import Console

    from pgcad_load import connection
    from pgcad_load.status import tables

    with _clear_errors(), connection.connect(connection.resolve(dsn)) as database:
        for table in tables(database):
            Console().print(table)


# --- what the commands share --------------------------------------------------------------------------------------


def _load(
    parts: list[PartFile], unreadable: list[Unreadable], dsn: str | None, jobs: int, wait_s: float, retry_failed: bool
) -> Tally:
    from pgcad_load import connection, ingest_queue, loading

    def feed(database: connection.Connection) -> Iterator[ingest_queue.Enqueued]:
        yield ingest_queue.Enqueued([], [], unreadable)
        yield from ingest_queue.enqueue(database, parts)

    options = loading.Options(connection.resolve(dsn), jobs, wait_s, retry_failed)
    return loading.run(feed, len(parts) + len(unreadable), options)


def _in_chinese(parts: list[PartFile], choice: str, model: str | None, key_env: str | None) -> list[PartFile]:
    from pgcad.cache import cache_folder
    from pgcad.corpus.translation import ChatTranslator, chosen_translator

    from pgcad_load.bilingual import in_chinese
    from pgcad_load.display import console

    translator = chosen_translator(choice, model, key_env, cache_folder() / "translations.sqlite")
    parts = in_chinese(parts, translator)
    if isinstance(translator, ChatTranslator) and translator.replaced:
        console.print(f"{translator.replaced} translations had lost a number; the glossary's stand in for them")
    return parts


def _finish(tally: Tally, fail_ok: bool) -> None:
    """Print what became of every file; exit with 1 when some failed."""
    from rich.text import Text

    from pgcad_load.display import console

    for failure in tally.failures:
        console.print(Text(f"failed: {failure.file}: {failure.reason}"), soft_wrap=True)
    console.print(
        f"{tally.new} new, {tally.duplicate} duplicates, {tally.already} there before, {len(tally.failures)} failed"
    )
    if tally.failures and not fail_ok:
        raise typer.Exit(1)


def _object(text: str, option: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=option) from error
    if not isinstance(value, dict):
        raise typer.BadParameter('expected a JSON object, such as {"material": "steel"}', param_hint=option)
    return value


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a person can act on is shown as a message, not as a traceback."""
    import psycopg
    from pgcad.errors import CadError

    from pgcad_load.cluster import ClusterError
    from pgcad_load.crew import LoadError
    from pgcad_load.display import printable
    from pgcad_load.kicad import KicadError
    from pgcad_load.search import SearchError
    from pgcad_load.sidecar import SidecarError
    from pgcad_load.vector_file import VectorFileError

    try:
        yield
    except (ClusterError, KicadError, LoadError, SearchError, SidecarError, VectorFileError, OSError) as error:
        _exit_with(printable(str(error)))
    except CadError as error:
        _exit_with(printable(f"{error.message} {error.hint}"))
    except psycopg.Error as error:
        message, hint = error.diag.message_primary or str(error), error.diag.message_hint
        _exit_with("\n".join(printable(line) for line in f"{message}\n{hint or ''}".strip().splitlines()))
    except KeyboardInterrupt:
        _exit_with("Stopped. Nothing is lost: run the same command again to go on.", 130)


def _exit_with(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
