// A real OpenID provider for the end-to-end tests: the certified npm package oidc-provider, configured as an operator
// would configure it. Nothing of the protocol is ours: this file says which client, which API and which keys there are.
//
//   node server.mjs MODULES ISSUER_PORT CONTROL_PORT
//
// MODULES is the folder that `npm ci` filled. ISSUER_PORT serves the provider, with the issuer
// `http://127.0.0.1:ISSUER_PORT/`; CONTROL_PORT is for the tests alone:
//
//   GET  /healthz
//   GET  /stats               {"jwks": n, "discovery": n}: requests so far
//   POST /keys {"published": ["a", "b"], "signs": "a"}   these keys from now on; unknown names are made
//
// The environment says what the tests choose: OIDC_AUDIENCE, OIDC_CLIENT, OIDC_REDIRECT, OIDC_ORG.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, issuerPort, controlPort] = process.argv.slice(2);
const { OIDC_AUDIENCE, OIDC_CLIENT, OIDC_REDIRECT, OIDC_ORG } = process.env;
const installed = createRequire(resolve(modules, 'package.json'));
const load = (name) => import(pathToFileURL(installed.resolve(name)).href);
const { Provider } = await load('oidc-provider');
const { createMemoryAdapter } = await load('oidc-provider/lib/adapters/memory_adapter.js');

const issuer = `http://127.0.0.1:${issuerPort}/`;
const cookieKey = randomBytes(32).toString('hex');
const made = new Map();
const store = createMemoryAdapter();
const stats = { jwks: 0, discovery: 0 };

function key(kid) {
  if (!made.has(kid)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    made.set(kid, { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' });
  }
  return made.get(kid);
}

// The package takes its keys when it is made, so other keys are another instance, as a deployment with another
// configuration is in production. Sessions and grants stay: all instances share the package's in-memory store.
function provider({ published, signs }) {
  const others = published.filter((kid) => kid !== signs);
  return new Provider(issuer, {
    // The first key that fits signs.
    jwks: { keys: [signs, ...others].map(key) },
    adapter: store,
    cookies: { keys: [cookieKey] },
    clients: [{
      client_id: OIDC_CLIENT,
      redirect_uris: [OIDC_REDIRECT],
      response_types: ['code'],
      grant_types: ['authorization_code'],
      application_type: 'web',
      token_endpoint_auth_method: 'none',
    }],
    pkce: { required: () => true },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    // What names the tenant, as a customer's provider adds it.
    extraTokenClaims: () => ({ org_id: OIDC_ORG }),
    features: {
      // The package's own sign-in and consent pages.
      devInteractions: { enabled: true },
      // An access token for our API is a JWT of RFC 9068.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'read write',
          audience: OIDC_AUDIENCE,
          accessTokenTTL: 600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
}

let serve;
function use(keys) {
  const made = provider(keys);
  made.on('grant.error', (_, error) => console.error(error.error_detail));
  made.on('server_error', (_, error) => console.error(error));
  serve = made.callback();
}
use({ published: ['first'], signs: 'first' });

function body(request) {
  return new Promise((resolve, reject) => {
    let text = '';
    request.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve(text)).on('error', reject);
  });
}

createServer((request, response) => {
  if (request.url === '/jwks') stats.jwks += 1;
  if (request.url === '/.well-known/openid-configuration') stats.discovery += 1;
  serve(request, response);
}).listen(Number(issuerPort), '127.0.0.1');

createServer(async (request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  try {
    switch (`${request.method} ${request.url}`) {
      case 'GET /healthz': return answer(200, {});
      case 'GET /stats': return answer(200, stats);
      case 'POST /keys': use(JSON.parse(await body(request))); return answer(200, stats);
      default: return answer(404, {});
    }
  } catch (error) {
    return answer(500, { error: String(error) });
  }
}).listen(Number(controlPort), '127.0.0.1');
