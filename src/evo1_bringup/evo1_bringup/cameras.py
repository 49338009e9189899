"""The drivers of real cameras. Must not import ROS or launch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evo1_bringup.options import REALSENSE, USB_CAM, V4L2_CAMERA, OptionError, SystemOptions
from evo1_bringup.processes import Parameter, Process
from evo1_policy.robot_config import CameraConfig, RobotConfig

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30


def camera_processes(options: SystemOptions, config: RobotConfig) -> list[Process]:
    """One program for each camera of the robot file, where `cameras` names them.

    Raises:
        OptionError: a file that does not exist, or another number of devices.
    """
    if not options.cameras:
        return []
    if options.cameras.endswith((".yaml", ".yml")):
        if not Path(options.cameras).is_file():
            raise OptionError(f"cameras: '{options.cameras}' does not exist")
        return [
            _camera(camera, options, parameter_file=options.cameras) for camera in config.cameras
        ]
    devices = [device.strip() for device in options.cameras.split(",")]
    if len(devices) != len(config.cameras):
        names = ", ".join(f"{camera.name} ({camera.topic})" for camera in config.cameras)
        raise OptionError(
            f"cameras: expected {len(config.cameras)} devices, one for each of {names}; "
            f"got {len(devices)}: {options.cameras}"
        )
    return [
        _camera(camera, options, device=device)
        for camera, device in zip(config.cameras, devices, strict=True)
    ]


def _camera(
    camera: CameraConfig, options: SystemOptions, *, device: str = "", parameter_file: str = ""
) -> Process:
    driver = _DRIVERS[options.camera_driver]
    base = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    folder = base.rpartition("/")[0]
    return Process(
        package=options.camera_driver,
        executable=driver.executable,
        name=f"{camera.name}_camera",
        namespace=options.namespace,
        parameters={
            **(driver.parameters(device) if device else {}),
            **dict.fromkeys(driver.names, camera.name),
        },
        parameter_files=(parameter_file,) if parameter_file else (),
        remappings=(
            (f"{driver.topics}image_raw", base),
            (f"{driver.topics}camera_info", f"{folder}/camera_info".lstrip("/")),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Driver:
    """A camera driver.

    Attributes:
        executable: of the package of the same name.
        topics: where it publishes.
        names: parameters that take the camera's name.
        parameters: those for a device.
    """

    executable: str
    topics: str
    names: tuple[str, ...]
    parameters: Callable[[str], dict[str, Parameter]]


def _usb_cam(device: str) -> dict[str, Parameter]:
    return {
        "video_device": device,
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "framerate": float(RATE_HZ),
        "pixel_format": "mjpeg2rgb",
    }


def _v4l2_camera(device: str) -> dict[str, Parameter]:
    return {"video_device": device, "image_size": [WIDTH, HEIGHT], "output_encoding": "rgb8"}


def _realsense(serial_number: str) -> dict[str, Parameter]:
    return {
        "serial_no": f"_{serial_number.lstrip('_')}",  # or ROS would make a number of it
        "rgb_camera.color_profile": f"{WIDTH}x{HEIGHT}x{RATE_HZ}",
        "enable_depth": False,
        "enable_infra1": False,
        "enable_infra2": False,
    }


_DRIVERS = {
    USB_CAM: _Driver(
        executable="usb_cam_node_exe",
        topics="",
        names=("camera_name", "frame_id"),
        parameters=_usb_cam,
    ),
    V4L2_CAMERA: _Driver(
        executable="v4l2_camera_node",
        topics="",
        names=("camera_frame_id",),
        parameters=_v4l2_camera,
    ),
    REALSENSE: _Driver(
        executable="realsense2_camera_node",
        topics="~/color/",
        names=("camera_name",),
        parameters=_realsense,
    ),
}
