"""Where a study lies: study.db in its run's folder, or any database that Optuna can use.

A password is used and never recorded: what is written down is the URL without it, and
whoever comes back has it from the environment of the database's own client, or names the
URL again.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import TrialState
from sqlalchemy.engine import URL, make_url

from resnest_search.errors import ImagesChanged, UserError
from resnest_search.files import is_full, write_atomically
from resnest_search.redact import without_password
from resnest_search.study.mirror import Mirror

__all__ = [
    "RECORD",
    "Place",
    "amend",
    "check_storage",
    "connect",
    "let_go",
    "new_place",
    "own_place",
    "recorded_place",
    "trouble",
    "write_ahead",
]

RECORD = "storage.json"  # in a run's folder whose study lies elsewhere
_NAME = "sweep"
_VALID = (
    "valid: a URL such as postgresql+psycopg2://user@host/database, "
    "or null for study.db in the run's folder"
)
_NEW_VALUE = sqlalchemy.text(
    "UPDATE trial_values SET value = :value WHERE trial_id = :trial AND objective = :objective"
)
_PATIENCE_S = 30  # for a server's first answer, and for a SQLite file that another program holds


@dataclass(frozen=True)
class Place:
    """A study in a database.

    ``shown`` is what may be said of the database: a file, or a URL without its password.
    """

    url: str
    study: str
    shown: str

    def refused(self, error: BaseException) -> UserError:
        """An error on the way to the study as one line."""
        said = _of_database(error) or _first_line(error)
        answers = not any(isinstance(e, sqlalchemy.exc.OperationalError) for e in _chain(error))
        what = "is no study of a sweep" if answers else "cannot be used"
        key = f"run: {self.shown}" if self.study == _NAME else f"storage={self.shown}:"
        return UserError(f"{key} {what}: {said}")


def check_storage(url: str | None) -> str | None:
    """The URL as a resume elsewhere needs it, of a database that answers.

    Raises:
        UserError: it is malformed, its driver is missing, or nothing can be had there.
    """
    if url is None:
        return None
    parsed = _parsed(url)
    url = _rendered(_absolute(parsed))
    try:
        let_go(connect(url))
    except UserError:
        raise
    except Exception as error:  # whatever driver, SQLAlchemy or Optuna make of it
        said = _of_database(error) or _first_line(error)
        raise UserError(f"storage={without_password(url)}: cannot be used: {said}") from error
    return url


def own_place(folder: Path) -> Place:
    """study.db in a run's folder, whatever characters the folder's name has."""
    path = str(folder / "study.db")
    return Place(_rendered(URL.create("sqlite", database=path)), _NAME, path)


def new_place(folder: Path, url: str | None, sweep: str) -> Place:
    """The place of a new run, written down in its folder where that is not study.db.

    Several runs share a database, so that each has a study with a name of its own.
    """
    if url is None:
        return own_place(folder)
    name = f"{sweep}/{folder.name}-{uuid.uuid4().hex[:8]}"
    place = Place(url, name, without_password(url))
    _record(folder, place)
    return place


def recorded_place(folder: Path, url: str | None = None) -> Place:
    """The place that a run's folder names.

    Args:
        folder: of the run.
        url: of the database now, where that is not what was recorded; it is written down.

    Raises:
        UserError: the folder is none of a run, or keeps its study itself.
    """
    path = folder / RECORD
    if not path.is_file():
        return _own_if_there(folder, url)
    try:
        record = json.loads(path.read_text())
        kept, name = str(record["url"]), str(record["study"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"run: {path} cannot be read: {type(error).__name__}") from error
    place = Place(check_storage(url) or kept.replace(":***@", "@"), name, kept)
    if url is None:
        return place
    place = Place(place.url, name, without_password(place.url))
    _record(folder, place)
    return place


def connect(url: str | None) -> BaseStorage:
    """A storage for one writer at a URL, in memory where that is None.

    Raises:
        UserError: it is malformed, or its driver is missing.
        Exception: whatever driver, SQLAlchemy or Optuna make of what is there.
    """
    if url is None:
        return get_storage(None)
    parsed = _parsed(url)
    try:
        return Mirror(RDBStorage(_rendered(parsed), _engine_options(parsed)))
    except ImportError as error:
        shown = without_password(url)
        raise UserError(
            f"storage={shown}: its driver is not installed: {_module(error)}; {_VALID}"
        ) from error


def let_go(storage: BaseStorage) -> None:
    """Close every connection of a storage."""
    backend = storage.backend if isinstance(storage, Mirror) else storage
    if isinstance(backend, RDBStorage):
        backend.remove_session()
        backend.engine.dispose()


@contextlib.contextmanager
def write_ahead(storage: BaseStorage) -> Iterator[None]:
    """Let a SQLite file be written through a log beside it, which spares a wait for each write.

    A kill loses nothing. A power cut may lose the last writes, which the trials' checkpoints
    have. Readers must be on this machine meanwhile; afterwards the file is whole again.
    """
    backend = storage.backend if isinstance(storage, Mirror) else storage
    if not isinstance(backend, RDBStorage) or backend.engine.dialect.name != "sqlite":
        yield
        return
    engine = backend.engine
    let_go(storage)
    sqlalchemy.event.listen(engine, "connect", _sync_the_log_alone)
    _set_journal(engine, "WAL")
    try:
        yield
    finally:
        sqlalchemy.event.remove(engine, "connect", _sync_the_log_alone)
        let_go(storage)
        with contextlib.suppress(sqlalchemy.exc.OperationalError):  # a reader, or a full disk
            _set_journal(engine, "DELETE")


def amend(
    storage: BaseStorage, trial_id: int, values: Sequence[float] | None, attributes: dict[str, Any]
) -> None:
    """Give a complete trial other values, or system attributes, which Optuna has no word for.

    Its moments stay as they are, so that nothing seems to have been trained longer than it was.
    """
    backend = storage.backend if isinstance(storage, Mirror) else storage
    with _open_to_changes(backend):
        for key, value in attributes.items():
            backend.set_trial_system_attr(trial_id, key, value)
        if values is not None and not isinstance(backend, RDBStorage):
            backend.set_trial_state_values(trial_id, TrialState.COMPLETE, values)
    if values is not None and isinstance(backend, RDBStorage):
        with backend.engine.begin() as connection:
            for objective, value in enumerate(values):
                row = {"value": value, "trial": trial_id, "objective": objective}
                connection.execute(_NEW_VALUE, row)
    if isinstance(storage, Mirror):
        storage.read_again(trial_id)


@contextlib.contextmanager
def _open_to_changes(backend: BaseStorage) -> Iterator[None]:
    """Let finished trials be written meanwhile."""
    name = BaseStorage.check_trial_is_updatable.__name__
    setattr(backend, name, lambda trial_id, state: None)
    try:
        yield
    finally:
        delattr(backend, name)


def trouble(error: BaseException, folder: Path) -> str | None:
    """Where and why a run can write or read no more, where that is what lies beneath an error.

    None where something else does. Whoever raises in between may forget to say so: a cause
    counts, and so does what was being handled.
    """
    if said := _of_database(error):
        try:
            return f"{recorded_place(folder).shown}: {said}"
        except UserError:
            return f"{folder}: {said}"
    for found in _chain(error):
        if isinstance(found, OSError) and is_full(found):
            return f"{found.filename or folder}: {found.strerror}"
        if isinstance(found, ImagesChanged):
            return str(found)
    return None


def _of_database(error: BaseException) -> str | None:
    beneath = list(_chain(error))
    for found in reversed(beneath):
        if isinstance(found, sqlalchemy.exc.DBAPIError) and found.orig is not None:
            return _first_line(found.orig)
    return next((_first_line(e) for e in beneath if isinstance(e, StorageInternalError)), None)


def _own_if_there(folder: Path, url: str | None) -> Place:
    place = own_place(folder)
    if not Path(place.shown).is_file():
        raise UserError(f"run: {folder} is no folder of a run: it has no study.db")
    if not Path(place.shown).stat().st_size:  # Optuna would make a study of it
        raise UserError(f"run: {place.shown} is no study of a sweep: the file is empty")
    if url is not None:
        shown = without_password(url)
        raise UserError(f"storage={shown}: the study of this run is {place.shown}; valid: null")
    return place


def _record(folder: Path, place: Place) -> None:
    record = {"url": without_password(place.url), "study": place.study}
    write_atomically(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _parsed(url: str) -> URL:
    """A URL that SQLAlchemy has a dialect for; of PostgreSQL's drivers one that is installed."""
    shown = without_password(url if "://" in url else f"://{url}").removeprefix("://")
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except ImportError:
        return parsed  # the driver is asked for again, and named, when it is needed
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(f"storage={shown}: is no URL of a database; {_VALID}") from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UserError(f"storage={shown}: would be gone with the process; {_VALID}")
    # Which driver the bare name means differs between versions of SQLAlchemy.
    if parsed.drivername == "postgresql":
        installed = [name for name in ("psycopg2", "psycopg") if find_spec(name)]
        parsed = parsed.set(drivername=f"postgresql+{(*installed, 'psycopg2')[0]}")
    return parsed


def _absolute(url: URL) -> URL:
    """A SQLite file's URL with its whole path: a resume may start elsewhere."""
    path = url.database
    if url.get_backend_name() != "sqlite" or not path or path.startswith("file:"):
        return url
    return url.set(database=str(Path(path).absolute()))


def _rendered(url: URL) -> str:
    """The text that SQLAlchemy reads back as this URL, and in which Optuna finds no field.

    Versions of SQLAlchemy differ in whether they quote a path; none may be left to the other's
    reading, or a study would be looked for, and made, in a file of another name.
    """
    text = url.render_as_string(hide_password=False)
    sqlite = url.get_backend_name() == "sqlite" and url.database is not None
    if not sqlite or (make_url(text) == url and not {"{", "}"} & set(text)):
        return text
    query = dict(url.query) | {"uri": "true"}
    return url.set(database=f"file:{quote(str(url.database))}", query=query).render_as_string(
        hide_password=False
    )


def _engine_options(url: URL) -> dict[str, Any]:
    """How long to wait, unless the URL says so itself; a connection that died is made anew."""
    names = {"sqlite": "timeout", "postgresql": "connect_timeout", "mysql": "connect_timeout"}
    name = names.get(url.get_backend_name())
    options: dict[str, Any] = {"pool_pre_ping": url.get_backend_name() != "sqlite"}
    if name and name not in url.query:
        options["connect_args"] = {name: _PATIENCE_S}
    return options


def _set_journal(engine: sqlalchemy.Engine, mode: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={mode}")


def _sync_the_log_alone(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _module(error: ImportError) -> str:
    """The module that was missed first."""
    names = [found.name for found in _chain(error) if isinstance(found, ImportError) and found.name]
    return f"no module {names[0]}" if names else _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_password(lines[0]) if lines else type(error).__name__
