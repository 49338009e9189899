"""Findings: what is wrong with a dataset, where, and what to do.

Must not import ROS or torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evo1_training.datasets.checker.rules import RULES

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        code: name of the rule, stable over versions.
        severity: 'error' where a loader rejects or misreads the data, 'warning' where training
            suffers, 'note' where it depends.
        where: file, episode, column or joint.
        what: what was found, and what was expected.
        remedy: what to do.
        episode: its number; None where the finding is about all.
    """

    code: str
    severity: Severity
    where: str
    what: str
    remedy: str
    episode: int | None = None


class Findings:
    """Collects findings by the codes of the rules."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def add(self, code: str, where: object, what: str, *, episode: int | None = None) -> None:
        """Add one.

        Args:
            code: of RULES, which give severity and remedy.
            where: file, episode, column or joint.
            what: what was found, and what was expected.
            episode: its number, where it is about one.
        """
        severity, remedy = RULES[code]
        self._found.append(
            Finding(
                code=code,
                severity=severity,
                where=str(where),
                what=what,
                remedy=remedy,
                episode=episode,
            )
        )

    def __iter__(self) -> Iterator[Finding]:
        """Worst first, one code after the other, otherwise as found."""
        codes = list(dict.fromkeys(one.code for one in self._found))
        return iter(
            sorted(
                self._found,
                key=lambda one: (SEVERITIES.index(one.severity), codes.index(one.code)),
            )
        )

    def __len__(self) -> int:
        return len(self._found)

    def count(self, severity: Severity) -> int:
        """How many have a severity."""
        return sum(one.severity == severity for one in self._found)
