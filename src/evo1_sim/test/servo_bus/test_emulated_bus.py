"""The emulated servos speak the protocol of Feetech's manual: bytes in, bytes out."""

import random

from hypothesis import given
from hypothesis import strategies as st

from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.emulated_bus import BusFaults, EmulatedBus
from evo1_sim.servo_bus.emulated_servo import EmulatedServo


def packet(servo_id, instruction, *parameters):
    body = bytes([servo_id, len(parameters) + 2, instruction, *parameters])
    return b"\xff\xff" + body + bytes([~sum(body) & 0xFF])


def bus(*servo_ids, **faults):
    return EmulatedBus(
        [EmulatedServo(servo_id) for servo_id in servo_ids], faults=BusFaults(**faults)
    )


def test_ping_is_answered_by_the_servo_alone():
    assert bus(1, 2).feed(bytes.fromhex("ff ff 01 02 01 fb")) == bytes.fromhex("ff ff 01 02 00 fc")
    assert bus(1, 2).feed(packet(7, sts3215.PING)) == b""


def test_read_gives_the_model_number():
    answer = bus(1).feed(bytes.fromhex("ff ff 01 04 02 03 02 f3"))
    assert answer == bytes.fromhex("ff ff 01 04 00 09 03 ee")  # 0x0309 is 777


def test_write_is_acknowledged_and_moves_the_goal():
    line = bus(1)
    assert line.feed(packet(1, sts3215.WRITE, 42, 0x00, 0x08)) == packet(1, 0)
    assert line.servos[0].get(sts3215.GOAL_POSITION) == 2048


def test_sync_read_is_answered_in_the_order_of_the_request():
    line = bus(1, 2, 3)
    answer = line.feed(packet(254, sts3215.SYNC_READ, 56, 2, 3, 1))
    assert [answer[2], answer[10]] == [3, 1]
    assert len(answer) == 16


def test_sync_write_reaches_each_servo_and_nobody_answers():
    line = bus(1, 2)
    assert line.feed(packet(254, sts3215.SYNC_WRITE, 42, 2, 1, 10, 0, 2, 20, 0)) == b""
    assert [servo.get(sts3215.GOAL_POSITION) for servo in line.servos] == [10, 20]


def test_homing_offset_shifts_the_position_either_way():
    servo = EmulatedServo(1, encoder=1000)
    servo.set(sts3215.HOMING_OFFSET, -47)
    assert servo.read(31, 2) == bytes([47, 0x08])  # sign in bit 11
    assert servo.present == 1047
    servo.set(sts3215.HOMING_OFFSET, 1500)
    assert servo.read(56, 2) == bytes([0xF4, 0x81])  # -500, sign in bit 15


def test_a_servo_counts_over_turns_or_wraps_as_its_phase_says():
    servo = EmulatedServo(1, encoder=100)
    servo.set(sts3215.HOMING_OFFSET, 300)
    assert servo.present == -200
    servo.set(sts3215.PHASE, 12)
    assert servo.present == 3896
    servo.set(sts3215.TORQUE_ENABLE, 1)
    servo.set(sts3215.GOAL_POSITION, 96)
    servo.advance(0.01)
    assert servo.present < 3896  # the long way: never across the seam


@given(st.sampled_from([*range(1, 7), 0x82, 0x83]), st.binary(max_size=6))
def test_a_request_with_too_few_parameters_breaks_nothing(instruction, parameters):
    line = bus(1)
    line.feed(packet(1, instruction, *parameters))
    line.servos[0].set(sts3215.ID, 1)
    assert line.feed(packet(1, sts3215.PING)).startswith(b"\xff\xff\x01")


def test_locked_memory_forgets_what_was_written_when_the_power_goes():
    servo = EmulatedServo(1)
    servo.write(31, bytes([9, 0]))
    servo.power_cycle()
    assert servo.get(sts3215.HOMING_OFFSET) == 0
    servo.write(55, b"\x00")
    servo.write(31, bytes([9, 0]))
    servo.power_cycle()
    assert servo.get(sts3215.HOMING_OFFSET) == 9


def test_a_servo_that_is_too_hot_says_so_and_lets_go():
    line = bus(1)
    line.feed(packet(1, sts3215.WRITE, 40, 1))
    line.servos[0].temperature = 71.0
    assert line.feed(packet(1, sts3215.READ, 40, 1))[4:6] == bytes([0b100, 0])


def test_a_wrong_checksum_is_not_obeyed():
    line = bus(1)
    bad = packet(1, sts3215.WRITE, 42, 1, 1)[:-1] + b"\x00"
    assert line.feed(bad) == b""
    assert line.servos[0].get(sts3215.GOAL_POSITION) == 0
    assert line.counts.malformed == 1


@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_noise_breaks_nothing_and_the_next_request_is_heard(noise, seed):
    line = bus(1)
    pieces = noise + b"\x00" * 260 + packet(1, sts3215.PING)
    cuts = sorted(random.Random(seed).sample(range(len(pieces)), 3))
    answer = b""
    for start, end in zip([0, *cuts], [*cuts, len(pieces)], strict=True):
        answer += line.feed(pieces[start:end])
    assert answer.endswith(packet(1, 0))


def test_damage_comes_at_the_rate_that_was_asked_for():
    line = bus(1, corrupt_rate=0.2, drop_rate=0.1)
    good = packet(1, 0)
    answers = [line.feed(packet(1, sts3215.PING)) for _ in range(2000)]
    assert 500 < sum(answer != good for answer in answers) < 660
    assert 150 < answers.count(b"") < 260
