"""How many processes evaluate side by side."""

import os

import pytest

from evo1_training.datasets.worker_pool import run_all
from evo1_training.evaluation import workers
from evo1_training.evaluation.workers import fitting_workers, free_bytes


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 cores with so much memory, and a policy of so many bytes."""

    def make(free_gb, weights_gb, limit_gb=None, used_gb=0):
        meminfo = tmp_path / "meminfo"
        meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:   {round(free_gb * 1e6 / 1.024)} kB\n")
        limit, used = tmp_path / "max", tmp_path / "current"
        limit.write_text("max\n" if limit_gb is None else f"{limit_gb * 10**9}\n")
        used.write_text(f"{used_gb * 10**9}\n")
        monkeypatch.setattr(workers, "_MEMORY", meminfo)
        monkeypatch.setattr(workers, "_LIMITS", ((limit, used),))
        monkeypatch.setattr(workers, "available_cores", lambda: 64)
        policy = tmp_path / "policy"
        policy.mkdir(exist_ok=True)
        with (policy / "model.safetensors").open("wb") as file:
            file.truncate(round(weights_gb * 1e9))  # no byte of it is on the disk
        return policy

    return make


def test_a_policy_of_the_papers_size_gets_as_many_workers_as_memory_holds(machine):
    policy = machine(free_gb=60, weights_gb=3.1)
    assert fitting_workers(1000, policy, device="cpu") == 10
    assert fitting_workers(1000, machine(2, 3.1), device="cpu") == 1
    assert fitting_workers(1000, machine(500, 0.01), device="cpu") == 64


def test_a_containers_limit_counts_and_so_do_the_trials(machine):
    machine(free_gb=500, weights_gb=0.01, limit_gb=8, used_gb=2)
    assert free_bytes() == 6 * 10**9
    assert fitting_workers(1000, None) == 7
    assert fitting_workers(5, None) == 3


def _process(job, advance):
    return os.getpid()


def test_one_worker_may_be_a_process_of_its_own():
    ((_, inside),) = run_all(_process, [0], workers=1, advance=lambda count: None)
    ((_, apart),) = run_all(_process, [0], workers=1, advance=lambda count: None, apart=True)
    assert inside == os.getpid() != apart
