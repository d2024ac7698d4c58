"""Where files lie, by path or URL: file systems, their credentials, and what they answer.

The one place where file systems are made for results, detectors and images. None is kept: fsspec
keeps those of a process, and a fork makes its own, since their connections must not cross it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.machine import causes
from uniformaly_pipeline.common.secrets import without_secrets


class StorageError(InputError):
    """A file system elsewhere does not do what is asked of it: no file there need be damaged."""


CREDENTIALS = "UNIFORMALY_STORAGE"
"""What file systems must know, JSON by URL; a variable, which worker processes inherit."""

OBJECT_STORES = frozenset({
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2",
})  # fmt: skip
"""Protocols of stores where a file appears, whole, when its upload ends."""

LOCAL = "file://"

BROKEN_OFF = frozenset({
    "ClientPayloadError", "ContentLengthError", "TransferEncodingError",  # aiohttp's
    "IncompleteReadError", "ResponseStreamingError",  # botocore's
    "IncompleteRead",  # urllib3's
})  # fmt: skip
"""Errors of a transfer that ends before all of a file is there."""

MISDIRECTED = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})
"""S3's codes of a bucket that is asked for in another region than its own."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # s3fs tries five times by itself; botocore's own tries multiply that.
    protocol: {"config_kwargs": {"retries": {"total_max_attempts": 2}}}
    for protocol in ("s3", "s3a")
}
"""What file systems are told unless credentials say otherwise."""


def protocol_of(url: str) -> str:
    """The protocol of a URL, ``file`` of a path.

    >>> protocol_of("s3://bucket/data"), protocol_of("data/08_reporting")
    ('s3', 'file')
    """
    return url.split("::", 1)[0].split("://", 1)[0] if "://" in url else "file"


def local_path(location: str) -> str:
    """A ``file://`` URL as the path that it stands for; anything else as it is.

    >>> local_path("file:///data/a b"), local_path("s3://bucket/a")
    ('/data/a b', 's3://bucket/a')
    """
    if not location.startswith(LOCAL):
        return location
    return str(LocalFileSystem._strip_protocol(location))


def shown_path(location: str) -> str:
    """A path as seen from the working directory, a URL as it is, for people to read."""
    local = local_path(location)
    return without_secrets(local) if "://" in local else os.path.relpath(local)


def locate(url: str) -> tuple[Any, str]:
    """The file system of a path or URL, this process's own, and the path in it.

    Listings are not kept: others write to the same folders.

    Raises:
        InputError: The protocol is unknown, or what it needs is not installed.
    """
    if "://" not in url:
        # fsspec takes "::" in a path for a chain of file systems.
        fs = LocalFileSystem()
        return fs, fs._strip_protocol(url)
    protocol = protocol_of(url)
    options = credentials_of(url)
    if protocol in OBJECT_STORES:
        options = {"use_listings_cache": False, **options}
    fs, path = open_file_system(url, options)
    if protocol not in OBJECT_STORES:
        fs.invalidate_cache()
    return fs, path


def open_file_system(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """As fsspec's ``url_to_fs``, where what is not installed or unknown is one line.

    Raises:
        InputError: It is.
    """
    # It logs tracebacks of what it raises as well. Said once: each time costs all loggers' caches.
    if (logger := logging.getLogger("gcsfs")).level != logging.CRITICAL:
        logger.setLevel(logging.CRITICAL)
    try:
        fs, path = url_to_fs(url, **{**DEFAULTS.get(protocol_of(url), {}), **options})
    except ImportError as error:
        extra = {"s3a": "s3", "gcs": "gs"}.get(protocol_of(url), protocol_of(url))
        how = f"pip install 'uniformaly-pipeline[{extra}]'" if extra in ("s3", "gs") else "see"
        raise InputError(f"{url} needs a package: {how} ({first_line(error)})") from error
    except (OSError, ValueError, TypeError) as error:  # archives are opened at once
        raise InputError(
            f"{url} cannot be opened ({first_line(error)}): check the address and its credentials"
        ) from error
    return fs, path


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's."""
    return isinstance(fs, LocalFileSystem)


def appears_whole(fs: Any) -> bool:
    """Whether a file that is written to a file system is seen only once all of it is there."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not OBJECT_STORES.isdisjoint(names)


# --- credentials ----------------------------------------------------------------------------------


def use_credentials(options: Mapping[str, Mapping[str, Any]]) -> None:
    """Tell this process, and those that it starts, what file systems must know.

    Args:
        options: As fsspec's file systems take them, by the URL from which on they hold. What holds
            for a URL holds for all of its bucket that nothing else is said of.
    """
    kept = {url.rstrip("/"): dict(each) for url, each in options.items() if each and "://" in url}
    if kept:
        os.environ[CREDENTIALS] = json.dumps(kept)
    else:
        os.environ.pop(CREDENTIALS, None)


def credentials_of(url: str) -> dict[str, Any]:
    """What was told of a URL, or else of its bucket; empty where the environment is to do."""
    told = _parsed(os.environ.get(CREDENTIALS, "{}"))
    above = [each for each in told if url == each or url.startswith(f"{each}/")]
    if above:
        return dict(told[max(above, key=len)])
    beside = [each for each in told if _bucket(each) == _bucket(url)]
    return dict(told[beside[0]]) if beside else {}


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = json.loads(text)
    return parsed


def _bucket(url: str) -> str:
    protocol, _, rest = url.partition("://")
    return f"{protocol}://{rest.split('/', 1)[0]}"


# --- what they answer -----------------------------------------------------------------------------


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn what the libraries behind fsspec raise into ``OSError``; put only its calls inside."""
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    except Exception as error:  # all that aiohttp's, botocore's and gcsfs's have in common
        # These need not be installed here to be named. None is lost: each is raised.
        raise OSError(answer_of(error)) from error


@contextmanager
def answering(url: str, done: str = "read") -> Iterator[None]:
    """Errors of a file system elsewhere as one line; nothing but calls of fsspec belongs inside.

    Args:
        url: What is read or written.
        done: What cannot be done with it.

    Raises:
        StorageError: It cannot; the line names the URL and what to do.
        FileNotFoundError: There is a bucket, but no such file in it.
        FileExistsError: There is such a file, which was not to be replaced.
    """
    try:
        with foreign_errors():
            yield
    except FileExistsError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not lacks_bucket(error):
            raise
        raise StorageError(
            f"{url} cannot be {done} ({answer_of(error)}): {_advice(error)}"
        ) from error


def refuse_memory(url: str, option: str, sharing: str) -> None:
    """Refuse a place that only one process sees.

    Args:
        url: A path or URL.
        option: What has others work beside this process.
        sharing: What they are.

    Raises:
        InputError: It is in the memory of this process.
    """
    if protocol_of(url) == "memory":
        raise InputError(
            f"{url} is in the memory of one process: with {option} give storage that all "
            f"{sharing} share"
        )


def check_output(url: str) -> None:
    """Refuse, before any work, a place to which a command that ends then could not write.

    Args:
        url: A path or URL of a file or folder.

    Raises:
        InputError: It is in the memory of this process, or as :func:`check_buckets` has it.
    """
    if protocol_of(url) == "memory":
        raise InputError(
            f"{url} is in the memory of this process, which ends with the command: give a path or "
            "another URL"
        )
    check_buckets([url], "written")


def check_buckets(urls: Iterable[str], done: str = "read") -> None:
    """Refuse storage that does not answer, or has no such bucket, before any work.

    Args:
        urls: Folders; of several in one bucket the first is asked for, local ones are not.
        done: What is to be done there.

    Raises:
        InputError: It is so; the line names the URL and what to do.
    """
    buckets: dict[str, str] = {}
    for url in urls:
        if protocol_of(url) != "file":
            buckets.setdefault(_bucket(url), url)
    for url in buckets.values():
        fs, path = locate(url)
        try:
            with answering(url, done):
                fs.ls(path, detail=False)
        except FileNotFoundError as error:  # there may be nothing in it yet
            if not _has_bucket(fs, path):
                raise InputError(
                    f"{url} cannot be {done} (there is no such bucket): make the bucket, or mend "
                    "the address"
                ) from error


def _has_bucket(fs: Any, path: str) -> bool:
    """Whether the bucket of a path is there, as far as one may know."""
    if not appears_whole(fs):
        return True
    try:
        with foreign_errors():
            fs.info(path.split("/", 1)[0])
    except FileNotFoundError:
        return False
    except OSError:  # a key may be for the files alone
        return True
    return True


def lacks_bucket(error: BaseException) -> bool:
    """Whether a file is not there because its bucket is not."""
    said = ("bucket does not exist", "NoSuchBucket")
    return any(words in str(each) for each in causes(error) for words in said)


def is_kept_back(error: FileNotFoundError) -> bool:
    """Whether a file is not absent: fsspec says so, too, where a server refuses or is down."""
    cause = error.__cause__
    return cause is not None and getattr(cause, "status", None) != HTTPStatus.NOT_FOUND


def answer_of(error: BaseException) -> str:
    """What a server said, with the code of S3's answer, or an error's own words."""
    kinds = _kinds(error)
    if kinds & BROKEN_OFF:
        return "the transfer broke off"
    if "FSTimeoutError" in kinds:  # has no words
        return "no answer in time"
    if "RecursionError" in kinds:  # of aiobotocore, which follows
        return "the server sends elsewhere again and again"
    for each in causes(error):
        status = getattr(each, "status", None)
        if isinstance(status, int):
            return f"the server answers {status} {getattr(each, 'message', '')}".rstrip()
        # s3fs puts a number of the operating system before it, which means something else there.
        if told := _told_by_s3(each):
            code, message = told.get("Code", ""), told.get("Message", "")
            is_said = code.isdigit() or code.lower() in message.replace(" ", "").lower()
            return message or code if is_said else f"{code}: {message}".removesuffix(": ")
    return first_line(error)


def _told_by_s3(error: BaseException) -> dict[str, str]:
    """Code and message of the answer that an error of botocore has, each where it is there."""
    response = getattr(error, "response", None)
    told = response.get("Error") if isinstance(response, Mapping) else None
    pairs = told.items() if isinstance(told, Mapping) else ()
    return {name: str(value).strip() for name, value in pairs if str(value).strip()}


def _kinds(error: BaseException) -> set[str]:
    """Names of the classes of an error and of what it was caused by; few can be imported here."""
    return {type(each).__name__ for each in causes(error)}


def _advice(error: BaseException) -> str:
    """What to do about an error of a file system elsewhere."""
    kinds = _kinds(error)
    told = " ".join(str(each) for each in causes(error)).lower()
    codes = {_told_by_s3(each).get("Code") for each in causes(error)}
    if kinds & BROKEN_OFF or "FSTimeoutError" in kinds:
        return "check the network and run again"
    if lacks_bucket(error):
        return "make the bucket, or mend the address"
    if "RecursionError" in kinds or codes & MISDIRECTED:
        return "bucket and region or endpoint do not match, mend the credentials or the address"
    if any("Credentials" in kind for kind in kinds) or "credentials" in told:
        return "give them in conf/local/credentials.yml or in the environment, see docs/storage.md"
    if isinstance(error, PermissionError) or "forbidden" in told or "unauthorized" in told:
        return "check the key, and what it is allowed to do there"
    if "bad request" in told:  # without a code, of an expired token or another region
        return "check the key, its region and the address"
    return "check the address and the network"
