//! Idempotency keys: a client that lost the answer asks again with the same key and gets the first answer, also when
//! somebody else has changed the record meanwhile.
//!
//! A key belongs to its actor. It is kept with what was answered, in the transaction of the write; refusals are not
//! kept, because what was refused may be allowed now.

use xxhash_rust::xxh3::xxh3_128;

use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::version::Version;

/// How long a key is remembered.
pub const KEEPS_MS: i64 = 24 * 60 * 60 * 1000;
/// Longest key, in bytes.
const LONGEST: usize = 255;

/// An actor's key together with what it was used for.
pub(super) struct Keyed<'a> {
    /// Whose.
    pub(super) actor: &'a str,
    /// The key.
    pub(super) key: &'a str,
    /// A hash of the command and its condition.
    pub(super) command: String,
}

/// What a store remembers of a key: the command's hash, the answer's epoch, number and whether it changed anything.
pub(super) type Remembered = (String, i64, i64, bool);

/// The key of this request, if it has one.
pub(super) fn keyed<'a>(
    command: &Command,
    actor: &'a Actor,
    condition: IfVersion,
) -> Result<Option<Keyed<'a>>, Refused> {
    let Some(key) = actor.idempotency_key.as_deref() else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > LONGEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused::Invalid(format!(
            "an idempotency key is 1 to {LONGEST} visible ASCII characters, for example a UUID"
        )));
    }
    let expected = match condition {
        IfVersion::Any => None,
        IfVersion::Is(version) => Some(version),
    };
    let text =
        serde_json::to_vec(&(command, expected)).map_err(|error| Refused::Invalid(error.to_string()))?;
    Ok(Some(Keyed {
        actor: &actor.name,
        key,
        command: format!("{:032x}", xxh3_128(&text)),
    }))
}

impl Keyed<'_> {
    /// The earlier answer, or why the key cannot stand for this command.
    pub(super) fn again(&self, remembered: &Remembered) -> Result<Applied, Refused> {
        let (command, epoch, number, changed) = remembered;
        if *command != self.command {
            return Err(Refused::Conflict {
                problem: format!("idempotency key {} was used for another command", self.key),
                next: "use a new key for each command, and the same one only to repeat it".to_owned(),
            });
        }
        Ok(Applied {
            version: Version {
                epoch: u64::try_from(*epoch).unwrap_or_default(),
                number: u64::try_from(*number).unwrap_or_default(),
            },
            changed: *changed,
        })
    }
}
