"""Downloading large files over bad connections."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import CHUNK_BYTES, hash_file, put_in_place
from uniformaly_pipeline.common.progress import byte_progress
from uniformaly_pipeline.common.secrets import split_user, without_secrets

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP answers that may be different a moment later."""


@dataclass(frozen=True)
class Source:
    """A file on a web server.

    Attributes:
        url: Its address, http or https; a user and password in it are sent to that host only.
        name: What it is called on disk: a plain file name.
        sha256: Its SHA-256 as hexadecimal digits.
        md5: Its MD5 as hexadecimal digits, where the publisher gives no better one.
        find_fault: Called with a complete file; says in one phrase what is wrong with it, if
            anything. Without a checksum nothing else tells a login page from the file.
    """

    url: str
    name: str
    sha256: str | None = None
    md5: str | None = None
    find_fault: Callable[[Path], str | None] | None = None

    @property
    def shown(self) -> str:
        """The address as people may see it."""
        return without_secrets(self.url)


class _BrokeOffError(Exception):
    """The connection failed in a way that another attempt may mend."""


class _NoConnectionError(_BrokeOffError):
    """The server could not be reached at all."""


class _StartOverError(Exception):
    """What is on disk is not the beginning of what the server has now."""


@dataclass(frozen=True)
class _Origin:
    """What a ``.part`` is the beginning of, kept beside it as JSON."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes: a strong ETag or else the date."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def differs(self, other: _Origin) -> bool:
        """Whether both say something about the same point, and not the same."""
        mine, theirs = asdict(self), asdict(other)
        return any(
            mine[key] is not None and theirs[key] is not None and mine[key] != theirs[key]
            for key in mine
        )


def fetch(
    source: Source,
    folder: Path,
    *,
    retries: int = 4,
    timeout_s: float = 30,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Download a file, or take the one that is already there.

    The bytes go to ``<name>.part``, which is kept when the download is interrupted, continued by
    the next call, and takes its final name once length and checksum are right. A file that is
    there but is not what it should be is downloaded again.

    Args:
        source: What to download.
        folder: Where to put it; made if it is missing.
        retries: How often to try again without getting any further, with growing pauses. A
            server that cannot be reached at all is tried once, unless bytes came from it before.
        timeout_s: How long to wait for an answer, in seconds.
        pause: Called with the seconds to wait before trying again.

    Returns:
        The path of the complete file.

    Raises:
        InputError: The file cannot be downloaded, or is not the one expected.
    """
    target = folder / source.name
    if source.name in {"", ".", ".."} or re.search(r"[/\\:\x00-\x1f]", source.name):
        raise InputError(f"{source.name!r} is no plain file name: give one to save {source.url}")
    if not _is_http(source.url):
        raise InputError(f"{source.url} cannot be downloaded: give an http or https address")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise InputError(f"{target} is a folder: rename it to save {source.url} there")
        if target.exists():
            wrong = _wrong(source, target)
            if wrong is None:
                return target
            logger.warning("%s is replaced: %s", target, wrong)
        logger.info("Downloading %s to %s", source.shown, target)
        return _Download(source, target, retries, timeout_s, pause).run()
    except OSError as error:
        # Errors of the network have become other ones by now.
        reason = error.strerror or str(error)
        raise InputError(
            f"{source.url} cannot be saved as {target}: {reason}; check permissions and free space"
        ) from error


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _wrong(source: Source, path: Path) -> str | None:
    """What is not as expected about a complete file: one phrase, or None if all is well."""
    for algorithm, expected in (("sha256", source.sha256), ("md5", source.md5)):
        if expected is not None:
            with path.open("rb") as file:
                found = hash_file(file, algorithm, source.name, path.stat().st_size)
            if found != expected.strip().lower():
                return f"expected {algorithm} {expected}, got {found}"
    return source.find_fault(path) if source.find_fault is not None else None


def is_web_page(path: Path) -> bool:
    """Whether a file is HTML, as servers send in place of what one must log in for."""
    with path.open("rb") as file:
        beginning = file.read(2048).lower()
    return b"<html" in beginning or beginning.lstrip().startswith(b"<!doctype html")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; the standard one takes ftp as well."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to follow with, or None to give up."""
        if not _is_http(newurl):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """One file on its way through its ``.part``."""

    def __init__(
        self,
        source: Source,
        target: Path,
        retries: int,
        timeout_s: float,
        pause: Callable[[float], None],
    ) -> None:
        self.source = source
        self.target = target
        self.part = target.with_name(f"{target.name}.part")
        self.notes = target.with_name(f"{target.name}.part.json")
        self.retries = retries
        self.timeout_s = timeout_s
        self.pause = pause
        self.received_any = False
        self.url, self.user = split_user(source.url)
        # Sends "Accept-Encoding: identity": the length is that of the file itself.
        self.opener = urllib.request.build_opener(_Redirects)

    def run(self) -> Path:
        """Download until the file is complete, then check and rename it."""
        failures = 0
        furthest = self._size()
        while True:
            try:
                self._attempt()
                break
            except _StartOverError:
                # Cannot go round in circles: without a .part there is nothing to start over.
                self._discard()
            except _BrokeOffError as error:
                if isinstance(error, _NoConnectionError) and not self.received_any:
                    raise self._failed(str(error)) from error
                failures = 0 if self._size() > furthest else failures
                furthest = max(furthest, self._size())
                failures += 1
                if failures > self.retries:
                    raise self._failed(f"{error}; run again to continue") from error
                wait_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
                logger.info("%s: %s; trying again in %.0f s", self.source.shown, error, wait_s)
                self.pause(wait_s)
        wrong = _wrong(self.source, self.part)
        if wrong is not None:
            self._discard()
            raise InputError(
                f"{self.source.url} is not the file expected ({wrong}): try again; if that does "
                "not help, the file on the server has changed"
            )
        put_in_place(self.part, self.target)
        self.notes.unlink(missing_ok=True)
        return self.target

    def _failed(self, reason: str) -> InputError:
        return InputError(f"{self.source.url} cannot be downloaded: {reason}")

    def _size(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def _origin(self) -> _Origin | None:
        """What an earlier attempt noted about the ``.part``, if that is still of use."""
        try:
            origin = _Origin(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        # Without a validator, only a checksum could tell that two halves do not match.
        checked = origin.validator or self.source.sha256 or self.source.md5
        return origin if origin.url == self.source.shown and checked else None

    def _attempt(self) -> None:
        """Get as much as one connection gives; returns once the ``.part`` is complete."""
        request = urllib.request.Request(self.url, headers={"User-Agent": "uniformaly-pipeline"})
        if self.user is not None:
            credentials = base64.b64encode(":".join(self.user).encode()).decode()
            # Not sent on to where the server redirects to.
            request.add_unredirected_header("Authorization", f"Basic {credentials}")
        origin = self._origin()
        have = self._size() if origin is not None else 0
        if origin is not None and have:
            if have == origin.total:
                return
            request.add_header("Range", f"bytes={have}-")
            if origin.validator is not None:
                request.add_header("If-Range", origin.validator)
        response = self._open(request, resuming=have > 0)
        with response:
            headers = response.headers
            if response.status == http.client.PARTIAL_CONTENT:
                start, total = _content_range(headers.get("Content-Range"))
                if not have:
                    raise self._failed("the server sends a piece of the file unasked; try later")
                if start != have:
                    raise _StartOverError
            else:
                have, total = 0, _number(headers.get("Content-Length"))
            now = _Origin(
                self.source.shown, headers.get("ETag"), headers.get("Last-Modified"), total
            )
            # Not every server that knows Range knows If-Range.
            if have and origin is not None and origin.differs(now):
                raise _StartOverError
            self._check_free(total, have)
            if not have:
                # The notes first, and no bytes of another file beside them.
                self.part.unlink(missing_ok=True)
                self.notes.write_text(json.dumps(asdict(now)), encoding="utf-8")
            self._receive(response, have, total)

    def _open(self, request: urllib.request.Request, *, resuming: bool) -> Any:
        """Send a request; errors of the network become the ones of this module."""
        try:
            return self.opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                phrase = " ".join(str(error.reason).split())
                answer = f"the server answers {error.code} {phrase}".rstrip()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and resuming:
                raise _StartOverError from error
            if error.code in PASSING:
                raise _BrokeOffError(answer) from error
            if 300 <= error.code < 400:
                raise self._failed(
                    "the server redirects in a circle or to something other than http and https; "
                    "check the address"
                ) from error
            raise self._failed(f"{answer}; check the address") from error
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise self._failed(
                    f"the certificate of the server is not valid ({reason.verify_message}); check "
                    "the address, the clock and the proxy"
                ) from error
            if isinstance(reason, socket.gaierror):
                text = "the name of the server is not known"
            elif isinstance(reason, OSError) and reason.strerror:
                text = reason.strerror
            else:
                text = " ".join(str(reason).split())
            raise _NoConnectionError(f"{text}; check the address and the network") from error
        except http.client.InvalidURL as error:
            raise self._failed("this is no valid address; check it") from error
        except (OSError, http.client.HTTPException) as error:
            raise _NoConnectionError(
                f"no answer ({first_line(error)}); check the network"
            ) from error

    def _check_free(self, total: int | None, have: int) -> None:
        """Refuse before the download what does not fit."""
        if total is None:
            return
        free = shutil.disk_usage(self.target.parent).free
        if total - have > free:
            raise InputError(
                f"{self.source.url} does not fit: it needs {(total - have) / 1e6:.0f} MB more and "
                f"the disk of {self.target.parent} has {free / 1e6:.0f} MB free, make room"
            )

    def _receive(self, response: Any, have: int, total: int | None) -> None:
        """Append what the server sends to the ``.part``."""
        title = f"Downloading {self.source.name}"
        with self.part.open("ab") as file, byte_progress(title, total, have) as progress:
            while total is None or have < total:
                # http.client of older Pythons does not stop at Content-Length here.
                count = CHUNK_BYTES if total is None else min(CHUNK_BYTES, total - have)
                chunk = _read(response, count)
                if not chunk:
                    break
                file.write(chunk)
                self.received_any = True
                have += len(chunk)
                progress.update(len(chunk))
        if total is not None and have < total:
            raise _BrokeOffError(f"the connection broke off after {have} of {total} bytes")


def _read(response: Any, count: int) -> bytes:
    """Up to ``count`` bytes as soon as there are some; empty at the end."""
    try:
        return bytes(response.read1(count))
    except (OSError, http.client.HTTPException) as error:
        raise _BrokeOffError(f"the connection broke off ({first_line(error)})") from error


def _content_range(value: str | None) -> tuple[int | None, int | None]:
    """First byte and total length of ``Content-Range: bytes 5-9/10``; None for what is missing."""
    match = re.fullmatch(r"\s*bytes\s+(\d+)-\d+/(\d+|\*)\s*", value or "", re.ASCII | re.IGNORECASE)
    return (int(match[1]), _number(match[2])) if match else (None, None)


def _number(value: str | None) -> int | None:
    """A length from a header; None if it is missing or makes no sense."""
    return int(value) if value is not None and re.fullmatch(r"[0-9]{1,18}", value.strip()) else None
