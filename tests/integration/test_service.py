"""The service as a whole: connections, workers that fail, start, shutdown and supervision."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pgcad.client import ServiceError, call, call_many, pack, unpack
from service_doubles.process import TESTS, TIMEOUT_MS, ServiceProcess, eventually, in_background
from service_doubles.provider import Reply, provider, unit
from service_doubles.space import DIM, vector_of
from service_doubles.tiny_models import CLIP, make_model

Request = tuple[str, dict[str, Any], list[bytes]]
Start = Callable[..., ServiceProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services that are stopped after the test."""
    services: list[ServiceProcess] = []
    with tempfile.TemporaryDirectory(prefix="pgcad-") as folder:

        def start(*options: str) -> ServiceProcess:
            services.append(ServiceProcess(Path(folder), *options))
            return services[-1]

        yield start
        for service in services:
            service.stop()


def embed(path: str, text: str) -> np.ndarray[Any, Any]:
    _, [matrix] = call(path, "embed_text", {"texts": [text]}, [], TIMEOUT_MS, lambda: None, {})
    return np.frombuffer(matrix, "<f4")


def test_every_connection_gets_its_own_answers(start: Start) -> None:
    path = start().path
    texts = [f"part {number}" for number in range(50)]
    answers = [in_background(partial(embed, path, text)) for text in texts]
    for text, answer in zip(texts, answers, strict=True):
        np.testing.assert_array_equal(answer(), vector_of(text.encode()))


def test_pipelined_files_are_worked_on_by_all_workers(start: Start) -> None:
    service = start("--workers", "2")
    requests = [("analyse", {"format": "step"}, [f"part {number}".encode()]) for number in range(40)]
    requests.insert(3, ("analyse", {"format": "step"}, [b"slow"]))
    answers = list(call_many(service.path, requests, TIMEOUT_MS, lambda: None, {}))
    reports = {index: answer["report"] for index, answer, _ in answers if isinstance(answer, dict)}
    assert [reports[index]["name"].encode() for index in range(41)] == [payloads[0] for _, _, payloads in requests]
    assert len({report["pid"] for report in reports.values()}) == 2
    assert [index for index, _, _ in answers].index(3) > 3  # others overtook the slow one
    vectors = np.frombuffer(answers[0][2][-2], "<f4").reshape(15, DIM)
    of_no_brep = np.arange(15) == 3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.where(of_no_brep, 0, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("file", "sqlstate", "says", "options"),
    [
        (b"crash", "58000", "SIGSEGV", []),
        (b"hang", "57014", "longer than 3 s", ["--file-limit-s", "3"]),
        (b"eat", "53200", "300 MB", ["--worker-memory-mb", "300"]),
        (b"gulp", "53200", "300 MB", ["--worker-memory-mb", "300"]),
        (b"refuse", "22023", "not a part", []),
        (b"stumble", "58000", "KeyError", []),
    ],
)
def test_a_bad_file_fails_alone_and_says_why(
    start: Start, file: bytes, sqlstate: str, says: str, options: list[str]
) -> None:
    service = start("--workers", "1", *options)
    failure = service.failure(file)
    assert (failure.sqlstate, failure.hint != "") == (sqlstate, True)
    assert says in failure.message
    assert service.analyse(b"good")["name"] == "good"


def test_a_file_that_a_worker_crashed_on_has_a_second_chance(start: Start, tmp_path: Path) -> None:
    service = start("--workers", "1")
    first = service.analyse(b"good")["pid"]
    assert service.analyse(b"crash once %s" % bytes(tmp_path / "mark"))["pid"] != first
    assert service.failure(b"crash").sqlstate == "58000"
    assert service.health()["workers"]["restarts"] == 3


def test_a_slow_query_names_the_limit_of_queries(start: Start) -> None:
    service = start("--workers", "1", "--query-limit-s", "0.5")
    with pytest.raises(ServiceError, match=r"longer than 0\.5 s") as failed:
        service.ask("embed_shape", {"formats": ["step"]}, b"hang")
    assert "--query-limit-s" in failed.value.hint


def test_a_worker_killed_in_the_middle_of_a_file_is_replaced(start: Start) -> None:
    service = start("--workers", "1")
    pid = service.analyse(b"good")["pid"]
    failed = in_background(lambda: service.analyse(b"hang"))
    eventually(service.is_busy)
    os.kill(pid, signal.SIGKILL)
    assert failed().sqlstate == "58000"
    assert service.analyse(b"good")["pid"] != pid
    assert service.health()["workers"]["restarts"] == 1
    [lost] = [event for event in service.events() if event["event"] == "worker_lost"]
    assert (lost["worker_pid"], lost["sqlstate"]) == (pid, "58000")


def test_workers_are_recycled(start: Start) -> None:
    service = start("--workers", "1", "--worker-jobs", "2")
    pids = [service.analyse(b"good")["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_full_queue_refuses_at_once_and_queries_still_pass(start: Start) -> None:
    service = start("--workers", "1", "--queue-limit", "2")
    requests = [("analyse", {"format": "step"}, [b"slow"])] * 6
    answers = [answer for _, answer, _ in call_many(service.path, requests, TIMEOUT_MS, lambda: None, {})]
    refused = [answer for answer in answers if isinstance(answer, ServiceError)]
    assert {(error.sqlstate, error.message) for error in refused} == {("53300", "encoder queue is full")}
    assert 1 <= len(answers) - len(refused) <= 3
    assert service.analyse(b"good")["name"] == "good"


def test_a_request_of_many_pictures_does_not_fill_the_queue(start: Start) -> None:
    service = start("--workers", "1", "--queue-limit", "2")
    pictures = [b"picture %d" % number for number in range(100)]
    header, [matrix] = service.ask("embed_image", {}, *pictures)
    assert header["n"] == 100
    np.testing.assert_array_equal(np.frombuffer(matrix, "<f4").reshape(-1, DIM), [vector_of(p) for p in pictures])


def test_a_query_goes_ahead_of_waiting_files(start: Start) -> None:
    service = start("--workers", "1")
    requests: list[Request] = [("analyse", {"format": "step"}, [b"slow"])] * 4
    requests.append(("embed_shape", {"formats": ["step"]}, [b"query"]))
    order = [index for index, _, _ in call_many(service.path, requests, TIMEOUT_MS, lambda: None, {})]
    assert order.index(4) < order.index(3)


def test_nobody_works_for_a_client_that_has_gone(start: Start) -> None:
    service = start("--workers", "1", "--file-limit-s", "5")
    requests: list[Request] = [("analyse", {"format": "step"}, [file]) for file in [b"good", *[b"hang"] * 30]]
    ingest = call_many(service.path, requests, TIMEOUT_MS, lambda: None, {})
    next(ingest)
    ingest.close()
    assert service.analyse(b"good")["name"] == "good"
    assert service.health()["queue_depth"] == 0


def test_sigterm_finishes_what_is_in_hand(start: Start) -> None:
    service = start("--workers", "1")
    working = in_background(lambda: service.analyse(b"slow"))
    eventually(service.is_busy)
    assert service.stop() == 0
    assert working()["name"] == "slow"
    assert not Path(service.path).exists()
    assert [event["event"] for event in service.events()][-2:] == ["stopping", "stopped"]


def test_sigterm_answers_what_it_cannot_finish(start: Start) -> None:
    service = start("--workers", "1", "--grace-s", "0.3")
    worker = service.analyse(b"good")["pid"]
    working = in_background(lambda: service.analyse(b"hang"))
    eventually(service.is_busy)
    assert service.stop() == 0
    assert working().sqlstate == "57P01"
    eventually(lambda: not psutil.pid_exists(worker))


def test_a_crashed_service_comes_back_under_supervision(start: Start) -> None:
    supervisor = start("--supervise", "--workers", "1")
    worker = supervisor.analyse(b"good")["pid"]
    failed = in_background(lambda: supervisor.analyse(b"hang"))
    eventually(supervisor.is_busy)
    supervisor.front().kill()
    assert failed().sqlstate == "08006"
    eventually(supervisor.answers)
    assert supervisor.analyse(b"good")["pid"] != worker
    eventually(lambda: not psutil.pid_exists(worker))
    assert supervisor.stop() == 0
    assert not Path(supervisor.path).exists()


def test_a_killed_supervisor_takes_its_service_along(start: Start) -> None:
    supervisor = start("--supervise", "--workers", "1")
    family = psutil.Process(supervisor.process.pid).children(recursive=True)
    supervisor.process.kill()
    supervisor.process.wait()
    eventually(lambda: not any(process.is_running() for process in family))


def test_a_killed_service_leaves_a_socket_that_the_next_one_takes_over(start: Start) -> None:
    first = start("--workers", "1")
    first.process.kill()
    first.process.wait()
    assert Path(first.path).exists()
    assert start("--workers", "1").analyse(b"good")["name"] == "good"


def test_a_second_service_on_the_same_path_explains_itself(start: Start) -> None:
    first = start("--workers", "1")
    command = [sys.executable, "-m", "service_doubles.serve", "--socket", first.path, "--grace-s", "0.1"]
    second = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 75  # the first may go away, so a supervisor tries again
    assert json.loads(second.stderr)["sqlstate"] == "55006"
    assert first.analyse(b"good")["name"] == "good"


@pytest.mark.parametrize(
    ("frame", "sqlstate"),
    [
        (pack({"op": "health", "id": 1}).replace(b'"v": 1', b'"v": 9'), "08P01"),
        (b"\xff\xff\xff\xff", "54000"),
        (b"\x00\x00\x00\x04junk", "08P01"),
    ],
    ids=["other version", "oversized header", "not JSON"],
)
def test_a_malformed_frame_closes_its_connection_and_no_other(start: Start, frame: bytes, sqlstate: str) -> None:
    service = start("--workers", "1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(service.path)
        connection.sendall(frame)
        received = bytearray()
        while chunk := connection.recv(1 << 16):
            received += chunk
    answer = unpack(received)
    assert answer is not None
    assert answer[0]["error"]["sqlstate"] == sqlstate
    assert service.analyse(b"good")["name"] == "good"


def http_space(url: str, dim: int = 8) -> dict[str, Any]:
    encoder = {"backend": "http", "dialect": "dashscope", "url": url, "model": "qwen", "key_env": "PGCAD_KEY_TEST"}
    return {"space": "qwen", "dim": dim, "encoder": {**encoder, "modalities": ["text", "image"]}}


def test_a_slow_provider_holds_up_nobody_but_those_who_ask_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCAD_KEY_TEST", "sk-very-secret")
    with provider() as qwen:
        service = start("--workers", "1", "--log-level", "debug")
        qwen.let.clear()
        waiting = in_background(
            lambda: call(
                service.path, "embed_text", {**http_space(qwen.url), "texts": ["nut"]}, [], TIMEOUT_MS, lambda: None, {}
            )
        )
        eventually(lambda: len(qwen.received) == 1)
        np.testing.assert_array_equal(embed(service.path, "nut"), vector_of(b"nut"))
        qwen.let.set()
        header, [matrix] = waiting()
        assert header["version"] == "qwen@dashscope"
        np.testing.assert_allclose(np.frombuffer(matrix, "<f4"), unit("nut"), rtol=1e-5)
        assert service.health()["spaces"].keys() == {"cad", "qwen"}
        qwen.replies = [Reply({"message": "sk-very-secret"}, status=400)]
        with pytest.raises(ServiceError) as refused:
            service.ask("embed_text", {**http_space(qwen.url), "texts": ["bolt"]})
        assert refused.value.sqlstate == "22023"
        with pytest.raises(ServiceError, match="of 8") as refused:
            service.ask("embed_text", {**http_space(qwen.url, 9), "texts": ["bolt"]})
        service.stop()
    said = service.log.read_text() + refused.value.message + refused.value.detail
    assert "sk-very-secret" not in said


def test_pictures_of_stored_parts_go_to_the_provider_once_they_are_decoded(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCAD_KEY_TEST", "sk-very-secret")
    with provider() as qwen:
        service = start("--workers", "2")
        parts = [{"text": "nut", "views": 2}, {"points": True}, {"text": "bolt"}]
        cloud = np.zeros((2048, 6), np.float32).tobytes()
        header, [matrix] = service.ask("embed_parts", {**http_space(qwen.url), "parts": parts}, b"view", b"view", cloud)
        assert header["rows"] == [["text", "image", "shape", "fused", "view 0", "view 1"], [], ["text", "fused"]]
        made = np.frombuffer(matrix, "<f4").reshape(-1, 8)
        np.testing.assert_allclose(made[0], unit("nut"), rtol=1e-5)
        np.testing.assert_allclose(made[6], unit("bolt"), rtol=1e-5)
        with pytest.raises(ServiceError) as refused:
            service.ask("embed_parts", {**http_space(qwen.url), "parts": [{"views": 1}]}, b"refuse")
        assert refused.value.sqlstate == "22023"


def test_sigterm_does_not_wait_for_a_provider_that_wants_patience(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCAD_KEY_TEST", "sk-very-secret")
    with provider() as qwen:
        service = start("--workers", "1", "--grace-s", "0.3")
        qwen.otherwise = lambda _: Reply(status=429, headers={"Retry-After": "59"})
        question = {**http_space(qwen.url), "texts": ["nut"]}
        waiting = in_background(lambda: service.ask("embed_text", question))
        eventually(lambda: len(qwen.received) == 1)
        assert service.stop() == 0  # or it is killed for taking longer than thirty seconds
        assert waiting().sqlstate == "57P01"
        assert len(qwen.received) == 1


def test_a_model_of_open_clip_is_opened_from_the_folder_of_models(start: Start, tmp_path: Path) -> None:
    make_model(tmp_path / "tiny", CLIP)
    service = start("--workers", "1", "--models", str(tmp_path))
    encoder = {"backend": "open_clip", "architecture": "tiny", "checkpoint": "tiny/open_clip_model.safetensors"}
    space = {"space": "small", "dim": 16, "encoder": encoder}
    header, [matrix] = service.ask("embed_text", {**space, "texts": ["nut", "bolt"]})
    assert header["version"].startswith("tiny-")
    np.testing.assert_allclose(np.linalg.norm(np.frombuffer(matrix, "<f4").reshape(2, 16), axis=1), 1, rtol=1e-5)
    assert service.health()["spaces"]["small"]["version"] == header["version"]
    before = header["version"]
    make_model(tmp_path / "tiny", CLIP, seed=1)
    assert service.ask("embed_text", {**space, "texts": ["nut"]})[0]["version"] != before
    with pytest.raises(ServiceError, match="512 dimensions") as refused:
        service.ask("embed_text", {**space, "dim": 512, "texts": ["nut"]})
    assert refused.value.sqlstate == "22023"
    assert [json.loads(line) for line in service.log.read_text().splitlines()]  # nothing but its own log


def test_systemd_is_told_when_the_service_is_ready(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = str(Path(folder, "notify"))
        systemd.bind(address)
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        service = start("--workers", "1")
        assert systemd.recv(100) == b"READY=1"
        service.stop()
        assert systemd.recv(100) == b"STOPPING=1"


def test_logs_hold_sizes_and_no_contents(start: Start) -> None:
    service = start("--workers", "1", "--log-level", "debug")
    service.ask("embed_text", {"texts": ["a secret project"]})
    service.failure(b"refuse")
    service.stop()
    assert "secret" not in service.log.read_text()
    [refused] = [event for event in service.events() if event.get("sqlstate") == "22023"]
    assert (refused["op"], refused["bytes_in"], refused["level"]) == ("analyse", len(b"refuse"), "warning")
    assert refused["ms"] > 0
