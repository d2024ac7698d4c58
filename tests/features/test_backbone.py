"""Backbones: where weights come from, and how those that do not fit are refused."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import (
    Backbone,
    check_backbone,
    is_at_hand,
    load_backbone,
    weights_hash,
)
from uniformaly_pipeline.ingestion.download import fetch

SIZE = (32, 32)
KWARGS = {"img_size": 32, "embed_dim": 12, "depth": 2, "num_heads": 2}
AVERAGED = {**KWARGS, "global_pool": "avg"}
NO_CLASS_TOKEN = {**KWARGS, "class_token": False, "global_pool": "avg"}
TINY = Backbone(
    "vit_tiny_patch16_224", "untrained", model_kwargs=KWARGS, layers=(0, 1), attention_layer=1
)
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> State:
    """Weights that fit, unlike those of seed 0."""
    return load_backbone(TINY, SIZE, seed=1).state_dict()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads go nowhere near the user's cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def with_checkpoint(path: object, **changes: Any) -> Backbone:
    return replace(TINY, checkpoint=str(path), **changes)


def save(state: Mapping[str, Any], path: Path) -> Path:
    """Write a checkpoint in the format that its name asks for."""
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    return path


def assert_holds(model: nn.Module, weights: State) -> None:
    own = model.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], weights[name]) for name in weights)


def refusal(backbone: Backbone, size: tuple[int, int] = SIZE) -> str:
    """The one line with which both the check before the run and the loading refuse."""
    messages = []
    for load in (check_backbone, load_backbone):
        with pytest.raises(InputError) as error:
            load(backbone, size)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    return messages[0]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_local_files(suffix: str, weights: State, tmp_path: Path) -> None:
    path = save(weights, tmp_path / f"weights{suffix}")
    check_backbone(with_checkpoint(path), SIZE)
    model = load_backbone(with_checkpoint(path), SIZE)
    assert_holds(model, weights)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, id="state_dict"),
        pytest.param(lambda state: {"model": state}, id="model"),
        pytest.param(lambda state: {"teacher": state, "student": {}}, id="teacher"),
        pytest.param(OrderedDict, id="ordered"),
        pytest.param(lambda state: {f"module.{k}": v for k, v in state.items()}, id="module."),
        pytest.param(
            lambda state: {"state_dict": {f"module.backbone.{k}": v for k, v in state.items()}},
            id="module.backbone.",
        ),
        pytest.param(
            lambda state: {**state, "projection_head.0.weight": torch.zeros(3)}, id="head"
        ),
        pytest.param(lambda state: {**state, "head.weight": torch.zeros(7, 12)}, id="classifier"),
    ],
)
def test_containers_prefixes_and_heads(
    wrap: Callable[[State], dict[str, Any]], weights: State, tmp_path: Path
) -> None:
    backbone = with_checkpoint(save(wrap(weights), tmp_path / "weights.pth"))
    check_backbone(backbone, SIZE)
    assert_holds(load_backbone(backbone, SIZE), weights)


def test_position_embeddings_are_resampled_to_the_input_size(
    weights: State, tmp_path: Path
) -> None:
    backbone = with_checkpoint(save(weights, tmp_path / "weights.pth"))
    check_backbone(backbone, (48, 80))
    model = load_backbone(backbone, (48, 80))
    assert model.pos_embed.shape == (1, 1 + 3 * 5, 12)
    assert model(torch.zeros(1, 3, 48, 80)).shape == (1, 12)
    blocks = {name: tensor for name, tensor in weights.items() if name != "pos_embed"}
    assert all(torch.equal(model.state_dict()[name], blocks[name]) for name in blocks)


def test_half_precision_weights_are_computed_with_in_float32(
    weights: State, tmp_path: Path
) -> None:
    half = {name: value.half() for name, value in weights.items()}
    model = load_backbone(with_checkpoint(save(half, tmp_path / "half.safetensors")), SIZE)
    assert_holds(model, {name: value.float() for name, value in half.items()})
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_changes_later_leaves_the_model_alone(
    name: str, weights: State, tmp_path: Path
) -> None:
    path = save(weights, tmp_path / name)
    model = load_backbone(with_checkpoint(path), SIZE)
    with path.open("r+b") as file:  # the same file, as a mapping would see it
        file.write(bytes(path.stat().st_size))
    assert_holds(model, weights)


def test_tables_that_no_checkpoint_holds_are_computed(tmp_path: Path) -> None:
    """Rotary position embeddings are made with the model, not stored."""
    kwargs = {**KWARGS, "num_heads": 1}
    rotary = replace(TINY, model="vit_small_patch16_dinov3", model_kwargs=kwargs)
    model = load_backbone(rotary, SIZE, seed=1)
    path = save(model.state_dict(), tmp_path / "rotary.safetensors")
    loaded = load_backbone(replace(rotary, checkpoint=str(path)), SIZE)
    again = load_backbone(rotary, SIZE, weights=model.state_dict())
    pixels = torch.rand(1, 3, *SIZE)
    expected = model(pixels)
    assert torch.equal(loaded(pixels), expected)
    assert torch.equal(again(pixels), expected)


def test_home_folder_is_understood(
    weights: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(weights, tmp_path / "weights.pth")
    assert_holds(load_backbone(with_checkpoint("~/weights.pth"), SIZE), weights)


def test_checksum_is_compared(weights: State, tmp_path: Path) -> None:
    path = save(weights, tmp_path / "weights.pth")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_holds(load_backbone(with_checkpoint(path, sha256=checksum.upper()), SIZE), weights)
    message = refusal(with_checkpoint(path, sha256="0" * 64))
    assert f"{path} has SHA-256 {checksum}, expected {'0' * 64}" in message
    assert path.exists()


# --- weights that do not fit ----------------------------------------------------------------------


def test_keys_that_miss_are_unknown_or_misshapen_are_named(weights: State, tmp_path: Path) -> None:
    state = dict(weights)
    del state["blocks.1.mlp.fc1.bias"]
    state["blocks.7.norm1.bias"] = torch.zeros(12)
    state["cls_token"] = torch.zeros(1, 1, 16)
    path = save(state, tmp_path / "weights.pth")
    message = refusal(with_checkpoint(path))
    assert f"checkpoint {path} does not fit the model" in message
    assert "missing: blocks.1.mlp.fc1.bias" in message
    assert "unknown: blocks.7.norm1.bias" in message
    assert "wrong shape: cls_token (1, 1, 16) for (1, 1, 12)" in message


def test_a_long_list_of_keys_is_cut(weights: State, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in weights.items() if "blocks" not in name}
    message = refusal(with_checkpoint(save(state, tmp_path / "weights.pth")))
    assert "and 19 more" in message
    assert len(message) < 500


def test_a_checkpoint_of_another_patch_size_is_refused(weights: State, tmp_path: Path) -> None:
    state = {**weights, "patch_embed.proj.weight": torch.zeros(12, 3, 8, 8)}
    message = refusal(with_checkpoint(save(state, tmp_path / "weights.pth")))
    assert "wrong shape: patch_embed.proj.weight (12, 3, 8, 8) for (12, 3, 16, 16)" in message


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = save({"epoch": 3}, tmp_path / "weights.pth")
    assert f"{path} holds no weights" in refusal(with_checkpoint(path))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3)])
def test_a_file_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert f"{path} holds no weights" in refusal(with_checkpoint(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.pth"
    assert f"checkpoint {path} does not exist" in refusal(with_checkpoint(path))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x04]q\x00."])
def test_a_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(with_checkpoint(path))
    assert f"{path} is not a readable checkpoint" in message
    assert "weights_only" not in message


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_cut_short_is_named(name: str, weights: State, tmp_path: Path) -> None:
    path = save(weights, tmp_path / name)
    path.write_bytes(path.read_bytes()[:2000])
    assert f"{path} is not a readable checkpoint (" in refusal(with_checkpoint(path))


class _Attack:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(weights: State, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = save({**weights, "attack": _Attack(trace)}, tmp_path / "weights.pth")
    message = refusal(with_checkpoint(path))
    assert f"{path} holds objects other than weights (getattr): expected weights" in message
    # torch's own words advise to load it all the same.
    assert "weights_only" not in message
    assert not trace.exists()


# --- models ---------------------------------------------------------------------------------------


def test_an_unknown_model_is_answered_with_the_closest() -> None:
    message = refusal(replace(TINY, model="vit_base_patch8_22"))
    assert "timm has no model 'vit_base_patch8_22'; did you mean 'vit_base_patch8_224'?" in message


def test_an_unknown_model_like_none_is_refused_in_a_short_line() -> None:
    assert len(refusal(replace(TINY, model="zzzzzzzz"))) < 300


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layers": (0, 99)}, "layers asks for block 99 but 'vit_tiny_patch16_224' has 2 blocks"),
        ({"attention_layer": 2}, "attention_layer asks for block 2 but"),
        ({"model_kwargs": {**KWARGS, "depht": 3}}, "model_kwargs do not fit"),
        ({"model_kwargs": {**KWARGS, "num_heads": 5}}, "model_kwargs do not fit"),
        ({"model_kwargs": NO_CLASS_TOKEN}, "no class token"),
        ({"model_kwargs": {**NO_CLASS_TOKEN, "reg_tokens": 4}}, "no class token"),
        ({"norm": True, "model_kwargs": AVERAGED}, "applies no final norm to its patches"),
        ({"model": "resnet18", "model_kwargs": {}}, "'resnet18' is not a ViT"),
        ({"model": "swin_tiny_patch4_window7_224", "model_kwargs": {}}, "is not a ViT"),
    ],
)
def test_what_a_model_lacks_is_named(changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(replace(TINY, **changes))


def test_an_input_that_patches_do_not_fill_is_refused() -> None:
    expected = "gives 40x32 pixels, which patches of 16x16 ('vit_tiny_patch16_224') do not fill"
    assert expected in refusal(TINY, (32, 40))


def test_untrained_weights_follow_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = (weights_hash(load_backbone(TINY, SIZE, seed=3)) for _ in range(2))
    assert first == second
    assert first != weights_hash(load_backbone(TINY, SIZE, seed=4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_hash_follows_names_and_values(weights: State, tmp_path: Path) -> None:
    changed = {**weights, "norm.bias": weights["norm.bias"] + 1e-6}
    models = [
        load_backbone(with_checkpoint(save(state, tmp_path / name)), SIZE)
        for state, name in [(weights, "a.pth"), (weights, "b.safetensors"), (changed, "c.pth")]
    ]
    hashes = [weights_hash(model) for model in models]
    assert hashes[0] == hashes[1] != hashes[2]


# --- downloads ------------------------------------------------------------------------------------


class _Handler(http.server.SimpleHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        """Serve a file; ``cut`` ends early, unless it is asked for where it had ended."""
        self.requests.append(self.path)
        if "cut" not in self.path:
            return super().do_GET()
        content = (Path(self.directory) / "cut.pth").read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if start else content[:5000])
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on this machine: its address, its folder, and what was asked of it."""
    root = tmp_path / "www"
    root.mkdir()
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"requests": requests})
    address = ("127.0.0.1", 0)
    with http.server.ThreadingHTTPServer(
        address, lambda *args: handler(*args, directory=str(root))
    ) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", root, requests
        web.shutdown()


def downloaded(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_url_is_downloaded_once(
    server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    address, root, requests = server
    path = save(weights, root / "weights.pth")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = with_checkpoint(f"{address}/weights.pth", sha256=checksum)
    check_backbone(backbone, SIZE)
    assert requests == []
    assert_holds(load_backbone(backbone, SIZE), weights)
    asked = len(requests)
    assert asked > 0
    assert_holds(load_backbone(backbone, SIZE), weights)
    assert len(requests) == asked
    assert len(downloaded(tmp_path)) == 1


def test_a_broken_download_goes_on_where_it_stopped(
    server: tuple[str, Path, list[str]],
    weights: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, root, requests = server
    path = save(weights, root / "cut.pth")
    monkeypatch.setattr(fetch, "FIRST_PAUSE_S", 0.0)
    assert_holds(load_backbone(with_checkpoint(f"{address}/cut.pth"), SIZE), weights)
    assert requests == ["/cut.pth", "/cut.pth"]
    assert [found.read_bytes() for found in downloaded(tmp_path)] == [path.read_bytes()]


def test_weights_are_at_hand_once_they_are_on_this_machine(
    server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    url, root, _ = server
    save(weights, root / "w.safetensors")
    there = with_checkpoint(f"{url}/w.safetensors")
    assert not is_at_hand(there)
    load_backbone(there, SIZE)
    assert is_at_hand(there)
    assert is_at_hand(with_checkpoint(root / "w.safetensors"))
    assert not is_at_hand(with_checkpoint(tmp_path / "none.safetensors"))
    assert not is_at_hand(TINY)  # untrained
    assert not is_at_hand(replace(TINY, checkpoint=None))


def test_a_damaged_copy_is_downloaded_again(
    server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    address, root, _ = server
    path = save(weights, root / "weights.pth")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = with_checkpoint(f"{address}/weights.pth", sha256=checksum)
    load_backbone(backbone, SIZE)
    (copy,) = downloaded(tmp_path)
    copy.write_bytes(b"damaged")
    assert_holds(load_backbone(backbone, SIZE), weights)


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_other_addresses_are_copied_once(
    scheme: str, weights: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(weights, tmp_path / "weights.pth")
    url = f"{scheme}://{path}"
    if scheme == "memory":
        fsspec.filesystem("memory").pipe_file(str(path), path.read_bytes())
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=r"has SHA-256 .* expected 000"):
        load_backbone(with_checkpoint(url, sha256="0" * 64), SIZE)
    assert downloaded(tmp_path) == []
    backbone = with_checkpoint(url, sha256=checksum)
    assert_holds(load_backbone(backbone, SIZE), weights)
    monkeypatch.setattr(fsspec, "open", pytest.fail)
    assert_holds(load_backbone(backbone, SIZE), weights)
    assert len(downloaded(tmp_path)) == 1


def test_an_interrupted_copy_leaves_nothing(
    weights: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(weights, tmp_path / "weights.pth")

    def interrupted(source: Any, target: Any) -> None:
        target.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_backbone(with_checkpoint(f"file://{path}"), SIZE)
    assert downloaded(tmp_path) == []


LOGIN = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors?download=true"])
def test_a_login_page_is_never_kept_for_a_checkpoint(
    name: str, server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    """Without a checksum, what comes is checked to be a checkpoint, also what an older run kept."""
    address, root, _ = server
    path = root / name.partition("?")[0]
    path.write_bytes(LOGIN)
    backbone = with_checkpoint(f"{address}/{name}")
    with pytest.raises(InputError, match="it is a web page") as error:
        load_backbone(backbone, SIZE)
    assert f"{address}/{name} is not the file expected" in str(error.value)
    assert downloaded(tmp_path) == []
    save(weights, path)
    assert_holds(load_backbone(backbone, SIZE), weights)
    (kept,) = downloaded(tmp_path)
    kept.write_bytes(LOGIN)
    assert_holds(load_backbone(backbone, SIZE), weights)


def test_a_page_in_a_bucket_is_never_kept_for_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(LOGIN)
    url = f"file://{tmp_path}/weights.pth"
    with pytest.raises(InputError, match=f"{url} is not the file expected"):
        load_backbone(with_checkpoint(url), SIZE)
    assert downloaded(tmp_path) == []


def test_a_checkpoint_behind_a_password(
    server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    """The password goes to the server; the cache and the error line know nothing of it."""
    address, root, _ = server
    save(weights, root / "weights.pth")
    secret = address.replace("://", "://me:hush@")
    with pytest.raises(InputError, match=f"{address}/nowhere.pth cannot be downloaded"):
        load_backbone(with_checkpoint(f"{secret}/nowhere.pth"), SIZE)
    assert_holds(load_backbone(with_checkpoint(f"{secret}/weights.pth"), SIZE), weights)
    # The same file without the password is in the cache already.
    (root / "weights.pth").unlink()
    assert_holds(load_backbone(with_checkpoint(f"{address}/weights.pth"), SIZE), weights)


def test_a_failed_download_leaves_nothing(
    server: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    url = f"{server[0]}/nowhere.pth"
    with pytest.raises(InputError, match=f"checkpoint {url} cannot be downloaded") as error:
        load_backbone(with_checkpoint(url), SIZE)
    assert "\n" not in str(error.value)
    assert downloaded(tmp_path) == []


def test_a_download_with_another_checksum_is_not_kept(
    server: tuple[str, Path, list[str]], weights: State, tmp_path: Path
) -> None:
    address, root, _ = server
    save(weights, root / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth is not the file expected .* 000"):
        load_backbone(with_checkpoint(f"{address}/weights.pth", sha256="0" * 64), SIZE)
    assert downloaded(tmp_path) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/weights.pth", "nonsense://a/weights.pth"])
def test_an_address_that_does_not_answer_is_one_clear_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"checkpoint {url} cannot be downloaded") as error:
        load_backbone(with_checkpoint(url), SIZE)
    assert "\n" not in str(error.value)
    assert downloaded(tmp_path) == []


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError("the name of the host cannot be resolved"),
        RuntimeError("Cannot send a request, as the client has been closed."),
    ],
)
def test_pretrained_weights_that_cannot_be_had_say_what_to_do(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    # They were had, and timm does not find them any more.
    monkeypatch.setattr("uniformaly_pipeline.features.backbone.fetch_pretrained", lambda _: None)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", fail)
    backbone = replace(TINY, checkpoint=None)
    check_backbone(backbone, SIZE)
    with pytest.raises(InputError) as error:
        load_backbone(backbone, SIZE)
    message = str(error.value)
    assert "\n" not in message
    assert "pretrained weights of 'vit_tiny_patch16_224' cannot be had" in message
    assert str(failure) in message
    assert "set checkpoint to its path" in message


def test_pretrained_weights_offline_are_one_clear_line() -> None:
    # conftest.py puts the hub's client offline, as a user without network might.
    with pytest.raises(InputError, match="weights of 'vit_tiny_patch16_224' cannot be had"):
        load_backbone(replace(TINY, checkpoint=None), SIZE)


# --- any bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_is_noticed_or_harmless(
    name: str, weights: State, tmp_path: Path, data: st.DataObject
) -> None:
    """Weights by name, or one line: never another error, never code."""
    path = tmp_path / name
    content = bytearray(save(weights, path).read_bytes())
    kind = data.draw(st.sampled_from(["cut", "flip", "insert", "noise"]))
    # The structure lies at the beginning and at the end.
    place = data.draw(st.integers(0, 3000) | st.integers(len(content) - 3000, len(content) - 1))
    if kind == "cut":
        del content[place:]
    elif kind == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        content = bytearray(data.draw(st.binary(max_size=200)))
    path.write_bytes(content)
    try:
        check_backbone(with_checkpoint(path), SIZE)
    except InputError as error:
        assert "\n" not in str(error)
        assert "weights_only" not in str(error)
