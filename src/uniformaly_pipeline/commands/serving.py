"""``uniformaly serve``: a detector over HTTP."""

from __future__ import annotations

import logging
import signal
import socket

import click

from uniformaly_pipeline.commands import options
from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.detector.detector import Detector

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen at; only this machine unless told otherwise.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--max-megabytes", type=click.FloatRange(0, min_open=True), default=32.0,
              show_default=True, help="Largest file of an image.")  # fmt: skip
@click.option("--max-megapixels", type=click.FloatRange(0, min_open=True), default=50.0,
              show_default=True, help="Largest image.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0,
              show_default=True, metavar="SECONDS",
              help="How long sending an image may take, and judging it.")  # fmt: skip
@click.option("--max-waiting", type=click.IntRange(1), default=64, show_default=True,
              help="Images that may wait; further ones are turned away.")  # fmt: skip
@options.decision
@options.checkpoint
@options.device
def serve(
    detector: str,
    host: str,
    port: int,
    max_megabytes: float,
    max_megapixels: float,
    timeout: float,
    max_waiting: int,
    false_alarm_rate: float | None,
    threshold: float | None,
    checkpoint: str | None,
    device: str,
) -> None:
    """Answer HTTP requests with DETECTOR: /predict, /health, /metrics (Prometheus).

    There is no password and no encryption: put a proxy with both in front before other machines
    may ask.

    \b
    uniformaly serve bolt.safetensors
    curl --data-binary @new.png http://127.0.0.1:8000/predict
    uniformaly serve bolt.safetensors --host 0.0.0.0 --port 9000 --max-megapixels 20
    """
    import uvicorn

    from uniformaly_pipeline.commands.connections import timed_protocol
    from uniformaly_pipeline.commands.service import Limits, create_app, curl_command

    loaded = Detector.load(detector, checkpoint=checkpoint, device=device)
    if threshold is not None or false_alarm_rate is not None:
        loaded.set_threshold(threshold, false_alarm_rate=false_alarm_rate)
    loaded.warm_up()
    limits = Limits(int(max_megabytes * 1e6), int(max_megapixels * 1e6), timeout, max_waiting)
    with listen(host, port) as listening:
        if host not in LOOPBACK:
            logger.warning("Listening at %s: whoever reaches this machine can ask", host)
        # Of port 0 the system has chosen one.
        shown = f"[{host}]" if ":" in host else host
        port = listening.getsockname()[1]
        address = f"http://{shown}:{port}"
        logger.info("Serving %r at %s", loaded, address)
        logger.info("Try it: %s", curl_command(address))  # a line of its own, to be copied
        app = create_app(loaded, limits)
        config = uvicorn.Config(
            app,
            http=timed_protocol(timeout),
            log_level="warning",
            timeout_graceful_shutdown=int(timeout) + 1,
        )
        # Its server ends by either, and then raises it once more: that is no failure.
        ends = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: None) for number in ends}
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            logger.info("Stopped after %s", number_of(app.state.images, "image"))


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine.

    Raises:
        InputError: It is not of this machine, another program listens there, or one may not.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(
            f"nobody can listen at {host}:{port} ({reason}): give another --host or --port"
        ) from error
