"""Self-supervised ViTs from timm: made by name, weights from timm, a file or a URL."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniformaly_pipeline.common.errors import InputError, did_you_mean, first_line
from uniformaly_pipeline.common.files import hash_file, new_file
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.common.storage import foreign_errors, locate
from uniformaly_pipeline.features.light_torch import late_compiler, without_memory
from uniformaly_pipeline.features.pretrained import fetch_pretrained, not_had
from uniformaly_pipeline.ingestion.download.fetch import Source, fetch, is_web_page
from uniformaly_pipeline.ingestion.headers import DAMAGE

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)

UNTRAINED = "untrained"
"""Value of ``checkpoint`` that asks for seeded random weights."""

PACKAGED = "package:"
"""Prefix of a ``checkpoint`` that ships with this package."""

CONTAINER_KEYS = ("state_dict", "model", "teacher")
PREFIXES = ("module.", "backbone.", "encoder.", "student.", "teacher.")
PATCH_WEIGHT = "patch_embed.proj.weight"
MAX_KEYS = 5
NO_CHECKPOINT = "is not a readable checkpoint"

PAPER_RESOLUTION = 224
"""Side of the paper's inputs in pixels."""


@dataclass(frozen=True)
class Backbone:
    """A ViT, what is read from it, and what suits it where nobody asks for something else.

    Attributes:
        model: Name of a timm model.
        checkpoint: ``None`` for timm's pretrained weights, ``untrained`` for random ones,
            ``package:<path>`` for a file of this package, or a path or URL of a ``.safetensors``
            or ``.pth`` file.
        sha256: Checksum of the checkpoint file, lower-case hexadecimal, or ``None``.
        model_kwargs: Arguments of ``timm.create_model``.
        layers: Blocks whose outputs are averaged into patch features, 0-based.
        attention_layer: Block whose class-token attention is read, 0-based.
        norm: Whether the model's final norm is applied to each block's output before the mean.
        resolution: Side of the input in pixels that suits it; ``None``: the paper's 224.
        kernel_size: Side in patches of the box that smooths the attention, odd: of an input of
            ``resolution``, others in proportion; where that is ``None`` of every input.
    """

    model: str
    checkpoint: str | None = None
    sha256: str | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9)
    attention_layer: int = 9
    norm: bool = False
    resolution: int | None = None
    kernel_size: int = 7

    def entries(self) -> dict[str, Any]:
        """What features depend on, as headers and hashes hold it.

        What only suits the backbone is told by the preprocessing and the masking that were taken.
        No norm goes without saying, as before there was a choice.
        """
        entries = {**asdict(self), "layers": list(self.layers)}
        del entries["resolution"], entries["kernel_size"]
        if not self.norm:
            del entries["norm"]
        return entries

    @property
    def input_side(self) -> int:
        """Side in pixels of the input that suits it."""
        return self.resolution or PAPER_RESOLUTION

    def kernel_size_at(self, input_size: tuple[int, int]) -> int:
        """Side of the smoothing box for an input of (height, width) pixels, in patches, odd.

        With a ``resolution`` the box covers the same share of the input's shorter side, whatever
        that is, to the nearest odd number; without one it is ``kernel_size``.

        >>> backbone = Backbone("vit_small_patch14_dinov2", resolution=224, kernel_size=3)
        >>> backbone.kernel_size_at((224, 448)), backbone.kernel_size_at((448, 448))
        (3, 5)
        """
        if self.resolution is None:
            return self.kernel_size
        return 2 * math.ceil(self.kernel_size * min(input_size) / (2 * self.resolution)) - 1


def named_backbone(name: str) -> Backbone:
    """A backbone that ships, by its key in ``conf/base/parameters_backbones.yml``.

    >>> named_backbone("dino_vits8").model
    'vit_small_patch8_224.dino'

    Raises:
        InputError: None has this name.
    """
    shipped = json.loads(Path(__file__).with_name("backbones.json").read_text(encoding="utf-8"))
    if name not in shipped:
        raise InputError(f"there is no backbone '{name}'{did_you_mean(name, shipped)}")
    return Backbone(**{**shipped[name], "layers": tuple(shipped[name]["layers"])})


def load_backbone(
    backbone: Backbone,
    input_size: tuple[int, int],
    seed: int = 0,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Make the model, load its weights and set it to an input size.

    Args:
        backbone: What to load.
        input_size: (height, width) of the input in pixels; position embeddings are resampled.
        seed: Seed of the weights where the checkpoint is ``untrained``.
        weights: What an earlier model of this input size held, in place of the checkpoint.

    Returns:
        The timm model in evaluation mode on the CPU, without a classification head.

    Raises:
        InputError: timm does not know the model, its weights cannot be had or do not fit, a layer
            is out of range, or the input size is no multiple of the patch size.
    """
    if weights is not None:
        model = _filled(backbone, "of the detector", dict(weights), input_size)
    elif backbone.checkpoint == UNTRAINED:
        model = _untrained(backbone, seed)
    elif backbone.checkpoint is None:
        fetch_pretrained(backbone.model)
        model = _create(backbone, pretrained=True)
    else:
        model = _filled(backbone, backbone.checkpoint, _read_checkpoint(backbone))
    _check_layers(model, backbone)
    _set_input_size(model, backbone, input_size)
    return model.eval().requires_grad_(False)


def _untrained(backbone: Backbone, seed: int) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _create(backbone)


def _filled(
    backbone: Backbone,
    checkpoint: str,
    state: dict[str, torch.Tensor],
    input_size: tuple[int, int] | None = None,
) -> nn.Module:
    """The model with weights of the size that it is set to first, by default its own."""

    with without_memory():
        # Weights that are replaced at once need no values: drawing them takes a second for a B/8.
        model = _create(backbone)
    tensors = chain(model.named_parameters(), model.named_buffers())
    if {name for name, _ in tensors} - model.state_dict().keys():
        model = _create(backbone)  # tables that it computes and no checkpoint holds
    _check_layers(model, backbone)
    if input_size is not None:
        _set_input_size(model, backbone, input_size)
    _load_state(model, checkpoint, state)
    return model


def check_backbone(backbone: Backbone, input_size: tuple[int, int]) -> None:
    """Find out before any work whether :func:`load_backbone` would succeed.

    The model is laid out without memory for its weights; a local checkpoint's keys and shapes are
    compared with it. Weights that must be downloaded are not.

    Raises:
        InputError: As :func:`load_backbone`.
    """
    with without_memory():
        model = _create(backbone)
    _check_layers(model, backbone)
    _check_input_size(model, backbone, input_size)
    if backbone.checkpoint not in (None, UNTRAINED) and "://" not in str(backbone.checkpoint):
        state = _read_checkpoint(backbone)
        _check_state(model, str(backbone.checkpoint), _adapt_state(model, state))


def input_grid(backbone: Backbone, input_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an input of (height, width) pixels in patches; no weights are loaded.

    Raises:
        InputError: timm does not know the model, or patches do not fill the input.
    """
    with without_memory():
        model = _create(backbone)
    _check_input_size(model, backbone, input_size)
    patch: tuple[int, int] = model.patch_embed.patch_size  # type: ignore[union-attr,assignment]
    return input_size[0] // patch[0], input_size[1] // patch[1]


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the names and values of all weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


@late_compiler()
def _create(backbone: Backbone, pretrained: bool = False) -> nn.Module:
    import timm

    if not timm.is_model(backbone.model):
        raise InputError(
            f"backbones: timm has no model '{backbone.model}'"
            f"{did_you_mean(backbone.model.split('.')[0], timm.list_models('*vit*'))}"
        )
    kwargs = {"num_classes": 0, **backbone.model_kwargs}
    try:
        return timm.create_model(backbone.model, pretrained=pretrained, **kwargs)
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(
            f"backbones: model_kwargs do not fit '{backbone.model}': {first_line(error)}"
        ) from error
    except (OSError, RuntimeError) as error:
        if "loading state_dict" in str(error):
            raise InputError(
                f"backbones: timm's weights of '{backbone.model}' do not fit model_kwargs "
                f"({first_line(error)}): leave out what changes the model's shape"
            ) from error
        # Offline, the hub's client raises an OSError, or a RuntimeError about its own state.
        raise not_had(backbone.model, error) from error


def _check_layers(model: nn.Module, backbone: Backbone) -> None:
    from torch import nn

    if not hasattr(model, "forward_intermediates") or not hasattr(model, "blocks"):
        raise InputError(f"backbones: '{backbone.model}' is not a ViT with blocks to read from")
    depth = len(model.blocks)  # type: ignore[arg-type]
    for key, layer in [
        ("layers", max(backbone.layers)),
        ("attention_layer", backbone.attention_layer),
    ]:
        if layer >= depth:
            raise InputError(
                f"backbones: {key} asks for block {layer} but '{backbone.model}' has {depth} "
                f"blocks, 0 to {depth - 1}"
            )
    if getattr(model, "cls_token", None) is None:
        raise InputError(f"backbones: '{backbone.model}' has no class token to read attention from")
    norm = getattr(model, "norm", None)
    # Where a model averages its patches before the norm, timm leaves a placeholder here.
    if backbone.norm and (norm is None or isinstance(norm, nn.Identity)):
        raise InputError(
            f"backbones: '{backbone.model}' applies no final norm to its patches: set norm to false"
        )


def _check_input_size(model: nn.Module, backbone: Backbone, input_size: tuple[int, int]) -> None:
    patch: tuple[int, int] = model.patch_embed.patch_size  # type: ignore[union-attr,assignment]
    if input_size[0] % patch[0] or input_size[1] % patch[1]:
        raise InputError(
            f"preprocessing gives {input_size[1]}x{input_size[0]} pixels, which patches of "
            f"{patch[1]}x{patch[0]} ('{backbone.model}') do not fill: set crop to a multiple"
        )


def _set_input_size(model: nn.Module, backbone: Backbone, input_size: tuple[int, int]) -> None:
    _check_input_size(model, backbone, input_size)
    if tuple(model.patch_embed.img_size or ()) == input_size:  # type: ignore[union-attr,arg-type]
        return
    if not hasattr(model, "set_input_size"):
        raise InputError(f"backbones: '{backbone.model}' cannot take inputs of {input_size} pixels")
    model.set_input_size(img_size=input_size)  # type: ignore[operator]


def _read_checkpoint(backbone: Backbone) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint file by name, containers and prefixes stripped."""
    path = fetch_checkpoint(str(backbone.checkpoint), backbone.sha256)
    fault, weights = _read_weights(path, path.suffix)
    if fault is not None:
        raise InputError(f"backbones: {path} {fault}: expected weights as .safetensors or .pth")
    return weights


def _read_weights(path: Path, suffix: str) -> tuple[str | None, dict[str, torch.Tensor]]:
    """What is wrong with a checkpoint file, if anything, and its weights by name."""
    if is_web_page(path):
        return f"{NO_CHECKPOINT} (it is a web page)", {}
    try:
        state: Any = _read_file(path, suffix)
    except _UnreadableError as error:
        return str(error), {}
    for key in CONTAINER_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    named = state.items() if isinstance(state, dict) else ()
    weights = {_strip_prefixes(name): value for name, value in named if hasattr(value, "shape")}
    return (None if weights else "holds no weights"), weights


class _UnreadableError(Exception):
    """A file is no checkpoint; the message is one phrase about it."""


def _read_file(path: Path, suffix: str) -> Any:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if suffix == ".safetensors":
            return load_file(path)
        # weights_only admits tensors and plain containers: a checkpoint cannot run code.
        is_mapped = zipfile.is_zipfile(path)  # other files are of torch before 1.6
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        # torch's own words advise to switch the protection off.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        objects = f" ({found[1]})" if found else ""
        what = f"holds objects other than weights{objects}" if found else NO_CHECKPOINT
        raise _UnreadableError(what) from error
    except (*DAMAGE, SafetensorError, zipfile.BadZipFile) as error:
        reason = first_line(error)
        said = "" if "weights_only" in reason else f" ({reason})"
        raise _UnreadableError(f"{NO_CHECKPOINT}{said}") from error


def _strip_prefixes(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def fetch_checkpoint(checkpoint: str, sha256: str | None = None) -> Path:
    """The checkpoint as a local file; a URL is downloaded once into torch's hub cache.

    What is kept there is a checkpoint: a login page or half a file never is.

    Args:
        checkpoint: A path or URL; its place in the cache does not depend on user and password.
        sha256: Checksum, hexadecimal, or ``None``.

    Raises:
        InputError: The file is not there, cannot be downloaded, or is another one.
    """
    if checkpoint.startswith(("http://", "https://")):
        path = _cache_path(checkpoint)
        try:
            return fetch(
                Source(checkpoint, path.name, sha256, find_fault=_fault_finder(path)), path.parent
            )
        except InputError as error:
            raise InputError(
                f"backbones: checkpoint {error}, or set checkpoint to a local file"
            ) from error
    if "://" in checkpoint:
        path = _cache_path(checkpoint)
        if not path.is_file() or _fault_finder(path)(path):
            _copy(checkpoint, path)
    else:
        path = _local_path(checkpoint)
        if not path.is_file():
            raise InputError(f"backbones: checkpoint {checkpoint} does not exist")
    if sha256 is not None:
        with path.open("rb") as file:
            found = hash_file(file, "sha256", path.name, path.stat().st_size)
        if found != sha256.lower():
            if "://" in checkpoint:
                path.unlink()
            raise InputError(
                f"backbones: {checkpoint} has SHA-256 {found}, expected {sha256}: "
                "the file is damaged or another one"
            )
    return path


def _fault_finder(path: Path) -> Callable[[Path], str | None]:
    """What looks for faults in a file that is to be ``path``, whatever it is called now."""
    return lambda part: _read_weights(part, path.suffix)[0]


def is_at_hand(backbone: Backbone) -> bool:
    """Whether its weights lie on this machine: a file, or one that was downloaded before.

    Not known, and so false, of weights that timm downloads itself. Untrained ones are none.
    """
    checkpoint = backbone.checkpoint
    if checkpoint in (None, UNTRAINED):
        return False
    path = _cache_path(checkpoint) if "://" in checkpoint else _local_path(checkpoint)
    return path.is_file()


def checkpoint_digest(backbone: Backbone) -> str | None:
    """SHA-256 of the checkpoint's file as it is now; ``None`` where there is no file to change.

    Files on other machines are fetched once and stay as they were.
    """
    checkpoint = backbone.checkpoint
    if checkpoint in (None, UNTRAINED) or "://" in checkpoint:
        return None
    try:
        with _local_path(checkpoint).open("rb") as file:
            return hash_file(file, "sha256", Path(checkpoint).name, os.fstat(file.fileno()).st_size)
    except OSError:
        return None


def _local_path(checkpoint: str) -> Path:
    if checkpoint.startswith(PACKAGED):
        return Path(__file__).parent / checkpoint.removeprefix(PACKAGED)
    return Path(checkpoint).expanduser()


def _cache_path(url: str) -> Path:
    import torch

    url = without_secrets(url)
    name = re.sub(r"[^\w.-]", "_", url.split("?")[0].rsplit("/", 1)[-1])
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    return Path(torch.hub.get_dir()) / "checkpoints" / f"{key}-{name}"


def _place_of(url: str) -> tuple[Any, str]:
    """The file system of a checkpoint, and its path there.

    Raises:
        OSError: There is none of that protocol.
    """
    try:
        return locate(url)
    except InputError as error:
        raise OSError(first_line(error)) from error


def _copy(url: str, path: Path) -> None:
    """Bring a file from anywhere that fsspec reaches, such as a bucket."""
    from aiohttp import ClientError

    logger.info("Downloading %s to %s", without_secrets(url), path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fs, place = _place_of(url)
        with new_file(path) as part, part.open("wb") as target:
            with foreign_errors(), fs.open(place, "rb") as source:
                shutil.copyfileobj(source, target)
            target.flush()
            if fault := _fault_finder(path)(part):
                raise InputError(
                    f"backbones: checkpoint {url} is not the file expected ({fault}): check the "
                    "address, or set checkpoint to a local file"
                )
    except InputError:
        raise
    except (OSError, ValueError, ImportError, ClientError) as error:
        raise InputError(
            f"backbones: checkpoint {url} cannot be downloaded ({first_line(error)}): check the "
            "address and the network, or set checkpoint to a local file"
        ) from error


def _adapt_state(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Let timm convert the names of other projects' checkpoints, where it knows how.

    timm would also resample patch embeddings to another patch size, which makes another encoder:
    such a checkpoint is left as it is, and found not to fit.
    """
    patches, own = state.get(PATCH_WEIGHT), model.state_dict().get(PATCH_WEIGHT)
    if patches is not None and own is not None and patches.shape != own.shape:
        return state
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(convert(state, model)) if convert is not None else state


def _load_state(model: nn.Module, checkpoint: str, state: dict[str, torch.Tensor]) -> None:
    state = _adapt_state(model, state)
    _check_state(model, checkpoint, state)
    own = model.state_dict()
    # Copies: what lies in a file that is mapped would change with it.
    weights = {name: state[name].to(own[name].dtype, copy=True) for name in own}
    model.load_state_dict(weights, assign=True)


def _check_state(model: nn.Module, checkpoint: str, state: dict[str, torch.Tensor]) -> None:
    """Refuse weights that miss a part of the model or have parts that it lacks.

    Parts of other modules, such as a projection head, are no part of the encoder and ignored.
    """
    own = model.state_dict()
    modules = {name.split(".")[0] for name in own}
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own and name.split(".")[0] in modules]
    misshapen = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = [
        f"{kind}: {', '.join(names[:MAX_KEYS])}"
        + (f" and {len(names) - MAX_KEYS} more" if len(names) > MAX_KEYS else "")
        for kind, names in [("missing", missing), ("unknown", extra), ("wrong shape", misshapen)]
        if names
    ]
    if faults:
        raise InputError(
            f"backbones: checkpoint {checkpoint} does not fit the model; {'; '.join(faults)}"
        )
