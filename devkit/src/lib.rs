//! What `up`, the end-to-end tests and the benches run around the router: real parts, on loopback, in no image.
//!
//! In the order in which a dev stack comes to life:
//!
//! 1. [`dev`] names its tenants, audiences and providers: every other part takes them from there.
//! 2. [`serve`] is how each of its programs listens, and `client` how tests call them.
//! 3. [`idp`] plays Entra ID, Auth0 and Cloudflare Access: it serves discovery and keys over HTTP and signs tokens.
//! 4. [`cell`] is where requests land: it answers with what it received, and can be fenced.

pub mod dev;

pub mod serve;

mod client;

pub mod idp;

pub mod cell;
