//! What the benchmarks share. The method is in `benches/README.md`.

pub mod world;
