//! `tenant-router`: the ext_authz service around the decision.
//!
//! # The life of a check
//!
//! 0. [`overload`]: a check that could not be answered in time is refused before it is read.
//! 1. [`ext_authz`]: Envoy's `CheckRequest`, a message of [`unary`] gRPC in protobuf's [`wire`] format, becomes
//!    `decision::Attributes`. The same check over HTTP, for other proxies, is [`resolve`].
//! 2. [`world`]: one consistent view of registry, keys, policy and mode is taken, and `decision::decide` runs on it.
//! 3. [`outcome`]: one log line and one set of counters, exactly once, also when the caller went away; and the span of
//!    the few checks whose trace is recorded (`trace`).
//! 4. [`response`]: the decision's table of statuses, headers and bodies as a `CheckResponse`.
//!
//! # Below the divider
//!
//! What keeps the check's world current and its sockets open: [`config`] → [`app`] (the composition root) →
//! `service`'s listeners, [`grpc`], [`readiness`] and `vitals`; the registry ([`kept`], [`following`]); refreshers ([`policy_file`],
//! [`heartbeat`], which publishes the keys of [`signing`] and says what is applied, also by Envoys that decide themselves: `inside`); what is staged, beside the registry ([`shadow`]); the other listeners ([`http`], [`control`], [`xds`],
//! [`access_log`] with its [`streams`]);
//! [`telemetry`].
//!
//! With a state directory the module in Envoy on the same host decides by what is written there: the registry ([`kept`]),
//! provider keys, the signing key ([`signing`]), Envoy's clusters and routes ([`xds`]).

pub mod overload;

pub mod unary;

pub mod wire;

pub mod ext_authz;

pub mod resolve;

pub mod world;

pub mod outcome;

mod trace;

pub mod response;

// ---- below the divider -------------------------------------------------------------------------------------------

pub mod config;

pub mod app;

pub mod grpc;

pub mod readiness;

mod vitals;

pub mod policy_file;

pub mod kept;

pub mod following;

pub mod heartbeat;

mod inside;

pub mod signing;

pub mod shadow;

pub mod http;

pub mod control;

pub mod xds;

pub mod access_log;

pub mod streams;

pub mod telemetry;
