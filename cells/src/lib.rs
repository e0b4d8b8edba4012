//! A cell's admission: a cell does not trust the network, it lets in what a router has placed here, and only while the
//! tenant is here.
//!
//! In the order of a request's life:
//!
//! 1. [`layer`]: the middleware for cells in Rust; cells in other languages have their proxy ask [`http`].
//! 2. [`admission`]: the one judgement behind both.
//! 3. [`keys`]: the routers' public keys, followed in the background, and the assertion verified with them.
//! 4. `headers`: the identity headers say what the assertion says.
//! 5. [`occupancy`]: the tenant's fence, and the request counted as open until it ends.
//! 6. [`fences`]: the fences on disk, which a crash does not lift.
//!
//! Beside requests, [`runtime`] is what a move asks: to fence a tenant, and what is open of it. The program
//! `alphaswarm-cell` is [`config`], [`app`] and [`http`], behind the feature `program`.

pub mod layer;

pub mod admission;

pub mod keys;

mod headers;

pub mod occupancy;

pub mod fences;

pub mod runtime;

pub mod metrics;

#[cfg(feature = "program")]
pub mod http;

#[cfg(feature = "program")]
pub mod config;

#[cfg(feature = "program")]
pub mod app;

pub use admission::{Admission, Entry, Refused, Trust};
pub use keys::{Keys, KeysFrom};
pub use layer::AdmissionLayer;
pub use metrics::Metrics;
pub use occupancy::{Admitted, Occupancy, Placed};
