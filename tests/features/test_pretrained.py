"""timm's weights are fetched before they are needed, once, and with one line where they are not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.pretrained import fetch_pretrained

MODEL, REPOSITORY = "vit_small_patch8_224.dino", "timm/vit_small_patch8_224.dino"

Asked = list[tuple[str, str, str | None]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """A hub that answers as told; gives what it was asked for."""

    def make(answers: dict[str, Exception | None], kept: set[str] | None = None) -> Asked:
        asked: Asked = []

        def download(repo_id: str, filename: str, revision: str | None = None) -> str:
            asked.append((repo_id, filename, revision))
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
            if (error := answers[filename]) is not None:
                raise error
            return f"/cache/{filename}"

        def look(repo_id: str, filename: str, revision: str | None = None) -> str | None:
            return f"/cache/{filename}" if filename in (kept or set()) else None

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
        return asked

    return make


def test_they_are_fetched_where_they_are_not_kept(hub: Callable[..., Asked]) -> None:
    asked = hub({"model.safetensors": None})
    fetch_pretrained(MODEL)
    assert asked == [(REPOSITORY, "model.safetensors", None)]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_what_is_kept_is_not_asked_for(hub: Callable[..., Asked], name: str) -> None:
    asked = hub({}, kept={name})
    fetch_pretrained(MODEL)
    assert asked == []


def test_older_repositories_have_another_file(hub: Callable[..., Asked]) -> None:
    asked = hub({"model.safetensors": EntryNotFoundError("none"), "pytorch_model.bin": None})
    fetch_pretrained(MODEL)
    assert [name for _, name, _ in asked] == ["model.safetensors", "pytorch_model.bin"]


def test_the_revision_and_the_file_that_timm_names_are_taken(
    hub: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub({"other.safetensors": None})
    config = SimpleNamespace(hf_hub_id="org/model@v2", hf_hub_filename="other.safetensors")
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda _: config)
    fetch_pretrained(MODEL)
    assert asked == [("org/model", "other.safetensors", "v2")]


@pytest.mark.parametrize(
    "failure",
    [
        LocalEntryNotFoundError("cannot find the file on the hub"),
        ConnectionError("the name of the host cannot be resolved"),
        RuntimeError("the client has been closed"),
    ],
)
def test_a_hub_that_does_not_answer_is_asked_once_and_is_one_line(
    hub: Callable[..., Asked], failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    asked = hub({"model.safetensors": failure})
    with pytest.raises(InputError) as error:
        fetch_pretrained(MODEL)
    assert len(asked) == 1
    assert str(error.value) == (
        f"backbones: the pretrained weights of '{MODEL}' cannot be had ({failure}): check the "
        "network, or put the file on disk and set checkpoint to its path"
    )
    # The client's remarks on each try would tear the bars of a run.
    assert not any("Retrying" in record.getMessage() for record in caplog.records)


def test_the_client_may_speak_again_afterwards(hub: Callable[..., Asked]) -> None:
    before = logging.getLogger("huggingface_hub").level
    hub({"model.safetensors": ConnectionError("no")})
    with pytest.raises(InputError):
        fetch_pretrained(MODEL)
    assert logging.getLogger("huggingface_hub").level == before


def test_weights_from_elsewhere_are_left_to_timm(
    hub: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub({})
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda _: None)
    fetch_pretrained("some_model")
    monkeypatch.setattr(
        "timm.models.get_pretrained_cfg", lambda _: SimpleNamespace(hf_hub_id=None, url="x")
    )
    fetch_pretrained("some_model")
    assert asked == []


def test_a_real_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's client lays it out; the client is offline in tests."""
    folder: Any = tmp_path / "models--timm--vit_small_patch8_224.dino"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="cannot be had"):
        fetch_pretrained(MODEL)
    (folder / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(b"x")
    fetch_pretrained(MODEL)
