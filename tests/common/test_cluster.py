"""What can be wrong with a cluster before there is any work is one line, in bounded time."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from uniformaly_pipeline.common import cluster
from uniformaly_pipeline.common.cluster import ADDRESS, connected, import_ray, missing_of
from uniformaly_pipeline.common.errors import InputError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_without_ray_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r"not installed: pip install 'uniformaly-pipeline\[ray\]'"
    ):
        import_ray()


def test_nobody_is_told_that_ray_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError):
        import_ray()
    assert cluster.os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def connect() -> None:
    with connected():
        pytest.fail("connected")


def test_an_address_where_nothing_listens(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    address = "127.0.0.1:{1}".format(*listener.getsockname())
    listener.close()
    monkeypatch.setenv(ADDRESS, address)
    start = time.monotonic()
    with pytest.raises(InputError, match=f"RAY_ADDRESS is {address}, which does not answer"):
        connect()
    assert time.monotonic() - start < cluster.ANSWER_S + 5


def test_an_address_where_something_else_listens(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv(ADDRESS, "127.0.0.1:{1}".format(*listener.getsockname()))
    monkeypatch.setattr(cluster, "HEALTHY_S", 3.0)
    with pytest.raises(InputError, match="where no Ray cluster answers: is the head node running"):
        connect()


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port", ":6379"])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv(ADDRESS, address)
    with pytest.raises(InputError, match="give host:port of the cluster's head"):
        connect()


def test_what_a_machine_does_not_see(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    probe = folder / "probe"
    probe.write_text("mine")
    assert missing_of({str(probe): "mine"}, [str(folder)]) is None
    assert missing_of({str(probe): "another's"}, []) == str(folder)
    assert missing_of({str(folder / "gone"): "mine"}, []) == str(folder)
    assert missing_of({}, [str(folder), "/no/such/root"]) == "/no/such/root"
