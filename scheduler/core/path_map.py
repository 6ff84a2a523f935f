"""One folder under three names: where a learner writes it, where this host sees it, and where servers see it.

Owns: the prefixes and their replacement. Pure. Invariant: a prefix is replaced where a path component ends and nowhere
else; a mapped path never leaves the folder that its prefix names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from scheduler.core.errors import InvalidInput

_FORM = "LEARNER=SCHEDULER=SERVER, three absolute folders as in /runs=/mnt/runs=/srv/runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedFolder:
    """One folder as the hosts see it."""

    learner: PurePosixPath
    """Where a learner writes."""
    here: PurePosixPath
    """Where the scheduler reads the same files."""
    server: PurePosixPath
    """Where servers read them."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The folder written as LEARNER=SCHEDULER=SERVER; raises InvalidInput for another form."""
        parts = [part.strip() for part in text.split("=")]
        if len(parts) != 3:
            raise InvalidInput(f"{text!r} has {len(parts)} of the three parts of {_FORM}", field="path_map")
        for part in parts:
            if not part.startswith("/") or ".." in PurePosixPath(part).parts:
                raise InvalidInput(f"{part!r} in {text!r} is no absolute folder: write {_FORM}", field="path_map")
        learner, here, server = (PurePosixPath(part) for part in parts)
        return cls(learner=learner, here=here, server=server)


class PathMap:
    """Translates the paths that learners publish; one that lies in no mapped folder is the same everywhere."""

    def __init__(self, folders: Iterable[MappedFolder] = ()) -> None:
        """Raises InvalidInput if a learner's folder is mapped twice."""
        # The deepest folder that holds a path decides.
        self._folders = sorted(folders, key=lambda folder: len(folder.learner.parts), reverse=True)
        known: set[PurePosixPath] = set()
        for folder in self._folders:
            if folder.learner in known:
                raise InvalidInput(f"{folder.learner} is mapped twice", field="path_map")
            known.add(folder.learner)

    def here(self, path: str) -> str:
        """Where this host sees what a learner wrote at `path`; raises InvalidInput for one that climbs with `..`."""
        folder = self._folder(path)
        return path if folder is None else _moved(path, folder.learner, folder.here)

    def at_servers(self, path: str) -> str:
        """Where servers see what a learner wrote at `path`; raises InvalidInput for one that climbs with `..`."""
        folder = self._folder(path)
        return path if folder is None else _moved(path, folder.learner, folder.server)

    def maps(self, path: str) -> bool:
        """Whether a path lies in a mapped folder."""
        return self._folder(path) is not None

    def _folder(self, path: str) -> MappedFolder | None:
        found = (folder for folder in self._folders if PurePosixPath(path).is_relative_to(folder.learner))
        folder = next(found, None)
        if folder is not None and ".." in PurePosixPath(path).parts:
            raise InvalidInput(
                f"{path} lies in {folder.learner}, which other hosts see elsewhere: name it without '..'", field="path"
            )
        return folder


def _moved(path: str, old: PurePosixPath, new: PurePosixPath) -> str:
    return str(new / PurePosixPath(path).relative_to(old))


SAME_EVERYWHERE = PathMap()
"""Every host sees every folder under the same name."""
