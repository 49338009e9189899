"""The drivers of real cameras: what is started, and on which topics it publishes."""

import pytest
from described import process_of, system_of

from evo1_bringup.options import OptionError


def cameras_of(system):
    return [process for process in system.processes if str(process.name).endswith("_camera")]


@pytest.mark.parametrize(
    ("installed", "driver", "parameter"),
    [
        ("", ("evo1_bringup", "camera"), "device"),
        ("usb_cam/usb_cam_node_exe", ("usb_cam", "usb_cam_node_exe"), "video_device"),
    ],
)
def test_camera_devices_are_started_on_the_robot_files_topics(
    installed, driver, parameter, tmp_path, monkeypatch
):
    """By usb_cam where it is installed, else by the driver that comes with this package."""
    if installed:
        file = tmp_path / "lib" / installed
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    system = system_of("xarm6", robot_ip="10.0.0.2", cameras="/dev/video0, /dev/video2")
    cameras = cameras_of(system)
    assert [(camera.package, camera.executable) for camera in cameras] == [driver] * 2
    assert [camera.parameters[parameter] for camera in cameras] == ["/dev/video0", "/dev/video2"]
    assert [camera.namespace for camera in cameras] == ["env_camera", "wrist_camera"]
    assert [camera.remappings for camera in cameras] == [(), ()]  # image_raw, and its transports


@pytest.mark.parametrize("driver", ["v4l2", "usb_cam", "realsense2_camera"])
@pytest.mark.parametrize("topic", ["env_camera/image_raw", "cell/env/colour", "/cell/env/colour"])
@pytest.mark.parametrize("transport", ["", "/compressed"])
def test_every_camera_reaches_its_topic_raw_and_compressed(
    driver, topic, transport, tmp_path, robots_dir
):
    file = tmp_path / "mine.yaml"
    text = (robots_dir / "xarm6.yaml").read_text()
    kind = "CompressedImage" if transport else "Image"
    text = text.replace(
        "topic: env_camera/image_raw, type: sensor_msgs/msg/Image",
        f"topic: {topic}{transport}, type: sensor_msgs/msg/{kind}",
    )
    file.write_text(text)
    system = system_of(
        "xarm6",
        robot_ip="10.0.0.2",
        driver="direct",
        namespace="left",
        cameras="7,8",
        camera_driver=driver,
        robot_file=str(file),
    )
    camera = cameras_of(system)[0]
    image = "~/color/image_raw" if driver == "realsense2_camera" else "image_raw"
    # image_transport: a name for each transport, put together before any rule applies
    published = dict(camera.remappings).get(image + transport, image + transport)
    wanted = topic if topic.startswith("/") else f"/left/{topic}"
    assert f"/{camera.namespace}/{published}" == wanted + transport


@pytest.mark.parametrize(
    ("driver", "executable", "parameter"),
    [
        ("v4l2", "camera", ("device", "7")),
        ("realsense2_camera", "realsense2_camera_node", ("serial_no", "_7")),
    ],
)
def test_camera_drivers_are_given_their_device(driver, executable, parameter):
    system = system_of("xarm6", robot_ip="10.0.0.2", cameras="7,8", camera_driver=driver)
    camera = process_of(system, executable)
    assert camera.package == ("evo1_bringup" if driver == "v4l2" else driver)
    assert camera.parameters[parameter[0]] == parameter[1]


def test_camera_parameter_file_goes_to_every_camera(tmp_path):
    file = tmp_path / "cameras.yaml"
    file.write_text("")
    system = system_of("xarm6", robot_ip="10.0.0.2", cameras=str(file))
    cameras = cameras_of(system)
    assert [camera.parameter_files for camera in cameras] == [(str(file),), (str(file),)]
    assert "device" not in cameras[0].parameters


def test_wrong_number_of_cameras_names_the_expected_ones():
    with pytest.raises(OptionError, match=r"expected 2 devices, one for each of image_1 \(env_ca"):
        system_of("xarm6", robot_ip="10.0.0.2", cameras="/dev/video0")
