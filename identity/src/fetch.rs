//! Keys from the providers, in the background: the only I/O of this crate.
