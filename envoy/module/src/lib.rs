//! `libtenant_router.so`: the decision inside Envoy's process, as an HTTP filter of a dynamic module. The same
//! `decision::decide` as in the ext_authz service, without the callout.
//!
//! # The life of a request
//!
//! 1. `ffi`: Envoy calls in; its pointers and callbacks end there, behind the trait [`host::Host`].
//! 2. [`request`]: what the headers say becomes `decision::Attributes`, borrowed from Envoy.
//! 3. [`world`]: one consistent view of registry, keys, policy and modes is taken, and decided on.
//! 4. [`filter`]: an allow sets identity headers and has the route chosen again, a denial is answered; either is counted
//!    and noted for the access log. [`probe`] answers `GET /readyz`.
//!
//! # Beside it
//!
//! [`config`]: the filter's configuration. [`follow`]: a thread reads what the router on this host publishes, and swaps
//! worlds. [`metrics`]: what Envoy counts and shows for us.
//!
//! No request waits for anything but a processor: no network, no file, no lock that the thread holds while it works. What
//! cannot be decided is a denial.

#[cfg(not(test))]
mod ffi;

pub mod host;

pub mod request;

pub mod world;

pub mod filter;

pub mod probe;

pub mod config;

pub mod follow;

pub mod metrics;

#[cfg(test)]
mod testing;
