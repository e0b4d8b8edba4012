//! What our long-running programs share, so that each of them is only what makes it itself. In the order of a process's
//! life:
//!
//! 1. [`settings`]: variables with their documentation, all errors at once, exit 64.
//! 2. [`providers`]: the variables about identity providers and operators, which several programs read.
//! 3. [`log`]: lines that no request ever waits for.
//! 4. [`trace`]: spans that no request ever waits for either.
//! 5. [`tls`]: mTLS whose certificates are reloaded.
//! 6. [`serve`]: one accept loop with limits and deadlines.
//! 7. [`drain`]: how a process goes.
//! 8. [`systemd`]: what the service manager is told of all this; [`build_info`]: what exactly it is that runs.

pub mod settings;

pub mod providers;

pub mod log;

pub mod trace;

pub mod tls;

pub mod serve;

pub mod drain;

pub mod systemd;

pub mod build_info;
