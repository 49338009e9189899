"""SO-100 and SO-101: our driver, an emulated servo bus, or the controllers of ros2_so_arm100.

Must not import ROS or launch.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evo1_bringup.arms import Arm, Driver, refuse_effort
from evo1_bringup.options import ROS2_CONTROL, OptionError, SystemOptions
from evo1_bringup.processes import Include, Process, Setting
from evo1_policy.robot_config import RobotConfig

FEETECH = "feetech"
# The emulator shares the processors with everything else, and starts after the first frames.
EMULATOR_PATIENCE: Mapping[str, Setting] = {
    "port_timeout_s": 60.0,
    "reply_timeout_ms": 40.0,
    "max_silent_cycles": 15,
}


def check(options: SystemOptions) -> None:
    """Refuse options that do not go together."""
    if options.driver == ROS2_CONTROL and options.port:
        if options.emulated or options.calibration or options.namespace:
            raise OptionError(
                "driver: with ros2_control there is no port:=emulated, no calibration (it has "
                "offsets of its own) and no namespace (it renames the joints); leave them out"
            )
        return
    if options.port and not (options.calibration or options.emulated):
        raise OptionError(
            "calibration: missing; a real SO-100 or SO-101 needs the JSON file that evo1 "
            "calibrate or LeRobot's calibration wrote for it"
        )
    if options.calibration and not options.port:
        raise OptionError("calibration: only used with port; give port, or leave it out")


def start(options: SystemOptions, path: Path, config: RobotConfig, simulation: Process) -> Arm:
    """Our driver of a real arm or of the emulated one, or ros2_control's with a bridge."""
    if options.emulated or options.driver != ROS2_CONTROL:
        refuse_effort(path, config, "so100_driver")
    if options.emulated:
        return _emulated(options, path, config, simulation), ()
    if options.driver != ROS2_CONTROL:
        return [_driver(options, path)], ()
    if config.gripper is None or not any(
        command.joints == (config.gripper.joint,) for command in config.command
    ):
        raise OptionError(
            f"driver: ros2_control: {path} has no output for the gripper alone; a file for this "
            "way ships for the SO-100. The zeros and joint names of so_arm101_description are "
            "another robot's: evo1 new-robot --live writes a file for it from what runs"
        )
    controllers = Include(
        package="so_arm100_description",
        launch_file="controllers_bringup.launch.py",
        arguments={"hardware_type": "real", "usb_port": options.port},
    )
    bridge = options.driver_node(
        "gripper_bridge",
        robot_file=str(path),
        merge_states=False,  # joint_state_broadcaster has them all
        driver_joint_states=config.state.topic,
        gripper_action="gripper_controller/gripper_cmd",
        action_type="ParallelGripperCommand",
    )
    return [bridge], (controllers,)


def _driver(
    options: SystemOptions, path: Path, patience: Mapping[str, Setting] | None = None
) -> Process:
    driver = options.driver_node(
        "so100_driver",
        robot_file=str(path),
        port=options.port,
        calibration=options.calibration,
    )
    return replace(driver, parameters={**driver.parameters, **(patience or {})})


def _emulated(
    options: SystemOptions, path: Path, config: RobotConfig, simulation: Process
) -> list[Process]:
    """The simulation without controllers, the emulated servos that pull at it, the real driver."""
    folder = Path(tempfile.gettempdir()) / f"evo1_so100_{os.getpid()}" / options.namespace
    port = str(folder / "ttyEMULATED")
    calibration = options.calibration or str(folder / "calibration.json")
    remappings = [(config.state.topic, "emulated/joint_states")]
    for command in config.command:  # of which the driver is the controller, not the simulation
        remappings.append((command.topic, "emulated/joint_trajectory"))
        remappings.append((command.state_topic, "emulated/controller_state"))
    emulator = options.driver_node(
        "so100_emulator",
        package="evo1_sim",
        robot_file=str(path),
        port=port,
        calibration=calibration,
    )
    wired = replace(options, port=port, calibration=calibration)
    return [
        replace(simulation, remappings=tuple(remappings)),
        emulator,
        _driver(wired, path, EMULATOR_PATIENCE),
    ]


DRIVER = Driver(
    device="port",
    options=("port", "calibration"),
    ways=(FEETECH, ROS2_CONTROL),
    check=check,
    start=start,
)
