//! What `up`, the end-to-end tests and the benches run around the router: real parts, on loopback, in no image.
//!
//! In the order in which a dev stack comes to life:
//!
//! 1. [`dev`] names its tenants, audiences and providers: every other part takes them from there.
//! 2. [`serve`] is how each of its programs listens, and `client` how tests call them.
//! 3. [`idp`] plays Entra ID, Auth0 and Cloudflare Access: it serves discovery and keys over HTTP and signs tokens.
//! 4. [`cell`] is where requests land: it answers with what it received, and can be fenced.
//! 5. [`place`], [`ports`], [`process`], [`reaper`]: where programs are, what they listen on, how they live and that
//!    none is left behind; [`progress`] and [`exchange`] serve them.
//! 6. [`envoy`] finds or fetches Envoy and moves the production configuration to the stack's ports.
//! 7. [`stack`] starts all of it in order and gives handles; [`up`] is a stack in the foreground.
//! 8. [`postgres`] is a database server for tests, [`many`] a registry of many tenants; [`skip`] names what a machine
//!    cannot run.
//! 9. [`load`] sends requests at a constant rate, [`crowd`] holds many connections open; [`cpu`] tells what they cost.
//!    [`cable`] is a connection that can fail.

pub mod dev;

pub mod serve;

mod client;

pub mod idp;

pub mod cell;

pub mod place;

pub mod progress;

pub mod ports;

pub mod exchange;

pub mod reaper;

pub mod process;

pub mod envoy;

pub mod stack;

pub mod up;

pub mod postgres;

pub mod many;

pub mod skip;

pub mod load;

pub mod crowd;

pub mod cpu;

pub mod cable;
