//! `{"keys": […]}`: the outermost two levels of a JWK set, read without keeping more members than a set may have.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a set as they came.
pub(super) struct Members<'de> {
    pub(super) kept: Vec<&'de RawValue>,
    /// How many there were, also those that were not kept.
    pub(super) count: usize,
}

/// Reads the document. Its other members are of no interest (RFC 7517 §5); `keys` must come once.
#[derive(Clone, Copy)]
pub(super) struct DocumentSeed {
    pub(super) limit: usize,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if name != "keys" {
                map.next_value::<IgnoredAny>()?;
            } else if found
                .replace(map.next_value_seed(KeysSeed { limit: self.limit })?)
                .is_some()
            {
                return Err(A::Error::duplicate_field("keys"));
            }
        }
        found.ok_or_else(|| A::Error::missing_field("keys"))
    }
}

struct KeysSeed {
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for KeysSeed {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for KeysSeed {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Members<'de>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.limit {
            match list.next_element()? {
                Some(member) => kept.push(member),
                None => {
                    return Ok(Members {
                        count: kept.len(),
                        kept,
                    });
                }
            }
        }
        let mut count = kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Members { kept, count })
    }
}
