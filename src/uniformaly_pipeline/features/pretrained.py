"""Weights that timm has of its models: on the hub, and kept in the cache of the hub's client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.features.light_torch import late_compiler

logger = logging.getLogger(__name__)

FILES = ("model.safetensors", "pytorch_model.bin")
"""What a model's weights are called on the hub, as timm looks for them, one after the other."""


def fetch_pretrained(model: str) -> None:
    """Have the hub's client keep the weights that timm has of a model, if it does not yet.

    timm would fetch them where it makes the model, in the middle of a run. Without a network the
    client tries for half a minute; of its tries only the last one's error is told.

    Args:
        model: timm's name; nothing is done where timm has its weights from elsewhere.

    Raises:
        InputError: They cannot be had.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with late_compiler():
        from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    if config is None or not config.hf_hub_id:
        return
    repository, _, revision = config.hf_hub_id.partition("@")
    at = revision or None
    files = [config.hf_hub_filename] if config.hf_hub_filename else FILES
    if any(
        isinstance(try_to_load_from_cache(repository, name, revision=at), str) for name in files
    ):
        return
    logger.info(
        "Fetching the weights of %s from the hub, once; half a minute where there is no network",
        repository,
    )
    for name in files:
        try:
            with _without_remarks():
                hf_hub_download(repository, name, revision=at)
            return
        except LocalEntryNotFoundError as error:  # the client's word for a hub that is not there
            raise not_had(model, error) from error
        except EntryNotFoundError:
            continue
        except (OSError, RuntimeError) as error:
            raise not_had(model, error) from error


def not_had(model: str, error: BaseException) -> InputError:
    """The error of weights that cannot be had."""
    return InputError(
        f"backbones: the pretrained weights of '{model}' cannot be had ({first_line(error)}): "
        "check the network, or put the file on disk and set checkpoint to its path"
    )


@contextmanager
def _without_remarks() -> Iterator[None]:
    """The hub's client does not tell of each try meanwhile."""
    client = logging.getLogger("huggingface_hub")
    before = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(before)
