"""Certificates of devices, as the edge that verified them tells of them, bound to tokens.

Who can reach a service past the edge can say anything in that header: NetworkPolicies must let in the edge alone.
"""

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID
from starlette.datastructures import Headers

_IN_XFCC = re.compile(r'(?:^|;)Subject="((?:[^"\\]|\\.)*)"')  # Envoy's x-forwarded-client-cert


class Uncertified(Exception):
    """The certificate is missing, or is another's. The message is for the client."""


@dataclass(frozen=True)
class CertificateBinding:
    """`header`: where the edge puts the subject of the certificate that it verified; empty: devices need none."""

    header: str = ""

    def check(self, headers: Headers, subject: str) -> None:
        """Demand that the certificate's common name is the subject of the token, or the client's id. Raises
        Uncertified."""
        if not self.header:
            return
        told = headers.getlist(self.header)
        if len(told) != 1:
            raise Uncertified("A client certificate is needed")
        if common_name(told[0]) != subject:
            raise Uncertified("The client certificate is not that of this client")


def common_name(subject: str) -> str:
    """The one CN of a distinguished name (RFC 4514), or of the one that an x-forwarded-client-cert header quotes;
    empty if there is none, or more than one."""
    if quoted := _IN_XFCC.search(subject):
        subject = quoted.group(1).replace('\\"', '"')
    try:
        names = x509.Name.from_rfc4514_string(subject).get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(names[0].value) if len(names) == 1 else ""
