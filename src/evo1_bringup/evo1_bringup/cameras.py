"""The drivers of real cameras: what publishes on the robot file's topics.

Must not import ROS or launch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from evo1_bringup.installation import NotInstalledError, find_executable
from evo1_bringup.options import OptionError, SystemOptions, read_file
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
    cameras, file = config.cameras, ""
    devices = [device.strip() for device in options.cameras.split(",")]
    if options.cameras.endswith((".yaml", ".yml")):
        file, devices = read_file("cameras", options.cameras), [""] * len(cameras)
    if len(devices) != len(cameras):
        names = ", ".join(f"{camera.name} ({camera.topic})" for camera in cameras)
        raise OptionError(
            f"cameras: expected {len(cameras)} devices, one for each of {names}; "
            f"got {len(devices)}: {options.cameras}"
        )
    pairs = zip(cameras, devices, strict=True)
    return [_camera(camera, options, device, file) for camera, device in pairs]


def _camera(camera: CameraConfig, options: SystemOptions, device: str, file: str) -> Process:
    driver = _DRIVERS[options.camera_driver or _default_driver()]
    topic = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    folder, _, image = topic.rpartition("/")
    root = "" if topic.startswith("/") else options.namespace
    return Process(
        package=driver.package,
        executable=driver.executable,
        name=f"{camera.name}_camera",
        namespace="/".join(part for part in (root, folder.strip("/")) if part),
        parameters={
            **(driver.of_device(device) if device else {}),
            **dict.fromkeys(driver.names, camera.name),
        },
        parameter_files=(file,) if file else (),
        remappings=_remappings(driver.published, image),
    )


def _default_driver() -> str:
    """usb_cam where somebody installed it, else our own."""
    try:
        find_executable(_DRIVERS["usb_cam"].package, _DRIVERS["usb_cam"].executable)
    except NotInstalledError:
        return "v4l2"
    return "usb_cam"


def _remappings(published: str, wanted: str) -> tuple[tuple[str, str], ...]:
    """From what a driver publishes to what is wanted, in the camera's own namespace.

    A rule for each: image_transport applies none of `published` to the topics of its transports.
    """
    names = [(f"{published}{end}", f"{wanted}{end}") for end in ("", "/compressed")]
    names.append((f"{published.rpartition('image_raw')[0]}camera_info", "camera_info"))
    return tuple((source, target) for source, target in names if source != target)


@dataclass(frozen=True)
class _Driver:
    """One driver of cameras.

    Attributes:
        of_device: its parameters for a device.
        names: parameters that take the camera's name.
        published: the topic of its images.
    """

    package: str
    executable: str
    of_device: Callable[[str], dict[str, Setting]]
    names: tuple[str, ...]
    published: str = "image_raw"


_DRIVERS = {
    "v4l2": _Driver(
        "evo1_bringup",
        "camera",
        lambda device: {"device": device, "width": WIDTH, "height": HEIGHT, "rate_hz": RATE_HZ},
        names=("frame_id",),
    ),
    "usb_cam": _Driver(
        "usb_cam",
        "usb_cam_node_exe",
        lambda device: {
            "video_device": device,
            "image_width": WIDTH,
            "image_height": HEIGHT,
            "framerate": float(RATE_HZ),
            "pixel_format": "mjpeg2rgb",
        },
        names=("camera_name", "frame_id"),
    ),
    "realsense2_camera": _Driver(
        "realsense2_camera",
        "realsense2_camera_node",
        lambda device: {
            "serial_no": f"_{device.lstrip('_')}",  # or ROS would make a number of it
            "rgb_camera.color_profile": f"{WIDTH}x{HEIGHT}x{RATE_HZ}",
            "enable_depth": False,
            "enable_infra1": False,
            "enable_infra2": False,
        },
        names=("camera_name",),
        published="~/color/image_raw",
    ),
}
