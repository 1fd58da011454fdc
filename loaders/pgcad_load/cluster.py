"""A private PostgreSQL cluster and its encoder service in one folder: start, stop, connect.

Used by `pgcad up` and, on temporary folders, by the tests. PostgreSQL refuses to run as root, so as root both processes
run as the system user `postgres`; as anyone else they run as that user. Connections through the Unix socket need no
password because only the owner may enter its folder; connections through the loopback port do.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from pgcad import client
from psycopg import sql
from psycopg.conninfo import make_conninfo

SUPERUSER = "postgres"
DATABASE = "cad"
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes; ".s.PGSQL.29999" and the final zero go into it too
PORTS = range(20_000, 30_000)  # below Linux' ephemeral ports, so that no outgoing connection takes it meanwhile
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
_PYTHON_SETTINGS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")

CONFIGURATION = """\
# Written by `pgcad up`; put your own settings in another file of this folder.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
shared_buffers = {shared_buffers_mb}MB
maintenance_work_mem = 512MB        # an HNSW build in memory is several times faster
max_parallel_maintenance_workers = 2
max_wal_size = 2GB
random_page_cost = 1.1              # solid-state disks
jit = off                           # no query here is long enough to earn its compilation
log_line_prefix = '%m [%p] %u@%d '
"""
SHARED_BUFFERS_MB = range(128, 8193)
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
FORGETFUL = "shared_buffers = 512MB\nfsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"

# The extension of a database: the version it has, the version that is installed, the SHA-256 of the script it was made
# or updated with (the setting pgcad.script; docker/entrypoint.sh keeps it too), and that of the installed script.
EXTENSION = """
select
    e.installed_version,
    e.default_version,
    nullif(current_setting('pgcad.script', true), ''),
    encode(sha256(pg_read_binary_file(c.setting || '/extension/pgcad--' || e.default_version || '.sql')), 'hex')
from pg_available_extensions as e
inner join pg_config as c on c.name = 'SHAREDIR'
where e.name = 'pgcad'
"""
MOVE = """\
the SQL of pgcad has changed without a new version, and database {name} holds parts under the old one. It still answers;
to have the new SQL, move the parts into a new database, then run this again:
  pg_dump --format=custom --file={dump} {dsn}
  psql {server} --command 'alter database {name} rename to {name}_before' --command 'create database {name}'
  pg_restore --exit-on-error --dbname={dsn} {dump}"""


class ClusterError(RuntimeError):
    """The local cluster or its service cannot do what was asked; the message says what to do."""


@dataclass(frozen=True)
class LocalCluster:
    """A cluster and an encoder service whose files all lie in the folder `state`.

    `durable=False` trades safety against power loss for speed; it is for tests.
    """

    state: Path
    durable: bool = True

    @classmethod
    def at(cls, state: Path, *, durable: bool = True) -> LocalCluster:
        """The cluster in `state`, links resolved: the folder's real path is part of connection strings."""
        return cls(state.resolve(), durable)

    # --- where things are ---------------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def log(self) -> Path:
        return self.state / "postgresql.log"

    @property
    def service_log(self) -> Path:
        return self.state / "service.log"

    @property
    def password_file(self) -> Path:
        return self.state / "password"

    @property
    def socket_dir(self) -> Path:
        """Folder of the Unix sockets; elsewhere when the state's own path is too long for one."""
        inside = self.state / "run"
        if len(os.fsencode(inside / "encoder.sock")) <= SOCKET_PATH_LIMIT - 8:
            return inside
        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path("/run" if os.geteuid() == 0 else tempfile.gettempdir()) / f"pgcad-{self.owner}-{digest}"

    @property
    def encoder_socket(self) -> Path:
        return self.socket_dir / "encoder.sock"

    @property
    def port(self) -> int:
        """The loopback port, chosen when the cluster was made."""
        try:
            return int((self.state / "port").read_text())
        except FileNotFoundError:
            raise ClusterError(f"there is no local cluster in {self.state}; run `make up`") from None

    @property
    def owner(self) -> str:
        """The system user that runs both processes."""
        return "postgres" if os.geteuid() == 0 else getpass.getuser()

    def dsn(self, database: str = DATABASE) -> str:
        """A libpq connection string through the Unix socket, as superuser."""
        return make_conninfo(host=str(self.socket_dir), port=self.port, user=SUPERUSER, dbname=database)

    def connect(self, database: str = DATABASE) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(database), autocommit=True)

    # --- the cluster --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the cluster where there is none, and start it. Does nothing when it runs already."""
        self._make_folders()
        if not self.data.exists():
            self._initdb()
        self._require_same_major()
        self._configure()
        if self._postmaster() is not None:
            return
        self._wait_for_orphans()
        for lock in (self.data / "postmaster.pid", self.socket_dir / f".s.PGSQL.{self.port}.lock"):
            lock.unlink(missing_ok=True)  # of a crash; the server itself is fooled when the pid is a zombie or reused
        started = self._run("pg_ctl", "start", "-w", "-t", "120", "-D", self.data, "-l", self.log, check=False)
        if started.returncode != 0:
            raise ClusterError(f"PostgreSQL did not start. The end of {self.log}:\n{_tail(self.log)}")

    def stop(self) -> None:
        """Stop the cluster; open transactions are rolled back."""
        if self._postmaster() is not None:
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)

    def create_database(self, database: str = DATABASE) -> None:
        """Create `database` where it is missing and bring its extension and settings up to date."""
        with self.connect("postgres") as connection:
            if not connection.execute("select from pg_database where datname = %s", [database]).rowcount:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        self.set_defaults(database)
        with self.connect(database) as connection:
            self._update_extension(connection)

    def set_defaults(self, database: str) -> None:
        """The settings of a database of ours: `cad` is on the search_path, and where the encoder service listens."""
        name = sql.Identifier(database)
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL('alter database {} set search_path = "$user", public, cad').format(name))
            connection.execute(
                sql.SQL("alter database {} set pgcad.socket = {}").format(name, sql.Literal(str(self.encoder_socket)))
            )

    def _make_folders(self) -> None:
        root = os.geteuid() == 0
        owner = pwd.getpwnam(self.owner).pw_uid if root else os.geteuid()
        for folder in (self.state, self.socket_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if root and folder.lstat().st_uid == 0 and not any(folder.iterdir()):  # just made, or set ready for us
                self._give_to_owner(folder)
            if folder.lstat().st_uid != owner:  # root must not take it from a user, nor a user trust a stranger's
                raise ClusterError(
                    f"{folder} does not belong to {self.owner}, who would run the cluster; "
                    "run this as its owner, remove it, or choose another --state"
                )
        if subprocess.run(["test", "-w", self.state], **self._as_owner()).returncode != 0:
            raise ClusterError(
                f"the user {self.owner} cannot reach {self.state}, because a folder above keeps it out; "
                "choose another one, such as --state /var/lib/pgcad/local"
            )

    def _initdb(self) -> None:
        port_file = self.state / "port"
        if not port_file.exists():
            port_file.write_text(f"{_free_port()}\n")
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_urlsafe(24) + "\n")
        self._give_to_owner(self.password_file)
        unfinished = self.state / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run(
            "initdb", "--pgdata", unfinished, "--username", SUPERUSER, "--pwfile", self.password_file,
            "--encoding", "UTF8", "--locale", "C.UTF-8", "--auth-local", "trust", "--auth-host", "scram-sha-256",
            "--no-instructions", *([] if self.durable else ["--no-sync"]),
        )  # fmt: skip
        (unfinished / "conf.d").mkdir()
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_dir = 'conf.d'\n")
        self._give_to_owner(unfinished / "conf.d")
        unfinished.rename(self.data)

    def _configure(self) -> None:
        text = CONFIGURATION.format(
            port=self.port, socket_dir=self.socket_dir, shared_buffers_mb=_shared_buffers_mb(_memory_bytes())
        )
        configuration = self.data / "conf.d" / "pgcad.conf"
        configuration.write_text(text if self.durable else text + FORGETFUL)
        self._give_to_owner(configuration)

    def _require_same_major(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        installed = self._run("postgres", "--version").stdout.split()[2].split(".")[0]
        if made_by != installed:
            raise ClusterError(
                f"{self.data} was made by PostgreSQL {made_by}, but PostgreSQL {installed} is installed; "
                f"move the data with pg_upgrade, or remove {self.state} and load again"
            )

    def _postmaster(self) -> psutil.Process | None:
        """The running postmaster of this cluster. Its pid file alone proves nothing: pids are used again."""
        try:
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            return process if Path(process.cwd()) == self.data else None
        except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None

    def _wait_for_orphans(self) -> None:
        """Backends of a postmaster that was killed still hold its shared memory; they leave by themselves."""
        orphans = [process for process in _processes() if _cwd(process) == self.data]
        _, left = psutil.wait_procs(orphans, timeout=STOP_TIMEOUT_S)
        if left:
            pids = " ".join(str(process.pid) for process in left)
            raise ClusterError(f"processes of a crashed cluster still use {self.data}; stop them first: kill {pids}")

    def _update_extension(self, connection: psycopg.Connection[Any]) -> None:
        """Bring the extension to the installed version and script, where that needs no hand.

        In development the script changes without a new version: an empty database follows. A restored database does
        not know its script, but ran the one that was installed.
        """
        row = connection.execute(EXTENSION).fetchone()
        if row is None:
            raise ClusterError("this PostgreSQL has no extension pgcad; run `make install`")
        present, available, script, installed_script = row
        if present == available and script == installed_script:
            return
        name = connection.info.dbname
        with connection.transaction():
            if present is None:
                connection.execute("create extension pgcad cascade")
            elif present != available:
                connection.execute("alter extension pgcad update")
            elif _is_empty(connection):
                connection.execute("drop extension pgcad")
                connection.execute("create extension pgcad cascade")
            elif script is not None:
                words = {"dsn": self.dsn(name), "server": self.dsn("postgres"), "dump": f"{self.state / name}.dump"}
                raise ClusterError(MOVE.format(name=name, **{key: shlex.quote(word) for key, word in words.items()}))
            connection.execute(
                sql.SQL("alter database {} set pgcad.script = {}").format(
                    sql.Identifier(name), sql.Literal(installed_script)
                )
            )

    # --- the encoder service ------------------------------------------------------------------------------------

    def start_service(self) -> None:
        """Start a supervised encoder service, detached. Does nothing when its supervisor runs already."""
        if self._supervisor() is not None:
            return
        self.stop_service()
        pgcad = Path(sysconfig.get_path("scripts"), "pgcad")
        command = [str(pgcad), "serve", "--supervise", "--socket", str(self.encoder_socket)]
        with self.service_log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.state, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self._as_owner(),
            )  # fmt: skip
        self._service_pid_file.write_text(f"{process.pid}\n")

    def wait_for_service(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return as soon as the service answers; raises ClusterError with the end of its log when it does not."""
        deadline = time.monotonic() + timeout_s
        while not self.service_answers():
            if self._supervisor() is None or time.monotonic() > deadline:
                raise ClusterError(f"the encoder service did not start. The end of its log:\n{_tail(self.service_log)}")
            time.sleep(0.1)

    def service_answers(self) -> bool:
        """True as soon as the models are loaded and the workers are up."""
        try:
            health, _ = client.call(str(self.encoder_socket), "health", {}, [], 2000, lambda: None, {})
        except client.ServiceError:
            return False
        return bool(health["status"] != "starting")

    def stop_service(self) -> None:
        """Stop the supervisor and every process that it left behind, by their pids."""
        serving = list(self._serving())
        supervisor = self._supervisor()
        if supervisor is not None:
            supervisor.terminate()
            psutil.wait_procs([supervisor], timeout=STOP_TIMEOUT_S)
        for process in psutil.wait_procs(serving, timeout=STOP_TIMEOUT_S if supervisor else 0)[1]:
            _kill(process)
        self._service_pid_file.unlink(missing_ok=True)

    @property
    def _service_pid_file(self) -> Path:
        return self.state / "service.pid"

    def _supervisor(self) -> psutil.Process | None:
        try:
            pid = int(self._service_pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return next((process for process in self._serving() if process.pid == pid), None)

    def _serving(self) -> Iterator[psutil.Process]:
        """Processes that were started to serve our socket; a supervisor that was killed leaves its child behind."""
        for process in _processes():
            arguments = _arguments(process)
            if "serve" in arguments and str(self.encoder_socket) in arguments:
                yield process

    # --- running programs as the owner --------------------------------------------------------------------------

    def _as_owner(self) -> dict[str, Any]:
        """Arguments for subprocess that run a program as the owner."""
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(self.owner)
        return {
            "user": entry.pw_uid,
            "group": entry.pw_gid,
            "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid),
            "env": {**os.environ, "HOME": str(self.state), "USER": entry.pw_name, "LOGNAME": entry.pw_name},
        }

    def _give_to_owner(self, path: Path) -> None:
        """What root makes for the owner becomes its own: root's umask may keep others out. Links are not followed."""
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self.owner)
            os.lchown(path, entry.pw_uid, entry.pw_gid)

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        owner = self._as_owner()
        environment = _of_the_system(owner.pop("env", os.environ))
        done = subprocess.run(
            [Path(bindir(), program), *arguments], cwd=self.state, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, **owner,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise ClusterError(f"{program} failed:\n{done.stdout}")
        return done


# --- the commands of `pgcad` ------------------------------------------------------------------------------------


def up(state: Path, say: Callable[[str], None] = print) -> None:
    """Start cluster and service in `state`, wait until both answer, and say how to connect."""
    cluster = LocalCluster.at(state)
    cluster.start()
    cluster.start_service()
    cluster.create_database()
    say(f"PostgreSQL runs: {cluster.dsn()}")
    say(f"  from programs without access to that folder: host=127.0.0.1 port={cluster.port} user={SUPERUSER} "
        f"dbname={DATABASE}, password in {cluster.password_file}")  # fmt: skip
    cluster.wait_for_service()
    say(f"The encoder service runs: {cluster.encoder_socket}")


def down(state: Path, say: Callable[[str], None] = print) -> None:
    """Stop the service and the cluster in `state`."""
    cluster = LocalCluster.at(state)
    cluster.stop_service()
    cluster.stop()
    say(f"Stopped; the data stays in {cluster.state}")


def dsn(state: Path) -> str:
    """The connection string of the cluster in `state`; raises ClusterError when there is none."""
    return LocalCluster.at(state).dsn()


def psql(state: Path, arguments: list[str]) -> int:
    """Run psql on the cluster in `state`; returns its exit status."""
    return subprocess.call([Path(bindir(), "psql"), dsn(state), *arguments])


# --- the operating system ---------------------------------------------------------------------------------------


def _of_the_system(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what an activated virtual environment put there.

    A server's Python looks for its home along PATH: whoever starts the server would decide which packages UDFs see.
    """
    ours = Path(sysconfig.get_path("scripts"))
    path = [folder for folder in environment.get("PATH", os.defpath).split(os.pathsep) if Path(folder) != ours]
    kept = {name: value for name, value in environment.items() if name not in _PYTHON_SETTINGS}
    return {**kept, "PATH": os.pathsep.join(path)}


def bindir() -> Path:
    """Folder of the server's programs, from pg_config ($PG_CONFIG chooses another installation, as with PGXS)."""
    return Path(subprocess.run([_pg_config(), "--bindir"], check=True, capture_output=True, text=True).stdout.strip())


def _pg_config() -> str:
    found = shutil.which(os.environ.get("PG_CONFIG", "pg_config"))
    if found is None:
        raise ClusterError("pg_config was not found; run `make install`, or point $PG_CONFIG at it")
    return found


def _memory_bytes() -> int:
    """Memory of the machine, or what a container may have of it."""
    try:
        limit = MEMORY_LIMIT.read_text().strip()
    except OSError:  # no container, or a system that does not say
        limit = "max"
    total = psutil.virtual_memory().total
    return total if limit == "max" else min(total, int(limit))


def _shared_buffers_mb(memory_bytes: int) -> int:
    """A quarter of the memory, which PostgreSQL's manual takes to be reasonable; more than some GB rarely helps."""
    return min(max(memory_bytes // 4 // 2**20, SHARED_BUFFERS_MB[0]), SHARED_BUFFERS_MB[-1])


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise ClusterError(f"found no free port between {PORTS.start} and {PORTS.stop}")


def _is_empty(connection: psycopg.Connection[Any]) -> bool:
    return not connection.execute("select from cad.model union all select from cad.ingest limit 1").rowcount


def _processes() -> Iterator[psutil.Process]:
    return psutil.process_iter()


def _cwd(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
