"""The design that the tenant-router replaces, written as its authors would: grpc.aio on uvloop, PyJWT, a TTL cache of verified
tokens, and the tenants in a dictionary.

It checks one provider's signature, issuer, audience and times, finds the tenant's cell and sets the identity headers. It has no
revocations, no route classes, no assertions, no change feed: what it does not do costs it nothing.

    python router.py LISTEN ISSUER AUDIENCE JWKS-URL TENANTS.json

TENANTS.json maps the `tid` claim to [tenant, cell].
"""

import asyncio
import json
import sys
from hashlib import sha256

import grpc
import jwt
import uvloop
from cachetools import TTLCache
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import check_pb2 as pb
import check_pb2_grpc as service

CACHED_TOKENS = 100_000
CACHED_SECONDS = 300


class Refused(Exception):
    pass


class Router(service.AuthorizationServicer):
    def __init__(self, issuer, audience, keys, tenants):
        self.issuer, self.audience, self.keys, self.tenants = issuer, audience, keys, tenants
        self.verified = TTLCache(CACHED_TOKENS, CACHED_SECONDS)

    def verify(self, token):
        digest = sha256(token.encode()).digest()
        claims = self.verified.get(digest)
        if claims is None:
            try:
                kid = jwt.get_unverified_header(token)["kid"]
                claims = jwt.decode(
                    token,
                    self.keys[kid],
                    algorithms=["RS256"],
                    audience=self.audience,
                    issuer=self.issuer,
                    options={"require": ["exp", "iat", "iss", "aud"]},
                )
            except (jwt.PyJWTError, KeyError) as error:
                raise Refused("token") from error
            self.verified[digest] = claims
        return claims

    def decide(self, http):
        authorization = None
        for header in http.header_map.headers:
            if header.key == "authorization":
                if authorization is not None:
                    raise Refused("two tokens")
                authorization = (header.raw_value or header.value.encode()).decode()
        if authorization is None:
            authorization = http.headers.get("authorization")
        if authorization is None or not authorization.startswith("Bearer "):
            raise Refused("no token")
        claims = self.verify(authorization[7:])
        found = self.tenants.get(claims.get("tid"))
        if found is None:
            raise Refused("unknown tenant")
        tenant, cell = found
        return {
            "x-alphaswarm-cell": cell,
            "x-alphaswarm-tenant": tenant,
            "x-alphaswarm-principal": "entra:" + claims["oid"],
            "x-alphaswarm-provider": "entra",
            "x-alphaswarm-scopes": claims.get("scp", ""),
        }

    async def Check(self, request, context):
        try:
            headers = self.decide(request.attributes.request.http)
        except Refused:
            return pb.CheckResponse(
                status=pb.Status(code=16),
                denied_response=pb.DeniedHttpResponse(status=pb.HttpStatus(code=401)),
            )
        options = [
            pb.HeaderValueOption(header=pb.HeaderValue(key=key, value=value)) for key, value in headers.items()
        ]
        return pb.CheckResponse(status=pb.Status(code=0), ok_response=pb.OkHttpResponse(headers=options))


async def serve(listen, issuer, audience, jwks, tenants):
    # PyJWT's client would fetch on the event loop: the keys are there before the first request.
    keys = {key.key_id: key.key for key in jwt.PyJWKClient(jwks).get_signing_keys()}
    with open(tenants, encoding="utf-8") as file:
        router = Router(issuer, audience, keys, json.load(file))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    service.add_AuthorizationServicer_to_server(router, server)
    healthy = health.aio.HealthServicer()
    await healthy.set("envoy.service.auth.v3.Authorization", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(listen)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
