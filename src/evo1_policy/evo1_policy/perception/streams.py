"""The newest settled observation out of messages as they arrive.

Bounded buffers of references (no image is copied or decoded), one a camera and one for the joints;
the rule of alignment.py decides what belongs together. Stamps are capture times; `received_ns` and
`now_ns` are the node's clock. Not safe for threads: call it from one thread or under one lock.
Must not import ROS or torch.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.observation import JointSample, Missing, Observation
from evo1_policy.perception.alignment import Aligned, Unaligned, align
from evo1_policy.perception.buffers import (
    CLOCK_ADVICE,
    MAX_OFFSET_NS,
    FrameBuffer,
    JointBuffer,
    Stream,
)
from evo1_policy.perception.colour import Image
from evo1_policy.perception.frames import DamagedImageError, Frame, Images
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig

_MS = 1_000_000  # ns


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """How one stream does.

    Attributes:
        name: a camera's name, or 'joint_states'.
        topic: as in the robot file.
        rate_hz: usable messages a second over the last two seconds.
        age_ms: since the newest stamp; negative: it is ahead of this node's clock; NaN: none yet.
        offset_ms: median of arrival minus stamp: transport, and how far the clock is behind ours.
        max_age_ms: beyond it the stream is stale.
        received: messages so far, the rejected ones included.
        rejected: messages that could not be used.
        problem: what was wrong with the last rejected one, until 30 good ones came in a row; or
            what is wrong with its clock.
    """

    name: str
    topic: str
    rate_hz: float
    age_ms: float
    offset_ms: float
    max_age_ms: float
    received: int
    rejected: int
    problem: str


class Clocked(Protocol):
    """Of a stream's report, or its message: what tells how far a clock is off."""

    topic: str
    offset_ms: float
    max_age_ms: float


def clocks_text(reports: Sequence[Clocked]) -> tuple[bool, str]:
    """How far the clocks of the senders are from this node's.

    Args:
        reports: of every stream, when enough came to measure it.

    Returns:
        Whether half of what alignment tolerates is left everywhere, and what was measured, in
        words.
    """
    told = [f"{each.topic} {each.offset_ms:.0f} of {each.max_age_ms:.0f} ms" for each in reports]
    close = [
        each.topic
        for each in reports
        if not -MAX_OFFSET_NS / _MS < 2 * each.offset_ms < each.max_age_ms
    ]
    text = f"clocks: messages arrive after their stamps by {', '.join(told)}"
    ahead = f"ahead of this one's may be {MAX_OFFSET_NS / _MS:.0f} ms"
    advice = f"; {', '.join(close)}: {CLOCK_ADVICE}" if close else ""
    return not close, f"{text} (allowed; {ahead}){advice}"


class Streams:
    """Collects the camera frames and joint states of one robot and aligns them."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot
        self._cameras = {
            camera.name: FrameBuffer(
                Stream(camera.name, camera.topic, round(camera.max_age_ms * _MS), camera.stamp)
            )
            for camera in robot.cameras
        }
        self._reference = self._cameras[robot.cameras[0].name]
        self._joints = JointBuffer(
            Stream(
                JOINT_STREAM,
                robot.state.topic,
                round(robot.state.max_age_ms * _MS),
                robot.state.stamp,
            ),
            robot.joint_names,
        )
        self._buffers: list[FrameBuffer | JointBuffer] = [*self._cameras.values(), self._joints]
        self._latest: Observation | None = None

    def add_image(
        self, camera: str, frame: Frame | Image, *, stamp_ns: int, received_ns: int
    ) -> None:
        """Keep a frame, or pixels (H, W, 3) uint8 RGB; an unusable stamp counts as rejected.

        Raises:
            KeyError: the robot file has no such camera.
        """
        self._cameras[camera].add(frame, stamp_ns=stamp_ns, received_ns=received_ns)

    def add_joints(
        self,
        names: Sequence[str],
        positions: Floats,
        *,
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Keep joint positions (n,) [rad]: matched by name, in any order, a part or all."""
        self._joints.add(names, positions, stamp_ns=stamp_ns, received_ns=received_ns)

    def reject(self, stream: str, problem: str) -> None:
        """Count a message that could not be decoded.

        Args:
            stream: a camera's name, or 'joint_states'.
            problem: why, for people, with the topic.

        Raises:
            KeyError: there is no such stream.
        """
        self._stream(stream).reject(problem)

    def time_of(self, stream: str, stamp_ns: int, received_ns: int) -> int:
        """The time that a message is taken to be of, as the robot file says [ns].

        Raises:
            KeyError: there is no such stream.
        """
        return self._stream(stream).time_of(stamp_ns, received_ns)

    def spoil(self, damaged: DamagedImageError) -> None:
        """Drop a frame that turned out to be no picture when somebody looked at it."""
        self._cameras[damaged.camera].spoil(damaged.stamp_ns, str(damaged))
        self._latest = None

    def frames_settled(self) -> bool:
        """Whether every camera has the frames for an observation newer than the last one."""
        if not all(buffer.stamps for buffer in self._cameras.values()):
            return False
        settled_ns = min(buffer.stamps[-1] for buffer in self._cameras.values())
        seen_ns = self._latest.stamp_ns if self._latest else 0
        ticks = self._reference.stamps
        first_unseen = bisect_right(ticks, seen_ns)
        return first_unseen < len(ticks) and ticks[first_unseen] <= settled_ns

    def sample(self, now_ns: int, instruction: str) -> Observation | Missing:
        """Give the newest settled observation, or why there is none.

        Until a newer one settles, the same object comes again.
        """
        missing = self._absent(now_ns) or self._absent_joint(now_ns)
        if missing is not None:
            return missing
        failure = Unaligned(code="pending")
        for tick_ns in reversed(self._reference.stamps):
            if now_ns - tick_ns > self._reference.stream.max_age_ns:
                return self._unsettled(failure, now_ns)
            latest = self._latest
            if latest and latest.stamp_ns == tick_ns and latest.instruction == instruction:
                return latest
            aligned = self._align(tick_ns)
            if isinstance(aligned, Aligned):
                self._latest = self._observation(tick_ns, aligned, instruction)
                return self._latest
            if failure.code == "pending":
                failure = aligned
        if failure.code == "skew":
            return self._unsettled(failure, now_ns)
        return Missing(
            stream=self._slowest().name,
            code="pending",
            message="waiting for the first frames of all cameras",
        )

    def at(self, tick_ns: int, instruction: str) -> Observation | Missing:
        """Give the observation at a tick that the buffers still hold, however old it is.

        Args:
            tick_ns: stamp of a frame of the reference camera [ns].
            instruction: what it was looked at for.
        """
        stream, ticks = self._reference.stream, self._reference.stamps
        place = bisect_left(ticks, tick_ns)
        if place == len(ticks) or ticks[place] != tick_ns:
            text = f"no frame on {stream.topic} is stamped {tick_ns / 1e9:.3f} s"
            return _missing(stream, "never", text)
        aligned = self._align(tick_ns)
        if isinstance(aligned, Aligned):
            return self._observation(tick_ns, aligned, instruction)
        if aligned.code == "pending":
            stream = self._joints.stream
            if aligned.camera is not None:
                stream = self._cameras[self._robot.cameras[aligned.camera].name].stream
            return _missing(stream, "pending", f"nothing on {stream.topic} settles the frame")
        return self._unsettled(aligned, tick_ns)

    def measured(self) -> JointSample | None:
        """Newest position of every joint; None until each was seen."""
        if np.isnan(self._joints.newest).any():
            return None
        return JointSample(
            positions=self._joints.newest.copy(), stamp_ns=int(self._joints.newest_ns.max())
        )

    @property
    def joint_parts(self) -> int:
        """How many nodes may each send a part of the joints, by what came; 1: one sends all."""
        return self._joints.parts

    def report(self, now_ns: int) -> tuple[StreamReport, ...]:
        """Tell how each stream does, cameras first, in the robot file's order."""
        return tuple(
            StreamReport(
                name=buffer.stream.name,
                topic=buffer.stream.topic,
                rate_hz=buffer.stream.rate_hz(now_ns),
                age_ms=(now_ns - buffer.stamps[-1]) / _MS if buffer.stamps else math.nan,
                offset_ms=buffer.stream.offset_ns(now_ns) / _MS,
                max_age_ms=buffer.stream.max_age_ns / _MS,
                received=buffer.stream.received,
                rejected=buffer.stream.rejected,
                problem=buffer.stream.problem or buffer.stream.clock_problem(now_ns),
            )
            for buffer in self._buffers
        )

    def reset(self) -> None:
        """Forget every message, because the clock jumped back or the node stops; counters stay."""
        for buffer in self._buffers:
            buffer.clear()
        self._latest = None

    def _stream(self, name: str) -> Stream:
        return (self._joints if name == JOINT_STREAM else self._cameras[name]).stream

    def _align(self, tick_ns: int) -> Aligned | Unaligned:
        return align(
            tick_ns,
            [buffer.stamps for buffer in self._cameras.values()],
            self._joints.stamps,
            self._joints.rows,
            max_skew_ns=round(self._robot.max_skew_ms * _MS),
            max_joint_age_ns=self._joints.stream.max_age_ns,
        )

    def _absent(self, now_ns: int) -> Missing | None:
        """The first stream that never came, is stale, or is of another clock."""
        for buffer in self._buffers:
            stream = buffer.stream
            if not buffer.stamps:
                text = f"nothing usable received on {stream.topic} yet"
                return _missing(stream, "never", f"{text}; is its driver running?")
            age_ns = now_ns - buffer.stamps[-1]
            alive = now_ns - buffer.arrivals[-1] <= stream.max_age_ns
            if alive and (text := stream.clock_problem(now_ns)):
                return _missing(stream, "clock", text)
            if age_ns > stream.max_age_ns:
                text = f"newest message on {stream.topic} is {_ms(age_ns)} old"
                return _missing(stream, "stale", f"{text}, allowed are {_ms(stream.max_age_ns)}")
        return None

    def _absent_joint(self, now_ns: int) -> Missing | None:
        """The first joint of the robot file that never came or is too old."""
        stream = self._joints.stream
        for place, name in enumerate(self._robot.joint_names):
            newest_ns = int(self._joints.newest_ns[place])
            if newest_ns == 0:
                text = f"joint '{name}' was never in {stream.topic}"
                return _missing(stream, "joint", f"{text}; the robot file lists it")
            if now_ns - newest_ns > stream.max_age_ns:
                text = f"joint '{name}' on {stream.topic} is {_ms(now_ns - newest_ns)} old"
                return _missing(stream, "joint", f"{text}, allowed are {_ms(stream.max_age_ns)}")
        return None

    def _unsettled(self, failure: Unaligned, now_ns: int) -> Missing:
        """Why no tick that is new enough gave an observation, though every stream is alive."""
        if failure.code == "skew" and failure.camera is not None:
            camera = self._robot.cameras[failure.camera]
            return Missing(
                stream=camera.name,
                code="skew",
                message=(
                    f"nearest frame on {camera.topic} is {_ms(failure.distance_ns)} from the "
                    f"reference frame on {self._robot.cameras[0].topic}, allowed are "
                    f"{_ms(failure.allowed_ns)} (max_skew_ms, or by its rate); check rate and "
                    "clock of both cameras"
                ),
            )
        if failure.code == "joint" and failure.joint is not None:
            name = self._robot.joint_names[failure.joint]
            return _missing(
                self._joints.stream,
                "stale",
                f"joint '{name}' has no sample on {self._joints.stream.topic} within "
                f"{_ms(self._joints.stream.max_age_ns)} before the frame",
            )
        slowest = self._slowest()
        return _missing(
            slowest,
            "stale",
            f"{slowest.topic} lags behind: no frame of the last "
            f"{_ms(self._reference.stream.max_age_ns)} could be matched",
        )

    def _slowest(self) -> Stream:
        """The stream whose newest stamp is the oldest."""
        return min(self._buffers, key=lambda buffer: buffer.stamps[-1]).stream

    def _observation(self, tick_ns: int, aligned: Aligned, instruction: str) -> Observation:
        images: dict[str, Frame | Image] = {}
        stamps: dict[str, int] = {}
        arrivals = [self._joints.arrivals[row] for row in aligned.joint_rows]
        for (name, buffer), frame, settled_by in zip(
            self._cameras.items(), aligned.frames, aligned.settled_by, strict=True
        ):
            images[name] = buffer.frames[frame]
            stamps[name] = buffer.stamps[frame]
            arrivals.append(max(buffer.arrivals[frame], buffer.arrivals[settled_by]))
        stamps[JOINT_STREAM] = self._joints.stamps[aligned.joint_rows[-1]]
        return Observation(
            images=Images(images, stamps),
            state=aligned.positions,
            instruction=instruction,
            stamp_ns=tick_ns,
            received_ns=max(arrivals),
            skew_ns=aligned.skew_ns,
            source_stamps_ns=stamps,
        )


def _missing(stream: Stream, code: str, text: str) -> Missing:
    """Add the stream's own problem, which is often the cause."""
    problem = f" ({stream.problem})" if stream.problem else ""
    return Missing(stream=stream.name, code=code, message=text + problem)


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / _MS:.0f} ms"
