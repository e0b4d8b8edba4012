//! What our long-running programs share, so that each of them is only what makes it itself. In the order of a process's
//! life:
//!
//! 1. [`program`]: from the command line to the exit code.
//! 2. [`settings`]: variables with their documentation, all errors at once, exit 64.
//! 3. [`providers`]: the variables about identity providers and operators, which several programs read.
//! 4. [`log`]: lines that no request ever waits for.
//! 5. [`trace`]: spans that no request ever waits for either.
//! 6. [`tls`]: mTLS whose certificates are reloaded.
//! 7. [`serve`]: one accept loop with limits and deadlines; [`answer`]: what several listeners answer alike.
//! 8. [`drain`]: how a process goes.
//! 9. [`systemd`]: what the service manager is told of all this; [`build_info`]: what exactly it is that runs.

pub mod program;

pub mod settings;

pub mod providers;

pub mod log;

pub mod trace;

pub mod tls;

pub mod serve;

pub mod answer;

pub mod drain;

pub mod systemd;

pub mod build_info;
