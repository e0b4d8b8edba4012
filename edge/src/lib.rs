//! `alphaswarm-cp`: the edge's control plane. Who changes where tenants live, does it here, over HTTP, with a token and
//! a line in the change log.
//!
//! # The life of a request
//!
//! 1. [`endpoint`]: one table of all endpoints: what they are for, what they need, who answers. It makes the routes and
//!    the OpenAPI document alike.
//! 2. [`caller`]: who calls, and whether that is enough for this endpoint: scopes, a fresh sign-in.
//! 3. `manage` and `tenancy`: parameters become one `registry::Command`, or a list is read; [`feed`]: routers follow.
//! 4. [`write`]: the command is carried out under its condition, and audited.
//! 5. [`answer`]: the envelope, with the status and headers that go with it.
//!
//! Beside requests, [`mover`] carries on the moves that were given to the control plane.
//!
//! Beside it all: [`config`], [`app`] (the composition root), [`metrics`], `trace`.

pub mod endpoint;

pub mod caller;

mod manage;

mod tenancy;

pub mod feed;

pub mod write;

pub mod answer;

pub mod mover;

pub mod config;

pub mod app;

pub mod metrics;

mod trace;
