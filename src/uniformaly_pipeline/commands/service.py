"""A detector over HTTP: ``/predict``, ``/health`` and ``/metrics``, with limits on everything.

``/`` says what there is.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

from uniformaly_pipeline import __version__
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.drift import Drift
from uniformaly_pipeline.detector.results import Result, Unreadable
from uniformaly_pipeline.detector.sources import Source

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Buckets of the times that answers take."""

LOOK_S = 0.05
"""Seconds between looks whether a client is still there."""


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        max_bytes: Most bytes of an image's file.
        max_pixels: Most pixels of an image.
        timeout_s: Seconds that sending an image may take, and again that judging it may take, the
            wait for others included.
        max_waiting: Images that may wait or be judged at a time; further ones are turned away.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000
    timeout_s: float = 30.0
    max_waiting: int = 64


class _Metrics:
    """What Prometheus is told."""

    def __init__(self, detector: Detector) -> None:
        self.registry = CollectorRegistry()
        self.images = Counter(
            "uniformaly_images", "Images judged", ["decision"], registry=self.registry
        )
        self.refused = Counter(
            "uniformaly_refused", "Requests not answered", ["reason"], registry=self.registry
        )
        self.seconds = Histogram(
            "uniformaly_predict_seconds", "Seconds from request to answer, judged images only",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "uniformaly_waiting", "Images that wait or are judged", registry=self.registry
        )
        self.drift = Gauge(
            "uniformaly_drift", "1 where scores drift from those of the held-out images, else 0",
            registry=self.registry,
        )  # fmt: skip
        self.p_value = Gauge(
            "uniformaly_drift_p_value", "P-value of the drift", registry=self.registry
        )
        self.p_value.set(1.0)
        threshold = Gauge("uniformaly_threshold", "Score above which an image is anomalous",
                          registry=self.registry)  # fmt: skip
        threshold.set(detector.threshold.value)
        for decision in ("normal", "anomalous"):
            self.images.labels(decision)
        for reason in ("unreadable", "too large", "busy", "timeout", "cancelled"):
            self.refused.labels(reason)


class _Judge:
    """Judges one image at a time: the encoder uses all cores as it is."""

    def __init__(self, detector: Detector, limits: Limits) -> None:
        self._detector = detector
        self._limits = limits
        self._monitor = detector.monitor()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")

    def submit(
        self, content: bytes, name: str, picture: bool, gone: threading.Event
    ) -> asyncio.Future[Any]:
        """Judge an image as soon as the others are done, unless its client has gone by then."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, self._judge, content, name, picture, gone)

    def close(self) -> None:
        """Judge no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _judge(
        self, content: bytes, name: str, picture: bool, gone: threading.Event
    ) -> tuple[Result | Unreadable, Drift, str | None] | None:
        if gone.is_set():
            return None
        limit = self._limits.max_pixels
        source = Source(name, lambda: content, limit, "--max-megapixels")
        (each,) = self._detector.predict_each_of([source])
        if isinstance(each, Unreadable):
            return each, self._monitor.look(), None
        drawn = None
        if picture:
            buffer = io.BytesIO()
            each.draw().save(buffer, "PNG")
            drawn = base64.b64encode(buffer.getvalue()).decode()
        return each, self._monitor.update(each.score), drawn


def create_app(detector: Detector, limits: Limits | None = None) -> FastAPI:
    """The service of a detector.

    ``POST /predict`` takes the bytes of an image's file as its body and answers with
    :meth:`.results.Result.to_dict`, ``drift`` and ``drift_p_value``; ``?picture=true`` adds
    ``picture``, a PNG in base64, and ``?name=`` what the image is called. It refuses with 413 what
    is too large, 422 what is no image, 408 what is sent too slowly, 503 where too many wait or it
    takes too long. ``/`` says in words what there is. ``state.images`` of the application counts
    the images judged.

    Args:
        detector: The detector, best warmed up.
        limits: What a client may ask for.
    """
    bounds = limits or Limits()
    metrics = _Metrics(detector)
    judge = _Judge(detector, bounds)
    waiting = 0

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        judge.close()

    app = FastAPI(title="uniformaly", version=__version__, docs_url=None, redoc_url=None,
                  lifespan=lifespan)  # fmt: skip
    app.state.images = 0

    def refuse(reason: str, status: int, words: str) -> HTTPException:
        metrics.refused.labels(reason).inc()
        # What of the body has not been read is not read any more.
        headers = {408: {"Connection": "close"}, 413: {"Connection": "close"},
                   503: {"Retry-After": "1"}}.get(status)  # fmt: skip
        return HTTPException(status, words, headers)

    async def body(request: Request) -> bytes:
        too_large = f"the image has more than {bounds.max_bytes:,} bytes"
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > bounds.max_bytes:
            raise refuse("too large", 413, too_large)
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > bounds.max_bytes:
                raise refuse("too large", 413, too_large)
        return bytes(content)

    @app.post("/predict")
    async def predict(request: Request, name: str = "image", picture: bool = False) -> Any:
        nonlocal waiting
        began = time.monotonic()
        try:
            content = await asyncio.wait_for(body(request), bounds.timeout_s)
        except asyncio.TimeoutError:
            words = f"the image was not there after {bounds.timeout_s:g} s"
            raise refuse("timeout", 408, words) from None
        except ClientDisconnect:
            raise refuse("cancelled", 499, "the client has gone") from None
        if not content:
            raise refuse("unreadable", 422, "give the bytes of an image's file as the body")
        if waiting >= bounds.max_waiting:
            raise refuse("busy", 503, f"{waiting} images are waiting: try again")
        gone = threading.Event()
        watcher = asyncio.create_task(_disconnected(request))
        waiting += 1
        metrics.waiting.set(waiting)
        try:
            judged = judge.submit(content, name, picture, gone)
            done, _ = await asyncio.wait(
                {judged, watcher}, timeout=bounds.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if judged not in done:
                gone.set()
                if watcher in done:
                    raise refuse("cancelled", 499, "the client has gone")
                words = f"the image was not judged within {bounds.timeout_s:g} s"
                raise refuse("timeout", 503, words)
            each, drift, drawn = judged.result()
        finally:
            gone.set()
            watcher.cancel()
            waiting -= 1
            metrics.waiting.set(waiting)
        if isinstance(each, Unreadable):
            raise refuse("unreadable", 422, _form_hint(request, name) or each.reason)
        app.state.images += 1
        metrics.images.labels("anomalous" if each.is_anomalous else "normal").inc()
        metrics.seconds.observe(time.monotonic() - began)
        metrics.drift.set(drift.is_drifting)
        metrics.p_value.set(drift.p_value)
        answer = each.to_dict()
        answer |= {"drift": drift.is_drifting, "drift_p_value": drift.p_value}
        return answer | ({"picture": drawn} if drawn is not None else {})

    @app.get("/")
    async def home(request: Request) -> PlainTextResponse:
        """What there is, for who opens the address in a browser."""
        return PlainTextResponse(_welcome(detector, str(request.base_url).rstrip("/")))

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """That it is up, and what it is."""
        return {
            "status": "ok",
            "detector": detector.state.name,
            "backbone": detector.state.backbone.model,
            "threshold": detector.threshold.value,
            "false_alarm_rate": detector.threshold.false_alarm_rate,
            "waiting": waiting,
        }

    @app.get("/metrics")
    async def prometheus() -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(metrics.registry))

    return app


def _welcome(detector: Detector, address: str) -> str:
    return (
        f"The detector {detector.state.name}, served by uniformaly.\n\n"
        f"{address}/predict  judges the image that is sent to it:\n"
        f"    {curl_command(address)}\n"
        f"{address}/health   says that it is up, and what it is\n"
        f"{address}/metrics  has numbers for Prometheus\n"
    )


def curl_command(address: str) -> str:
    """The command that sends an image.

    Args:
        address: Of the service.
    """
    return f"curl --data-binary @x.png {address}/predict"


def _form_hint(request: Request, name: str) -> str | None:
    """What to do about an image that was sent as a field of a form, as ``curl -F`` does."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return None
    return (
        f"{name} is sent as a form (multipart/form-data): send the image's file itself as the "
        "body, with curl by --data-binary @x.png"
    )


async def _disconnected(request: Request) -> None:
    """Ends when the client has gone."""
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_S)
