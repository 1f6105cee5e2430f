"""Certificates of devices, as the edge that verified them tells of them, bound to tokens.

Who can reach a service past the edge can say anything in that header: NetworkPolicies must let in the edge alone.
"""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

FORWARDED = "x-forwarded-client-cert"  # Envoy's: elements with commas between, of pairs with semicolons between
# Possessive (`*+`), and without a need for the last quote: each character is looked at once.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"?')
_SUBJECT = re.compile(r'(?:^|;)Subject="((?:[^"\\]|\\.)*+)"')
_PAIR = r"\s*([A-Za-z][A-Za-z0-9-]*|[0-9.]+)=((?:[^,+\"\\]|\\.)*+)"  # attributes have any name: emailAddress, 1.2.3
_NAME = re.compile(f"{_PAIR}(?:[,+]{_PAIR})*+")


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
        forwarded = self.header.lower() == FORWARDED
        if common_name(forwarded_subject(told[0]) if forwarded else told[0]) != subject:
            raise Uncertified("The client certificate is not that of this client")


def common_name(subject: str) -> str:
    """The one CN of a distinguished name (RFC 4514); empty if there is none, or more than one, or one with an escape,
    which no client's id has."""
    if not _NAME.fullmatch(subject):
        return ""
    names = [match[2] for match in re.finditer(f"(?:^|[,+]){_PAIR}", subject) if match[1].upper() in ("CN", "2.5.4.3")]
    return names[0] if len(names) == 1 and "\\" not in names[0] else ""


def forwarded_subject(header: str) -> str:
    """The subject in an x-forwarded-client-cert header of one element, which is the edge's: one that appends its
    element to those that the client sent is not believed. Empty if it is not just one."""
    bare = _QUOTED.sub('""', header)
    if "," in bare or bare.count("Subject=") != 1:
        return ""
    match = _SUBJECT.search(header)
    return match[1] if match else ""
