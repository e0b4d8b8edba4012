//! What AlphaSwarm's edge programs agree on. No I/O, no policy: only the words and shapes that cross a
//! process boundary, so that a router, a cell and the operator's command can never disagree on them.
//!
//! In the order a request meets them: [`header`] names, [`id`] grammar, [`link`] kinds, the [`assertion`] a cell
//! receives, the [`code`] and [`envelope`] of a refusal; then what operators and tests talk: [`api`], [`dev`],
//! [`port`].

pub mod header;

pub mod id;

pub mod link;

pub mod assertion;

pub mod code;

pub mod envelope;

pub mod api;

pub mod dev;

pub mod port;

pub use code::Code;
pub use envelope::Envelope;
pub use id::{CellId, InvalidId, Principal, PrincipalKind, ProviderId, TenantId};
pub use link::LinkKind;
