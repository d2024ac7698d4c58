"""A stand-in for Google Cloud Storage: what ``gs://`` reaches where gcsfs is not installed.

It is an object store as gcsfs shows one, with what tells it from S3's: the names of its arguments
and of what it says of a file, its errors, and no more than that. It cannot rename and has no
folders.
"""

from __future__ import annotations

import io
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, ClassVar

from fsspec import AbstractFileSystem

TOKEN = "/etc/keys/inspection.json"


class HttpError(Exception):
    """An answer that is no answer, as gcsfs raises it: no ``OSError``, with a status."""

    def __init__(self, status: HTTPStatus) -> None:
        self.code = self.status = int(status)
        self.message = status.phrase
        super().__init__(f"{status.phrase}, {int(status)}")


class Upload(io.BytesIO):
    """Bytes that become an object when they are all there."""

    def __init__(self, objects: dict[str, tuple[bytes, datetime]], name: str) -> None:
        super().__init__()
        self._objects, self._name = objects, name

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.close()

    def close(self) -> None:
        """Put the object in place."""
        if not self.closed:
            self._objects[self._name] = (self.getvalue(), datetime.now(timezone.utc))
        super().close()


class GoogleStandIn(AbstractFileSystem):
    """Buckets in this process's memory; an argument that gcsfs does not know is an error."""

    protocol: ClassVar[tuple[str, ...]] = ("gs", "gcs")
    buckets: ClassVar[dict[str, dict[str, tuple[bytes, datetime]]]] = {}
    written: ClassVar[list[str]] = []
    """Every object that was written, in order."""

    def __init__(
        self, project: str = "", token: str | None = None, *, use_listings_cache: bool = True
    ) -> None:
        super().__init__(use_listings_cache=use_listings_cache)
        self.token = token

    def _objects(self, path: str) -> dict[str, tuple[bytes, datetime]]:
        """The objects of a path's bucket, by their whole name."""
        if self.token != TOKEN:
            raise HttpError(HTTPStatus.UNAUTHORIZED)
        bucket = path.partition("/")[0]
        if bucket not in self.buckets:
            raise FileNotFoundError(path)
        return self.buckets[bucket]

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What lies below, by name; the folders are those that objects' names speak of."""
        path = self._strip_protocol(path).rstrip("/")
        objects = self._objects(path)
        below = [name for name in objects if name.startswith(f"{path}/")]
        names = {"/".join(name.split("/")[: path.count("/") + 2]) for name in below}
        if not names and path in objects:
            names = {path}
        if not names and "/" in path:
            raise FileNotFoundError(path)
        return [self.info(name) if detail else name for name in sorted(names)]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What gcsfs says of a file or folder."""
        path = self._strip_protocol(path).rstrip("/")
        objects = self._objects(path)
        if path in objects:
            content, written = objects[path]
            updated = written.isoformat().replace("+00:00", "Z")
            return {"name": path, "size": len(content), "type": "file", "updated": updated}
        if "/" in path and not any(name.startswith(f"{path}/") for name in objects):
            raise FileNotFoundError(path)
        return {"name": path, "size": 0, "type": "directory"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        objects = self._objects(path)
        if mode == "rb":
            if path not in objects:
                raise FileNotFoundError(path)
            return io.BytesIO(objects[path][0])
        assert mode == "wb", mode
        self.written.append(path)
        return Upload(objects, path)

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        if self._objects(path).pop(self._strip_protocol(path), None) is None:
            raise FileNotFoundError(path)

    def modified(self, path: str) -> datetime:
        """When an object was written."""
        return self._objects(path)[self._strip_protocol(path)][1]

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Refuse: gcsfs makes a bucket of it."""
        raise AssertionError(f"a folder {path} in an object store")

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing, as gcsfs does below a bucket."""

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        """Refuse: it would be a copy, during which both are there."""
        raise AssertionError(f"{path1} is renamed in an object store")
