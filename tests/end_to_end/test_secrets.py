"""A user and password in an address reach their server, and nothing that a run leaves or says."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

USER, PASSWORD = "karolina", "hush/7@night"
TOKEN = "3f9c2e77aa"
SECRETS = [PASSWORD, quote(PASSWORD, safe=""), USER, TOKEN]
SECRETS.append(base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())


@dataclass
class Server:
    """A web server that lets nobody in without the password."""

    root: Path
    address: str = ""
    let_in: set[str] = field(default_factory=set)
    turned_away: int = 0

    def url(self, path: str) -> str:
        """The address of a file or folder, with user, password and a key in it."""
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        return f"{self.address.replace('://', f'://{user}@')}/{path}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Server(tmp_path / "www")
    site.root.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site.root))

        def log_message(self, *args: Any) -> None:
            pass

        def send_head(self) -> Any:
            if self.headers.get("Authorization") == f"Basic {SECRETS[-1]}":
                site.let_in.add(self.path.split("/")[1])
                return super().send_head()
            site.turned_away += 1
            self.send_error(401)
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        site.address = f"http://127.0.0.1:{running.server_port}"
        yield site
        running.shutdown()


def readable(path: Path) -> str:
    """All that a file says; tables are compressed."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return pd.read_parquet(io.BytesIO(content)).to_csv()
    return content.decode("latin-1")


def assert_silent(what: str, text: str) -> None:
    told = [secret for secret in SECRETS if secret in text]
    place = text.find(told[0]) if told else 0
    assert not told, f"{what} tells a secret: {text[max(0, place - 200) : place + 100]!r}"


def assert_nothing_left(project: Any) -> None:
    """No file of the project says a secret, but the one in which the user wrote it."""
    files = [path for path in project.path.rglob("*") if path.is_file()]
    for path in files:
        if path.name != "parameters.yml" and "src" not in path.parts:
            assert_silent(str(path.relative_to(project.path)), readable(path))
    assert len(files) > 100


def configure(project: Any, parameters: dict[str, Any]) -> None:
    (project.path / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))


@pytest.mark.slow
def test_a_whole_run_tells_no_secret(
    project: Any,
    images: Path,
    small: dict[str, Any],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Report, scores, features, MLflow, Kedro-Viz's files, the log and the terminal."""
    import timm
    from safetensors.numpy import save_file

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    images.rename(server.root / "images")
    (server.root / "weights").mkdir()
    tiny = small["backbones"]["custom"]
    model = timm.create_model(tiny["model"], num_classes=0, **tiny["model_kwargs"])
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    save_file(state, server.root / "weights/tiny.safetensors")
    checkpoint = server.url(f"weights/tiny.safetensors?token={TOKEN}")
    preprocessing = small["datasets"]["folder"]["preprocessing"]
    parameters = {
        **small,
        "categories": "nut",
        "datasets": {"folder": {"root": server.url("images"), "preprocessing": preprocessing}},
        "backbones": {"custom": {**tiny, "checkpoint": checkpoint}},
        "predict": {"images": server.url("images/nut/test/hole"), "false_alarm_rate": 0.25},
    }
    configure(project, parameters)
    command_line = f"--params=datasets.folder.root={server.url('images')},predict.category=nut"
    for arguments in (
        ["run", "--pipelines=defect", command_line],
        ["run", "--pipelines=predict", command_line, "--runner=ParallelRunner"],
        ["viz", "build", "--include-previews"],
    ):
        done = project.kedro(*arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        assert_silent(" ".join(arguments[:2]), done.stdout + done.stderr)
    assert server.let_in == {"images", "weights"}
    assert (project.path / "build/api/main").is_file()
    assert (project.path / "mlflow.db").is_file()
    assert_nothing_left(project)
    for path in (tmp_path / "torch").rglob("*"):
        assert_silent(str(path), path.name + (readable(path) if path.is_file() else ""))


@pytest.mark.slow
def test_errors_tell_no_secret(project: Any, small: dict[str, Any], server: Server) -> None:
    """Whatever goes wrong: the line names the address, without user and password."""
    changes: list[dict[str, Any]] = [
        {"datasets": {"folder": {"root": server.url("nowhere")}}},
        {"datasets": {"folder": {"root": server.url("nowhere"), "layout": server.url("x")}}},
        {"dataset": server.url("images")},
        {"backbones": {"custom": {"checkpoint": server.url("no.safetensors")}}},
        {"encoder": {"device": server.url("x")}},
        {server.url("x"): 1},
    ]
    for change in changes:
        given = {**small, **change}
        for kind, key in (("datasets", "folder"), ("backbones", "custom")):
            given[kind] = {key: small[kind][key] | change.get(kind, {}).get(key, {})}
        with pytest.raises(Exception) as error:
            project.run(**given)
        assert_silent(json.dumps(change), str(error.value))
        assert server.address in str(error.value)
