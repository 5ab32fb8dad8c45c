"""Laws of who may call."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config.sections import AccessSection, CallerSection
from dicom_node.net.access import CONGESTION, LOCAL_LIMIT, refusal

OURS = "CORRECTOR"
titles = st.from_regex(r"[A-Z0-9_ ]{0,6}[A-Z0-9_][A-Z0-9_ ]{0,6}", fullmatch=True)
padding = st.text(" ", max_size=4)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@st.composite
def networks(draw):
    address = draw(addresses)
    kind = IPv4Network if address.version == 4 else IPv6Network
    return kind((address, draw(st.integers(0, address.max_prefixlen))), strict=False)


callers = st.builds(CallerSection, ae_title=st.none() | titles, address=st.none() | networks())
sections = st.builds(AccessSection, check_called_ae=st.booleans(), callers=st.lists(callers, max_size=4).map(tuple))


def codes(found):
    return None if found is None else (found.result, found.source, found.reason)


@given(titles, titles, addresses)
def test_everybody_may_call_unless_told_otherwise(calling, called, address):
    assert refusal(AccessSection(), OURS, calling_ae=calling, called_ae=called, address=str(address)) is None


@given(sections, titles, titles, addresses, padding, padding)
def test_spaces_around_titles_mean_nothing(section, calling, called, address, left, right):
    plain = refusal(section, OURS, calling_ae=calling, called_ae=called, address=str(address))
    padded = refusal(
        section, f" {OURS} ", calling_ae=left + calling + right, called_ae=right + called + left, address=str(address)
    )
    assert codes(plain) == codes(padded)


@given(sections, titles, titles, st.ip_addresses(v=4))
def test_mapped_addresses_are_those_that_they_map(section, calling, called, address):
    mapped = f"::ffff:{address}"
    assert codes(refusal(section, OURS, calling_ae=calling, called_ae=called, address=str(address))) == codes(
        refusal(section, OURS, calling_ae=calling, called_ae=called, address=mapped)
    )


@given(sections, titles, addresses)
def test_only_our_own_title_passes_where_it_is_checked(section, called, address):
    found = refusal(section, OURS, calling_ae="ANY", called_ae=called, address=str(address))
    wrong = section.check_called_ae and called.strip() != OURS
    assert (codes(found) == (1, 1, 7)) == wrong


@given(st.lists(callers, min_size=1, max_size=4), titles, addresses)
def test_a_caller_passes_exactly_when_an_entry_fits(entries, calling, address):
    def fits(one):
        if one.ae_title is not None and one.ae_title.strip() != calling.strip():
            return False
        if one.address is None:
            return True
        found = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
        return found.version == one.address.version and found in one.address

    section = AccessSection(callers=tuple(entries))
    found = refusal(section, OURS, calling_ae=calling, called_ae=OURS, address=str(address))
    assert codes(found) == (None if any(fits(one) for one in entries) else (1, 1, 3))


@given(st.lists(callers, max_size=3), callers, titles, addresses)
def test_one_more_entry_never_shuts_anybody_out(entries, more, calling, address):
    def passes(found):
        section = AccessSection(callers=tuple(found))
        return refusal(section, OURS, calling_ae=calling, called_ae=OURS, address=str(address)) is None

    if entries and passes(entries):
        assert passes([*entries, more])


def test_known_cases():
    inside = CallerSection(ae_title="CT1", address="10.1.0.0/16")
    section = AccessSection(
        callers=(inside, CallerSection(address="fd00::/8"), CallerSection(address="::ffff:9.0.0.0/104"))
    )

    def found(calling, address):
        return codes(refusal(section, OURS, calling_ae=calling, called_ae="X", address=address))

    assert found("CT1 ", "10.1.2.3") is None
    assert found("CT1", "::ffff:10.1.2.3") is None
    assert found("ct1", "10.1.2.3") == (1, 1, 3)
    assert found("CT1", "10.2.0.1") == (1, 1, 3)
    assert found("ANY", "fd12::1%eth0") is None
    assert found("ANY", "9.8.7.6") is None
    assert found("CT1", "no address") == (1, 1, 3)
    assert IPv4Address("10.1.2.3") in inside.address
    assert codes(LOCAL_LIMIT) == (2, 3, 2)
    assert codes(CONGESTION) == (2, 3, 1)
