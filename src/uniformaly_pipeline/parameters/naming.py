"""Names of a run's data set, backbone and settings, as paths, titles and MLflow show them.

Results lie at ``<layer>/<task>/D/B/R/``: D the data set, B the backbone, R the run key, which says
in what the settings differ from those that ship. Names are safe in file systems and in URLs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.detector.finished_run import Layers, split_place
from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.schema import (
    BackboneParameters,
    DatasetParameters,
    Parameters,
    parse_parameters,
)
from uniformaly_pipeline.scoring.methods.interface import default_mode

OWN_LAYOUTS = {"folder": "folder", "classes": "class_folder"}
"""Layouts of the user's own images, and the data set that ships as an example of each."""

OWN_BACKBONE = "custom"
"""The backbone that ships as an example of the user's own."""

LAYERS = frozenset({
    "intermediate", "feature", "model_input", "models", "model_output", "reporting",
})  # fmt: skip
"""Layers that ship, by the names that ``paths`` of ``globals.yml`` has for their folders."""

DEFAULT_KEY = "default"
"""The run key where nothing differs from what ships."""

MAX_NAME = 60
"""Most characters of a name: file systems take 255 bytes, and a character has up to four."""

TASK_SECTIONS = {
    "defect": ("seeds",),
    "semantic": ("seeds",),
    "multiclass": ("seeds",),
    "clustering": ("clustering",),
    "lowshot": ("clustering", "lowshot"),
    "ablation": ("clustering", "ablation"),
    "multiclass_ablation": ("ablation",),
    "paper": ("clustering", "lowshot", "ablation", "seeds"),
}
"""Sections of parameters, or parameters, that change the results of these tasks only."""

MULTICLASS_TASKS = ("multiclass", "multiclass_ablation")
"""Tasks of which a memory bank holds many classes."""

PREDICT_SETTINGS = ("task", "false_alarm_rate", "threshold")
"""What changes decisions on the same new images by the same bank's settings."""

_MAX_VALUE = 24
_HASH_DIGITS = 8
_EXACT_TEXT = re.compile(r"[a-z0-9_]+")
_EXACT_NUMBER = re.compile(r"[0-9.]+")


def data_set_name(parameters: Parameters) -> str:
    """D: ``datasets.<key>.name``, or for the user's own images their root's name, or the key."""
    data_set = parameters.chosen_dataset
    if data_set.name is not None:
        return safe_name(data_set.name) or safe_name(parameters.dataset)
    own = safe_name(_last_name(data_set.root)) if data_set.layout in OWN_LAYOUTS else ""
    return own or safe_name(parameters.dataset)


def backbone_name(parameters: Parameters) -> str:
    """B: the key of a backbone that ships; of any other the name of its checkpoint or model."""
    if not _is_own_backbone(parameters):
        return parameters.backbone
    backbone = parameters.chosen_backbone
    file = _checkpoint_file(backbone)
    own = safe_name(Path(_last_name(file)).stem) if file else safe_name(backbone.model)
    return own or safe_name(parameters.backbone) or OWN_BACKBONE


def run_key(parameters: Parameters, shipped: Parameters, task: str = "") -> str:
    """R: what differs from the settings that ship, of all that changes a task's results.

    A key says the differences in full where that can be read back without doubt. Where it is cut,
    or a value is no plain word or number, it ends in a hash of all differences.

    Args:
        parameters: The run's.
        shipped: Those that ship, see :func:`shipped_parameters`.
        task: The task whose results are meant; its own section counts, those of others do not.

    Returns:
        ``default``, or for instance ``seed-3_bpm.mode-off``.
    """
    reference = _reference(parameters, shipped)
    return _key_of(_settings(parameters, task), _settings(reference, task))


def manifest_key(parameters: Parameters, shipped: Parameters) -> str:
    """In what the choice of images differs from what ships: of all that a manifest depends on."""
    reference = _reference(parameters, shipped)
    ours, theirs = (
        {
            key: value
            for key, value in _settings(of, "").items()
            if key in {"categories", "layout", "levels", "roi"} or key.startswith("split.")
        }
        for of in (parameters, reference)
    )
    return _key_of(ours, theirs)


def new_images_name(parameters: Parameters, shipped: Parameters, location: str) -> str:
    """What ``predict`` calls a folder of new images, and in what its own settings differ.

    Args:
        parameters: The run's.
        shipped: Those that ship.
        location: The folder or URL, absolute.

    Returns:
        The folder's name with a short hash of where it lies: folders of one name are often judged
        one after the other.
    """
    name = safe_name(_last_name(location))[: MAX_NAME // 2] or "images"
    place = f"{name}-{_hash(without_secrets(location).rstrip('/'))[:6]}"
    ours, theirs = (
        {key: getattr(p.predict, key) for key in PREDICT_SETTINGS} for p in (parameters, shipped)
    )
    key = _key_of(ours, theirs)
    return place if key == DEFAULT_KEY else f"{place}_{key}"


def detector_names(location: str, own: str | Layers | None = None) -> dict[str, str]:
    """D, B and R of what a detector judges, and its category.

    Args:
        location: Its file, or a finished run's category, see :func:`.finished_run.split_place`.
        own: The project's own folder ``data``, or where its results lie: the run of another project
            is no run of this one.

    Returns:
        ``dataset``, ``backbone``, ``run_key`` and ``category``: those of the run; for a file
        ``detectors``, its name, and a hash of where it lies.
    """
    layers = None if own is None else Layers.of(own)
    place = split_place(location, layers)
    if place is not None:
        task, data_set, backbone, key = place[1].split("/")
        if layers is not None and not _is_same(place[0].banks, layers.banks):
            key = f"{key}-{_hash(without_secrets(place[0].name).rstrip('/'))[:6]}"
        return {
            "dataset": data_set,
            "backbone": backbone,
            "run_key": judging_key(task, key),
            "category": place[2],
        }
    name = safe_name(Path(_last_name(location)).stem) or "detector"
    digest = _hash(without_secrets(location).rstrip("/"))[:6]
    return {"dataset": "detectors", "backbone": name, "run_key": digest, "category": name}


def _is_same(folder: str, other: str) -> bool:
    """Whether two paths or URLs are of one folder."""
    if "://" in folder or "://" in other:
        return folder.rstrip("/") == other.rstrip("/")
    return os.path.realpath(folder) == os.path.realpath(other)


def judging_key(task: str, key: str) -> str:
    """R of what is judged by, or made of, a run's memory bank.

    >>> judging_key("defect", "seed-3"), judging_key("multiclass", "seed-3")
    ('seed-3', 'multiclass-seed-3')
    """
    return key if task == "defect" else f"{task}-{key}"


@cache
def shipped_parameters() -> Parameters:
    """The parameters that ship with this version, whatever ``conf/base`` says now.

    ``python -m tools.shipped`` writes them; a test fails where they are not those of ``conf/base``.
    """
    text = Path(__file__).with_name("shipped.json").read_text(encoding="utf-8")
    return parse_parameters(json.loads(text))


def safe_name(text: str) -> str:
    """Text as one name in paths and URLs; empty where nothing of it can be used.

    >>> safe_name("Nuts & bolts/2"), safe_name("..")
    ('Nuts_bolts_2', '')
    """
    whole = unicodedata.normalize("NFC", text)
    name = re.sub(r"[^\w.-]+", "_", whole).strip("._-")
    return name if len(name) <= MAX_NAME else _cut(name, _hash(whole))


def category_key(name: str) -> str:
    """Namespace of a category: its name with what Kedro and file systems mind replaced."""
    return re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name))


def _last_name(location: str) -> str:
    """The last name in a path or URL that says something; empty where there is none."""
    if "://" not in location:
        paths = [location]
    else:
        # A path in an archive is followed by the archive's own.
        links = without_secrets(location).split("::")
        paths = [re.split(r"[?#]", link.rpartition("://")[2])[0] for link in links]
    names = (part for path in paths for part in reversed(re.split(r"[/\\]", path)))
    return next((name for name in names if safe_name(name)), "")


def _is_own_backbone(parameters: Parameters) -> bool:
    key = parameters.backbone
    return key == OWN_BACKBONE or key not in shipped_parameters().backbones


def _checkpoint_file(backbone: BackboneParameters) -> str:
    """Path or URL of the weights; empty where timm's or random ones are used."""
    return "" if backbone.checkpoint in (None, UNTRAINED) else without_secrets(backbone.checkpoint)


def _reference(parameters: Parameters, shipped: Parameters) -> Parameters:
    """What ships, for the run's data set and backbone.

    A data set is compared with the one of its layout that ships, whatever its key: two keys may
    share a name. What a name says is no difference: the model of a backbone called by it. Nor is
    the masking that a method and a backbone come with.
    """
    data_set, backbone = parameters.chosen_dataset, parameters.chosen_backbone
    entry = next(
        (entry for entry in shipped.datasets.values() if entry.layout == data_set.layout),
        DatasetParameters(layout=data_set.layout, root=data_set.root),
    )
    own = shipped.datasets.get(parameters.dataset)
    if own is not None and data_set.layout not in OWN_LAYOUTS:
        entry = entry.model_copy(update={"layout": own.layout})
    other = shipped.backbones.get(parameters.backbone, shipped.backbones[OWN_BACKBONE])
    is_called_by_model = _is_own_backbone(parameters) and not _checkpoint_file(backbone)
    if is_called_by_model and backbone_name(parameters) == backbone.model:
        other = other.model_copy(update={"model": backbone.model})
    chosen = {
        "dataset": parameters.dataset,
        "backbone": parameters.backbone,
        "datasets": {parameters.dataset: entry},
        "backbones": {parameters.backbone: other},
    }
    masking = {
        "mode": default_mode(parameters.scoring.method),
        # By the run's own input, which the key names where it is another than what ships.
        "kernel_size": Backbone(**other.model_dump()).kernel_size_at(parameters.input_size),
    }
    return shipped.model_copy(update={**chosen, "bpm": shipped.bpm.model_copy(update=masking)})


def _settings(parameters: Parameters, task: str) -> dict[str, Any]:
    """All that changes a task's results but where the images lie, by dotted key, in order."""
    values = parameters.model_dump()
    data_set, backbone = parameters.chosen_dataset, parameters.chosen_backbone
    is_multiclass = task in MULTICLASS_TASKS
    bank = {k: v for k, v in values["memory_bank"].items() if not k.endswith("coreset_ratio")}
    bank["coreset_ratio"] = parameters.coreset_ratio(multiclass=is_multiclass)
    if task == "paper":  # it shows the results of both sorts
        bank["multiclass_coreset_ratio"] = parameters.coreset_ratio(multiclass=True)
    nested = {
        "seed": parameters.seed,
        "categories": _categories(parameters.categories),
        "encoder": {"precision": parameters.encoder.precision},
        "features": values["features"],
        "bpm": values["bpm"],
        "memory_bank": bank,
        "scoring": values["scoring"],
        "evaluation": values["evaluation"],
        **{section: values[section] for section in TASK_SECTIONS.get(task, ())},
        "layout": data_set.layout,
        "preprocessing": data_set.preprocessing.model_dump(),
        "split": data_set.split.model_dump(),
        "levels": data_set.images.levels,
        "roi": data_set.roi,
        "model": backbone.model,
        "checkpoint": _checkpoint_file(backbone) or backbone.checkpoint,
        "model_kwargs": backbone.model_kwargs,
        "layers": backbone.layers,
        "attention_layer": backbone.attention_layer,
        "norm": backbone.norm,
    }
    # However many splits there are, they are one value.
    shown = is_multiclass or task == "paper"
    return dict(flatten(nested)) | {"splits": data_set.splits if shown else None}


def _categories(categories: str | list[str]) -> str | list[str]:
    """The same for the same categories, however they are written."""
    if categories == "all":
        return categories
    names = categories.split("+") if isinstance(categories, str) else categories
    return sorted({unicodedata.normalize("NFC", name) for name in names})


def _key_of(settings: Mapping[str, Any], shipped: Mapping[str, Any]) -> str:
    """The differences of some settings from those that ship, as one name."""
    differences = dict(_differences(settings, shipped))
    if not differences:
        return DEFAULT_KEY
    parts = [f"{key}-{_as_text(value)}" for key, value in differences.items()]
    name = "_".join(part.rstrip("-") for part in parts)
    if len(name) <= MAX_NAME and all(_is_exact(*item) for item in differences.items()):
        return name
    return _cut(name, _hash(json.dumps(differences, sort_keys=True, default=str)))


def _differences(
    settings: Mapping[str, Any], shipped: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if key not in shipped or shipped[key] != value:
            yield key, value
    # Options of the model that were taken out; no options are none to miss.
    for key, value in shipped.items():
        if key not in settings and value != {}:
            yield key, {}


def _is_exact(key: str, value: Any) -> bool:
    """Whether a value's text in a key can be no other value's, capitals or not."""
    if isinstance(value, str):
        # Weights of one name may lie in several folders; an option may be text or a number.
        is_file = key == "checkpoint" and value != UNTRAINED
        is_open = is_file or key.startswith("model_kwargs.")
        return not is_open and _EXACT_TEXT.fullmatch(value) is not None
    if isinstance(value, (list, tuple)):
        # A point stands between items: one within an item could be either.
        texts = (str(item) for item in value if isinstance(item, (str, int)))
        return 0 < len(value) == sum(_EXACT_TEXT.fullmatch(text) is not None for text in texts)
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, (int, float)) and _EXACT_NUMBER.fullmatch(str(value)) is not None


def _as_text(value: Any) -> str:
    """A value as words, not always all of it."""
    if isinstance(value, str):
        name = Path(_last_name(value)).stem if "/" in value else value
        return safe_name(name)[:_MAX_VALUE]
    if isinstance(value, (list, tuple, Mapping)):
        return ".".join(map(_as_text, value))
    return "null" if value is None else str(value).lower()


def _cut(name: str, digits: str) -> str:
    return f"{name[: MAX_NAME - _HASH_DIGITS - 1].rstrip('._-')}-{digits}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
