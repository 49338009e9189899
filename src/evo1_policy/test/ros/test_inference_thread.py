"""The thread that runs the policy: one at a time, nothing lost, nothing stale."""

import threading

import numpy as np
import pytest

from evo1_policy.control.signals import InferenceDone, InferenceFailed, InferenceRequest
from evo1_policy.observation import Observation
from evo1_policy.ros.inference_thread import InferenceThread

pytestmark = pytest.mark.ros

OBSERVATION = Observation(
    images={}, state=np.zeros(7), instruction="pour", stamp_ns=1, received_ns=2, skew_ns=0
)


class GatedPolicy:
    """Infers when the gate is open; its 'chunk' is the observation."""

    horizon, model_hash, device = 50, "0", "cpu"

    def __init__(self):
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.error = None

    def warm_up(self, instruction="", *, guided=False):
        pass

    def close(self):
        pass

    def infer(self, observation, guidance=None):
        self.entered.release()
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return observation


@pytest.fixture
def policy():
    return GatedPolicy()


@pytest.fixture
def woken():
    return threading.Semaphore(0)


@pytest.fixture
def thread(policy, woken):
    thread = InferenceThread(policy, now_ns=iter(range(10, 1000)).__next__, wake=woken.release)
    yield thread
    policy.gate.set()
    thread.close()


def request(number):
    return InferenceRequest(request_id=number, observation=OBSERVATION)


def test_result_wakes_and_carries_its_request_and_times(policy, thread, woken):
    policy.gate.set()
    thread.submit(request(1))
    assert woken.acquire(timeout=10)
    inferred = thread.take()
    assert inferred.request.request_id == 1
    assert isinstance(inferred.outcome, InferenceDone)
    assert (inferred.outcome.started_ns, inferred.outcome.finished_ns) == (10, 11)
    assert thread.take() is None


def test_exception_becomes_a_failure_and_the_thread_goes_on(policy, thread, woken):
    policy.gate.set()
    policy.error = RuntimeError("no memory")
    thread.submit(request(1))
    assert woken.acquire(timeout=10)
    outcome = thread.take().outcome
    assert isinstance(outcome, InferenceFailed)
    assert outcome.error == "RuntimeError: no memory"
    policy.error = None
    thread.submit(request(2))
    assert woken.acquire(timeout=10)
    assert isinstance(thread.take().outcome, InferenceDone)


def test_newer_request_replaces_the_waiting_one(policy, thread, woken):
    thread.submit(request(1))
    assert policy.entered.acquire(timeout=10)
    thread.submit(request(2))
    thread.submit(request(3))
    policy.gate.set()
    assert woken.acquire(timeout=10)
    assert woken.acquire(timeout=10)
    assert [thread.take().request.request_id for _ in range(2)] == [1, 3]


def test_forgotten_inference_gives_no_result(policy, thread, woken):
    thread.submit(request(1))
    assert policy.entered.acquire(timeout=10)
    thread.forget()
    policy.gate.set()
    thread.submit(request(2))
    assert woken.acquire(timeout=10)
    assert woken.acquire(timeout=10)
    assert thread.take().request.request_id == 2
    assert thread.take() is None


def test_close_leaves_a_stuck_policy_behind(policy, woken):
    thread = InferenceThread(policy, now_ns=lambda: 0, wake=woken.release)
    thread.submit(request(1))
    assert policy.entered.acquire(timeout=10)
    thread.close(timeout_s=0.01)
    policy.gate.set()
    assert thread.take() is None


def test_duty_counts_the_running_inference(policy, thread):
    assert thread.duty() == 0.0
    thread.submit(request(1))
    assert policy.entered.acquire(timeout=10)
    assert 0.0 < thread.duty() <= 1.0
