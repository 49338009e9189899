"""What the Docker files and the workflow promise; read, because neither can run here."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
SERVICES = COMPOSE["services"]
INSTRUCTION = re.compile(r"^([A-Z]+) +(.*)$", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, comments left out and continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)
    return INSTRUCTION.findall(text.replace("\\\n", " "))


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service: dict[str, Any] = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "user", "pid", "device_cgroup_rules"}
    assert len(set(service["devices"])) == len(service["devices"])
    for device in service["devices"]:
        source, target = device[: len(device) // 2], device[len(device) // 2 + 1 :]
        assert source == target
        assert re.fullmatch(r"\$\{(SO100_PORT|CAMERA_[12]):-/dev/(null|zero|full)\}", source)
    assert "/var/run/docker.sock" not in str(service["volumes"])


RANGE, PEERS, ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY"
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.mark.parametrize(
    ("shell", "found_by", "profile"),
    [
        ({}, {RANGE: "LOCALHOST"}, "fastdds_local.xml"),
        ({RANGE: ""}, {RANGE: "LOCALHOST"}, "fastdds_local.xml"),
        ({RANGE: "LOCALHOST"}, {RANGE: "LOCALHOST"}, "fastdds_local.xml"),
        ({RANGE: "SUBNET"}, {RANGE: "SUBNET"}, "fastdds.xml"),
        ({ONLY: "0"}, {ONLY: "0"}, "fastdds.xml"),
        ({PEERS: "10.0.0.2"}, {PEERS: "10.0.0.2"}, "fastdds.xml"),
        (
            {RANGE: "LOCALHOST", PEERS: "10.0.0.2"},
            {RANGE: "LOCALHOST", PEERS: "10.0.0.2"},
            "fastdds.xml",
        ),
        ({PROFILE: "/mine.xml"}, {RANGE: "LOCALHOST"}, "/mine.xml"),
    ],
)
def test_workspace_and_container_are_found_by_this_machine_alone_unless_the_shell_says_otherwise(
    shell: dict[str, str], found_by: dict[str, str], profile: str, tmp_path: Path
) -> None:
    """The script of both, run on a workspace with nothing in it."""
    (entry,) = [words for kind, words in instructions() if kind == "ENTRYPOINT"]
    (script,) = re.findall(r"/opt/evo1/([\w/.]+)", entry)
    for name, text in {script: (ROOT / script).read_text(), "install/setup.bash": ""}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["bash", tmp_path / script, "/usr/bin/env"],
        env=shell,
        capture_output=True,
        text=True,
        check=True,
    )
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: said[name] for name in (RANGE, PEERS, ONLY) if said.get(name)} == found_by
    folder = tmp_path / "src" / "evo1_bringup" / "config"
    assert said[PROFILE] == str(folder / profile)  # an absolute path stays


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_hands_on_what_the_shell_says_of_discovery_and_no_more(name: str) -> None:
    asked = {line.partition("=")[0]: line for line in SERVICES[name]["environment"]}
    assert {RANGE, PEERS, ONLY} <= asked.keys()
    assert not any("=" in asked[name] for name in (RANGE, PEERS, ONLY))
    assert PROFILE not in asked


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_container_writes_has_a_place(name: str) -> None:
    service: dict[str, Any] = SERVICES[name]
    places = {line.partition(":")[0] for line in service["tmpfs"]}
    assert places == {"/tmp", "/home/evo1"}
    assert "ROS_LOG_DIR=/tmp/ros_log" in service["environment"]
    written = [line for line in service["volumes"] if not line.endswith(":ro")]
    assert written == ["../out:/opt/evo1/out"]


def test_only_the_services_of_the_nvidia_profile_ask_for_a_gpu() -> None:
    asking = {name for name, service in SERVICES.items() if "deploy" in service}
    assert asking == {"xarm6-nvidia", "so100-nvidia"}
    assert all(SERVICES[name]["profiles"] == ["nvidia"] for name in asking)
    assert not any("profiles" in SERVICES[name] for name in SERVICES.keys() - asking)
    assert all(len(one["devices"]) >= 2 for one in SERVICES.values())  # two cameras, to be named


def test_the_image_runs_as_a_user_who_cannot_change_its_code() -> None:
    steps = instructions()
    kinds = [kind for kind, _ in steps]
    assert [words for kind, words in steps if kind == "USER"] == ["evo1"]
    assert set(kinds[kinds.index("USER") + 1 :]) <= {"ENTRYPOINT", "CMD"}
    assert not any("chown -R" in words or "chmod 777" in words for _, words in steps)


def test_the_image_takes_nothing_from_the_net_that_is_not_pinned() -> None:
    steps = instructions()
    assert "ADD" not in {kind for kind, _ in steps}
    assert not any(re.search(r"\b(curl|wget)\b", words) for _, words in steps)
    assert any("PIP_CONSTRAINT=" in words for kind, words in steps if kind == "ENV")


def test_the_workflow_pins_its_actions_and_may_only_read() -> None:
    used = re.findall(r"uses: *(\S+) *(#.*)?", WORKFLOW)
    assert len(used) == 9
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r"# v\d+\.\d+\.\d+", comment)
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}
    assert WORKFLOW.count("actions/checkout@") == WORKFLOW.count("persist-credentials: false")


def test_every_pinned_requirement_file_is_audited() -> None:
    pinned = {path.name for path in (ROOT / "requirements").glob("constraints*.txt")} | {"ros.txt"}
    audited = set(re.findall(r"-r requirements/(\S+)", WORKFLOW.partition("  pure:")[0]))
    assert audited - {"audit.txt"} == pinned
    lines = (ROOT / "requirements" / "audit.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines if line[:1] not in "#")
