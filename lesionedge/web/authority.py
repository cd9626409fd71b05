"""The server's own certificate authority: phones let a page use the camera only over HTTPS.

The authority's key signs one certificate for this machine. It cannot sign for names of the public
internet: its name constraints allow only this machine's names, names that end in ``.local``, and
private addresses.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from lesionedge.errors import LesionEdgeError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
RENEWAL_DAYS = 30
"""A certificate is renewed when fewer days than this are left."""

PRIVATE_NETWORKS = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
    "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip
"""The addresses for which the authority may sign."""

SIOCGIFADDR = 0x8915
"""Linux's request for an interface's IPv4 address: netdevice(7)."""


class CertificateError(LesionEdgeError):
    """A certificate or its key cannot be used or made."""


@dataclass(frozen=True)
class Certificate:
    """The files of a server's certificate, and the authority that signed it."""

    certificate: str
    """PEM file: the certificate."""
    key: str
    """PEM file: its key."""
    authority: bytes | None = None
    """The authority's certificate, DER; None: the certificate is not by the server's own."""

    @property
    def fingerprint(self) -> str:
        """The authority's SHA-256 fingerprint, as phones show it."""
        import hashlib

        digest = hashlib.sha256(self.authority or b"").hexdigest().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def folder() -> str:
    """Return the folder of the authority's files: below ``XDG_DATA_HOME``."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(base, "lesionedge", "https")


def given(certificate: str, key: str) -> Certificate:
    """Return the user's own certificate, if it can be used.

    Args:
        certificate: PEM file, with the chain up to its authority.
        key: PEM file, not encrypted.

    Raises:
        CertificateError: A file cannot be read, or the two do not belong together.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CertificateError(
            f"{certificate}, {key}: cannot be used together ({reason}); expected two PEM files: a "
            "certificate, and its key without a password"
        ) from None
    return Certificate(certificate, key)


def own(names: Iterable[str], *, place: str | None = None) -> Certificate:
    """Return a certificate for this machine; make or renew what is missing.

    Args:
        names: Further names and addresses that it is for.
        place: Folder of the files; None for ``folder()``.

    Raises:
        CertificateError: The files cannot be read or written, or the authority may not sign for a
            name.
    """
    place = place or folder()
    files = [os.path.join(place, name) for name in ("ca.pem", "ca.key", "server.pem", "server.key")]
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        _check_private(place)
        authority = _authority(files[0], files[1])
        _leaf(files[2], files[3], authority, _signable(authority[0], names))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CertificateError(
            f"{place}: its certificates cannot be used ({reason}); delete the folder to get new "
            "ones, and install the new authority on each phone"
        ) from error
    return Certificate(files[2], files[3], _der(authority[0]))


def machine_names() -> list[str]:
    """Return the names by which other machines find this one; mDNS resolves ``.local``."""
    name = socket.gethostname().lower().split(".")[0]
    return ["localhost", name, f"{name}.local"]


def machine_addresses() -> list[str]:
    """Return this machine's private addresses, best first; nothing is sent over the network."""
    found = [*_outgoing_addresses(), *_named_addresses()]
    if sys.platform == "linux":
        found += _interface_addresses()
    # A link-local address of IPv6 is of no use without the name of an interface.
    usable = (one for one in found if "%" not in one and not one.startswith("fe80:"))
    private = [one for one in dict.fromkeys((*usable, "127.0.0.1", "::1")) if _is_private(one)]
    return sorted(private, key=lambda one: ipaddress.ip_address(one).is_loopback)


def _outgoing_addresses() -> Iterator[str]:
    """Yield the addresses of the interfaces that lead to other networks."""
    # A "connected" UDP socket sends nothing, but has the address of the outgoing interface.
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as wire:
            wire.connect((far, 9))
            yield str(wire.getsockname()[0])


def _named_addresses() -> list[str]:
    with suppress(OSError):
        return [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)]
    return []


def _interface_addresses() -> Iterator[str]:
    """Yield each interface's address: a Pi that is a hotspot has no route to other networks."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no IPv4 address
                found = fcntl.ioctl(wire, SIOCGIFADDR, struct.pack("40s", name.encode()))
                yield socket.inet_ntoa(found[20:24])
    with suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as file:
        for line in file:
            yield str(ipaddress.IPv6Address(int(line.split()[0], 16)))


def _check_private(place: str) -> None:
    if stat.S_IMODE(os.stat(place).st_mode) & 0o077:
        os.chmod(place, 0o700)


# --- the authority


def _authority(path: str, key_path: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Read the authority, or make one."""
    key = _new_key()
    if os.path.exists(path) and os.path.exists(key_path):
        certificate, former = _read_certificate(path), _read_key(key_path)
        if _belong(certificate, former) and _days_left(certificate) > LEAF_DAYS:
            if _has_begun(certificate):
                return certificate, former
            key = former  # the clock is or was wrong, and phones may trust this key
    certificate = _signed(_authority_request(key), key)
    _write(key_path, _key_pem(key), 0o600)
    _write(path, _pem(certificate), 0o644)
    return certificate, key


def _authority_request(key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    name = _name(f"lesionedge on {socket.gethostname()}")
    networks = [x509.IPAddress(ipaddress.ip_network(one)) for one in PRIVATE_NETWORKS]
    names = [x509.DNSName(one) for one in (*machine_names(), "local")]
    return (
        _request(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.NameConstraints([*names, *networks], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


# --- the server's certificate


def _leaf(
    path: str, key_path: str, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    names: list[str],
) -> None:  # fmt: skip
    """Make the server's certificate, unless there is a valid one."""
    if os.path.exists(path) and os.path.exists(key_path):
        certificate = _read_certificate(path)
        if _is_good(certificate, authority[0], names) and _belong(certificate, _read_key(key_path)):
            return
    key = _new_key()
    certificate = _signed(_leaf_request(key, authority[0], names), authority[1])
    _write(key_path, _key_pem(key), 0o600)
    _write(path, _pem(certificate), 0o644)


def _signable(authority: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Return all names of the server's certificate.

    An authority that is older than the machine's name may not sign for the bare name; phones
    would refuse the whole certificate. The name in ``.local`` is always allowed.
    """
    own = {*machine_names(), *machine_addresses()}
    further = set(map(str.lower, names)) - own
    foreign = sorted(name for name in further if not _may_sign(authority, name))
    if foreign:
        raise ValueError(
            f"the authority may not sign for {', '.join(foreign)}: use a certificate of your own "
            "with --certificate and --key"
        )
    return sorted(name for name in own | further if _may_sign(authority, name))


def _leaf_request(
    key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, names: list[str]
) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    entries = [_entry(name) for name in names]
    public = key.public_key()
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _request(_name(machine_names()[-1]), authority.subject, public, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(entries), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
    )


def _is_good(certificate: x509.Certificate, authority: x509.Certificate, names: list[str]) -> bool:
    """Return whether a certificate has these names, is by this authority, and is valid for long."""
    from cryptography import x509

    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not {_entry(name) for name in names} <= set(found):
        return False
    if not all(_may_sign(authority, str(one.value)) for one in found):
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - not by this authority
        return False
    return _has_begun(certificate) and _days_left(certificate) > RENEWAL_DAYS


def _entry(name: str) -> x509.DNSName | x509.IPAddress:
    from cryptography import x509

    address = _address(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _may_sign(authority: x509.Certificate, name: str) -> bool:
    """Return whether an authority's name constraints allow a name or an address."""
    from cryptography import x509

    limits = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    allowed = [one.value for one in limits.permitted_subtrees or ()]
    address = _address(name)
    if address is not None:
        return any(address in one for one in allowed if not isinstance(one, str))
    return any(f".{name}".endswith(f".{one}") for one in allowed if isinstance(one, str))


def _is_private(address: str) -> bool:
    number = ipaddress.ip_address(address)
    return any(number in ipaddress.ip_network(one) for one in PRIVATE_NETWORKS)


def _address(name: str) -> Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


# --- parts of both


def _request(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # a Pi without a clock may be behind
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _signed(request: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return request.sign(key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*wanted: str) -> x509.KeyUsage:
    from cryptography import x509

    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{one: one in wanted for one in every})


def _days_left(certificate: x509.Certificate) -> float:
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    return left.total_seconds() / 86_400


def _has_begun(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is valid already: the clock may have been ahead."""
    return certificate.not_valid_before_utc <= datetime.datetime.now(datetime.timezone.utc)


def _belong(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Return whether a key is the certificate's: the power may fail between writing the two."""
    return certificate.public_key() == key.public_key()


def _read_certificate(path: str) -> x509.Certificate:
    from cryptography import x509

    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def _new_key() -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _read_key(path: str) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with open(path, "rb") as file:
        key = load_pem_private_key(file.read(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not a key of an elliptic curve")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _write(path: str, content: bytes, mode: int) -> None:
    """Write a file whole; it has its permissions from the start."""
    from lesionedge.atomic import replacing

    with replacing(path) as part:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(handle, "wb") as file:
            file.write(content)
    os.chmod(path, mode)
