"""Write docs/parameters.md from the schema and from conf/base.

    python -m tools.docs.parameters

Types and limits come from the fields of ``uniformaly_pipeline.parameters.schema``, descriptions
from the text below each field, defaults from ``conf/base/parameters*.yml``. What a data set or
backbone may leave out has the schema's own default.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from uniformaly_pipeline.parameters import schema as schema_module
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.schema import Parameters

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/parameters.md"

TITLES = {
    "": "What to run",
    "datasets.<name>": "Data sets",
    "backbones.<name>": "Backbones",
    "encoder": "Encoder",
    "features": "Stored features",
    "bpm": "Back Patch Masking",
    "memory_bank": "Memory bank",
    "scoring": "Scores",
    "evaluation": "Evaluation",
    "clustering": "Clustering",
    "lowshot": "Few normal images",
    "ablation": "Ablation",
    "predict": "Predict",
    "export": "Export",
    "mlflow": "MLflow",
    "ray": "Ray",
    "reporting": "Report",
}
"""Headings of the sections; one that is missing here is headed by its key."""

NOTES = {
    "datasets.<name>": "An entry may leave out whatever has a default. "
    "For other names of layouts see [Published data sets](datasets.md), for the folders of your "
    "own [Your own images](own_images.md). The crop must fit into the resized image. `256/224` is "
    "256 pixels for a backbone whose resolution is 224, and in proportion for others; a number is "
    "a number of pixels for all.",
    "backbones.<name>": "See [Backbones](backbones.md).",
    "bpm": "See [Concepts](concepts.md#back-patch-masking) and [Tune](tune.md#back-patch-masking).",
    "memory_bank": "See [Concepts](concepts.md#memory-bank) and [Tune](tune.md#coreset).",
    "scoring": "See [Concepts](concepts.md#scores) and [Tune](tune.md#top-k-ratio).",
    "ablation": "Values to try, one parameter at a time; an empty list leaves a parameter out. "
    "See [Tasks](tasks.md#ablation).",
    "predict": "See [Judge new images](predict.md).",
    "export": "See [The detector](detector.md#export).",
    "mlflow": "See [Register it in MLflow](register_in_mlflow.md).",
    "ray": "See [Many images, many categories, many machines](scale.md#ray).",
}

INTRODUCTION = """\
<!-- Made by "python -m tools.docs.parameters": change \
src/uniformaly_pipeline/parameters/schema.py or conf/base, not this page. -->

# Parameters

Set any of these on the command line or for good:

```bash
kedro run --params=bpm.mode=off,memory_bank.coreset_ratio=0.05
```

```yaml
# conf/local/parameters.yml
bpm:
  mode: "off"
memory_bank:
  coreset_ratio: 0.05
```

A run checks all of them before any work and answers a misspelt key with the closest match.
`--params` splits at commas: join lists with `+`, as `ablation.kernel_size=1+7`; lists of lists and
splits go into a parameter file. A name or path is what is written there: `categories=01`, a root
with ` #`, `: ` or `${` in it. What holds a comma, or begins or ends with a space, stands in double
or single quotes, and the whole in the shell's: `'--params=datasets.folder.root="/a, b",seed=1'`.
`null` is no value; a category of that name is `'predict.category="null"'`. In a file, quote names
that YAML reads as something else (`"01"`, `"off"`, `"1e5"`), and write `\\${` for `${`.

Environments set several parameters at once:
`--env=gpu` computes on CUDA in large batches, `--env=test` takes the small demo of the test suite.
"""


@dataclass(frozen=True)
class Row:
    """A parameter.

    Attributes:
        key: Dotted key, with ``<name>`` for the name of a data set or backbone.
        values: What it may be, in words.
        default: Its default, as Markdown.
        meaning: Its description.
    """

    key: str
    values: str
    default: str
    meaning: str


def sections() -> dict[str, list[Row]]:
    """The parameters by section, in the schema's order."""
    schema = Parameters.model_json_schema()
    defaults = dict(flatten(base_parameters()))
    found: dict[str, list[Row]] = {"": []}
    for name, field in schema["properties"].items():
        inner = field.get("additionalProperties", field)
        if isinstance(inner, Mapping) and "$ref" in inner:
            section = name if inner is field else f"{name}.<name>"
            found[section] = list(_rows(schema, _model(inner), f"{section}.", defaults))
        else:
            found[""].append(_row(schema["title"], name, name, field, defaults))
    return found


def base_parameters() -> dict[str, Any]:
    """The parameters of conf/base."""
    merged: dict[str, Any] = {}
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        merged |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return merged


@cache
def descriptions() -> dict[tuple[str, str], str]:
    """The text below each field of the schema, by class and field."""
    texts = {}
    tree = ast.parse(inspect.getsource(schema_module))
    for model in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, text in zip(model.body, model.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                texts[model.name, field.target.id] = " ".join(str(text.value.value).split())
    return texts


def page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for section, rows in sections().items():
        key = f": `{section}`" if section else ""
        parts.append(f"## {TITLES.get(section, section)}{key}\n")
        if section in NOTES:
            parts.append(f"{NOTES[section]}\n")
        table = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        table += [f"| `{row.key}` | {row.values} | {row.default} | {row.meaning} |" for row in rows]
        parts.append("\n".join(table) + "\n")
        if section == "datasets.<name>":
            parts.append(_shipped_datasets())
    return "\n".join(parts)


def _rows(
    schema: Mapping[str, Any], model: str, prefix: str, defaults: Mapping[str, Any]
) -> Iterator[Row]:
    definition = schema["$defs"][model]
    for name, field in definition["properties"].items():
        if "$ref" in field:
            yield from _rows(schema, _model(field), f"{prefix}{name}.", defaults)
        else:
            is_required = name in definition.get("required", ())
            given = field if not is_required else {**field, "default": ...}
            yield _row(model, f"{prefix}{name}", name, given, defaults)


def _row(
    model: str, key: str, name: str, field: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Row:
    default = defaults.get(key, field.get("default", ...))
    return Row(key, _values(field), _default(default), descriptions().get((model, name), ""))


def _model(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _default(value: Any) -> str:
    return "needed" if value is ... else f"`{_as_yaml(value)}`"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _values(field: Mapping[str, Any]) -> str:
    """What a field may be, from its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "enum" in field:
        return _either([f"`{value}`" for value in field["enum"]])
    if "$ref" in field:
        return "mapping"
    if "const" in field:
        return f"`{field['const']}`"
    kind = field["type"]
    if kind == "array":
        if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}"
        return f"list: {_values(field['items'])}"
    names = {"integer": "whole number", "string": "text", "object": "mapping"}
    limits = [
        f"{sign} {field[bound]}"
        for bound, sign in [
            ("exclusiveMinimum", ">"),
            ("minimum", "≥"),
            ("exclusiveMaximum", "<"),
            ("maximum", "≤"),
        ]
        if bound in field
    ]
    return f"{names.get(kind, kind)} {' and '.join(limits)}".strip()


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _shipped_datasets() -> str:
    """What the entries of conf/base set."""
    columns = ["resize", "crop", "pad", "interpolation"]
    lines = [
        "The entries that ship:\n",
        f"| `dataset` | layout | {' | '.join(columns)} | coreset ratio | for `multiclass` |",
        "| --- " * (4 + len(columns)) + "|",
    ]
    for name, entry in base_parameters()["datasets"].items():
        prepared = [_as_yaml(entry["preprocessing"][column]) for column in columns]
        ratios = [_as_yaml(entry[key]) if key in entry else "the same"
                  for key in ("coreset_ratio", "multiclass_coreset_ratio")]  # fmt: skip
        lines.append(f"| `{name}` | `{entry['layout']}` | {' | '.join([*prepared, *ratios])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
