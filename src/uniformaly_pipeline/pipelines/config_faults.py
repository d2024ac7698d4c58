"""What is wrong with a file of the configuration, in words that follow the file's name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uniformaly_pipeline.common.errors import first_line

LITERAL = r"; write \${ where a text has ${"


def file_fault(path: Path) -> str | None:
    """What keeps a file from being read by itself, if anything."""
    try:
        content = OmegaConf.load(io.StringIO(path.read_bytes().decode("utf-8")))
    except UnicodeDecodeError:
        return "is not UTF-8 text: save it as such"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        return f"is no proper YAML{line} ({error.problem}): mend it or put text into quotes"
    except OmegaConfBaseException as error:
        shows_text = not path.name.startswith("credentials")
        return reference_fault(path, error, shows_text) or (
            f"holds a reference that makes no sense ({first_line(error)}){LITERAL}"
        )
    except (yaml.YAMLError, RecursionError) as error:
        return f"is no proper YAML ({first_line(error)})"
    return None if isinstance(content, DictConfig) else "is no mapping of keys to values"


def reference_fault(path: Path, error: OmegaConfBaseException, shows_text: bool) -> str | None:
    """Where a file has the reference that could not be resolved; None where it has not.

    Args:
        path: The file, which is YAML.
        error: What OmegaConf said; it knows the key, but no file.
        shows_text: Whether the value may be shown, which is no secret.
    """
    root = yaml.compose(path.read_text(encoding="utf-8"))
    for key, value in _texts(root, ""):
        if key != error.full_key or "${" not in value.value:
            continue
        line = f"line {value.start_mark.line + 1}: {key} has a reference to nothing"
        if not shows_text:
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
