"""The ASGI middleware of envoy/cell_assertion.py, driven as a server would. Run by e2e/tests/edge/cell_bound/asgi.rs."""

import asyncio
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "envoy"))
import cell_assertion  # noqa: E402

KEY = Ed25519PrivateKey.generate()


class Keys:
    def find(self, kid):
        jwk = jwt.algorithms.OKPAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return jwt.PyJWK({**jwk, "alg": "EdDSA"}) if kid == "k1" else None


def headers(**changed):
    now = int(time.time())
    claims = {"iss": "r", "aud": "cell-a", "sub": "entra:p", "tenant": "acme", "epoch": 1, "iat": now, "exp": now + 60}
    typ = {"kid": "k1", "typ": cell_assertion.TYP}
    lines = {
        "x-alphaswarm-cell": "cell-a",
        "x-alphaswarm-tenant": "acme",
        "x-alphaswarm-principal": "entra:p",
        "x-alphaswarm-assertion": jwt.encode(claims, KEY, "EdDSA", headers=typ),
    }
    lines.update({name.replace("_", "-"): value for name, value in changed.items()})
    return [(name.encode(), value.encode()) for name, value in lines.items() if value is not None]


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        return await send({"type": "websocket.accept"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["alphaswarm.claims"]["tenant"].encode()})


def answers(admission, lines, kind="http"):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    middleware = cell_assertion.AsgiMiddleware(application, admission)
    asyncio.run(middleware({"type": kind, "headers": lines}, receive, send))
    return sent


def main():
    # Nothing listens there: without keys nobody is let in.
    nowhere = cell_assertion.Admission("cell-a", "http://127.0.0.1:9/jwks.json")
    refused = answers(nowhere, headers())
    assert refused[0]["status"] == 503 and (b"retry-after", b"1") in refused[0]["headers"], refused
    admission = cell_assertion.Admission("cell-a", "http://127.0.0.1:9/jwks.json")
    admission.keys = Keys()
    good = answers(admission, headers())
    assert [good[0]["status"], good[1]["body"]] == [200, b"acme"], good
    bad = [
        headers(x_alphaswarm_tenant="globex"),
        headers(x_alphaswarm_tenant=None),
        headers(x_alphaswarm_assertion=None),
        headers(x_alphaswarm_provider="auth0"),
        headers() + [(b"x-alphaswarm-tenant", b"acme")],
        headers() + [(b"x_alphaswarm_tenant", b"globex")],
        headers() + [(b"x-alphaswarm-scopes", b"")],
    ]
    for lines in bad:
        refused = answers(admission, lines)
        assert refused[0]["status"] == 403 and b'"forbidden"' in refused[1]["body"], (lines, refused)
        assert answers(admission, lines, "websocket") == [{"type": "websocket.close", "code": 1008}], lines
    assert answers(admission, headers(), "websocket") == [{"type": "websocket.accept"}]
    print(f"{2 * len(bad)} refusals")


main()
