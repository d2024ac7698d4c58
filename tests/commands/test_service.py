"""A detector over HTTP, on loopback, with clients of all kinds."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from uniformaly_pipeline.commands.connections import timed_protocol
from uniformaly_pipeline.commands.service import Limits, create_app
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.encoding import PatchArrays


@contextmanager
def served(
    detector: Detector, limits: Limits | None = None, app: FastAPI | None = None
) -> Iterator[str]:
    """Its address while it runs in a thread."""
    config = uvicorn.Config(
        app or create_app(detector, limits),
        port=0,
        log_level="critical",
        http=timed_protocol((limits or Limits()).timeout_s),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def ask(
    url: str, content: bytes | None = None, kind: str = "application/octet-stream"
) -> tuple[int, Any]:
    """Status and answer."""
    request = urllib.request.Request(url, content, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return answer.status, text.decode() if url.endswith("metrics") else json.loads(text)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def metric(url: str, name: str) -> float:
    """A number of ``/metrics``."""
    lines = ask(f"{url}/metrics")[1].splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).rpartition(" ")[2])


class SlowEncoder:
    """Takes its time; counts the images that it was given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0

    def __call__(self, images: np.ndarray) -> PatchArrays:
        self.count += len(images)
        time.sleep(self.seconds)
        shape = (len(images), 64, 24)
        return PatchArrays(np.zeros(shape, np.float32), np.ones((len(images), 8, 8), np.float32))


@pytest.fixture
def hole(pictures: Path) -> bytes:
    return (pictures / "new/holes/x.png").read_bytes()


def test_8_clients_get_what_python_gets(detector: Detector, pictures: Path) -> None:
    paths = sorted(path for path in (pictures / "new").rglob("*.png")) * 8
    expected = [detector.predict(path).to_dict() for path in paths[:3]] * 8
    with served(detector) as url:
        assert ask(f"{url}/health")[1]["status"] == "ok"
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda p: ask(f"{url}/predict", p.read_bytes()), paths))
        for (status, answer), known in zip(answers, expected, strict=True):
            assert status == 200
            for key, value in known.items():
                is_number = isinstance(value, float)
                near = pytest.approx(value, rel=1e-5) if is_number else value
                assert key == "image" or answer[key] == near, key
        assert metric(url, 'uniformaly_images_total{decision="anomalous"}') == 8
        assert metric(url, 'uniformaly_images_total{decision="normal"}') == 16
        assert metric(url, "uniformaly_predict_seconds_count") == 24
        assert metric(url, "uniformaly_threshold") == detector.threshold.value
        assert metric(url, "uniformaly_waiting") == 0


def test_its_address_says_what_there_is(detector: Detector) -> None:
    with (
        served(detector) as url,
        urllib.request.urlopen(url, timeout=60) as answer,
    ):
        said = answer.read().decode()
    assert answer.headers["content-type"].startswith("text/plain")
    assert f"The detector {detector.state.name}" in said
    assert f"curl --data-binary @x.png {url}/predict\n" in said
    assert f"{url}/health " in said
    assert f"{url}/metrics " in said


def test_images_judged_are_counted(detector: Detector, hole: bytes) -> None:
    app = create_app(detector)
    with served(detector, app=app) as url:
        assert ask(f"{url}/predict", b"no image")[0] == 422
        assert ask(f"{url}/predict", hole)[0] == 200
    assert app.state.images == 1


def test_a_picture_and_a_name_on_request(detector: Detector, hole: bytes) -> None:
    with served(detector) as url:
        answer = ask(f"{url}/predict?name=bolt-7&picture=true", hole)[1]
    assert answer["image"] == "bolt-7"
    drawn = Image.open(io.BytesIO(base64.b64decode(answer["picture"])))
    assert drawn.size == detector.predict(Image.open(io.BytesIO(hole))).draw().size


def test_bad_and_huge_input_is_refused_and_the_next_is_judged(
    detector: Detector, hole: bytes
) -> None:
    limits = Limits(max_bytes=len(hole), max_pixels=90 * 72)
    wide = io.BytesIO()
    Image.new("L", (90, 73)).save(wide, "PNG")
    with served(detector, limits) as url:
        for content, status, words in [
            (b"", 422, "give the bytes"),
            (b"no image", 422, "cannot be read as an image"),
            (hole[: len(hole) // 2], 422, "cannot be read as an image"),
            (wide.getvalue(), 422, "more than the 6,480 allowed by --max-megapixels)"),
            (hole + b"\0", 413, "more than"),
        ]:
            found, answer = ask(f"{url}/predict", content)
            assert (found, words in answer["detail"]) == (status, True), answer
        # A body of unknown length, which never ends, is cut off where it is too long.
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            connection.sendall(8 * (b"1000\r\n" + b"x" * 0x1000 + b"\r\n"))
            answered = b""
            while part := connection.recv(1000):  # until it hangs up
                answered += part
            assert b" 413 " in answered.splitlines()[0]
        assert ask(f"{url}/predict", hole)[0] == 200
        assert metric(url, 'uniformaly_refused_total{reason="too large"}') >= 1
        assert metric(url, 'uniformaly_refused_total{reason="unreadable"}') == 4


def test_an_image_sent_as_a_form_is_told_how_to_send_it(detector: Detector, hole: bytes) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + hole + b"\r\n--x--\r\n"
    with served(detector) as url:
        found, answer = ask(f"{url}/predict", form, "multipart/form-data; boundary=x")
        assert found == 422
        assert "(multipart/form-data): send the image's file itself" in answer["detail"]
        assert "--data-binary @x.png" in answer["detail"]
        assert ask(f"{url}/predict", hole, "application/x-www-form-urlencoded")[0] == 200


def test_who_waits_too_long_or_with_too_many_is_told(detector: Detector, hole: bytes) -> None:
    slow = Detector(detector.state, SlowEncoder(1.0))
    with served(slow, Limits(timeout_s=0.3)) as url:
        status, answer = ask(f"{url}/predict", hole)
        assert (status, answer["detail"]) == (503, "the image was not judged within 0.3 s")
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx")
            assert b" 408 " in connection.recv(1000)
        assert metric(url, 'uniformaly_refused_total{reason="timeout"}') == 2
    busy = Detector(detector.state, SlowEncoder(0.5))
    with served(busy, Limits(max_waiting=2)) as url, ThreadPoolExecutor(5) as clients:
        answers = list(clients.map(lambda _: ask(f"{url}/predict", hole), range(5)))
        assert sorted(status for status, _ in answers) == [200, 200, 503, 503, 503]
        assert metric(url, 'uniformaly_refused_total{reason="busy"}') == 3


def test_an_image_whose_client_has_gone_is_not_judged(detector: Detector, hole: bytes) -> None:
    encoder = SlowEncoder(0.6)
    with served(Detector(detector.state, encoder)) as url:
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hole)}\r\n\r\n".encode()
        with ThreadPoolExecutor(1) as other:
            first = other.submit(ask, f"{url}/predict", hole)
            while encoder.count == 0:
                time.sleep(0.01)
            for _ in range(3):  # they wait behind the first, and hang up
                with socket.create_connection((host, int(port)), timeout=30) as connection:
                    connection.sendall(head + hole)
                    time.sleep(0.05)
            assert first.result()[0] == 200
        assert ask(f"{url}/predict", hole)[0] == 200
        assert encoder.count == 2
        assert metric(url, 'uniformaly_refused_total{reason="cancelled"}') == 3
        assert metric(url, "uniformaly_waiting") == 0


def test_who_hangs_up_while_sending_is_counted_and_no_traceback(
    detector: Detector, hole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with served(detector) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
            connection.sendall(head + b"abc")
            time.sleep(0.1)
        deadline = time.monotonic() + 10
        while metric(url, 'uniformaly_refused_total{reason="cancelled"}') != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask(f"{url}/predict", hole)[0] == 200
    assert "Traceback" not in caplog.text


def test_drift_is_told(detector: Detector, pictures: Path) -> None:
    state = detector.state
    many = np.linspace(0.9, 1.1, 60).astype(np.float32) * detector.calibration_scores.mean()
    from dataclasses import replace

    with served(Detector(replace(state, calibration_scores=many), detector.encoder)) as url:
        content = (pictures / "new/holes/x.png").read_bytes()
        answers = [ask(f"{url}/predict", content)[1] for _ in range(15)]
        assert not answers[0]["drift"]
        assert answers[-1]["drift"]
        assert metric(url, "uniformaly_drift") == 1
        assert metric(url, "uniformaly_drift_p_value") < 1e-4


def test_headers_that_do_not_end_are_cut_off_in_time(detector: Detector, hole: bytes) -> None:
    """Of a first request, of a second one, and of a client that says nothing; others may go on."""
    head = f"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: {len(hole)}\r\n"
    with served(detector, Limits(timeout_s=1)) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with (
            socket.create_connection(address, timeout=30) as silent,
            socket.create_connection(address, timeout=30) as first,
            socket.create_connection(address, timeout=30) as second,
        ):
            began = time.monotonic()
            second.sendall(f"{head}\r\n".encode() + hole)
            assert second.recv(4096).startswith(b"HTTP/1.1 200")
            for slow in (first, second):
                slow.sendall(head.encode())
            first.sendall(b"X-More: and more\r\n")
            assert (silent.recv(1), first.recv(1)) == (b"", b"")
            while second.recv(4096):
                pass
            assert 0.9 < time.monotonic() - began < 15
        assert ask(f"{url}/predict", hole)[0] == 200
