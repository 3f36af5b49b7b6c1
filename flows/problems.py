"""What a run could not do: collected while the rest is finished, then told all at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from soilpipe.errors import SoilpipeError

MOST_TOLD = 20
"""Problems in the message of a failed run; Prefect keeps it in its database. All of them are in the run's log."""


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong: which file or scan, and what a person has to know."""

    subject: str
    message: str
    expected: bool = True
    """Whether it is an error made for people, and no fault of the program."""

    def __str__(self) -> str:
        return self.message if self.message.startswith(self.subject) else f"{self.subject}: {self.message}"


class RunProblemsError(SoilpipeError):
    """A run finished everything it could, and something needs a person."""

    def __init__(self, scanner_id: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(scanner_id, problems)
        self.scanner_id = scanner_id
        self.problems = problems

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"- {problem}" for problem in self.problems[:MOST_TOLD]]
        if count > MOST_TOLD:
            lines.append(f"- and {count - MOST_TOLD} more; the log of this run has them all")
        head = f"{self.scanner_id}: {count} {'thing needs' if count == 1 else 'things need'} a person."
        return "\n".join([head, *lines, "Everything else of this run is finished."])


@dataclass
class Problems:
    """The problems of one run, in the order in which they were met."""

    found: list[Problem] = field(default_factory=list)

    def add(self, subject: str, error: BaseException) -> Problem:
        if isinstance(error, SoilpipeError):
            return self.note(subject, str(error))
        return self.note(subject, f"unexpected {type(error).__name__}: {error}", expected=False)

    def note(self, subject: str, message: str, expected: bool = True) -> Problem:
        problem = Problem(subject, message.strip(), expected)
        self.found.append(problem)
        return problem

    def raise_if_any(self, scanner_id: str) -> None:
        if self.found:
            raise RunProblemsError(scanner_id, tuple(self.found))
