//! Everything that crosses processes, on real parts: Envoy, tenant-router, a registry on disk, an identity provider over
//! HTTP, cells that say what they received. One binary, so that it links once.
//!
//! Tests that only ask share one stack; those that break something start their own. Load tests run alone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken expectation ends its test"
)]

mod alike;
mod harness;
mod run;
mod wire;

mod refusals;
mod stand_in;
mod traffic;

mod dependencies;

mod attacks;
mod bad_tokens;
mod good_tokens;
mod inside;
mod packagings;
mod spoofing;

mod oidc;
mod oidc_provider;

mod key_server;

mod collector;

mod hostile_keys;
mod key_files;

mod chaos;
mod cold_start;
mod dead_cells;
mod drain;
mod hot_swap;
mod http_feed;
mod kept_on_disk;
mod lifecycle;
mod many_changes;
mod many_connections;
mod on_postgres;
mod reloads;
mod rolling_restart;
mod router_faults;
mod router_nonsense;
mod two_routers;
mod unread_log;

mod ground;

mod command_line;
mod configuration;
mod start_refusals;

mod checks;

mod assertions;
mod behind;
mod cell_bound;
mod proxies;

mod resolve;
mod resolve_from;

mod pki;

mod mtls;

mod bad_records;
mod control_plane;
mod customers;
mod driven_moves;
mod explain;
mod global_limit;
mod jwks_status;
mod log_level;
mod moves_by_hand;
mod observability;
mod open_streams;
mod operators;
mod overload;
mod policy_reload;
mod read_only_moves;
mod revocation;
mod secrecy;
mod shadow;
mod step_up;
mod strip_cookie;
mod token_prefixes;
mod traces;
mod xds_status;

mod stacks;
mod up;
