"""A detector of anomalib on a data set, run in anomalib's own environment.

    python anomalib_side.py MODEL ROOT WEIGHTS ARCHITECTURE

prints one JSON object. It imports nothing of this project, which is not installed there.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 8
RATIO = 0.1


def _load_our_weights(weights: Path) -> None:
    """Have timm fill each model with these weights in place of those that it would download."""
    import timm
    from safetensors.torch import load_file

    create = timm.create_model

    def create_with(*arguments: Any, **options: Any) -> Any:
        wants = options.pop("pretrained", False)
        model = create(*arguments, **options)
        if wants:
            own = model.state_dict()
            loaded = {name: value for name, value in load_file(weights).items() if name in own}
            model.load_state_dict(loaded, strict=False)
            missing = [name for name in own if name not in loaded and not name.startswith("head")]
            if missing:
                raise RuntimeError(f"weights lack {missing[:5]}")
        return model

    timm.create_model = create_with


def run(model: str, root: Path, weights: Path, architecture: str) -> dict[str, Any]:
    """Fit and test; AUROC, seconds, and seconds of all cores."""
    start, before = time.perf_counter(), _cpu_seconds()
    _load_our_weights(weights)
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import AnomalyDINO, Patchcore

    data = Folder(
        name=root.name,
        root=root,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir="test/stain",
        train_batch_size=BATCH,
        eval_batch_size=BATCH,
        num_workers=1,
        val_split_mode="same_as_test",
        seed=0,
    )
    processor = Patchcore.configure_pre_processor((256, 256), (224, 224))
    if model == "PatchCore":
        detector: Any = Patchcore(
            backbone=architecture,
            layers=[f"blocks.{number}" for number in range(2, 10)],
            coreset_sampling_ratio=RATIO,
            num_neighbors=1,
            pre_processor=processor,
        )
    else:
        detector = AnomalyDINO(
            encoder_name=architecture,
            coreset_subsampling=True,
            sampling_ratio=RATIO,
            pre_processor=processor,
        )
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(default_root_dir=folder, accelerator="cpu", logger=False)
        engine.fit(detector, datamodule=data)
        (found,) = engine.test(detector, datamodule=data)
    return {
        "image_auroc": float(found["image_AUROC"]),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": _cpu_seconds() - before,
    }


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def main() -> None:
    """Run what the command line names."""
    model, root, weights, architecture = sys.argv[1:]
    print(json.dumps(run(model, Path(root), Path(weights), architecture)))


if __name__ == "__main__":
    main()
