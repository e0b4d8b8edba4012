//! What `up`, the end-to-end tests and the benches run around the router: real parts, on loopback, in no image.
//!
//! In the order in which a dev stack comes to life:
//!
//! 1. [`dev`] names its tenants, audiences and providers: every other part takes them from there.
//! 2. [`idp`] plays Entra ID, Auth0 and Cloudflare Access: it serves discovery and keys over HTTP and signs tokens.
//! 3. [`cell`] is where requests land: it answers with what it received, and can be fenced.

pub mod dev;

pub mod idp;

pub mod cell;
