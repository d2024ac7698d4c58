"""MLflow's local database: it appears whole, so that no interruption leaves half a schema."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import part_name, remove_leftovers

CHECKED_BYTES = 64 << 20
"""Up to this size a database is checked throughout, which takes a fraction of a second."""

_ARTIFACTS = "./mlruns"
"""Where MLflow puts artifacts of experiments that name no place; ours does."""


def local_database(uri: str) -> Path | None:
    """The file of an SQLite database; None for any other address.

    >>> local_database("sqlite:///mlflow.db"), local_database("http://host:5000")
    (PosixPath('mlflow.db'), None)
    """
    if not uri.startswith("sqlite:///"):
        return None
    file = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if file in {"", ":memory:"} or file.startswith("file:") else Path(file)


def prepare_database(uri: str) -> None:
    """Make a local database where there is none, and refuse one that cannot be used.

    MLflow makes the tables one by one, which takes seconds; interrupted, it leaves a file that it
    refuses ever after. Here that happens under another name. Of several runs that begin at once
    one is first, and the others use its database.

    Args:
        uri: The tracking address; what is no local database is left alone.

    Raises:
        InputError: The file cannot be made, or is no whole database; the line says what to do.
    """
    path = local_database(uri)
    if path is None:
        return
    try:
        if path.exists() and path.stat().st_size > 0:
            _check(path)
            if not os.access(path, os.W_OK):
                raise InputError(
                    f"MLflow's database {path} is read-only: make it writable, or set "
                    "MLFLOW_TRACKING_URI"
                )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise InputError(
            f"MLflow's database {path} cannot be made ({error.strerror or first_line(error)}): "
            "make the folder writable, or set MLFLOW_TRACKING_URI"
        ) from error


def require_database(uri: str) -> None:
    """Refuse a local database that is to be read, and is not there or cannot be used.

    Args:
        uri: The tracking address; what is no local database is left alone.

    Raises:
        InputError: There is none, or it is no whole one; the line says what to do.
    """
    path = local_database(uri)
    if path is None:
        return
    if not path.exists():
        # MLflow would make an empty one.
        raise InputError(f"there are no runs in {uri} yet: first kedro run")
    if not path.is_file():
        raise InputError(f"{path} is not a database of MLflow: name its file, such as mlflow.db")
    _check(path)


def _make(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # That it makes its tables says nothing to who waits for a run.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    remove_leftovers(path.parent)
    part = path.with_name(part_name(path.name))
    # So that a folder that takes no files is one line, not MLflow's ten attempts.
    part.touch(exist_ok=False)
    try:
        store = SqlAlchemyStore(f"sqlite:///{part}", _ARTIFACTS)
        store.engine.dispose()
        if path.exists() and path.stat().st_size == 0:
            part.replace(path)
        else:
            _rename_to_new(part, path)
    finally:
        part.unlink(missing_ok=True)
        part.with_name(f"{part.name}-journal").unlink(missing_ok=True)


def _rename_to_new(part: Path, path: Path) -> None:
    """Give a file its name unless another one has it, in one step where links are known."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:
        if not path.exists():
            part.rename(path)


def _check(path: Path) -> None:
    cure = "move it away and run again (its runs are lost, the results in data/ are not)"
    try:
        with closing(sqlite3.connect(path)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            version = (
                database.execute("SELECT version_num FROM alembic_version").fetchone()
                if "alembic_version" in tables
                else None
            )
            if problem := _problem(database):
                raise InputError(f"MLflow's database {path} is damaged ({problem}): {cure}")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return  # another run writes; MLflow waits
        raise InputError(
            f"MLflow's database {path} cannot be used ({first_line(error)}): make it readable and "
            f"writable, or {cure}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"MLflow's database {path} is damaged ({first_line(error)}): {cure}"
        ) from error
    if "experiments" not in tables or version is None:
        raise InputError(f"{path} is not a database of MLflow, or one that was half made: {cure}")


def _problem(database: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong in a database, if anything; large ones are not read for it."""
    ((pages,),) = database.execute("PRAGMA page_count")
    ((size,),) = database.execute("PRAGMA page_size")
    if pages * size > CHECKED_BYTES:
        return None
    ((found,),) = database.execute("PRAGMA quick_check(1)")
    return None if found == "ok" else str(found).splitlines()[-1]
