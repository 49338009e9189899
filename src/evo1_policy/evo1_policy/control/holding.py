"""Why the arm does not run, and whether it goes on by itself. No ROS, no torch.

Nothing restarts an arm but a person. Only a gap in a stream that is over soon resumes by itself;
what a device, a fault or a person stopped waits for `resume`, also once its cause is gone.
"""

from dataclasses import replace

from evo1_policy.control.signals import StopCode, StopReason

_RESUME = "; resume to go on"


class Hold:
    """The reason that people see, from one step to the next.

    Args:
        resume_within_ns: a gap that lasts longer waits for a person [ns].

    Attributes:
        reason: in words for people; None where nothing keeps the arm.
        count: how often a hold began.
    """

    def __init__(self, resume_within_ns: int) -> None:
        self.reason: StopReason | None = None
        self._cause: StopReason | None = None  # in the words of who found it
        self.count = 0
        self._resume_within_ns = resume_within_ns
        self._since_ns = 0
        self._patient = False
        self._overstayed = False

    @property
    def recovers(self) -> bool:
        """Whether the arm goes on by itself once the cause is gone."""
        reason = self.reason
        if reason is None or (self._patient and reason.code is StopCode.CONTROLLER_GONE):
            return True  # before the first chunk it may not have been discovered yet
        return reason.code.recovers and not self._overstayed

    def wait_patiently(self, *, patient: bool) -> None:
        """Whether the first observation and the controllers may take however long: a start."""
        self._patient = patient

    def begin(self, reason: StopReason | None, now_ns: int) -> None:
        """A hold begins, or what a person asked for waits for `reason`."""
        self.reason = self._cause = reason
        self._since_ns, self._overstayed = now_ns, False

    def wait_for_a_person(self) -> None:
        """Whatever the reason, the arm does not go on by itself."""
        self._overstayed = True

    def add(self, reason: StopReason) -> None:
        """Another reason: the first one that needs a person stays, others give way to it."""
        present = self.reason
        if present is None or present.code is reason.code or self.recovers:
            self.reason = self._cause = reason

    def follow(self, problem: StopReason | None, now_ns: int) -> None:
        """See whether a gap lasts too long; say what is over, and what waits for a person.

        Args:
            problem: what is wrong with the inputs now.
            now_ns: the clock [ns].
        """
        cause = self._cause
        if cause is None:
            return
        late = cause.code is StopCode.INFERENCE_LATE  # that lasts until a chunk comes
        if (problem is not None or late) and cause.code.is_gap and not self._patient:
            self._overstayed |= now_ns - self._since_ns > self._resume_within_ns
        if self.recovers or not cause.code.is_external:
            return
        state = " (that is over)" if problem is None and not late else ""
        if problem is not None and problem.code is not cause.code:
            state = f"; now {problem.message.removesuffix(_RESUME)}"
        words = cause.message.removesuffix(_RESUME)
        self.reason = replace(cause, message=f"{words}{state}{_RESUME}")
