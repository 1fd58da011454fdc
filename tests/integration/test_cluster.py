"""The local cluster: it keeps its port, survives a crash, and stops nothing that is not its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pgcad_load.cluster import PORTS, ClusterError, LocalCluster, bindir, dsn


@pytest.fixture(scope="module")
def made() -> Iterator[LocalCluster]:
    state = Path(tempfile.mkdtemp(prefix="pgcad-cluster-"))
    cluster = LocalCluster.at(state, durable=False)
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(state)


@pytest.fixture
def own_cluster(made: LocalCluster) -> LocalCluster:
    """A running cluster that a test may stop and crash."""
    made.start()
    return made


def postmaster_pid(cluster: LocalCluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().split()[0])


def test_starting_twice_is_starting_once(own_cluster: LocalCluster) -> None:
    pid = postmaster_pid(own_cluster)
    own_cluster.start()
    assert postmaster_pid(own_cluster) == pid


def test_port_is_kept_over_a_restart(own_cluster: LocalCluster) -> None:
    port = own_cluster.port
    own_cluster.stop()
    own_cluster.start()
    with own_cluster.connect("postgres") as connection:
        assert connection.info.port == own_cluster.port == port
    assert port in PORTS


def test_committed_rows_survive_a_crash(own_cluster: LocalCluster) -> None:
    with own_cluster.connect("postgres") as connection:
        connection.execute("create table kept as select 42 as answer")
        connection.execute("checkpoint")
    psutil.Process(postmaster_pid(own_cluster)).kill()
    own_cluster.start()
    with own_cluster.connect("postgres") as connection:
        assert connection.execute("select answer from kept").fetchall() == [(42,)]


def test_pid_file_that_names_another_process(own_cluster: LocalCluster) -> None:
    """After a reboot the pid of the old postmaster may be anybody's: it is neither waited for nor stopped."""
    own_cluster.stop()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (own_cluster.data / "postmaster.pid").write_text(f"{bystander.pid}\n{own_cluster.data}\n")
        own_cluster.stop()
        assert bystander.poll() is None
        own_cluster.start()
        with own_cluster.connect("postgres") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert bystander.poll() is None
        bystander.kill()


def test_folder_is_closed_to_others(own_cluster: LocalCluster) -> None:
    assert own_cluster.socket_dir.stat().st_mode & 0o777 == 0o700
    assert own_cluster.password_file.stat().st_mode & 0o777 == 0o600


def test_loopback_asks_for_the_password(own_cluster: LocalCluster) -> None:
    command = [bindir() / "psql", "-X", "-A", "-t", "-w", "-c", "select 1"]
    address = f"host=127.0.0.1 port={own_cluster.port} user=postgres dbname=postgres"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    password = own_cluster.password_file.read_text().strip()
    without = subprocess.run([*command, address], env=environment, capture_output=True, text=True)
    assert "no password supplied" in without.stderr
    correct = subprocess.run(
        [*command, f"{address} password={password}"], env=environment, capture_output=True, text=True
    )
    assert correct.stdout == "1\n"


def test_unfinished_initdb_is_made_anew(own_cluster: LocalCluster) -> None:
    own_cluster.stop()
    kept = own_cluster.data.rename(own_cluster.state / "data.kept")
    (own_cluster.state / "data.new").mkdir()
    (own_cluster.state / "data.new" / "PG_VERSION").write_text("15\n")
    own_cluster.start()
    with own_cluster.connect("postgres") as connection:
        assert connection.execute("show server_encoding").fetchone() == ("UTF8",)
    own_cluster.stop()
    shutil.rmtree(own_cluster.data)
    kept.rename(own_cluster.data)


def test_data_of_another_major_version_is_refused(own_cluster: LocalCluster) -> None:
    own_cluster.stop()
    version_file = own_cluster.data / "PG_VERSION"
    version = version_file.read_text()
    version_file.write_text("9\n")
    with pytest.raises(ClusterError, match="made by PostgreSQL 9, but"):
        own_cluster.start()
    version_file.write_text(version)


def test_long_path_keeps_its_sockets_elsewhere(tmp_path: Path) -> None:
    cluster = LocalCluster.at(tmp_path / ("long" * 30))
    assert len(os.fsencode(cluster.encoder_socket)) < 108
    assert cluster.socket_dir != LocalCluster.at(tmp_path / ("lang" * 30)).socket_dir


def test_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    """As with `sudo make` in a user's checkout."""
    folder = Path("/")  # another user's for anyone but root
    if os.geteuid() == 0:
        folder = tmp_path
        shutil.chown(folder, "nobody")
    owner = folder.stat().st_uid
    with pytest.raises(ClusterError, match="does not belong to"):
        LocalCluster.at(folder).start()
    assert folder.stat().st_uid == owner


def test_connection_string_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="run `make up`"):
        dsn(tmp_path)


def test_stopping_leaves_a_service_of_others_alone(own_cluster: LocalCluster) -> None:
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, "serve", "--socket", "/tmp/another.sock"]) as bystander:
        own_cluster.stop_service()
        assert bystander.poll() is None
        bystander.kill()


@pytest.fixture
def another_script(cluster: LocalCluster) -> str:
    """A database that holds a row, and remembers another script than the one that is installed."""
    name = "another_script"
    cluster.create_database(name)
    with cluster.connect(name) as connection:
        connection.execute(f"alter database {name} set pgcad.script = 'of an older build'")
    cluster.create_database(name)  # empty still: it follows
    assert remembered_script(cluster, name) != "of an older build"
    with cluster.connect(name) as connection:
        connection.execute("insert into cad.ingest (source_uri, format, content) values ('a.stl', 'stl', 'x')")
        connection.execute(f"alter database {name} set pgcad.script = 'of an older build'")
    return name


def remembered_script(cluster: LocalCluster, name: str) -> str | None:
    with cluster.connect(name) as connection:
        [(script,)] = connection.execute("select current_setting('pgcad.script', true)").fetchall()
        return str(script) if script else None


def test_changed_script_of_the_same_version(cluster: LocalCluster, another_script: str) -> None:
    """A database with data is left alone; the commands of the message move its rows under the new script."""
    with pytest.raises(ClusterError, match="holds parts") as refused:
        cluster.create_database(another_script)
    assert remembered_script(cluster, another_script) == "of an older build"
    commands = "\n".join(line for line in str(refused.value).splitlines() if line.startswith("  "))
    subprocess.run(["sh", "-ec", commands], check=True)
    assert remembered_script(cluster, another_script) is None
    cluster.create_database(another_script)
    assert remembered_script(cluster, another_script) is not None
    with cluster.connect(another_script) as connection:
        assert connection.execute("select source_uri from cad.ingest").fetchall() == [("a.stl",)]
