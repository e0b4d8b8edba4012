"""A cell in Python that lets in only what a router has placed in it: the routing assertion is verified, and the identity
headers must say what it says. As a function, as WSGI or as ASGI middleware. Needs PyJWT[crypto] 2.15 or later.

    admission = Admission("cell-shared-std-local", "https://tenant-router.internal/.well-known/jwks.json")
    application = WsgiMiddleware(application, admission)      # environ["alphaswarm.claims"]
    application = AsgiMiddleware(application, admission)      # scope["alphaswarm.claims"]

What it does not do: fences. A tenant that moves away is shut out by what keeps fences, so a cell that tenants leave puts
alphaswarm-cell beside it, or asks it for each request (POST /cell-bound/validate).

To try it in front of an application that says what it knows:

    python3 envoy/cell_assertion.py --cell cell-shared-std-local \\
        --jwks http://127.0.0.1:8080/.well-known/jwks.json --port 8103
"""

import asyncio
import json
import threading
import time

import jwt

TYP = "alphaswarm-assertion+jwt"
# The longest life of an assertion, and how far a router's clock may be ahead of ours.
MAX_LIFETIME = 60
CLOCK_AHEAD = 10
# Each identity header and its claim.
CLAIMS = {
    "x-alphaswarm-cell": "aud",
    "x-alphaswarm-tenant": "tenant",
    "x-alphaswarm-principal": "sub",
    "x-alphaswarm-scopes": "scopes",
}
PROVIDER = "x-alphaswarm-provider"
ASSERTION = "x-alphaswarm-assertion"

FORBIDDEN = (403, "forbidden", "You are not permitted to do this.")
CELL_MISMATCH = (403, "cell_mismatch", "Sign in again: your session belongs to another location.")
NOT_READY = (503, "not_ready", "The service is not ready; try again shortly.")


class Refused(Exception):
    """The request is not let in. The reason is for the log, the answer for the client."""

    def __init__(self, answer, reason):
        super().__init__(reason)
        self.status, self.code, self.message = answer

    def body(self):
        error = {"code": self.code, "message": self.message, "request_id": ""}
        return json.dumps({"status": "error", "data": None, "error": error}).encode()

    def headers(self):
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        return headers + ([("retry-after", "1")] if self.status == 503 else [])


class Keys:
    """The routers' keys. Fetched anew after `lifespan` (half of the routers' ASSERTION_KEYS_LIFETIME), and at once for a key
    that is not known, at most once a second; while that fails, the last ones stay for `max_staleness`."""

    def __init__(self, url, lifespan=5, timeout=1, max_staleness=24 * 3600):
        self.client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=timeout)
        self.lifespan, self.max_staleness = lifespan, max_staleness
        self.known, self.fetched, self.tried = {}, None, None
        self.lock = threading.Lock()

    def find(self, kid):
        with self.lock:
            now = time.monotonic()
            old = self.tried is None or now - self.tried >= self.lifespan
            if old or (kid not in self.known and now - self.tried >= 1):
                self.tried = now
                try:
                    self.known = {key.key_id: key for key in self.client.get_signing_keys()}
                    self.fetched = now
                except (jwt.PyJWTError, OSError, ValueError):
                    pass  # the last ones stay
            if self.fetched is None or now - self.fetched > self.max_staleness:
                raise Refused(NOT_READY, "no assertion keys that are young enough")
            return self.known.get(kid)


class Admission:
    """Judges requests for one cell."""

    def __init__(self, cell, jwks_url, **keys):
        self.cell, self.keys = cell, Keys(jwks_url, **keys)

    def admit(self, headers):
        """The claims of a request with these headers, (name, value) pairs with every repeated one; else raises Refused."""
        ours = {}
        for name, value in headers:
            # Servers of other make read `_` as `-`: another spelling is no other header.
            name = name.lower().replace("_", "-")
            if name.startswith("x-alphaswarm-"):
                ours.setdefault(name, []).append(value)
        claims = self.verify(self.single(ours, ASSERTION) or "")
        for name, claim in CLAIMS.items():
            if self.single(ours, name) != claims.get(claim):
                raise Refused(FORBIDDEN, f"{name} differs from the assertion")
        # No claim of its own: the principal begins with it.
        provider = self.single(ours, PROVIDER)
        if provider is not None and not (claims.get("sub") or "").startswith(provider + ":"):
            raise Refused(FORBIDDEN, f"{PROVIDER} differs from the assertion")
        return claims

    def verify(self, assertion):
        """The claims of a lone assertion."""
        try:
            header = jwt.get_unverified_header(assertion)
            if header.get("alg") != "EdDSA" or header.get("typ") != TYP:
                raise Refused(FORBIDDEN, "no assertion")
            key = self.keys.find(header.get("kid"))
            if key is None:
                raise Refused(FORBIDDEN, "signed with a key that no router has")
            claims = jwt.decode(
                assertion,
                key,
                algorithms=["EdDSA"],
                audience=self.cell,
                # `iat` is judged below: `leeway` would hold for `exp`, too.
                options={"require": ["exp", "iat", "aud", "iss"], "strict_aud": True, "verify_iat": False},
            )
        except jwt.InvalidAudienceError as error:
            raise Refused(CELL_MISMATCH, "for another cell") from error
        except jwt.PyJWTError as error:
            raise Refused(FORBIDDEN, f"{type(error).__name__}") from error
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise Refused(FORBIDDEN, "times that are no integers")
        if not 0 < expires - issued <= MAX_LIFETIME or issued > time.time() + CLOCK_AHEAD:
            raise Refused(FORBIDDEN, "times that no router sets")
        return claims

    @staticmethod
    def single(headers, name):
        values = headers.get(name, [])
        if len(values) > 1:
            raise Refused(FORBIDDEN, f"{name} came {len(values)} times")
        return values[0] if values else None


class WsgiMiddleware:
    """In front of a WSGI application. WSGI joins repeated headers with commas, which no claim contains."""

    def __init__(self, application, admission):
        self.application, self.admission = application, admission

    def __call__(self, environ, start_response):
        headers = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
        try:
            environ["alphaswarm.claims"] = self.admission.admit(headers)
        except Refused as refused:
            status = {403: "403 Forbidden", 503: "503 Service Unavailable"}[refused.status]
            start_response(status, refused.headers())
            return [refused.body()]
        return self.application(environ, start_response)


class AsgiMiddleware:
    """In front of an ASGI application; WebSockets are refused before they are accepted."""

    def __init__(self, application, admission):
        self.application, self.admission = application, admission

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await self.application(scope, receive, send)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        try:
            # In a thread: keys may have to be fetched.
            claims = await asyncio.to_thread(self.admission.admit, headers)
        except Refused as refused:
            if scope["type"] == "websocket":
                await receive()
                return await send({"type": "websocket.close", "code": 1008})
            lines = [(name.encode(), value.encode()) for name, value in refused.headers()]
            await send({"type": "http.response.start", "status": refused.status, "headers": lines})
            return await send({"type": "http.response.body", "body": refused.body()})
        return await self.application({**scope, "alphaswarm.claims": claims}, receive, send)


def main():
    import argparse
    import socketserver
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = True
        request_queue_size = 128

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    def application(environ, start_response):
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps(environ["alphaswarm.claims"]).encode()]

    parser = argparse.ArgumentParser(description="An application that says which claims it was let in with.")
    parser.add_argument("--cell", required=True)
    parser.add_argument("--jwks", required=True)
    parser.add_argument("--port", type=int, default=8103)
    args = parser.parse_args()
    admitted = WsgiMiddleware(application, Admission(args.cell, args.jwks))

    def everything(environ, start_response):
        # Probes are nobody's requests.
        if environ["PATH_INFO"] == "/healthz":
            start_response("200 OK", [("content-type", "text/plain")])
            return [b"ok"]
        return admitted(environ, start_response)

    make_server("127.0.0.1", args.port, everything, Server, Quiet).serve_forever()


if __name__ == "__main__":
    main()
