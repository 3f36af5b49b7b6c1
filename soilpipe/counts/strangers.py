"""Files in an inbox that its scanners do not take, in words: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from soilpipe.config import Project, Scanner
from soilpipe.ingest.names import NameError_, parse_name
from soilpipe.ingest.readers import IMAGE_SUFFIXES


def stranger_in_words(project: Project, name: str) -> str:
    """What a file is that no scanner of its inbox takes, as the end of a sentence that begins with its name."""
    if not is_picture(name):
        return "is no scan by its name"
    owner = named_for(project, name)
    if owner is None:
        return "is of no declared scanner"
    return f"is named for {owner.id}, whose inbox is {owner.inbox}"


def strangers_that_need_a_person(project: Project, scanner: Scanner, names: Iterable[str]) -> Iterator[str]:
    """A sentence for pictures in a neighbour's inbox, for each neighbour, and one for those that are nobody's."""
    misplaced: dict[str, list[str]] = {}
    for name in filter(is_picture, names):
        owner = named_for(project, name)
        misplaced.setdefault(owner.id if owner is not None else "", []).append(name)
    for owner_id, found in misplaced.items():
        if owner_id:
            yield (
                f"{_first_of(found)} in the inbox of {scanner.id} {'is' if len(found) == 1 else 'are'} named for "
                f"{owner_id}: move {'it' if len(found) == 1 else 'them'} to {project.scanner(owner_id).inbox}"
            )
        else:
            yield (
                f"no scanner of the project file takes {_first_of(found)} from the inbox of {scanner.id}: declare the "
                "scanner that the names tell, correct `filename`, or move them away"
            )


def named_for(project: Project, name: str) -> Scanner | None:
    """The declared scanner whose id a file's name holds, read by that scanner's pattern; None when there is none."""
    for scanner in project.scanners:
        try:
            if parse_name(name, scanner.filename).scanner == scanner.id:
                return scanner
        except NameError_:
            continue
    return None


def is_picture(name: str) -> bool:
    """Whether a name ends as those of scans do."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _first_of(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
