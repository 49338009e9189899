"""What a take shows, as it changes while the take runs. Must not import ROS or torch."""

from evo1_policy.observation import instruction_problem
from evo1_policy.perception.messages import MessageError, deserialize
from evo1_training.recording.cdr import STRING
from evo1_training.recording.episode import Label


class Labels:
    """The labels of a take after the first, and what was said last to the robot."""

    def __init__(self) -> None:
        self.later: list[Label] = []
        self._said = ""

    def now(self, first: str) -> str:
        """The label that holds now, in a take that began with this one."""
        return self.later[-1].instruction if self.later else first

    def hear(self, data: bytes, topic: str) -> str:
        """Look at a message that tells the robot what to do; '' where it tells nothing new.

        A latched one is heard again whenever a take begins, and means nothing then.

        Raises:
            MessageError: it is no text, or none that can be an instruction.
        """
        text = str(deserialize(data, STRING, topic=topic).data).strip()
        if problem := instruction_problem(text):
            raise MessageError(f"{topic}: {problem}")
        before, self._said = self._said, text
        return "" if text == before else text
