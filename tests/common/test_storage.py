"""Where files lie elsewhere: file systems, credentials, and what they answer."""

from __future__ import annotations

import multiprocessing
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common import storage
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.common.storage import (
    StorageError,
    answering,
    check_buckets,
    credentials_of,
    local_path,
    locate,
    refuse_memory,
    shown_path,
    use_credentials,
)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins and ends without any."""
    monkeypatch.delenv(storage.CREDENTIALS, raising=False)
    yield
    use_credentials({})


def test_credentials_hold_below_their_url_and_else_in_its_bucket() -> None:
    use_credentials(
        {
            "s3://a/data": {"key": "all"},
            "s3://a/data/08_reporting": {"key": "reports"},
            "gs://b/x/": {"token": "t"},
            "local/folder": {"key": "unused"},
            "s3://c": {},
        }
    )
    assert credentials_of("s3://a/data/04_feature/x") == {"key": "all"}
    assert credentials_of("s3://a/data/08_reporting") == {"key": "reports"}
    assert credentials_of("s3://a/data/08_reporting_more/x") == {"key": "all"}
    assert credentials_of("s3://a/images") == {"key": "all"}
    assert credentials_of("gs://b/x/y") == {"token": "t"}
    assert credentials_of("gs://a/data/x") == {}
    assert credentials_of("s3://c/x") == {}
    use_credentials({})
    assert credentials_of("s3://a/data") == {}


def test_processes_that_it_starts_know_them() -> None:
    use_credentials({"s3://a": {"key": "k"}})
    code = (
        "from uniformaly_pipeline.common.storage import credentials_of\n"
        "print(credentials_of('s3://a/data')['key'])"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert started.stdout.split() == [b"k"]


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    assert local_path(f"file://{tmp_path}/a b") == f"{tmp_path}/a b"
    fs, path = locate(f"{tmp_path}/a::b")
    assert (storage.is_local(fs), path) == (True, f"{tmp_path}/a::b")
    assert shown_path("s3://me:pw@bucket/x") == "s3://bucket/x"


def test_what_others_write_is_seen_at_once(bucket: str) -> None:
    """File systems keep listings: in one they had, a file of another writer is not there."""
    import s3fs

    other = s3fs.S3FileSystem(skip_instance_cache=True)
    fs, path = locate(f"{bucket}/folder")
    other.pipe_file(f"{path}/first", b"1")
    assert fs.ls(path, detail=False) == [f"{path}/first"]
    other.pipe_file(f"{path}/second", b"2")
    assert RemoteFile(f"{bucket}/folder/second").exists()
    assert len(locate(f"{bucket}/folder")[0].ls(path)) == 2


def _read_in_fork(url: str, queue: Any) -> None:
    queue.put(RemoteFile(url).read())


def test_a_fork_has_connections_of_its_own(bucket: str) -> None:
    file = RemoteFile(f"{bucket}/a")
    file.write(b"content")
    assert file.read() == b"content"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    readers = [
        context.Process(target=_read_in_fork, args=(file.url, queue), daemon=True) for _ in range(3)
    ]
    for process in readers:
        process.start()
    for process in readers:
        process.join(timeout=60)
    assert [process.exitcode for process in readers] == [0] * 3
    assert [queue.get(timeout=60) for _ in readers] == [b"content"] * 3
    assert file.read() == b"content"


# --- what cannot be used --------------------------------------------------------------------------


def line_of(url: str, done: str = "read") -> str:
    """What is said of a file that cannot be read or written; it takes no minute."""
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        RemoteFile(url).read() if done == "read" else RemoteFile(url).write(b"x")
    assert time.monotonic() - start < 60
    line = str(error.value)
    assert "\n" not in line
    assert "secret" not in line
    assert url in line
    return line


@pytest.mark.parametrize("done", ["read", "written"])
def test_a_bucket_that_is_not_there(bucket: str, done: str) -> None:
    line = line_of(f"{bucket}-gone/a", done)
    assert f"cannot be {done} (NoSuchBucket: The specified bucket does not exist): make the" in line
    with pytest.raises(InputError, match=rf"-gone/x cannot be {done} .*make the bucket"):
        check_buckets(["data/02_intermediate", f"{bucket}/x", f"{bucket}-gone/x"], done)


def test_the_memory_of_one_process_is_refused_where_several_work() -> None:
    words = r"^memory://a/b is in the memory of one process: with --runner=X .* processes share"
    with pytest.raises(InputError, match=words):
        refuse_memory("memory://a/b", "--runner=X", "processes")
    for place in ("data/a", "s3://a/b", "file:///a/b"):
        refuse_memory(place, "--runner=X", "processes")


def test_a_file_that_is_not_there_is_no_error_of_its_storage(bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        RemoteFile(f"{bucket}/a").read()
    assert not RemoteFile(f"{bucket}/a").exists()
    check_buckets([f"{bucket}/nothing/yet"])


@pytest.mark.parametrize("done", ["read", "written"])
def test_no_credentials(bucket: str, done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _forget_file_systems()
    assert "(Unable to locate credentials): give them in conf/local/credentials.yml" in line_of(
        f"{bucket}/a", done
    )


@pytest.mark.parametrize("done", ["read", "written"])
def test_a_key_that_nobody_knows(bucket: str, s3_server: str, done: str) -> None:
    use_credentials({bucket: {"key": "AKIAWRONG", "secret": "a-secret"}})
    with checking_keys(s3_server):
        line = line_of(f"{bucket}/a", done)
    assert line.endswith(": check the key, and what it is allowed to do there")


class Answering(BaseHTTPRequestHandler):
    """Answers anything with one status and code, as S3 does."""

    answer = "200-Ok"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, code = self.answer.split("-")
        told = f"<Error><Code>{code}</Code><Message>So it is.</Message></Error>".encode()
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    do_GET = do_HEAD = do_PUT  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


KEY = "check the key, and what it is allowed to do there"
REGION = "bucket and region or endpoint do not match, mend the credentials or the address"
NETWORK = "check the address and the network"


@pytest.mark.parametrize(
    "answer, words, advice",
    [
        ("403-SignatureDoesNotMatch", "SignatureDoesNotMatch: So it is.", KEY),
        ("403-InvalidAccessKeyId", "InvalidAccessKeyId: So it is.", KEY),
        ("400-ExpiredToken", "ExpiredToken: So it is.", KEY),
        ("401-Unauthorized", "Unauthorized: So it is.", KEY),
        ("500-InternalError", "InternalError: So it is.", NETWORK),
        ("503-ServiceUnavailable", "ServiceUnavailable: So it is.", NETWORK),
        ("301-PermanentRedirect", "the server sends elsewhere again and again", REGION),
        ("400-AuthorizationHeaderMalformed", "AuthorizationHeaderMalformed: So it is.", REGION),
    ],
)
def test_what_s3_answers_is_told_with_its_code(
    answer: str, words: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setattr(Answering, "answer", answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        use_credentials({"s3://b": {"key": "k", "secret": "secret", "endpoint_url": address}})
        with pytest.raises(StorageError) as error:
            check_buckets(["s3://b/a"], "written")
        server.shutdown()
    assert str(error.value) == f"s3://b/a cannot be written ({words}): {advice}"


@pytest.mark.parametrize(
    "kind, words",
    [("IncompleteReadError", "the transfer broke off"), ("FSTimeoutError", "no answer in time")],
)
def test_a_transfer_that_ends_too_early_is_the_networks(kind: str, words: str) -> None:
    error = type(kind, (Exception,), {})
    with pytest.raises(StorageError) as refused, answering("s3://a/b"):
        raise error
    line = f"s3://a/b cannot be read ({words}): check the network and run again"
    assert str(refused.value) == line


@pytest.mark.parametrize("done", ["read", "written"])
def test_a_server_that_is_down(done: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    use_credentials({"s3://down": {"key": "k", "secret": "secret", "endpoint_url": address}})
    line = line_of("s3://down/a", done)
    assert "Could not connect" in line
    assert line.endswith(": check the address and the network")


def test_a_protocol_that_nobody_knows_or_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match=r"^s9://a/b cannot be opened \(Protocol not known: s9"):
        locate("s9://a/b")

    def missing(*args: Any, **options: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(storage, "url_to_fs", missing)
    with pytest.raises(InputError, match=re.escape("pip install 'uniformaly-pipeline[s3]'")):
        locate("s3://a/b")


def _forget_file_systems() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


class checking_keys:  # noqa: N801 - a context manager
    """The server refuses keys that it does not know, which it otherwise does not look at."""

    def __init__(self, server: str) -> None:
        self._reset = f"{server}/moto-api/reset-auth"

    def _after(self, calls: str) -> None:
        request = urllib.request.Request(
            self._reset, calls.encode(), {"Content-Type": "text/plain"}, method="POST"
        )
        with urllib.request.urlopen(request):
            pass

    def __enter__(self) -> None:
        self._after("0")

    def __exit__(self, *_: object) -> None:
        self._after("inf")
