"""What is wrong with a file of the configuration, in words that follow the file's name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uniformaly_pipeline.common.errors import did_you_mean, first_line

_LAYER = re.compile(r"\$\{(?:globals:\s*)?(?:paths)?\.([\w-]+)")
"""A reference to a layer: ``${globals:paths.x}``; in ``globals.yml`` ``${paths.x}``, ``${.x}``."""

LITERAL = r"; write \${ where a text has ${"


def file_fault(path: Path, is_secret: bool) -> str | None:
    """What keeps a file from being read by itself, if anything.

    Args:
        path: A file of the configuration.
        is_secret: Whether nothing that stands in it may be shown.
    """

    def because(reason: str) -> str:
        return "" if is_secret else f" ({reason})"

    try:
        content = OmegaConf.load(io.StringIO(path.read_bytes().decode("utf-8")))
    except UnicodeDecodeError:
        return "is not UTF-8 text: save it as such"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = because(str(error.problem))
        return f"is no proper YAML{line}{problem}: mend it or put text into quotes"
    except OmegaConfBaseException as error:
        return reference_fault(path, error, is_secret) or (
            f"holds a reference that makes no sense{because(first_line(error))}{LITERAL}"
        )
    except (yaml.YAMLError, RecursionError) as error:
        return f"is no proper YAML{because(first_line(error))}"
    return None if isinstance(content, DictConfig) else "is no mapping of keys to values"


def passed_over(path: Path, suffixes: Set[str]) -> str | None:
    """Why Kedro would go on without a file of the configuration, if it would.

    Args:
        path: Anything below a folder of the configuration.
        suffixes: Of files that Kedro reads.
    """
    if path.suffix.lower() not in suffixes:
        return None
    if path.is_dir():
        return "is a folder where a file is needed: move it away"
    if not path.exists():
        return "is a link to nothing: mend or remove it"
    if not path.is_file():
        return "is no file that can be read: move it away"
    if path.suffix not in suffixes:
        return f"would not be read: name it {path.with_suffix(path.suffix.lower()).name}"
    return None


def layers_named(path: Path) -> set[str]:
    """The layers that a file of the configuration refers to, such as a project's own catalog.

    Args:
        path: The file; one that cannot be read is told when Kedro reads it.
    """
    try:
        return set(_LAYER.findall(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return set()


def paths_fault(paths: object, known: Set[str]) -> str | None:
    """What is wrong with ``paths`` of ``globals.yml``, if anything.

    Args:
        paths: Folders or URLs by layer.
        known: Layers that something is kept in.
    """
    if not isinstance(paths, Mapping):
        return None  # Kedro names the one that the catalog misses
    for name, value in paths.items():
        if name not in known:
            hint = did_you_mean(str(name), sorted(known))
            return f"paths of globals.yml: there is no layer '{name}'{hint}"
        if not isinstance(value, str) or not value.strip():
            return f"paths.{name} of globals.yml is {value!r} but must name a folder"
    return None


def reference_fault(path: Path, error: OmegaConfBaseException, is_secret: bool) -> str | None:
    """Where a file has the reference that could not be resolved; None where it has not.

    Args:
        path: The file, which is YAML.
        error: What OmegaConf said; it knows the key, but no file.
        is_secret: Whether the value may not be shown.
    """
    root = yaml.compose(path.read_text(encoding="utf-8"))
    for key, value in _texts(root, ""):
        if key != error.full_key or "${" not in value.value:
            continue
        line = f"line {value.start_mark.line + 1}: {key} has a reference to nothing"
        if is_secret:
            return f"{line}{LITERAL}"
        references = " ".join(re.findall(r"\$\{[^}]*\}*", value.value))
        return f"{line}, {references} ({first_line(error).rstrip('.')}){LITERAL}"
    return None


def _texts(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """The texts below a node of YAML, each with its key as OmegaConf writes it."""
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for number, inner in enumerate(node.value):
            yield from _texts(inner, f"{key}[{number}]")
    elif isinstance(node, yaml.MappingNode):
        for name, inner in node.value:
            yield from _texts(inner, f"{key}.{name.value}" if key else str(name.value))
