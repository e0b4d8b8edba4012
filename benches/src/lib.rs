//! What `make bench` runs. The method, and how far its figures can be trusted, is in `benches/README.md`.
//!
//! 1. [`world`] is everything that `decide` reads, in memory: the criterion benches run on it.
//! 2. [`estimates`] reads what criterion measured.
//! 3. [`tokens`] measures one verification beside the bare signature check, in turn.
//!    [`traces`] does the same for a check with and without tracing, [`scale`] for one with ten times as many tenants;
//!    [`allocations`] counts.
//! 4. [`variants`] are the Envoys that are compared: no filter, a no-op server, the router, the module, Envoy's own check of
//!    tokens; [`peers`] are other makers' servers. [`rig`] starts them.
//! 5. [`rounds`] loads them in turn and takes CPU time and latency; [`direct`] asks the servers without an Envoy.
//!    [`sweep`] loads them at several rates, up to what they can do.
//! 6. [`registry`] measures the cells registry at size, [`plane`] how many connections may be open, [`overload`] a router that
//!    is offered more than it can do.
//! 7. [`raw`] keeps what was measured before it became a figure, [`curve`] a whole latency distribution.
//! 8. [`report`] keeps all figures in one file, with their targets, and shows them to people.

pub mod world;

pub mod estimates;

pub mod tokens;

pub mod traces;

pub mod scale;

pub mod allocations;

pub mod variants;

pub mod peers;

pub mod rig;

pub mod rounds;

pub mod direct;

pub mod sweep;

pub mod registry;

pub mod plane;

pub mod overload;

pub mod raw;

pub mod curve;

pub mod report;
