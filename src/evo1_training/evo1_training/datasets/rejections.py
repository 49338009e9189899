"""Messages that were recorded but cannot be used: how many on each topic, and why.

Must not import ROS or torch.
"""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Rejections:
    """Counts of messages by topic, with the first problem of each."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, topic: str, problem: str) -> None:
        """Count a message that cannot be used; `problem` is for people."""
        self.counts[topic] = self.counts.get(topic, 0) + 1
        self.problems.setdefault(topic, problem)

    def lines(self) -> tuple[str, ...]:
        """One line a topic."""
        return tuple(
            f"{topic}: {count} message{'s' if count > 1 else ''} rejected, as live: "
            f"{self.problems[topic].removeprefix(f'{topic}: ')}"
            for topic, count in self.counts.items()
        )
