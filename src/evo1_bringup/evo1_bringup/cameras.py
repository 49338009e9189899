"""The drivers of real cameras: what publishes on the robot file's topics.

Must not import ROS or launch.
"""

from evo1_bringup.options import (
    REALSENSE,
    USB_CAM,
    V4L2_CAMERA,
    OptionError,
    SystemOptions,
    read_file,
)
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


def _camera(
    camera: CameraConfig, options: SystemOptions, device: str, parameter_file: str
) -> Process:
    executable, published, names = _DRIVERS[options.camera_driver]
    topic = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    folder, _, image = topic.rpartition("/")
    root = "" if topic.startswith("/") else options.namespace
    return Process(
        package=options.camera_driver,
        executable=executable,
        name=f"{camera.name}_camera",
        namespace="/".join(part for part in (root, folder.strip("/")) if part),
        parameters={
            **(_of_device(options.camera_driver, device) if device else {}),
            **dict.fromkeys(names, camera.name),
        },
        parameter_files=(parameter_file,) if parameter_file else (),
        remappings=_remappings(published, image),
    )


def _remappings(published: str, wanted: str) -> tuple[tuple[str, str], ...]:
    """From what a driver publishes to what is wanted, in the camera's own namespace.

    A rule for each: image_transport applies none of `published` to the topics of its transports.
    """
    names = [(f"{published}{end}", f"{wanted}{end}") for end in ("", "/compressed")]
    names.append((f"{published.rpartition('image_raw')[0]}camera_info", "camera_info"))
    return tuple((source, target) for source, target in names if source != target)


# Of each driver: its executable, the topic of its images, parameters that take the camera's name.
_DRIVERS = {
    USB_CAM: ("usb_cam_node_exe", "image_raw", ("camera_name", "frame_id")),
    V4L2_CAMERA: ("v4l2_camera_node", "image_raw", ("camera_frame_id",)),
    REALSENSE: ("realsense2_camera_node", "~/color/image_raw", ("camera_name",)),
}


def _of_device(driver: str, device: str) -> dict[str, Setting]:
    """The parameters of a driver for a device."""
    if driver == USB_CAM:
        return {
            "video_device": device,
            "image_width": WIDTH,
            "image_height": HEIGHT,
            "framerate": float(RATE_HZ),
            "pixel_format": "mjpeg2rgb",
        }
    if driver == V4L2_CAMERA:
        return {"video_device": device, "image_size": [WIDTH, HEIGHT], "output_encoding": "rgb8"}
    return {
        "serial_no": f"_{device.lstrip('_')}",  # or ROS would make a number of it
        "rgb_camera.color_profile": f"{WIDTH}x{HEIGHT}x{RATE_HZ}",
        "enable_depth": False,
        "enable_infra1": False,
        "enable_infra2": False,
    }
