//! What a router keeps on disk of who is calling, for its own next start and for the module in Envoy: plain files, read
//! without a runtime.
//!
//! [`LastGood`]: the last good keys of each provider. [`signing_key`]: the key that signs assertions now.

mod last_good;
pub mod signing_key;

pub use last_good::{LastGood, LastGoodError};
