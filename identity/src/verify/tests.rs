//! What passes, what is refused and by which rule, and what the cache remembers.

mod attacks;
mod cache;
mod matrix;
mod oracle;
mod readings;
