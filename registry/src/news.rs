//! What was written since some position: what a source tells, what is published, and what goes to disk and to followers.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::snapshot::RecordChange;
use crate::version::Position;

/// Changes upon a position that both sides know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Where the registry stands with it.
    pub position: Position,
    /// When the oldest of it was written, milliseconds since 1970 by the clock of the store.
    pub written_ms: i64,
    /// In their order; the last one of a key has the last word.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub changes: Arc<[RecordChange]>,
}

fn write<S: Serializer>(changes: &[RecordChange], serializer: S) -> Result<S::Ok, S::Error> {
    changes.serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[RecordChange]>, D::Error> {
    Vec::deserialize(deserializer).map(Arc::from)
}
