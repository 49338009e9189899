"""The real system runs and is recorded; its bag, replayed, gives its chunks again."""

import json
import os

import pytest
from live_listener import SMALL, LiveListener, patient_robot_file

pytestmark = [pytest.mark.ros, pytest.mark.gl]

CHUNKS = 4


class Person(LiveListener):
    """Watches the policy and steers the recorder."""

    def __init__(self, supervisor, lines):
        from evo1_msgs.msg import RecorderStatus
        from std_srvs.srv import Trigger

        super().__init__(supervisor, lines, policies=[""])
        self.recorder = None
        self._request = Trigger.Request()
        self.node.create_subscription(RecorderStatus, "recorder/status", self._hear, 10)
        self._clients = {
            name: self.node.create_client(Trigger, f"recorder/{name}")
            for name in ("start", "save")
        }

    def call(self, name):
        client = self._clients[name]
        self.wait(client.service_is_ready, f"the service {name}")
        answer = client.call_async(self._request)
        self.wait(answer.done, f"the answer of {name}")
        assert answer.result().success, answer.result().message

    def _hear(self, status):
        self.recorder = status


def record(tmp_path, robots_dir, **options):
    """Run the simulated xArm6 with policy and recorder; the folder of a take with some chunks."""
    from evo1_msgs.msg import RecorderStatus

    from evo1_bringup.options import parse_options
    from evo1_bringup.supervisor import Supervisor
    from evo1_bringup.system import describe

    patient = patient_robot_file(robots_dir, "xarm6", tmp_path)
    given = {"record": "true", "record_root": str(tmp_path / "bags"), "robot_file": str(patient)}
    system = describe("xarm6", parse_options("xarm6", given | SMALL | options))
    for name, value in system.environment.items():
        os.environ.setdefault(name, value)
    lines = []
    with Supervisor(system, printer=lambda *line: lines.append(line)) as running:
        person = Person(running, lines)
        try:
            person.wait_chunks(1)
            person.call("start")
            person.wait(
                lambda: person.recorder and person.recorder.state == RecorderStatus.RECORDING,
                "the take to begin",
            )
            person.wait_chunks(CHUNKS)
            person.call("save")
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
