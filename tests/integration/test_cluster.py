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


def test_connection_string_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="run `make up`"):
        dsn(tmp_path)


def test_stopping_leaves_a_service_of_others_alone(own_cluster: LocalCluster) -> None:
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, "serve", "--socket", "/tmp/another.sock"]) as bystander:
        own_cluster.stop_service()
        assert bystander.poll() is None
        bystander.kill()


def test_changed_script_of_the_same_version(cluster: LocalCluster, template: str) -> None:
    """In development the SQL changes without a new version: an empty database follows, one with data is left alone."""
    name = "changed_script"
    cluster.create_database(name)
    applied = cluster.state / f"{name}.sha256"
    applied.write_text("of an older build")
    cluster.create_database(name)
    assert applied.read_text() != "of an older build"
    with cluster.connect(name) as connection:
        connection.execute("insert into cad.ingest (source_uri, format, content) values ('a.stl', 'stl', 'x')")
        applied.write_text("of an older build")
        with pytest.raises(ClusterError, match="holds data"):
            cluster.create_database(name)
        assert connection.execute("select count(*) from cad.ingest").fetchone() == (1,)
