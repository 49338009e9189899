"""The drivers of real cameras. Must not import ROS or launch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evo1_bringup.options import REALSENSE, USB_CAM, V4L2_CAMERA, OptionError, SystemOptions
from evo1_bringup.processes import Process, Setting
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
    topic = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    folder, _, image = topic.rpartition("/")
    root = "" if topic.startswith("/") else options.namespace
    return Process(
        package=options.camera_driver,
        executable=driver.executable,
        name=f"{camera.name}_camera",
        namespace="/".join(part for part in (root, folder.strip("/")) if part),
        parameters={
            **(driver.parameters(device) if device else {}),
            **dict.fromkeys(driver.names, camera.name),
        },
        parameter_files=(parameter_file,) if parameter_file else (),
        remappings=_remappings(driver.image, image),
    )


def _remappings(published: str, wanted: str) -> tuple[tuple[str, str], ...]:
    """From what a driver publishes to what is wanted, in the camera's own namespace.

    A rule for each: image_transport applies none of `published` to the topics of its transports.
    """
    names = [(f"{published}{end}", f"{wanted}{end}") for end in ("", "/compressed")]
    names.append((f"{published.rpartition('image_raw')[0]}camera_info", "camera_info"))
    return tuple((source, target) for source, target in names if source != target)


@dataclass(frozen=True, kw_only=True)
class _Driver:
    """A camera driver.

    Attributes:
        executable: of the package of the same name.
        image: topic of its images, without its transports.
        names: parameters that take the camera's name.
        parameters: those for a device.
    """

    executable: str
    image: str
    names: tuple[str, ...]
    parameters: Callable[[str], dict[str, Setting]]


def _usb_cam(device: str) -> dict[str, Setting]:
    return {
        "video_device": device,
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "framerate": float(RATE_HZ),
        "pixel_format": "mjpeg2rgb",
    }


def _v4l2_camera(device: str) -> dict[str, Setting]:
    return {"video_device": device, "image_size": [WIDTH, HEIGHT], "output_encoding": "rgb8"}


def _realsense(serial_number: str) -> dict[str, Setting]:
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
        image="image_raw",
        names=("camera_name", "frame_id"),
        parameters=_usb_cam,
    ),
    V4L2_CAMERA: _Driver(
        executable="v4l2_camera_node",
        image="image_raw",
        names=("camera_frame_id",),
        parameters=_v4l2_camera,
    ),
    REALSENSE: _Driver(
        executable="realsense2_camera_node",
        image="~/color/image_raw",
        names=("camera_name",),
        parameters=_realsense,
    ),
}
