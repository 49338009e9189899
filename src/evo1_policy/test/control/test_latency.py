"""The learnt lead."""

from evo1_policy.control.inference import LeadModel

MS = 1_000_000


def test_before_any_measurement_the_default_holds():
    assert LeadModel(300 * MS).lead_ns == 300 * MS


def test_the_cold_start_is_left_out():
    model = LeadModel(300 * MS)
    model.add(9_000 * MS)
    assert model.lead_ns == 300 * MS
    model.add(80 * MS)
    assert model.lead_ns == 80 * MS


def test_the_lead_is_the_95th_percentile_and_forgets_the_past():
    model = LeadModel(300 * MS)
    model.add(0)
    for latency in range(1, 21):
        model.add(latency * MS)
    assert 19 * MS <= model.lead_ns <= 20 * MS
    for _ in range(50):
        model.add(5 * MS)
    assert model.lead_ns == 5 * MS


def test_the_first_inference_of_each_kind_is_a_cold_one():
    model = LeadModel(300 * MS)
    model.add(9_000 * MS, "pour")
    model.add(80 * MS, "pour")
    model.add(9_000 * MS, "hand over")
    assert model.lead_ns == 80 * MS
    model.add(90 * MS, "hand over")
    assert model.lead_ns == 90 * MS
