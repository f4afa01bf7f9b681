"""Whose an output is, and the configurations that say so: every command that writes a folder or a file asks here."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final, TypeAlias, cast

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import (
    MAX_YAML_BYTES,
    expand_home,
    held,
    local_path,
    parse_yaml,
    plain_yaml,
    read_regular,
    utf8,
    whole_set,
    write_whole,
)
from degrade_kit.shards import HIDDEN
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore, Store, check_writable

Inputs: TypeAlias = Sequence[tuple[str, "str | os.PathLike[str] | None"]]
"""Places that a command reads, with what messages call them, such as `--hq`; None for one that is not given."""

FREE = ("num_steps", "checkpoint_steps", "validation_steps", "keep_checkpoints")
"""Fields of a loop that a run may be continued with another value of."""

CONFIGS: Final = Path(__file__).parent / "configs"
"""Configurations that come with the package, by command and name, such as `small`."""


def packaged_configs(command: str) -> list[str]:
    """Names of the configurations that come with the package for a command.

    >>> packaged_configs("train-degrade"), packaged_configs("train-restore")
    (['exemplars', 'photos', 'sd21', 'small'], ['sd21', 'small'])
    """
    return sorted(path.stem.removeprefix(f"{command}-") for path in CONFIGS.glob(f"{command}-*.yaml"))


def read_run_config(name: str, command: str) -> tuple[Path, dict[str, Any]]:
    """The file of a training run's configuration, and its sections before they are checked, recipe files found.

    Args:
        name: A file, or one of `packaged_configs`.
        command: Whose configurations these are.

    Raises:
        ConfigError: If it cannot be read, or holds something else than `key: value` pairs.
    """
    known = packaged_configs(command)
    path = CONFIGS / f"{command}-{name}.yaml" if name in known else local_path(name)
    try:
        data = parse_yaml(read_regular(path, MAX_YAML_BYTES), path.name)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"cannot read configuration {path}: {reason}; expected a file, or {', '.join(known)}"
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: expected `key: value` pairs, got {data!r:.200}")
    sections = cast("dict[str, Any]", data)
    if isinstance(sections.get("data"), dict):
        sections["data"] = {key: _beside(path, value) for key, value in sections["data"].items()}
    return path, sections


def _beside(path: Path, value: Any) -> Any:  # noqa: ANN401 (parsed YAML)
    """A value of a configuration; files of recipes in it stand beside the configuration that names them."""
    if isinstance(value, list):
        return [_beside(path, each) for each in cast("list[Any]", value)]
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return str(path.parent / expand_home(value))
    return value


def check_apart(out: str | os.PathLike[str], inputs: Inputs, option: str = "--out") -> None:
    """Make sure that an output is neither an input nor inside one, where a rerun would find its own results.

    Args:
        out: Folder, file or URL that is written to.
        inputs: What is read.
        option: By which another output is given, for messages.

    Raises:
        ConfigError: If it is; links do not hide it.
    """
    target = _comparable_place(out, pattern=False)
    for name, place in inputs:
        source = None if place is None else _comparable_place(place, pattern=isinstance(place, str))
        if source is None or not (target == source or target.startswith(f"{source.rstrip('/')}/")):
            continue
        where, found = "is" if target == source else "is inside", f"{name} {os.fspath(place or '')}"
        raise ConfigError(
            f"{option} {os.fspath(out)} {where} the input {found}: a rerun would take results for inputs; give another "
            f"{option}"
        )


def _comparable_place(place: str | os.PathLike[str], *, pattern: bool) -> str:
    """A place as text that tells whether another is inside it: of a pattern of files, the folder before it.

    What is written to is never a pattern, whatever its name holds.
    """
    text = expand_home(place)
    if "://" in text and not text.startswith("file:"):
        return text.rstrip("/")
    text = text.removeprefix("file:").removeprefix("//")
    wild = re.search(r"[*?\[{]", text)
    if pattern and wild is not None and not os.path.lexists(text):
        text = os.path.dirname(text[: wild.start()]) or "."
    return Path(os.path.realpath(text)).as_posix()


def check_told_apart(store: LocalStore, names: Collection[str]) -> None:
    """Make sure that results of different names are different files where they are written.

    Some file systems do not tell upper from lower case, some not an é of one character from one of two.

    Raises:
        ConfigError: If two are one there.
    """
    for fold, twins in ((str.casefold, ("a", "A")), (_composed, ("\u00e9", "e\u0301"))):
        seen = dict[str, str]()
        for name in names:
            other = seen.setdefault(fold(name), name)
            if other == name:
                continue
            if not _is_one_name(store, *twins):
                break
            raise ConfigError(
                f"{display_name(other)} and {display_name(name)} would have one result: {store.url} is on a file "
                "system that takes their names for one; rename one, or write to another file system"
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_one_name(store: LocalStore, name: str, twin: str) -> bool:
    """Whether the file system of an output finds a file by another spelling of its name."""
    scratch = store.scratch(name)
    try:
        return scratch.with_name(scratch.name.replace(f".{name}.", f".{twin}.", 1)).exists()
    finally:
        scratch.unlink(missing_ok=True)


def report_claim(command: str, what: str, results: Sequence[str], resolved: Mapping[str, Any], inputs: Inputs) -> Claim:
    """Make the claim of a command whose results are a few files, which it makes anew each time.

    Args:
        command: Its name, which its configuration is called by.
        what: What the output holds then, for messages.
        results: Patterns of the files, the one that a reader begins with first.
        resolved: Its configuration.
        inputs: What it reads.
    """
    file = f"{HIDDEN}/{command}.yaml"
    return Claim(what=what, file=file, resolved=plain(resolved), inputs=inputs, results=results, replaces=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What makes an output a run's own: one that is empty is taken, one of the same configuration is gone on with."""

    what: str
    """What the output holds then, for messages, such as `a data set`."""
    file: str
    """Where the configuration stands in it."""
    resolved: Mapping[str, Any]
    comparable: Callable[[dict[str, Any]], Any] = lambda resolved: resolved
    """Takes a configuration, and gives it without what a run may be continued with another value of."""
    option: str = "--out"
    """By which another output is given, for messages."""
    otherwise: str = ""
    """A further way out for messages, such as `--overwrite to replace it`."""
    inputs: Inputs = ()
    """What is read, which the output must not be inside."""
    results: Sequence[str] = ()
    """Patterns of files that each run makes anew: none of an earlier one is left to be taken for a result of this."""
    replaces: bool = False
    """Whether a run of another configuration takes the place of the old one, as a report does."""

    def check(self, store: Store) -> None:
        """Make sure that an output can be taken or gone on with; nothing in it is changed.

        Raises:
            ConfigError: If it is an input, or inside one.
            RunError: If it holds something else, the same with another configuration, or cannot be written to.
        """
        check_apart(store.url, self.inputs, self.option)
        check_writable(store)
        ways = ", ".join(filter(None, ["give the old options to go on with it", self.otherwise]))
        if store.size(self.file) is not None:
            found = self.comparable(self._read(store))
            ours = self.comparable(parse_yaml(plain_yaml(self.resolved), self.file))
            if found != ours and not self.replaces:
                raise RunError(
                    f"{store.url} holds {self.what} of another configuration:\n{difference(found, ours)}\n{ways}, or "
                    f"another {self.option}"
                )
            return
        # Hidden files are those of file managers, scratch of a process that lives elsewhere, or features that are kept;
        # but a configuration is that of another command, whose results may be on their way.
        claims = f"{HIDDEN}/*.yaml"
        foreign = [name for name in store.names() if not name.startswith(".") or fnmatch.fnmatchcase(name, claims)]
        if foreign:
            raise RunError(
                f"{store.url} is not empty and was not made by this command (it holds {foreign[0]}"
                f"{f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''}); give an empty or a new {self.option}"
            )

    @contextlib.contextmanager
    def taken(self, store: Store, *, shared: bool = False, named: Collection[str] = ()) -> Generator[None]:
        """Take an output, and hold it as long as the block runs: no second run writes to it meanwhile.

        Args:
            store: The output; one that is no local folder cannot be held.
            shared: Whether runs of the same configuration may work in it side by side.
            named: Names of results that come from inputs, and must not fall together.

        Raises:
            ConfigError: If the output's file system takes two of them for one.
            RunError: As `take`, or if another run holds it.
        """
        with contextlib.ExitStack() as stack:
            if isinstance(store, LocalStore):
                self.check(store)  # nothing is written to what is somebody else's
                try:
                    stack.enter_context(held(store.root, shared=shared))
                except OSError as error:
                    raise RunError(f"cannot write to {store.root}: {error.strerror or error}") from error
            self.take(store)
            if isinstance(store, LocalStore):
                check_told_apart(store, named)
            yield

    def taken_by_one(self, folder: Path) -> contextlib.AbstractContextManager[None]:
        """Take an output for all processes of a training: the first holds it, and the others write nothing.

        Raises:
            RunError: As `taken`, in the first.
        """
        # As torchrun and Ray Train set it, and Accelerate reads it.
        return contextlib.nullcontext() if int(os.environ.get("RANK", "0")) else self.taken(LocalStore(folder))

    def take(self, store: Store) -> None:
        """Check an output, sweep it, and write the configuration to it.

        Raises:
            ConfigError: As `check`.
            RunError: As `check`, or if it cannot be written.
        """
        self.check(store)
        text = plain_yaml(self.resolved)
        for name in self._results(store):
            store.delete(name)
        if isinstance(store, LocalStore):
            store.sweep()
            write_whole(store.target(self.file), text)
        else:
            store.write(self.file, utf8(text))

    def write(self, folder: Path, files: Mapping[str, bytes | str]) -> list[Path]:
        """Write the files of a report, in this order, in place of those of an earlier one; returns their paths.

        Raises:
            ConfigError: As `check`.
            RunError: As `taken`, or if one cannot be written.
        """
        with self.report(folder, last=list(files)[-1]) as scratch:
            for name, data in files.items():
                write_whole(scratch / name, data)
        return [folder / name for name in files]

    @contextlib.contextmanager
    def report(self, folder: Path, *, last: str) -> Generator[Path]:
        """Give a scratch folder whose files take the place of an earlier report's when the block ends without an error.

        Args:
            folder: The output.
            last: Name of the file that says that the others are there; see `degrade_kit.files.whole_set`.

        Raises:
            ConfigError: As `check`.
            RunError: As `taken`, or if one cannot be written.
        """
        store = LocalStore(folder)
        self.check(store)
        store.target(self.file)
        try:
            with whole_set(folder, last=last, stale=self._results(store)) as scratch:
                write_whole(scratch / self.file, plain_yaml(self.resolved))
                yield scratch
        except OSError as error:
            raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error

    def _results(self, store: Store) -> list[str]:
        """Results of an earlier run, the one that a reader begins with first."""
        there = store.names() if self.results else []
        return [name for pattern in self.results for name in fnmatch.filter(there, pattern)]

    def _read(self, store: Store) -> dict[str, Any]:
        try:
            found = parse_yaml(store.read(self.file), self.file)
        except ConfigError as error:
            raise RunError(f"{store.url}/{self.file} is damaged: {error}") from error
        except OSError as error:
            raise RunError(f"{store.url}/{self.file} cannot be read: {error.strerror or error}") from error
        if not isinstance(found, dict):
            raise RunError(f"{store.url}/{self.file} is damaged: expected `key: value` pairs, got {found!r:.200}")
        return cast("dict[str, Any]", found)


def without(value: Any, keys: Collection[str]) -> Any:  # noqa: ANN401 (parsed YAML)
    """A section of a configuration without some keys; anything else as it is, for who compares it."""
    return {key: each for key, each in value.items() if key not in keys} if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] (any mapping)


def plain(value: Any) -> Any:  # noqa: ANN401 (a field of a configuration)
    """For YAML."""
    if dataclasses.is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] (any mapping)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType] (any list)
    return getattr(value, "value", value)


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two configurations differ, one a line."""
    lines = list[str]()
    flat_old, flat_new = dict(_flatten("", old)), dict(_flatten("", new))
    for key in sorted(flat_old.keys() | flat_new.keys()):
        if flat_old.get(key) != flat_new.get(key):
            lines.append(f"  {key}: there {flat_old.get(key)!r}, now {flat_new.get(key)!r}")
    return "\n".join(lines)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (parsed YAML)
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[Any]", value)):
            yield from _flatten(f"{prefix}[{i}]", inner)
    else:
        yield prefix, value
