"""An encoder service that does what the test says: quick, deterministic, and able to fail in every way.

It speaks the protocol of docs/design.md. A file whose content is `fail 22023` is refused with that SQLSTATE, `bare
22023` without a hint, `drop` closes the connection, `hang` is never answered, `slow` is answered after half a second,
`full N` is refused with 53300 the first N times, `nan report` and `nan vector` hold a number that is none; any other
file is a part, with a B-rep where its content begins with `brep`. Vectors are a function of the content alone, as long
as the space is said to be. `versions` names encoders of spaces. `embed_parts` makes nothing of a part whose text begins
with `nothing`, runs `on_batch` and fails once `batches_left` is used up, and so does `encode_vectors`, which makes the
codes that the real service makes. How well points fit is what `fits` says, and
how well silhouettes do is what `overlaps` says, 0.5 where they say nothing; a picture has no plain background where it
is `busy`. Weights are learned as the service learns them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pgcad import client
from pgcad.errors import CadError
from pgcad.service import weighing
from pgcad.service.jobs import JOBS
from pgcad.service.quantizing import encode_vectors, train_codebook

DIM = 512
KNOWN_METADATA = {
    "part_number", "revision", "name", "file_name", "name_zh", "family", "description", "description_zh", "material",
    "tags", "units", "mass_kg", "density_kg_m3",
}  # fmt: skip
Answer = tuple[dict[str, Any], list[bytes]]


class Dropped(Exception):
    """The script says that the connection breaks here."""


class ScriptedService:
    """Listens on `path` until it is closed. `version` may be changed while it runs."""

    def __init__(self, path: Path, version: str = "scripted-1") -> None:
        self.path, self.version = path, version
        self.analysed: list[bytes] = []
        self.versions: dict[str, str] = {}
        self.headers: list[dict[str, Any]] = []
        self.batches_left = math.inf
        self.on_batch: Callable[[], None] = lambda: None
        self.refused: dict[bytes, int] = {}
        self.fits: dict[bytes, float] = {}
        self.overlaps: dict[bytes, float] = {}
        self.refined: list[tuple[bytes, list[int]]] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o777)  # the server may run as another user than the test
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and break every connection."""
        for end in (self._listener, *self._connections):
            with contextlib.suppress(OSError):  # closed from the other side
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        inbox = client.Inbox()
        with connection, contextlib.suppress(ConnectionError):  # the client may go before it has its answer
            while received := connection.recv(1 << 20):
                inbox.buffer += received
                while (frame := inbox.take()) is not None:
                    try:
                        answer = self._answer(*frame)
                    except Dropped:
                        return
                    if answer is not None:
                        connection.sendall(answer)

    def _answer(self, header: dict[str, Any], payloads: list[bytes]) -> bytes | None:
        self.headers.append(header)
        operation: Callable[[dict[str, Any], list[bytes]], Answer | None] = getattr(self, header["op"])
        try:
            answer = operation(header, payloads)
        except client.ServiceError as error:
            fields = {"sqlstate": error.sqlstate, "message": error.message, "detail": "", "hint": error.hint}
            return client.pack({"id": header["id"], "ok": False, "error": fields})
        if answer is None:
            return None
        reply, bodies = answer
        version = self.versions.get(header.get("space", "cad"), self.version)
        known = {"version": version, "dim": header.get("dim", DIM)}
        return client.pack({"id": header["id"], "ok": True, **known, **reply}, bodies)

    def health(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        spaces = {"cad": {"version": self.version, "dim": DIM}}
        return {"status": "ok", "protocol": 1, "pgcad_version": "0.1.0", "device": "cpu", "spaces": spaces}, []

    def embed_text(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        return {}, [b"".join(vector(text.encode(), header.get("dim", DIM)) for text in header["texts"])]

    def embed_image(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        return {}, [b"".join(vector(image, header.get("dim", DIM)) for image in payloads)]

    embed_points = embed_shape = embed_image

    def embed_multi(self, header: dict[str, Any], payloads: list[bytes]) -> Answer | None:
        contents = [header["text"].encode()] if header["text"] is not None else []
        contents += payloads
        if b"hang" in contents:
            return None
        for content in contents:
            self._misbehave(content)
        rows = [row for row in ("text", "image", "shape") if header[row]]
        if header["format"] == "step":
            rows.append("brep")
            contents.append(b"faces of " + payloads[-1])
        vectors = [vector(content, header.get("dim", DIM)) for content in contents]
        return {"rows": [*rows, "fused"]}, [b"".join([*vectors, vectors[0]])]

    def embed_parts(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        bodies, rows, vectors = iter(payloads), [], list[bytes]()
        for part in header["parts"]:
            contents = {"text": part["text"].encode()} if part["text"] is not None else {}
            views = [next(bodies) for _ in range(part["views"])]
            contents |= {f"view {number}": view for number, view in enumerate(views)}
            contents |= {"image": b"".join(views)} if views else {}
            contents |= {"shape": next(bodies)} if part["points"] else {}
            contents |= {"brep" if part["points"] else "shape": next(bodies)} if part["brep"] else {}
            contents |= {"fused": b"".join(contents.values())} if contents else {}
            contents = {} if contents.get("text", b"").startswith(b"nothing") else contents
            rows.append(list(contents))
            vectors += [vector(content, header.get("dim", DIM)) for content in contents.values()]
        if any(rows):
            self.batches_left -= 1
            if self.batches_left < 0:
                raise client.ServiceError("08006", "the provider answered 503", hint="Try again later.")
            self.on_batch()
        return {"rows": rows}, [b"".join(vectors)]

    def fit(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        return {"fits": [self.fits.get(points, 0.5) for points in payloads[1:]]}, []

    def overlap(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        picture, *parts = payloads
        if picture == b"busy":
            return {"fits": None, "cameras": None}, []
        return {
            "fits": [self.overlaps.get(part, 0.5) for part in parts],
            "cameras": [[zlib.crc32(part)] for part in parts],
        }, []

    def refine_overlap(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        self.refined = list(zip(payloads[1:], header["cameras"], strict=True))
        return self.fit(header, payloads)

    def learn_weights(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        return asyncio.run(weighing.learn_weights(header, payloads))

    def train_codebook(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        return run(train_codebook, header, payloads)

    def encode_vectors(self, header: dict[str, Any], payloads: list[bytes]) -> Answer:
        self.batches_left -= 1
        if self.batches_left < 0:
            raise client.ServiceError("08006", "the service went away", hint="Try again later.")
        self.on_batch()
        return run(encode_vectors, header, payloads)

    def analyse(self, header: dict[str, Any], payloads: list[bytes]) -> Answer | None:
        content = payloads[0]
        self.analysed.append(content)
        self._misbehave(content)
        if content == b"hang":
            return None
        vectors = [vector(b"%d" % row + content) for row in range(15)]
        if not content.startswith(b"brep"):
            vectors[3] = bytes(len(vectors[3]))
        if content == b"no text":
            vectors[0] = bytes(len(vectors[0]))
        if content == b"nan vector":
            vectors[0] = struct.pack("<f", math.nan) + vectors[0][4:]
        files = [b"mesh", b"points", b"silhouettes", b"thumbnail", *(b"view %d" % view for view in range(10))]
        files += [b"".join(vectors), content if content.startswith(b"brep") else b""]
        strange = {"volume_mm3": math.nan} if content == b"nan report" else {}
        return {"report": {**report(header["metadata"]), **strange}}, files

    def _misbehave(self, content: bytes) -> None:
        word, _, argument = content.decode(errors="replace").partition(" ")
        if word == "fail":
            raise client.ServiceError(argument, "this file is refused", hint="Send another.")
        if word == "bare":
            raise client.ServiceError(argument, "this file is refused")
        if word == "drop":
            raise Dropped
        if word == "slow":
            time.sleep(0.5)
        if word == "full":
            self.refused[content] = self.refused.get(content, 0) + 1
            if self.refused[content] <= int(argument):
                raise client.ServiceError("53300", "the queue is full", hint="Try again in a moment.")


class _Jobs:
    """A backend that runs the jobs of the workers here."""

    async def geometry(self, job: str, requests: list[Answer]) -> list[Answer]:
        return [JOBS[job](*request) for request in requests]


def run(operation: Callable[..., Any], header: dict[str, Any], payloads: list[bytes]) -> Answer:
    """What the real service does with a request that needs no encoder."""
    try:
        return asyncio.run(operation(header, payloads, SimpleNamespace(backend=_Jobs())))
    except CadError as error:
        raise client.ServiceError(error.sqlstate, error.message, hint=error.hint) from None


def vector(content: bytes, dim: int = DIM) -> bytes:
    """A unit vector, float32 little-endian, that depends on `content` alone."""
    generator = random.Random(hashlib.sha256(content).digest())
    numbers = [generator.gauss(0, 1) for _ in range(dim)]
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack(f"<{dim}f", *(number / length for number in numbers))


def report(metadata: dict[str, Any]) -> dict[str, Any]:
    """What the geometry workers would say of a 10 x 20 x 30 mm box with this metadata."""
    name = next((metadata[key] for key in ("name", "part_number", "file_name") if metadata.get(key)), "unnamed part")
    unknown = {key: value for key, value in metadata.items() if key not in KNOWN_METADATA}
    return {
        "kind": "part", "unit_as_read": "mm", "closed": True, "volume_mm3": 6000.0, "area_mm2": 2200.0,
        "center_of_mass_mm": [5, 10, 15], "principal_moments_mm5": [250000, 500000, 650000],
        "box_min_mm": [0, 0, 0], "box_max_mm": [10, 20, 30], "size_mm": [10, 20, 30], "face_count": 6, "edge_count": 12,
        "faces_by_type": {"plane": 6}, "edges_by_type": {"line": 12}, "solid_count": 1, "component_count": None,
        "names": ["box"], "colours": ["#808080"], "triangle_count": 12, "name": name,
        "description": metadata.get("description", "a box"), "description_zh": "盒子",
        "description_generated": "description" not in metadata, "genome": {"metadata": unknown} if unknown else None,
        "views": [{"view": v, "name": f"view {v}", "azimuth_deg": 36.0 * v, "elevation_deg": 0.0} for v in range(10)],
    }  # fmt: skip
