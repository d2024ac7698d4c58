"""What the catalog's paths ask of the current run: ``${run:<key>}``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict

from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking, drops_patches
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.schema import Parameters


def catalog_value(run: CurrentRun, key: str) -> str | int | dict[str, str] | None:
    """What ``${run:key}`` stands for in the catalog."""
    parameters = run.parameters
    dataset = parameters.chosen_dataset
    # Each is worked out only when it is asked for: some list the data set's folders.
    values: dict[str, Callable[[], str | int | dict[str, str] | None]] = {
        "data_set": lambda: run.data_set,
        "data_set_entry": lambda: f"datasets.{parameters.dataset}",
        "manifest_place": lambda: run.manifest_place,
        "backbone": lambda: run.backbone,
        "key": run.key,
        "judged_by": lambda: "/".join(run.names("predict").values()),
        "judged_data_set": lambda: run.names("predict")["dataset"],
        "detector": lambda: run.address(run.detector_of("predict") or ""),
        "exported": lambda: run.address(run.detector_of("export") or ""),
        "results": lambda: asdict(run.layers),
        "exported_by": lambda: "/".join(run.names("export").values()),
        "export_category": lambda: run.export_category,
        "export_format": lambda: parameters.export.format,
        "export_images": lambda: run.address(run.absolute(parameters.export.images or "")),
        "new_images": lambda: run.new_images,
        "predict_category": lambda: run.predict_category,
        "root": lambda: run.address(run.root),
        "layout": lambda: dataset.layout,
        "max_pixels": lambda: dataset.images.max_pixels,
        "credentials": lambda: dataset.credentials,
        "features_key": lambda: _features_key(parameters),
        "all_features_key": lambda: _all_features_key(parameters),
        "layered_features_key": lambda: _layered_features_key(parameters),
        "tree": lambda: run.absolute(dataset.tree or ""),
        "predict_images": lambda: run.address(run.absolute(parameters.predict.images or "")),
    }
    return values[key]()


def _features_key(parameters: Parameters) -> str:
    """Name of the folder of feature stores: readable, and its own for each setting of them."""
    features, bpm = parameters.features, parameters.bpm
    if not drops_patches(BackPatchMasking(**bpm.model_dump()), features.keep):
        return _all_features_key(parameters)
    kept = f"foreground-kernel{bpm.kernel_size}-threshold{bpm.threshold:g}"
    return _store_name(parameters, kept)


def _all_features_key(parameters: Parameters) -> str:
    return _store_name(parameters, "all")


def _layered_features_key(parameters: Parameters) -> str:
    choices = parameters.layer_choices or []
    names = (".".join(map(str, layers)) for layers in choices)
    return _store_name(parameters, f"all-layers-{'_'.join(names)}")


def _store_name(parameters: Parameters, kept: str) -> str:
    """What is stored, and a hash of all else that features depend on."""
    backbone = Backbone(**parameters.chosen_backbone.model_dump())
    settings = {
        # Only what features depend on: stores of before there was a norm keep their names.
        "backbone": backbone.entries(),
        "preprocessing": {
            key: value
            for key, value in parameters.chosen_dataset.preprocessing.model_dump().items()
            if key != "tiles" or value is not None
        },
        "device": parameters.encoder.device,
        "precision": parameters.encoder.precision,
        "seed": parameters.seed if backbone.checkpoint == UNTRAINED else None,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{parameters.features.dtype}-{kept}-{digest}"
