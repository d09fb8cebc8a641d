"""Counting: what is counted, that sums never go down, and that strangers cannot make them grow."""

import os

import orjson
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import BUCKETS, OTHERS, Collected, Metrics, merge, render


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def requests_of(records):
    return sum(
        value for (name, *_), value in samples(render(merge(records))).items() if name == "gatewright_requests_total"
    )


def test_requests_are_counted_by_channel_status_and_latency():
    metrics = Metrics()
    metrics.observe("c", 200, 0.0004)
    metrics.observe("c", 204, 0.001)
    metrics.observe("c", 503, 99.0, code="overloaded")
    found = samples(render(merge([metrics.record()])))
    assert found["gatewright_requests_total", ("channel", "c"), ("status", "2xx")] == 2
    assert found["gatewright_requests_total", ("channel", "c"), ("status", "5xx")] == 1
    assert found["gatewright_request_seconds_bucket", ("channel", "c"), ("le", "0.0005")] == 1
    assert found["gatewright_request_seconds_bucket", ("channel", "c"), ("le", "0.001")] == 2
    assert found["gatewright_request_seconds_bucket", ("channel", "c"), ("le", "10.0")] == 2
    assert found["gatewright_request_seconds_bucket", ("channel", "c"), ("le", "+Inf")] == 3
    assert found["gatewright_request_seconds_count", ("channel", "c")] == 3
    assert abs(found["gatewright_request_seconds_sum", ("channel", "c")] - 99.0014) < 1e-9
    assert found["gatewright_problems_total", ("code", "overloaded")] == 1


def test_what_others_count_is_published_too():
    metrics = Metrics()
    metrics.gauge("connections", lambda: 3)
    metrics.counter("access_lines_dropped", lambda: 5)
    found = samples(render(merge([metrics.record(), metrics.record()]), {"workers": 2.0}))
    assert found["gatewright_connections",] == 6
    assert found["gatewright_access_lines_dropped_total",] == 10
    assert found["gatewright_workers",] == 2


def test_A43_names_are_bounded():
    metrics = Metrics(most_channels=10, most_codes=5)
    for number in range(1000):
        metrics.observe(f"c{number}", 400, 0.0, code=f"code-{number}")
    record = metrics.record()
    assert len(record["channels"]) == 11
    assert record["channels"][OTHERS][4] == 990
    assert len(record["codes"]) == 6
    assert sum(record["codes"].values()) == 1000


def test_A48_names_cannot_break_the_lines():
    metrics = Metrics()
    metrics.observe('a"\n\\b', 200, 0.0)
    found = samples(render(merge([metrics.record()])))
    assert found["gatewright_requests_total", ("channel", 'a"\n\\b'), ("status", "2xx")] == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 700), st.floats(0, 20)), max_size=30))
def test_every_request_is_in_one_bucket_and_one_class(seen):
    metrics = Metrics()
    for channel, status, seconds in seen:
        metrics.observe(channel, status, seconds)
    for channel, row in metrics.record()["channels"].items():
        count = sum(1 for one in seen if one[0] == channel)
        assert sum(row[1:6]) == count
        assert sum(row[6 : 6 + len(BUCKETS) + 1]) == count


def test_a_worker_that_ends_stays_in_the_sum(tmp_path):
    living = {os.getpid(): True}
    metrics = Metrics(tmp_path)
    metrics.observe("c", 200, 0.001)
    metrics.gauge("connections", lambda: 3)
    metrics.facts["serving"] = True
    metrics.write()
    collected = Collected(tmp_path, alive=lambda pid: living[pid])
    assert [worker["facts"] for worker in collected.workers()] == [{"serving": True}]
    assert requests_of(collected.all()) == 1
    living[os.getpid()] = False
    assert requests_of(collected.all()) == 1
    assert collected.workers() == []
    # Another one with the same process id, and a steward that starts anew.
    living[os.getpid()] = True
    following = Metrics(tmp_path)
    following.observe("c", 200, 0.001)
    following.write()
    again = Collected(tmp_path, alive=lambda pid: living[pid])
    assert requests_of(again.all()) == 2
    assert ("gatewright_connections",) not in samples(render(merge(again.all())))


def test_a_worker_that_was_folded_in_already_is_not_counted_twice(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.observe("c", 200, 0.001)
    metrics.write()
    (file,) = tmp_path.glob("*-*.json")
    content = file.read_bytes()
    collected = Collected(tmp_path, alive=lambda pid: False)
    assert requests_of(collected.all()) == 1
    # The steward was killed between the sum and the removal of the file.
    file.write_bytes(content)
    assert requests_of(collected.all()) == 1
    assert not file.exists()


def test_files_are_whole_and_a_broken_one_is_passed_over(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.observe("c", 200, 0.001)
    metrics.write()
    metrics.write()
    assert len(list(tmp_path.iterdir())) == 1
    assert orjson.loads(next(tmp_path.iterdir()).read_bytes())["pid"] == os.getpid()
    (tmp_path / "1-1.json").write_bytes(b'{"pid"')
    assert requests_of(Collected(tmp_path).all()) == 1
