"""Who may call the node: a pure decision over AE titles and the caller's address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from dicom_node.config import AccessSection, CallerSection

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_MAPPED_BITS: Final = 96
_PADDING: Final = " \0"


@dataclass(frozen=True)
class Refusal:
    """Why an association is rejected, for the A-ASSOCIATE-RJ (PS3.8 9.3.4, table 9-21).

    Attributes:
        result: 1 rejected-permanent, 2 rejected-transient.
        source: 1 service user, 2 service provider (ACSE), 3 service provider (presentation).
        reason: its meaning depends on the source.
        text: for the log; no patient data.
    """

    result: int
    source: int
    reason: int
    text: str


LOCAL_LIMIT: Final = Refusal(2, 3, 2, "as many associations as are allowed are open")
CONGESTION: Final = Refusal(2, 3, 1, "temporary congestion")
_CALLING_AE, _CALLED_AE = 3, 7


def refusal(section: AccessSection, our_ae: str, *, calling_ae: str, called_ae: str, address: str) -> Refusal | None:
    """Decide about an association request.

    Leading and trailing spaces of AE titles are not significant (PS3.5 6.2, VR AE), case is. An IPv4 address in its
    IPv6-mapped form counts as IPv4.

    Args:
        section: who may call.
        our_ae: AE title of the node.
        calling_ae: as in the request.
        called_ae: as in the request.
        address: of the caller's socket; what is no IP address is in no network.

    Returns:
        None when the caller is welcome.
    """
    calling, called = calling_ae.strip(_PADDING), called_ae.strip(_PADDING)
    if section.check_called_ae and called != our_ae.strip(_PADDING):
        return Refusal(1, 1, _CALLED_AE, f"called AE title {called!r} is not ours")
    if section.callers and not any(_is(caller, calling, _parse(address)) for caller in section.callers):
        return Refusal(1, 1, _CALLING_AE, f"calling AE title {calling!r} from {address} is not among access.callers")
    return None


def _is(caller: CallerSection, calling_ae: str, address: IPv4Address | IPv6Address | None) -> bool:
    if caller.ae_title is not None and caller.ae_title.strip(_PADDING) != calling_ae:
        return False
    return caller.address is None or (address is not None and address in _plain(caller.address))


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return IPv4Network((int(mapped or 0), network.prefixlen - _MAPPED_BITS))
    return network
