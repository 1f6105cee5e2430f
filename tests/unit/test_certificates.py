"""A device's certificate, as the edge tells of it, must be that of its token."""

from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from libs.common.security.certificates import FORWARDED, CertificateBinding, Uncertified, common_name, forwarded_subject
from services.embedded.app import build_app
from tests.unit.ingest.running import ADMIN_SECRET, OWNER, make_settings, token_for

HEADER = "ssl-client-subject-dn"


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=car-7", "car-7"),
        ("CN=car-7,OU=fleet,O=Example\\, Inc.", "car-7"),
        ("O=Example,CN=car-7", "car-7"),
        # What openssl x509 -nameopt RFC2253 writes, and nginx:
        (
            "CN=car-7,serialNumber=7,emailAddress=a@example.com,O=M\\C3\\BCller\\, S\\C3\\B6hne \\+ Co,C=DE",
            "car-7",
        ),
        ("emailAddress=a@example.com,serialNumber=12,title=x,1.2.840.5=#0C0161,CN=car-7", "car-7"),
        ("O=M\\C3\\BCller\\+S\\C3\\B6hne,DC=example,DC=com,CN=car-7", "car-7"),
        ('CN=car\\"7', ""),  # an escape: no name that a client can have
        ("CN=car-7,O=a,,", ""),
        ("O=a\\,CN=car-7", ""),
        ("O=a,cn=car-7,2.5.4.3=car-8", ""),
        ("CN=car-7,CN=car-8", ""),
        ("CN=car-7+CN=car-8", ""),
        ("O=CN\\=car-7", ""),
        ("OU=car-7", ""),
        ("", ""),
        ("car-7", ""),
        ("CN=", ""),
    ],
)
def test_the_common_name_of_a_subject(subject: str, name: str) -> None:
    assert common_name(subject) == name


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ('By=spiffe://x;Hash=ab;Subject="O=Example,CN=car-7";URI=spiffe://y', "O=Example,CN=car-7"),
        ('Subject="O=\\"a\\", Inc.,CN=car-7"', 'O=\\"a\\", Inc.,CN=car-7'),
        ('Subject="CN=victim",By=x;Hash=ab;Subject="CN=car-7"', ""),  # the first is the client's own word
        ('Subject="CN=victim",By=x;Hash=ab', ""),
        ('By=x;Subject="CN=car-7";URI=spiffe://y;Subject="CN=victim"', ""),
        ('By=x;URI=y;DNS="Subject="CN=victim""', ""),
        ("By=x;URI=spiffe://y,CN=victim", ""),
        ("Subject=CN=victim", ""),
        ("", ""),
    ],
)
def test_the_subject_in_a_header_of_envoy(header: str, subject: str) -> None:
    assert forwarded_subject(header) == subject


@pytest.mark.parametrize(
    ("name", "value"),
    [(FORWARDED, "By=x;URI=spiffe://y,CN=car-7"), (FORWARDED, "CN=car-7"), (HEADER, 'Subject="CN=car-7"')],
)
def test_a_header_is_read_as_what_it_is(name: str, value: str) -> None:
    with pytest.raises(Uncertified):
        CertificateBinding(name).check(Headers({name: value}), "car-7")


async def test_a_token_works_with_the_certificate_of_its_client_alone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, client_cert_header=HEADER)
    app = build_app(settings)
    bearer = {"Authorization": f"Bearer {token_for(settings)}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        for certificates, status in (
            ([], 401),
            ([f"CN={OWNER},O=fleet"], 200),
            (["CN=car-8"], 401),
            ([f"CN={OWNER}", "CN=car-8"], 401),  # one of them is the client's own word
            ([f"CN={OWNER}", f"CN={OWNER}"], 401),
        ):
            headers = [*bearer.items(), *((HEADER, subject) for subject in certificates)]
            answer = await http.get("/files", headers=headers)
            assert answer.status_code == status, certificates
            if status == 401:
                assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        form = {"grant_type": "client_credentials", "client_id": "admin", "client_secret": ADMIN_SECRET}
        for subject, status in (("CN=admin", 200), ("CN=car-7", 401)):
            assert (await http.post("/token", data=form, headers={HEADER: subject})).status_code == status
        assert (await http.post("/token", data=form)).json()["error"] == "invalid_client"
        assert (await http.get("/livez")).status_code == 200


async def test_without_the_setting_the_header_says_nothing(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    app = build_app(settings)
    headers = {"Authorization": f"Bearer {token_for(settings)}", HEADER: "CN=somebody-else"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        assert (await http.get("/files", headers=headers)).status_code == 200
