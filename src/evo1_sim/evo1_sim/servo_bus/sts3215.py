"""What an STS3215 servo understands: registers, their numbers on the wire, status bits.

Pure facts of Feetech's manual, used by the driver and by the emulator. Must not import ROS.
"""

from dataclasses import dataclass

MODEL = 777
BAUD_RATE = 1_000_000
TICKS_PER_TURN = 4096
BROADCAST_ID = 254
MAX_ID = 252

PING, READ, WRITE = 1, 2, 3
SYNC_READ, SYNC_WRITE = 0x82, 0x83

# Bit of PHASE: positions count on over turns, where the servo knows none after a loss of power;
# cleared, they are modulo a turn. Servos come with either; LeRobot clears it.
MULTI_TURN = 0x10

# Bits of the status byte that stands in every reply, and in register 65.
STATUS_BITS = {
    0: "voltage out of range",
    1: "angle sensor failed",
    2: "too hot",
    3: "over-current",
    5: "overloaded",
}


@dataclass(frozen=True, kw_only=True)
class Register:
    """One entry of the control table.

    Attributes:
        name: as LeRobot calls it.
        address: of its first byte; numbers are little-endian.
        length: bytes, 1 or 2.
        sign_bit: where the sign stands (sign and magnitude); None: not signed.
    """

    name: str
    address: int
    length: int
    sign_bit: int | None = None


def _register(name: str, address: int, length: int, sign_bit: int | None = None) -> Register:
    return Register(name=name, address=address, length=length, sign_bit=sign_bit)


MODEL_NUMBER = _register("Model_Number", 3, 2)
ID = _register("ID", 5, 1)
RETURN_DELAY = _register("Return_Delay_Time", 7, 1)
RESPONSE_LEVEL = _register("Response_Status_Level", 8, 1)
MIN_POSITION = _register("Min_Position_Limit", 9, 2)
MAX_POSITION = _register("Max_Position_Limit", 11, 2)
MAX_TEMPERATURE = _register("Max_Temperature_Limit", 13, 1)  # deg C
MAX_VOLTAGE = _register("Max_Voltage_Limit", 14, 1)  # 0.1 V
MIN_VOLTAGE = _register("Min_Voltage_Limit", 15, 1)  # 0.1 V
MAX_TORQUE = _register("Max_Torque_Limit", 16, 2)  # 0.1 %
PHASE = _register("Phase", 18, 1)  # see MULTI_TURN
P_GAIN = _register("P_Coefficient", 21, 1)
D_GAIN = _register("D_Coefficient", 22, 1)
I_GAIN = _register("I_Coefficient", 23, 1)
PROTECTION_CURRENT = _register("Protection_Current", 28, 2)  # 6.5 mA
HOMING_OFFSET = _register("Homing_Offset", 31, 2, 11)  # present = encoder - this
OPERATING_MODE = _register("Operating_Mode", 33, 1)  # 0: position
OVERLOAD_TORQUE = _register("Overload_Torque", 36, 1)  # %
TORQUE_ENABLE = _register("Torque_Enable", 40, 1)
ACCELERATION = _register("Acceleration", 41, 1)
GOAL_POSITION = _register("Goal_Position", 42, 2, 15)
TORQUE_LIMIT = _register("Torque_Limit", 48, 2)
LOCK = _register("Lock", 55, 1)
PRESENT_POSITION = _register("Present_Position", 56, 2, 15)
PRESENT_VELOCITY = _register("Present_Velocity", 58, 2, 15)  # ticks/s
PRESENT_LOAD = _register("Present_Load", 60, 2, 10)  # 0.1 %
PRESENT_VOLTAGE = _register("Present_Voltage", 62, 1)  # 0.1 V
PRESENT_TEMPERATURE = _register("Present_Temperature", 63, 1)  # deg C
STATUS = _register("Status", 65, 1)
MOVING = _register("Moving", 66, 1)
PRESENT_CURRENT = _register("Present_Current", 69, 2, 15)  # 6.5 mA
MAX_ACCELERATION = _register("Maximum_Acceleration", 85, 1)


def encode(register: Register, value: int) -> bytes:
    """The bytes of a value.

    Raises:
        ValueError: the register cannot hold it.
    """
    number = value
    if register.sign_bit is not None and value < 0:
        number = -value | 1 << register.sign_bit
    magnitude_bits = 8 * register.length if register.sign_bit is None else register.sign_bit
    if number < 0 or abs(value) >= 1 << magnitude_bits:
        raise ValueError(f"{register.name} cannot hold {value}")
    return number.to_bytes(register.length, "little")


def decode(register: Register, data: bytes) -> int:
    """The value of a register's bytes."""
    number = int.from_bytes(data[: register.length], "little")
    if register.sign_bit is None:
        return number
    sign = 1 << register.sign_bit
    magnitude = number & (sign - 1)
    return -magnitude if number & sign else magnitude


def status_words(status: int) -> str:
    """A status byte in words; empty where all is well."""
    known = [words for bit, words in STATUS_BITS.items() if status & 1 << bit]
    unknown = status & ~sum(1 << bit for bit in STATUS_BITS)
    return ", ".join([*known, *([f"status 0x{unknown:02x}"] if unknown else [])])


def checksum(body: bytes) -> int:
    """Checksum of a packet's bytes from the id on."""
    return ~sum(body) & 0xFF
