//! Header names. Lower case, as HTTP/2 carries them.

/// Every identity header starts so; Envoy strips whatever a client sends under it (also with `_` or `.`).
pub const PREFIX: &str = "x-alphaswarm-";

/// The cell a request goes to: the only header that Envoy routes on.
pub const CELL: &str = "x-alphaswarm-cell";
/// The tenant that the token and host resolved to.
pub const TENANT: &str = "x-alphaswarm-tenant";
/// `<provider>:<stable id>`, percent-encoded ASCII.
pub const PRINCIPAL: &str = "x-alphaswarm-principal";
/// The identity provider's instance name.
pub const PROVIDER: &str = "x-alphaswarm-provider";
/// Space-separated, sorted.
pub const SCOPES: &str = "x-alphaswarm-scopes";
/// The routing assertion: a JWT for the cell that proves the five headers above.
pub const ASSERTION: &str = "x-alphaswarm-assertion";

/// All headers that an allow may set, in the order in which they are set.
pub const IDENTITY: [&str; 6] = [CELL, TENANT, PRINCIPAL, PROVIDER, SCOPES, ASSERTION];

/// Where a bearer token travels.
pub const AUTHORIZATION: &str = "authorization";
/// Where Cloudflare Access puts its token.
pub const ACCESS_ASSERTION: &str = "cf-access-jwt-assertion";
/// A browser cannot set headers on a WebSocket: its token travels as a subprotocol.
pub const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
/// The subprotocol's prefix; the token follows.
pub const WEBSOCKET_BEARER: &str = "alphaswarm.bearer.";
/// Set by Envoy, echoed in envelopes.
pub const REQUEST_ID: &str = "x-request-id";
