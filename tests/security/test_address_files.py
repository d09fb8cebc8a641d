"""Lists of addresses in files: the same answers as an `AddressList`, read anew when they change, a million lines if need be."""

import ipaddress
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.address_files import AddressFiles, AddressSet, Ranges
from security.addresses import AddressList
from specs.problems import ConfigurationError

four = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: f"{'.'.join(map(str, (pair[0] >> (32 - pair[1]) << (32 - pair[1])).to_bytes(4)))}/{pair[1]}"
)


six = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda pair: f"{ipaddress.IPv6Address(pair[0] >> (128 - pair[1]) << (128 - pair[1]))}/{pair[1]}"
)


@settings(max_examples=200, deadline=None)
@given(networks=st.lists(six, max_size=20), probes=st.lists(st.integers(0, 2**128 - 1), max_size=10))
def test_ranges_of_ipv6_hold_what_a_list_of_the_same_networks_holds(networks, probes):
    ranges, plain = Ranges.read(networks), AddressList(networks)
    edges = [
        int(ipaddress.ip_network(network)[end]) + more for network in networks for end in (0, -1) for more in (-1, 0, 1)
    ]
    for number in {*probes, *(edge for edge in edges if 0 <= edge < 2**128)}:
        text = str(ipaddress.IPv6Address(number))
        assert (text in ranges) == (text in plain)


@pytest.mark.parametrize(
    "line", ["10.0.0.1/", "10.0.0.1/8", "010.0.0.0/8", "10/8", "10.0.0.0/33", "10.0.0.0/-1", "a # b", "1.2.3.4 5.6.7.8"]
)
def test_a_line_that_is_no_network_is_named_and_not_repeated(line):
    with pytest.raises(ConfigurationError) as caught:
        Ranges.read(["10.0.0.0/8", "  # nothing  ", line])
    assert (caught.value.path, caught.value.message) == ("line 3", "not an address or network")


@settings(max_examples=200, deadline=None)
@given(networks=st.lists(four, max_size=20), probes=st.lists(st.integers(0, 2**32 - 1), max_size=10))
def test_ranges_hold_what_a_list_of_the_same_networks_holds(networks, probes):
    ranges, plain = Ranges.read(networks), AddressList(networks)
    edges = [int.from_bytes(bytes(map(int, n.partition("/")[0].split(".")))) for n in networks]
    for number in {*probes, *edges, *(max(0, e - 1) for e in edges)}:
        text = ".".join(map(str, number.to_bytes(4)))
        assert (text in ranges) == (text in plain)


def test_A22_mapped_forms_are_ipv4_and_odd_spellings_are_in_no_list():
    ranges = Ranges.read(["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.0/120"])
    inside = ["10.1.2.3", "::ffff:10.1.2.3", "[2001:db8::1]:443", "192.0.2.9"]
    outside = ["010.0.0.1", "10.1", "0x0a000001", "2001:db9::", "", "nonsense", "192.0.3.0"]
    assert [a in ranges for a in inside] == [True] * 4
    assert [a in ranges for a in outside] == [False] * 7


def test_a_changed_file_is_read_anew_and_a_broken_one_is_not_taken(tmp_path, caplog):
    path = tmp_path / "blocked.txt"
    path.write_text("192.0.2.0/24\n# a comment\n")
    files = AddressFiles()
    found = AddressSet(["10.0.0.0/8", f"file:{path}"], files, otherwise=True)
    assert ("192.0.2.1" in found, "198.51.100.1" in found, "10.0.0.1" in found) == (True, False, True)
    other = tmp_path / "new"
    other.write_text("198.51.100.0/24\n")
    other.rename(path)
    files.check()
    assert ("192.0.2.1" in found, "198.51.100.1" in found) == (False, True)
    path.write_text("203.0.113.0/24\nsecret-token-in-the-wrong-file\n")
    files.check()
    assert "198.51.100.1" in found
    assert "line 2" in caplog.text
    assert "secret-token" not in caplog.text
    path.unlink()
    files.check()
    files.check()
    assert "198.51.100.1" in found
    assert caplog.text.count("No such file") == 1


def test_a_file_that_was_never_read_keeps_everybody_out_until_it_is_there(tmp_path):
    path, files = tmp_path / "list", AddressFiles()
    denied = AddressSet([f"file:{path}"], files, otherwise=True)
    allowed = AddressSet([f"file:{path}"], files, otherwise=False)
    assert ("192.0.2.1" in denied, "192.0.2.1" in allowed) == (True, False)
    path.write_text("198.51.100.0/24\n")
    files.check()
    assert ("192.0.2.1" in denied, "198.51.100.1" in allowed) == (False, True)


@pytest.mark.soak
def test_a_million_networks_of_a_file(tmp_path):
    chance = random.Random(2)
    networks = [".".join(map(str, (chance.getrandbits(24) << 8).to_bytes(4))) + "/24" for _ in range(1_000_000)]
    path, files = tmp_path / "list", AddressFiles()
    path.write_text("\n".join(networks))
    begun = time.thread_time()
    found = AddressSet([f"file:{path}"], files, otherwise=False)
    read = time.thread_time() - begun
    inside = [network.replace(".0/24", ".77") for network in chance.sample(networks, 5000)]
    begun = time.thread_time()
    assert all(address in found for address in inside)
    print(f"\n{read:.1f} s to read a million, {(time.thread_time() - begun) * 200:.2f} us to look one up")
    path.write_text("198.51.100.0/24\n")
    files.check()
    assert ("198.51.100.1" in found, inside[0] in found) == (True, False)


def test_many_networks_are_read_in_short_pieces():
    chance = random.Random(1)
    lines = [".".join(map(str, (chance.getrandbits(24) << 8).to_bytes(4))) + "/24" for _ in range(30_000)]
    longest, last = 0.0, time.thread_time()

    def pause():
        nonlocal longest, last
        longest, last = max(longest, time.thread_time() - last), time.thread_time()

    begun = time.thread_time()
    ranges = Ranges.read(lines, pause)
    assert time.thread_time() - begun < 5
    assert longest < 0.25
    assert lines[77].partition("/")[0] in ranges
    assert ranges._starts[4].itemsize + ranges._ends[4].itemsize == 8
    assert len(ranges) < 30_000
