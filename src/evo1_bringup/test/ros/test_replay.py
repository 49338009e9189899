"""The real system runs and is recorded; its bag, replayed, gives its chunks again."""

import json
import os
import time
from dataclasses import replace

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.gl]

CHUNKS = 4
TIMEOUT_S = 120.0


class Person:
    """Watches the policy and steers the recorder."""

    def __init__(self):
        import rclpy
        from evo1_msgs.msg import ActionChunk, RecorderStatus
        from std_srvs.srv import Trigger

        self.chunks = []
        self.recorder = None
        self._request = Trigger.Request()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("person", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(ActionChunk, "policy/action_chunk", self.chunks.append, 10)
        self._node.create_subscription(RecorderStatus, "recorder/status", self._hear, 10)
        self._clients = {
            name: self._node.create_client(Trigger, f"recorder/{name}")
            for name in ("start", "save")
        }

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            assert time.monotonic() < end, f"waited in vain for {what}; {self.recorder}"

    def call(self, name):
        client = self._clients[name]
        self.wait(client.service_is_ready, f"the service {name}")
        answer = client.call_async(self._request)
        self.wait(answer.done, f"the answer of {name}")
        assert answer.result().success, answer.result().message

    def close(self):
        import rclpy

        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _hear(self, status):
        self.recorder = status


def patient(text):
    """The robot file for a busy machine: only what is old stops the arm, and nothing is."""
    return text.replace("max_age_ms: 150", "max_age_ms: 900").replace(
        "max_age_ms: 100", "max_age_ms: 800"
    )


def record(tmp_path, robots_dir, **options):
    """Run the simulated xArm6 with policy and recorder; the folder of a take with some chunks."""
    from evo1_msgs.msg import RecorderStatus

    from evo1_bringup.options import parse_options
    from evo1_bringup.supervisor import Supervisor
    from evo1_bringup.system import describe

    robot_file = tmp_path / "robot.yaml"
    robot_file.write_text(patient((robots_dir / "xarm6.yaml").read_text()))
    given = {"record": "true", "record_root": str(tmp_path / "bags"), "device": "cpu"}
    given |= {"camera_width": "64", "camera_height": "48", **options}
    system = describe("xarm6", parse_options("xarm6", given))
    processes = tuple(
        replace(one, parameters={**one.parameters, "robot_file": str(robot_file)})
        for one in system.processes
    )
    for name, value in system.environment.items():
        os.environ.setdefault(name, value)
    lines, person = [], Person()
    try:
        with Supervisor(
            replace(system, processes=processes), printer=lambda *line: lines.append(line)
        ):
            person.wait(lambda: person.chunks, "the first chunk")
            person.call("start")
            person.wait(
                lambda: person.recorder and person.recorder.state == RecorderStatus.RECORDING,
                "the take to begin",
            )
            before = len(person.chunks)
            person.wait(lambda: len(person.chunks) >= before + CHUNKS, "chunks")
            person.call("save")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{lines[-40:]}") from error
    finally:
        person.close()
    return tmp_path / "bags" / "episode_000000"


def test_bag_of_the_real_system_gives_its_chunks_again(tmp_path, robots_dir, capsys):
    from evo1_policy.cli.replay import main

    # rtc: the first chunk is free, the others are bound to what was sent
    bag = record(tmp_path, robots_dir, execution_mode="rtc", seed="5")
    files = ["--json", str(tmp_path / "replay.json"), "--plot", str(tmp_path / "replay.png")]
    status = main([str(bag), "--device", "cpu", *files])
    printed = capsys.readouterr().out
    assert status == 0, printed
    report = json.loads((tmp_path / "replay.json").read_text())
    assert report["is_test"], printed
    assert report["passed"], printed
    assert report["compared"] >= CHUNKS - 1, printed
    assert {one["mode"] for one in report["results"]} == {"rtc"}
    assert (tmp_path / "replay.png").stat().st_size > 1000
    # Other noise gives other chunks: the comparison compares.
    assert main([str(bag), "--device", "cpu", "--seed", "6"]) == 1
