"""The design that the tenant-router replaces, written as its authors would: grpc.aio on uvloop, PyJWT, a TTL cache of verified
tokens, and the tenants in a dictionary.

It checks one provider's signature, issuer, audience and times, finds the tenant's cell and sets the identity headers. It has no
revocations, no route classes, no assertions, no change feed: what it does not do costs it nothing.

    python router.py LISTEN WORLD.json

WORLD.json has `issuer`, `audience`, `jwks` (as text) and `tenants`: from the `tid` claim to `tenant` and `cell`.
"""

import json
import sys
import time
from dataclasses import dataclass
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
    """The token is missing, bad, or of no tenant of ours."""


def header(key, value):
    return pb.HeaderValueOption(
        header=pb.HeaderValue(key=key, value=value),
        append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


@dataclass(frozen=True, slots=True)
class Caller:
    """What a verified token says: kept with it, so that a check of a known token makes no header twice."""

    directory: str
    expires: int
    headers: list

    @classmethod
    def of(cls, claims):
        scopes = {*claims.get("scp", "").split(), *claims.get("roles", ())}
        headers = [
            header("x-alphaswarm-principal", f"entra:{claims['tid']}/{claims['oid']}"),
            header("x-alphaswarm-provider", "entra"),
        ]
        if scopes:
            headers.append(header("x-alphaswarm-scopes", " ".join(sorted(scopes))))
        return cls(claims["tid"], claims["exp"], headers)


class Router(service.AuthorizationServicer):
    def __init__(self, world):
        self.issuer, self.audience = world["issuer"], world["audience"]
        self.keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(world["jwks"]).keys}
        # A tenant that moves gets another pair; checks make none.
        self.places = {
            directory: [header("x-alphaswarm-cell", place["cell"]), header("x-alphaswarm-tenant", place["tenant"])]
            for directory, place in world["tenants"].items()
        }
        self.callers = TTLCache(CACHED_TOKENS, CACHED_SECONDS)

    def verify(self, token):
        """Who calls. A token that was seen before costs a hash and a lookup."""
        digest = sha256(token.encode()).digest()
        caller = self.callers.get(digest)
        if caller is None:
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
                caller = self.callers[digest] = Caller.of(claims)
            except (jwt.PyJWTError, KeyError) as error:
                raise Refused("token") from error
        if caller.expires <= time.time():
            raise Refused("expired")
        return caller

    def decide(self, http):
        """The headers of an allow."""
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise Refused("no token")
        caller = self.verify(token)
        place = self.places.get(caller.directory)
        if place is None:
            raise Refused("unknown tenant")
        return place + caller.headers

    async def Check(self, request, context):
        try:
            headers = self.decide(request.attributes.request.http)
        except Refused:
            return pb.CheckResponse(
                status=pb.Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0]),
                denied_response=pb.DeniedHttpResponse(status=pb.HttpStatus(code=401)),
            )
        return pb.CheckResponse(status=pb.Status(), ok_response=pb.OkHttpResponse(headers=headers))


async def serve(listen, world):
    server = grpc.aio.server()
    service.add_AuthorizationServicer_to_server(Router(world), server)
    healthy = health.aio.HealthServicer()
    await healthy.set("envoy.service.auth.v3.Authorization", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(listen)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as file:
        uvloop.run(serve(sys.argv[1], json.load(file)))
