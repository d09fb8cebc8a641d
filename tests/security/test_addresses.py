import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.addresses import CACHE_SIZE, AddressList, PrefixMap, client_address, parse_address, parse_network
from specs.problems import ConfigurationError, Problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:0a00:0001", "10.0.0.1"),
        ("10.0.0.1:8080", "10.0.0.1"),
        ("[2001:DB8:0::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::", "::"),
    ],
)
def test_A20_A22_every_way_to_write_an_address_is_one_address(text, expected):
    assert str(parse_address(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "10.0.0", "010.0.0.1", "10.0.0.01", "::ffff:010.0.0.1", "10.0.0.1 ", "10.0.0.256", "0x7f.1", "2130706433", "127.1",
        "[::1", "::1]", "[::1]x", "[::1]:", "[::1]:99999", "[10.0.0.1]:80", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1%eth0", "fe80::1%",
        "fe80::1%a b", "unknown", "_hidden", "localhost", "\u06610.0.0.1", "10.0.0.1\0", "\0", "1" * 1000, ":" * 60, "[]", "[]:1",
        ":80",
    ],
)  # fmt: skip
def test_A20_A22_garbage_is_no_address(text):
    assert parse_address(text) is None
    assert text not in AddressList(["*"])


addresses = st.ip_addresses()


@given(addresses)
def test_an_address_reads_as_the_standard_library_reads_it(address):
    mapped = getattr(address, "ipv4_mapped", None)
    expected = mapped or address
    got = parse_address(str(address))
    assert (got.version, got.number) == (expected.version, int(expected))


def networks():
    return st.tuples(addresses, st.integers(0, 128)).map(
        lambda pair: ipaddress.ip_network((pair[0], min(pair[1], pair[0].max_prefixlen)), strict=False)
    )


near = st.integers(0, 2**32 - 1).map(lambda n: ipaddress.ip_address(0x0A000000 | (n & 0x0303)))
near_networks = st.tuples(near, st.integers(20, 32)).map(lambda pair: ipaddress.ip_network(pair, strict=False))


@given(st.dictionaries(near_networks | networks(), st.integers()), near | addresses)
def test_the_longest_prefix_decides_and_all_that_match_come_longest_first(entries, address):
    mapped = getattr(address, "ipv4_mapped", None)
    inside = [n for n in entries if (mapped or address) in n]
    inside.sort(key=lambda network: -network.prefixlen)
    prefixes = PrefixMap((str(network), value) for network, value in entries.items())
    assert list(prefixes.matches(str(address))) == [entries[n] for n in inside]
    expected = entries[inside[0]] if inside else None
    assert [prefixes.find(str(address)) for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/8", r"write 10\.0\.0\.0/8"),
        ("10.0.0.0/33", "0 to 32"),
        ("::/129", "0 to 128"),
        ("::ffff:10.0.0.0/8", "0 to 32"),
        ("10.0.0.0/-1", "not a prefix length"),
        ("10.0.0.0/", "not a prefix length"),
        ("010.0.0.0/8", "not an address"),
        ("host", "not an address"),
        ("10.0.0.1:80", "not an address"),
    ],
)
def test_a_network_that_is_none_is_named_with_the_remedy(text, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_network(text)


def test_A22_a_mapped_network_is_the_ipv4_network():
    assert parse_network("::ffff:10.0.0.0/104") == parse_network("10.0.0.0/8")


def test_A22_a_network_of_ipv6_does_not_let_ipv4_in_nor_the_other_way_round():
    assert "10.0.0.1" not in AddressList(["::/0"])
    assert "::ffff:10.0.0.1" not in AddressList(["::/0"])
    assert "::1" not in AddressList(["0.0.0.0/0"])


def test_a_list_takes_lines_of_a_file():
    listed = AddressList(["# ours\n", "\n", "10.0.0.0/8  # office\n", "::1\n", "10.0.0.0/8\n"])
    assert len(listed) == 2
    assert ["10.9.9.9" in listed, "::1" in listed, "11.0.0.0" in listed] == [True, True, False]


def test_A22_the_64_of_an_ipv6_address_is_one_bucket():
    rotating = {parse_address(f"2001:db8:1:2::{n:x}").bucket() for n in range(50)}
    assert len(rotating) == 1
    assert parse_address("2001:db8:1:3::1").bucket() not in rotating
    assert parse_address("10.0.0.1").bucket() != parse_address("10.0.0.2").bucket()


def test_A43_the_answers_kept_are_bounded():
    prefixes = PrefixMap([("10.0.0.0/8", 1)])
    for number in range(CACHE_SIZE + 10):
        prefixes.find(f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}")
    assert len(prefixes._answers) <= CACHE_SIZE


def test_many_networks_are_found_at_once():
    many = AddressList(f"{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}.0/24" for n in range(100_000))
    began = time.perf_counter()
    got = [f"{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}.7" in many for n in range(0, 200_000, 100)]
    assert got == [True] * 1000 + [False] * 1000
    assert (time.perf_counter() - began) / 2000 < 0.0002


TRUSTED = AddressList(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        # An untrusted peer is who it is, whatever it says.
        ("192.0.2.1", {"x-forwarded-for": "10.0.0.9"}, "192.0.2.1"),
        ("192.0.2.1", {"forwarded": "for=10.0.0.9"}, "192.0.2.1"),
        ("::ffff:192.0.2.1", {}, "192.0.2.1"),
        # A trusted one is believed, as far as the trust reaches.
        ("10.0.0.1", {}, "10.0.0.1"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "192.0.2.7"}, "192.0.2.7"),
        ("10.0.0.1", {"x-forwarded-for": "127.0.0.1, 192.0.2.7"}, "192.0.2.7"),
        ("10.0.0.1", {"x-forwarded-for": "6.6.6.6,192.0.2.7 ,10.0.0.2"}, "192.0.2.7"),
        ("10.0.0.1", {"x-forwarded-for": "10.0.0.3, 10.0.0.2"}, "10.0.0.3"),
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.7:1234"}, "192.0.2.7"),
        ("10.0.0.1", {"x-forwarded-for": "[2001:db8::7]:1234"}, "2001:db8::7"),
        ("10.0.0.1", {"x-forwarded-for": "fe80::7%eth0"}, "fe80::7"),
        # Garbage ends the walk at the last good hop, and never lets what is left of it through.
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.2"),
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.7, "}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": ""}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.7, 010.0.0.2"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "10.0.0.2\n192.0.2.7"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=192.0.2.7"}, "192.0.2.7"),
        ("10.0.0.1", {"forwarded": 'For="[2001:db8::7]:4711"'}, "2001:db8::7"),
        ("10.0.0.1", {"forwarded": 'for=6.6.6.6, for=192.0.2.7;proto=http;by=10.0.0.2;host="a,b;for=1.1.1.1"'}, "192.0.2.7"),
        ("10.0.0.1", {"forwarded": 'for=192.0.2.7;host="a\\",for=1.1.1.1;x=\\"b"'}, "192.0.2.7"),
        ("10.0.0.1", {"forwarded": 'for=192.0.2.7, for="10.0.0.2:1"'}, "192.0.2.7"),
        ("10.0.0.1", {"forwarded": "for=192.0.2.7, for=unknown"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": 'for=192.0.2.7, for="_hidden"'}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=192.0.2.7;for=6.6.6.6"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": 'for="192.0.2.7'}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "proto=https"}, "10.0.0.1"),
        # A quote left open by a stranger does not swallow what the proxy wrote after it.
        ("10.0.0.1", {"forwarded": 'for="10.0.0.66, for=192.0.2.7'}, "192.0.2.7"),
        ("10.0.0.1", {"forwarded": 'for="10.0.0.66, for="[2001:db8::7]"'}, "2001:db8::7"),
        # Both headers, where they agree.
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.7", "forwarded": "for=192.0.2.7"}, "192.0.2.7"),
        ("", {"x-forwarded-for": "192.0.2.7"}, ""),
    ],
)  # fmt: skip
def test_A20_Z21_the_caller_is_the_right_most_address_that_no_trusted_proxy_has(peer, headers, expected):
    assert client_address(peer, headers, TRUSTED) == expected


def test_A20_headers_that_disagree_are_refused_unless_one_is_chosen():
    headers = {"x-forwarded-for": "192.0.2.7", "forwarded": "for=10.9.9.9"}
    with pytest.raises(Problem) as caught:
        client_address("10.0.0.1", headers, TRUSTED)
    assert (caught.value.status, caught.value.code) == (400, "ambiguous-request")
    assert client_address("10.0.0.1", headers, TRUSTED, header="x-forwarded-for") == "192.0.2.7"


@given(st.text(alphabet='for=,;"\\ 1.:[]_%', max_size=60), st.sampled_from(["x-forwarded-for", "forwarded"]))
def test_A20_whatever_a_stranger_wrote_the_proxy_has_the_last_word(stranger, name):
    said = "192.0.2.7" if name == "x-forwarded-for" else "for=192.0.2.7"
    assert client_address("10.0.0.1", {name: f"{stranger},{said}"}, TRUSTED) == "192.0.2.7"


def test_a_long_chain_is_walked_only_so_far():
    chain = ", ".join(["192.0.2.7"] + ["10.0.0.2"] * 10_000)
    began = time.perf_counter()
    assert client_address("10.0.0.1", {"x-forwarded-for": chain}, TRUSTED) == "10.0.0.2"
    assert client_address("10.0.0.1", {"forwarded": '"' * 30_000 + "\\" * 30_000}, TRUSTED) == "10.0.0.1"
    assert time.perf_counter() - began < 1
