"""A stop that needs neither ROS nor a network: datagrams on this machine. Standard library only.

rclpy and DDS take half a second before a new process can say anything, seconds on a loaded
machine. Each node that moves an arm therefore claims an address of its namespace in the kernel
(Linux abstract sockets: no file, gone with its process) and answers what it is told there.
"""

import os
import socket
import time
from pathlib import Path

STOP, WHO = b"stop", b"who"
MOVER = "mover"  # the part of which there is one in a namespace: a policy or a relay
_KNOWN = Path("/proc/net/unix")
_LONGEST = 4096  # of an answer [bytes]
_QUEUE_S = 0.02  # for a place in the queue of one that does not read


def domain_id() -> int:
    """The ROS domain of this shell."""
    text = os.environ.get("ROS_DOMAIN_ID", "")
    return int(text) if text.isdecimal() else 0


def address_of(domain: int, namespace: str, part: str = MOVER) -> str:
    """Where a part of a namespace ('/left'; '/' is the root) is told to stop."""
    return f"\0evo1_stop:{domain}:{part}:{namespace}"


def claim(address: str) -> socket.socket:
    """Take an address, to be told there.

    Raises:
        OSError: somebody has it (errno EADDRINUSE), or this system has no such addresses.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        line.bind(address)
    except OSError:
        line.close()
        raise
    return line


def claimed(domain: int, namespace: str | None = None) -> list[str]:
    """The addresses that are taken in a namespace; None: in all of the domain."""
    try:
        lines = _KNOWN.read_text().splitlines()
    except OSError:
        return []
    names = {line.partition("@evo1_stop:")[2] for line in lines}
    parts = sorted(name.split(":", 2) for name in names if name.count(":") == 2)
    return [
        address_of(domain, place, part)
        for number, part, place in parts
        if number == str(domain) and namespace in (None, place)
    ]


def tell(word: bytes, addresses: list[str], timeout_s: float) -> dict[str, str | None]:
    """Say a word to each address.

    Returns:
        Its answer by address; None where it gave none within `timeout_s` [s].
    """
    answers: dict[str, str | None] = dict.fromkeys(addresses)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("")  # the kernel gives an address to answer to
        line.settimeout(_QUEUE_S)
        for address in addresses:
            try:
                line.sendto(word, address)
            except OSError:
                continue  # gone meanwhile, or its queue is full
        end = time.monotonic() + timeout_s
        while None in answers.values() and (left := end - time.monotonic()) > 0.0:
            line.settimeout(left)
            try:
                said, sender = line.recvfrom(_LONGEST)
            except TimeoutError:
                break
            answers[os.fsdecode(sender)] = said.decode(errors="replace")
    return answers
