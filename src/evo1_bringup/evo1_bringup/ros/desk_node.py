"""The desk's ears and hands in ROS: one node, served by a thread of its own."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import ActionChunk, PolicyStatus, RecorderStatus, TaskStatus
from evo1_msgs.srv import ResetTask, SetInstruction, SetSpeed
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from evo1_bringup.desk.robot_side import Picture, Told
from evo1_bringup.ros.commands import MOVERS, STATES, status_lines
from evo1_bringup.ros.desk_camera import Eye
from evo1_policy import stop_line
from evo1_policy.command_line import printable
from evo1_policy.perception.messages import MessageError
from evo1_policy.ros.listening import ControllerState, decode
from evo1_policy.ros.qos import (
    STOP_TOPIC,
    fault_qos,
    joints_qos,
    report_qos,
    words_qos,
)
from evo1_policy.ros.starting import NO_LOG, start_ros
from evo1_training.recording.terminal import recorder_view

_ANSWER_S, _STOP_S = 8.0, 0.3
_LOOK_S = 1.0  # how often new topics and services are looked for
_GONE_S = 3.0  # without a word, a node's status is no longer shown
_JOINTS_S = 0.04  # between two samples of the joints
_SAMPLES = 12  # joint samples that one snapshot carries at most
_HANDS = ("take_over", "hand_back", "park", "home")
_LEVELS = ("ok", "warn", "error", "stale")
_SERVICES: dict[str, tuple[Any, tuple[str, ...]]] = {
    **{
        name: (Trigger, tuple(f"{mover}/{name}" for mover in MOVERS))
        for name in ("clear_stop", "pause", "resume")
    },
    **{
        name: (Trigger, (f"policy/{name}",)) for name in ("take_over", "hand_back", "park", "home")
    },
    "recover_arm": (Trigger, ("so100_driver/recover", "xarm_monitor/recover")),
    "speed": (SetSpeed, ("policy/set_speed",)),
    "instruction": (SetInstruction, ("policy/set_instruction",)),
    "reset": (ResetTask, ("sim_robot/reset",)),
    "record_task": (SetInstruction, ("recorder/set_instruction",)),
    **{
        f"record_{name}": (Trigger, (f"recorder/{name}",))
        for name in ("start", "save", "discard", "delete_last")
    },
}


class RosRobot:
    """A running robot over ROS (desk.robot_side.RobotSide).

    Args:
        namespace: of the robot; '' is the root.
    """

    def __init__(self, namespace: str = "") -> None:
        start_ros(["--ros-args", NO_LOG])
        self._place = f"/{namespace.strip('/')}"
        self._node = rclpy.create_node("desk", namespace=self._place)
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, Any]] = {}  # what was heard of whom, and when [s]
        self._nodes: dict[str, dict[str, Any]] = {}
        self._joints: deque[dict[str, Any]] = deque(maxlen=400)
        self._held: dict[str, float] = {}
        self._chunks: deque[dict[str, Any]] = deque(maxlen=2)
        self._eyes: dict[str, Eye] = {}
        self._stop = self._node.create_publisher(Bool, STOP_TOPIC, words_qos())
        self._listen()
        kinds = {name: kind for kind, names in _SERVICES.values() for name in names}
        self._clients = {n: self._node.create_client(kind, n) for n, kind in kinds.items()}
        self._node.create_timer(_LOOK_S, self._look)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._serve, name="desk ros", daemon=True)
        self._thread.start()

    def snapshot(self) -> dict[str, Any]:
        """See RobotSide."""
        now_s = time.monotonic()
        with self._lock:
            heard = {k: said for k, (at, said) in self._last.items() if now_s - at < _GONE_S}
            joints = list(self._joints)[-_SAMPLES:]
            nodes = [
                {**node, "age_s": round(now_s - node["at_s"], 1)}
                for _, node in sorted(self._nodes.items())
            ]
            chunks, held = list(self._chunks), dict(self._held)
        return {
            "policy": heard.get("policy"),
            "relay": heard.get("relay"),
            "recorder": heard.get("recorder"),
            "task": heard.get("task"),
            "simulated": self._ready("reset"),
            "recoverable": self._ready("recover_arm"),
            "nodes": nodes,
            "joints": joints,
            "held": held,
            "chunks": chunks,
            "now_s": time.time(),
        }

    def act(self, what: str, value: Any) -> Told:
        """See RobotSide."""
        if what == "stop":
            return self._stop_all()
        try:
            request = _request(what, value)
        except (TypeError, ValueError, AssertionError) as error:
            return Told(ok=False, text=f"{what}: {error}")
        if what == "clear_stop":
            self._stop.publish(Bool(data=False))  # a driver without a policy is told too
        there = [self._clients[name] for name in _SERVICES[what][1]]
        futures = [client.call_async(request) for client in there if client.service_is_ready()]
        if not futures:
            return Told(ok=False, text=f"{what}: nobody here offers it")
        end_s = time.monotonic() + _ANSWER_S
        while not all(future.done() for future in futures):
            if time.monotonic() > end_s:
                return Told(ok=False, text=f"{what}: no answer within {_ANSWER_S:g} s")
            time.sleep(0.005)
        answers = [future.result() for future in futures]
        text = "\n".join(printable(answer.message or "done") for answer in answers)
        return Told(ok=all(answer.success for answer in answers), text=text)

    def picture(self, camera: str) -> Picture | None:
        """See RobotSide."""
        with self._lock:
            eye = self._eyes.get(camera)
        return None if eye is None else eye.look()

    def close(self) -> None:
        """See RobotSide."""
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _stop_all(self) -> Told:
        """By datagram to who moves an arm on this machine, and by topic to everybody."""
        self._stop.publish(Bool(data=True))
        addresses = stop_line.claimed(stop_line.domain_id(), self._place)
        told = stop_line.tell(stop_line.STOP, addresses, _STOP_S).values()
        self._stop.publish(Bool(data=True))
        answers = [printable(text) for text in told if text]
        if answers:
            return Told(ok=True, text="\n".join(answers))
        return Told(
            ok=False,
            text="said on the topic; nobody on this machine confirmed it: look at the arm, and "
            "press the emergency stop if it moves",
        )

    def _serve(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def _ready(self, what: str) -> bool:
        return any(self._clients[name].service_is_ready() for name in _SERVICES[what][1])

    def _listen(self) -> None:
        node, report = self._node, report_qos()
        said: list[tuple[type, str, str, Callable[[Any], Any], Any]] = [
            (PolicyStatus, "policy/status", "policy", _policy, report),
            (RecorderStatus, "recorder/status", "recorder", _recorder, report),
            (TaskStatus, "sim_robot/task_status", "task", _task, report),
            (String, "teleop_relay/status", "relay", lambda m: printable(m.data), fault_qos()),
        ]
        for kind, topic, name, read, qos in said:
            node.create_subscription(kind, topic, partial(self._hear, name, read), qos)
        node.create_subscription(ActionChunk, "policy/action_chunk", self._on_chunk, report)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, report)
        qos = joints_qos()
        node.create_subscription(JointState, "joint_states", self._on_joints, qos, raw=True)

    def _hear(self, name: str, read: Callable[[Any], Any], message: Any) -> None:
        said = read(message)
        with self._lock:
            self._last[name] = (time.monotonic(), said)
            for stream in message.streams if name in ("policy", "recorder") else ():
                # The recorder's other streams have the names of their topics.
                is_camera = stream.name != "joint_states" and "/" not in stream.name
                if is_camera and stream.name not in self._eyes:
                    self._eyes[stream.name] = Eye(self._node, stream.topic)

    def _on_joints(self, raw: bytes) -> None:
        at_s = time.time()
        if self._joints and at_s - self._joints[-1]["at_s"] < _JOINTS_S:
            return  # before it is read: a page draws no more
        try:
            message = decode(raw, JointState, topic="joint_states")
        except MessageError:
            return
        positions = {
            printable(name): round(position, 5)
            for name, position in zip(message.name, message.position, strict=False)
            if math.isfinite(position)
        }
        with self._lock:
            self._joints.append({"at_s": at_s, "positions": positions})

    def _on_held(self, message: Any) -> None:
        with self._lock:
            for name, position in zip(
                message.joint_names, message.reference.positions, strict=False
            ):
                self._held[printable(name)] = round(position, 5)

    def _on_chunk(self, message: ActionChunk) -> None:
        way = message.commanded
        begins_s = way.header.stamp.sec + way.header.stamp.nanosec * 1e-9
        points = way.points[:: max(1, len(way.points) // 40)]
        chunk = {
            "id": message.chunk_id,
            "joints": [printable(name) for name in way.joint_names],
            "at_s": [
                begins_s + p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points
            ],
            "positions": [[round(x, 5) for x in p.positions] for p in points],
            "latency_ms": _numbers(message.latency),
            "seam": _numbers(message.seam),
        }
        with self._lock:
            self._chunks.append(chunk)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        with self._lock:
            for item in message.status[:50]:
                self._nodes[item.name] = {
                    "name": printable(item.name),
                    "level": _LEVELS[min(ord(item.level), 3)],
                    "text": printable(item.message),
                    "at_s": now_s,
                }
            while len(self._nodes) > 50:
                self._nodes.pop(next(iter(self._nodes)))

    def _look(self) -> None:
        """Find controllers that came, and let go of cameras at which nobody looks."""
        topics = dict(self._node.get_topic_names_and_types())
        root = self._place.rstrip("/") + "/"
        for topic, kinds in topics.items():
            name = f"controller {topic}"
            is_one = topic.startswith(root) and topic.endswith("/controller_state")
            if is_one and kinds[0].endswith(ControllerState.__name__) and name not in self._last:
                with self._lock:  # a page may be reading
                    self._last[name] = (math.inf, None)
                self._node.create_subscription(ControllerState, topic, self._on_held, report_qos())
        with self._lock:
            eyes = list(self._eyes.values())
        for eye in eyes:
            eye.attend(topics)


def _request(what: str, value: Any) -> Any:
    """The request of an action.

    Raises:
        ValueError, TypeError, AssertionError: a value that is none of it.
    """
    if what == "speed":
        return SetSpeed.Request(speed=float(value) / 100.0)
    if what in ("instruction", "record_task"):
        if isinstance(value, dict):
            words, way = str(value.get("text", "")), str(value.get("transition", ""))
            return SetInstruction.Request(instruction=words, transition=way)
        return SetInstruction.Request(instruction=str(value or ""))
    if what == "reset":
        return ResetTask.Request(task="", seed=-1 if value in (None, "") else int(value))
    return _SERVICES[what][0].Request()


def _policy(message: PolicyStatus) -> dict[str, Any]:
    return {
        "state": STATES.get(message.state, str(message.state)),
        "reason_code": printable(message.reason_code),
        "reason": printable(message.reason),
        "instruction": printable(message.instruction),
        "speed": round(100.0 * message.speed),
        "lines": [printable(line) for line in status_lines(message)],
        "streams": [
            {
                "name": printable(one.name),
                "topic": printable(one.topic),
                "age_ms": None if math.isnan(one.age_ms) else round(one.age_ms, 1),
                "max_age_ms": round(one.max_age_ms, 1),
                "rate_hz": round(one.rate_hz, 1),
                "offset_ms": round(one.offset_ms, 1) if math.isfinite(one.offset_ms) else None,
                "problem": printable(one.problem),
            }
            for one in message.streams
        ],
    }


def _numbers(message: Any) -> dict[str, float]:
    """The finite numbers of a message, by field."""
    fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    return {
        name: round(float(value), 4)
        for name, value in fields.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def _recorder(message: RecorderStatus) -> Any:
    return asdict(recorder_view(message))


def _task(message: TaskStatus) -> dict[str, Any]:
    return {
        "task": printable(message.task),
        "seed": message.seed,
        "success": message.success,
        "detail": printable(message.detail),
        "elapsed_s": round(message.elapsed_s, 1),
    }
