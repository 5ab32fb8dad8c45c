"""TLS on both sides: contexts from PEM files, what is wrong with a file, and renewal without a restart.

Both sides keep the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12): TLS 1.2 or 1.3, with
1.2 only forward secret AES-GCM suites, no compression, no renegotiation, no resumption. Keys and signatures below 112
bits of strength (RSA under 2048 bits) are refused.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node import logs
from dicom_node.config import TlsClientSection, TlsServerSection
from dicom_node.errors import ConfigError

log = logs.get("net.tls")

_CIPHERS: Final = "ECDHE+AESGCM:@SECLEVEL=2"
"""Of TLS 1.2; those of TLS 1.3 are all recommended (RFC 9325 4.2)."""
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+(.*?)-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_ENCRYPTED: Final = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
_VERSION, _UTC_TIME = 0xA0, 0x17

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Certificate:
    """One certificate of a file.

    Attributes:
        setting: where it is configured, e.g. `node.tls.certificate`.
        path: the file.
        expires_at: end of its validity, UTC [s].
    """

    setting: str
    path: Path
    expires_at: float


def server_context(section: TlsServerSection) -> ssl.SSLContext:
    """What callers are spoken to with; without `client_ca` they need no certificate.

    Raises:
        ConfigError: a file cannot be read, is no PEM, is encrypted, or the key does not match; the message names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # Each association proves itself anew: nothing is gained for connections that last minutes.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load_own(context, section.certificate, section.key, "node.tls")
    if section.client_ca is not None:
        _load_authorities(context, section.client_ca, "node.tls.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(section: TlsClientSection, where: str) -> ssl.SSLContext:
    """What a peer is spoken to with; its certificate must always be trusted.

    Args:
        section: of the peer.
        where: the section's place, for messages, e.g. `peers.pacs.tls`.

    Raises:
        ConfigError: as `server_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = section.check_host
    if section.ca is not None:
        _load_authorities(context, section.ca, f"{where}.ca")
    else:
        context.load_default_certs()
    if section.certificate is not None and section.key is not None:
        _load_own(context, section.certificate, section.key, where)
    return context


def certificates(files: dict[str, Path | None]) -> list[Certificate]:
    """All certificates of some PEM files, in order.

    Args:
        files: by setting.

    Raises:
        ConfigError: a file cannot be read, or holds no certificate.
    """
    return [
        Certificate(setting, path, _expiry(der, f"{setting}: {path}"))
        for setting, path in files.items()
        if path is not None
        for der in _certificates(path, setting)
    ]


class ReloadingContext:
    """The server's context, made anew when one of its files has changed: certificates are renewed without a restart.

    Safe to be used by several threads. A new file that is broken is logged once, and the old certificate stays.
    """

    def __init__(self, section: TlsServerSection) -> None:
        """Read the files.

        Raises:
            ConfigError: as `server_context`.
        """
        self._section = section
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._context = server_context(section)

    def current(self) -> ssl.SSLContext:
        """The context for the next handshake. Looks at the files' times; never raises for what it finds there."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._context = server_context(self._section)
                    log.info("certificate_reloaded", certificate=str(self._section.certificate))
                except ConfigError as problem:
                    log.error("certificate_not_reloaded", code=problem.code, reason=str(problem))
            return self._context

    def _look(self) -> _Stamp:
        section = self._section
        return tuple(_stamp(path) for path in (section.certificate, section.key, section.client_ca) if path is not None)


def explain(problem: OSError) -> str:
    """What went wrong in TLS with a peer that was called, and where to look, in one line without a full stop."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({problem.verify_message}); see ca and check_host of its tls section"
    reason = (getattr(problem, "reason", None) or "").upper()
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")):
        return f"it does not take our certificate ({_plain(reason)}); see certificate and key of its tls section"
    if "ALERT" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return (
            f"it refused the handshake ({_plain(reason)}): no TLS version or suite in common, or it wants a certificate"
        )
    if isinstance(problem, TimeoutError):
        return "no answer to the TLS handshake in time; does it speak TLS on this port?"
    if isinstance(problem, ssl.SSLZeroReturnError | ssl.SSLEOFError | ConnectionError):
        return "it hung up in the TLS handshake; does it speak TLS on this port?"
    if isinstance(problem, ssl.SSLError):
        return f"its answer is no TLS ({_plain(reason) or 'protocol error'}); does it speak TLS on this port?"
    return str(problem.strerror or problem)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A device's own certificate may be trusted by itself, without its authority.
    context.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN)


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, where: str) -> None:
    _certificates(certificate, f"{where}.certificate")
    content = _read(key, f"{where}.key")
    if _ENCRYPTED.search(content):
        raise ConfigError(f"{where}.key: {key}: the key is encrypted; decrypt it (openssl pkey) and guard the file")
    if not _KEY.search(content):
        raise ConfigError(f"{where}.key: {key}: no private key in PEM form in it")
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as problem:
        if problem.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ConfigError(f"{where}.key: {key}: does not belong to the certificate {certificate}") from problem
        raise ConfigError(
            f"{where}: {certificate} and {key} cannot be used ({_plain(problem.reason) or 'damaged'})"
        ) from problem
    except OSError as problem:
        raise ConfigError(f"{where}: {certificate} and {key} cannot be read ({problem.strerror})") from problem


def _load_authorities(context: ssl.SSLContext, path: Path, setting: str) -> None:
    try:
        context.load_verify_locations(cadata=b"".join(_certificates(path, setting)))
    except ssl.SSLError as problem:
        raise ConfigError(f"{setting}: {path}: a certificate in it is damaged ({_plain(problem.reason)})") from problem


def _certificates(path: Path, setting: str) -> list[bytes]:
    """DER of each certificate in a PEM file."""
    try:
        found = [base64.b64decode(b"".join(body.split()), validate=True) for body in _blocks(path, setting)]
    except binascii.Error as problem:
        raise ConfigError(f"{setting}: {path}: a certificate in it is damaged") from problem
    if not found:
        raise ConfigError(f"{setting}: {path}: no certificate in PEM form in it")
    return found


def _blocks(path: Path, setting: str) -> Iterator[bytes]:
    return (match.group(1) for match in _CERTIFICATE.finditer(_read(path, setting)))


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{setting}: {path}: {problem.strerror or problem}") from problem


def _expiry(der: bytes, where: str) -> float:
    """End of validity, UTC [s] (RFC 5280 4.1)."""
    try:
        certificate = _elements(der)[0][1]
        fields = _elements(_elements(certificate)[0][1])
        # version (optional), serialNumber, signature, issuer, validity
        validity = fields[4 if fields[0][0] == _VERSION else 3][1]
        tag, end = _elements(validity)[1]
        text = end.decode("ascii")
        if tag == _UTC_TIME:
            # Two digits of the year: 50 to 99 are 19xx (RFC 5280 4.1.2.5.1).
            text = ("19" if text >= "5" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (IndexError, ValueError) as problem:
        raise ConfigError(f"{where}: a certificate in it is damaged") from problem


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each DER element, one after the other."""
    found = []
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            at += size
        found.append((tag, der[at : at + length]))
        at += length
    return found


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes whenever the file is written or replaced; a file that is away has one of its own."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _plain(reason: str | None) -> str:
    """OpenSSL's name of a reason as words."""
    words = re.sub(r"^(SSLV3_|TLSV1_|TLSV13_)?(ALERT_)?", "", (reason or "").upper())
    return words.replace("_", " ").lower()
