"""The commands find_cameras and find_port: which device is which. Must not import ROS."""

import fcntl
import os
import re
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers.v4l2 import (
    CameraError,
    CameraParameters,
    Capture,
    V4l2Capture,
    to_picture,
    users_of,
    why_closed,
)
from evo1_policy.command_line import Parser, entry_point, printable
from evo1_policy.perception.colour import DamagedError

_QUERYCAP, _ENUM_FMT = 0x80685600, 0xC0405602  # of linux/videodev2.h
_CAPTURES, _CAPTURE = 0x1 | 0x1000, 1  # single or multi-planar; the type of buffer
_WARM_UP = 10  # frames, while the exposure settles
_TILE = (320, 240)  # width, height [px]
_COLUMNS = 3


class FindError(RuntimeError):
    """No device was found, or none that is the one; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One device that captures.

    Attributes:
        name: what the kernel calls it.
        formats: four letters each.
        picture: (H, W, 3) uint8 RGB, where it gave one.
        problem: why it gave none.
    """

    device: str
    name: str
    formats: tuple[str, ...] = ()
    picture: npt.NDArray[np.uint8] | None = None
    problem: str = ""


def formats_of(device: str) -> tuple[str, ...] | None:
    """The formats in which a device captures; None for one that does not, such as metadata's.

    Asks the kernel, and disturbs no program that has it open.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        told = bytearray(104)
        fcntl.ioctl(handle, _QUERYCAP, told)
        if not struct.unpack_from("I", told, 88)[0] & _CAPTURES:  # of this node, not its device
            return None
        found: list[str] = []
        while len(found) < 32:
            told = bytearray(struct.pack("II", len(found), _CAPTURE).ljust(64, b"\x00"))
            try:
                fcntl.ioctl(handle, _ENUM_FMT, told)
            except OSError:  # there are no more
                break
            found.append(told[44:48].decode("latin-1"))
        return tuple(found)
    except OSError:  # no camera at all
        return None
    finally:
        os.close(handle)


def find_cameras(
    root: Path = Path("/"),
    formats: Callable[[str], tuple[str, ...] | None] = formats_of,
    open_capture: Callable[[CameraParameters], Capture] = V4l2Capture,
) -> list[Camera]:
    """Every /dev/video* that captures, with a picture of those that nobody uses.

    Args:
        root: below which dev/, sys/ and proc/ lie.
        formats: as formats_of.
        open_capture: as V4l2Capture.
    """
    found = []
    numbered = {re.sub(r"\D", "", path.name): path for path in root.glob("dev/video[0-9]*")}
    for number in sorted(numbered, key=int):
        device = str(numbered[number])
        file = root / f"sys/class/video4linux/video{number}/name"
        name = printable(file.read_text().strip(), 60) if file.is_file() else "unknown"
        try:
            known = formats(device)
        except OSError:
            found.append(Camera(device=device, name=name, problem=why_closed(device)))
            continue
        if known is None:
            continue
        users = ", ".join(users_of(device, root / "proc"))
        picture, problem = None, f"in use by {users}: not opened" if users else ""
        if not users:
            try:
                with closing(open_capture(CameraParameters(device=device))) as capture:
                    picture = _picture(capture, device)
            except (CameraError, DamagedError) as error:
                problem = str(error)
        found.append(
            Camera(device=device, name=name, formats=known, picture=picture, problem=problem)
        )
    return found


def _picture(capture: Capture, device: str) -> npt.NDArray[np.uint8]:
    """The last of the first frames."""
    frames = [frame for _ in range(_WARM_UP) if (frame := capture.read()) is not None]
    if not frames:
        raise CameraError(f"{device}: {_WARM_UP} frames came empty or cut off; try another cable")
    return to_picture(frames[-1])


def contact_sheet(cameras: Iterable[Camera]) -> npt.NDArray[np.uint8]:
    """Every camera with its device below: (H, W, 3) uint8 BGR, grey where it gave no picture."""
    tiles = []
    for camera in cameras:
        tile = np.full((_TILE[1], _TILE[0], 3), 90, np.uint8)
        if camera.picture is not None:
            scale = min(_TILE[0] / camera.picture.shape[1], _TILE[1] / camera.picture.shape[0])
            small = cv2.resize(camera.picture, None, fx=scale, fy=scale)[..., ::-1]
            tile[: small.shape[0], : small.shape[1]] = small[: _TILE[1], : _TILE[0]]
        label = np.zeros((24, _TILE[0], 3), np.uint8)
        words = f"{camera.device} {camera.name}"
        cv2.putText(label, words[:44], (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255,) * 3)
        tiles.append(np.vstack([tile, label]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    columns = min(_COLUMNS, len(tiles))
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack(rows)


def find_port(
    listing: Callable[[], Iterable[Any]],
    ask: Callable[[str], object],
    say: Callable[[str], object],
) -> str:
    """The serial port that goes away when a person unplugs it.

    Args:
        listing: the ports that are there now, as pyserial's comports.
        ask: shows a question and waits for the person.
        say: shows a line.

    Raises:
        FindError: there is none, or not one alone went.
    """
    before: dict[str, Any] = {port.device: port for port in listing()}
    for port in before.values():
        say(f"{port.device}  {_about(port)}")
    if not before:
        raise FindError("no serial port is here: plug the arm's adapter in, and its power too")
    ask("Unplug the arm's USB cable, then press Enter")
    gone = sorted(set(before) - {port.device for port in listing()})
    if len(gone) != 1:
        went = ", ".join(gone) or "none"
        raise FindError(f"expected one port to go, {went} went; pull one cable alone, once more")
    say(f"{gone[0]} went. Plug it in again, then: port:={gone[0]}")
    return gone[0]


def _about(port: Any) -> str:
    if port.vid is None or port.pid is None:
        return printable(port.description)
    names = (port.manufacturer, port.product or port.description, port.serial_number)
    words = " ".join(name for name in names if name)
    return printable(f"{port.vid:04x}:{port.pid:04x} {words}")


@entry_point("evo1 find-cameras")
def main(argv: Sequence[str] | None = None) -> int:
    """List the cameras, write a picture of each; 1 where there is none."""
    parser = Parser(
        "evo1 find-cameras",
        description="Which /dev/video* is which camera: names, formats, a picture of each. One "
        "that a program uses is named, and not opened.",
        epilog="example: evo1 find-cameras --to ~/cameras",
    )
    parser.add_argument(
        "--to", type=Path, default=Path("out/cameras"), help="Folder of the picture. (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    cameras = find_cameras()
    if not cameras:
        raise FindError("no /dev/video* captures: plug a camera in (a container is given each)")
    for camera in cameras:
        _say(f"{camera.device}  {camera.name}  {' '.join(camera.formats)}  {camera.problem}")
    arguments.to.mkdir(parents=True, exist_ok=True)
    sheet = arguments.to / "cameras.png"
    if not cv2.imwrite(str(sheet), contact_sheet(cameras)):
        raise FindError(f"{sheet} cannot be written")
    _say(f"pictures: {sheet}", "in the order of the robot file's cameras:")
    _say(f"  cameras:={','.join(camera.device for camera in cameras)}")
    return 0


@entry_point("evo1 find-port")
def find_port_main(argv: Sequence[str] | None = None) -> int:
    """Find the arm's port together with a person; 1 where it does not show."""
    Parser(
        "evo1 find-port",
        description="Which serial port is the arm's: unplug it, and see.",
        epilog="example: evo1 find-port",
    ).parse_args(argv)
    try:
        from serial.tools import list_ports
    except ImportError as error:
        raise FindError("pyserial is not installed: pip install pyserial") from error
    try:
        find_port(list_ports.comports, lambda question: input(f"{question}: "), _say)
    except EOFError as error:
        raise FindError("needs a terminal: a person unplugs the cable and says so") from error
    return 0


def _say(*lines: str) -> None:
    for line in lines:
        print(printable(line, 1000).rstrip(), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
