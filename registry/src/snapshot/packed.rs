//! A link's key as bytes, built on the stack so that a lookup allocates nothing. Directory ids and AUD tags, which
//! are most external ids, are stored as the 16 or 32 bytes that they spell instead of as 36 or 64 characters.

use contract::LinkKind;

use crate::model::MAX_EXTERNAL_ID;

/// Longest provider name, by the id grammar.
const MAX_PROVIDER: usize = 63;
const CAPACITY: usize = 1 + MAX_PROVIDER + 2 + MAX_EXTERNAL_ID;

/// How the bytes of an external id are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The text itself.
    Text = 0,
    /// A lower-case GUID: 16 bytes.
    Guid = 1,
    /// An even number of lower-case hex digits.
    Hex = 2,
}

impl Form {
    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Text),
            1 => Some(Self::Guid),
            2 => Some(Self::Hex),
            _ => None,
        }
    }
}

/// `len(provider) provider kind form packed-id`. Two links have equal bytes exactly when they are the same link.
pub(super) struct LinkKey {
    bytes: [u8; CAPACITY],
    provider_end: usize,
    end: usize,
}

impl LinkKey {
    /// `None` for what cannot be a stored link: an over-long provider or id, or an empty id.
    pub(super) fn new(provider: &str, kind: LinkKind, external_id: &str) -> Option<Self> {
        let id = external_id.as_bytes();
        let mut packed = [0; MAX_EXTERNAL_ID];
        let (form, length) = if let Some(guid) = pack_guid(id) {
            packed.get_mut(..16)?.copy_from_slice(&guid);
            (Form::Guid, 16)
        } else if let Some(length) = pack_hex(id, &mut packed) {
            (Form::Hex, length)
        } else {
            packed.get_mut(..id.len())?.copy_from_slice(id);
            (Form::Text, id.len())
        };
        Self::from_packed(provider, kind, form, packed.get(..length)?)
    }

    /// From an id that is packed already, as compaction reads it.
    pub(super) fn from_packed(provider: &str, kind: LinkKind, form: Form, packed: &[u8]) -> Option<Self> {
        if provider.len() > MAX_PROVIDER || packed.is_empty() || packed.len() > MAX_EXTERNAL_ID {
            return None;
        }
        let mut key = Self {
            bytes: [0; CAPACITY],
            provider_end: 1 + provider.len(),
            end: 0,
        };
        key.end = key.provider_end + 2 + packed.len();
        *key.bytes.first_mut()? = u8::try_from(provider.len()).ok()?;
        key.bytes
            .get_mut(1..key.provider_end)?
            .copy_from_slice(provider.as_bytes());
        *key.bytes.get_mut(key.provider_end)? = kind_number(kind);
        *key.bytes.get_mut(key.provider_end + 1)? = form as u8;
        key.bytes
            .get_mut(key.provider_end + 2..key.end)?
            .copy_from_slice(packed);
        Some(key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    pub(super) fn form(&self) -> u8 {
        self.bytes.get(self.provider_end + 1).copied().unwrap_or_default()
    }

    pub(super) fn packed(&self) -> &[u8] {
        self.bytes
            .get(self.provider_end + 2..self.end)
            .unwrap_or_default()
    }
}

/// The parts of [`LinkKey::as_bytes`]: provider, kind, form, packed id.
pub(super) fn split(bytes: &[u8]) -> Option<(&str, LinkKind, Form, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (provider, rest) = rest.split_at_checked(usize::from(*length))?;
    let (&[kind, form], packed) = rest.split_first_chunk()?;
    let kind = LinkKind::ALL.get(usize::from(kind))?;
    Some((
        std::str::from_utf8(provider).ok()?,
        *kind,
        Form::from_bits(form)?,
        packed,
    ))
}

/// The text that was packed.
pub(super) fn unpack(form: Form, packed: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if form == Form::Text {
        return String::from_utf8_lossy(packed).into_owned();
    }
    let mut text = String::with_capacity(packed.len() * 2 + 4);
    for (index, byte) in packed.iter().enumerate() {
        if form == Form::Guid && matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from));
        }
    }
    text
}

const fn kind_number(kind: LinkKind) -> u8 {
    match kind {
        LinkKind::Tid => 0,
        LinkKind::OrgId => 1,
        LinkKind::Claim => 2,
        LinkKind::ClientId => 3,
        LinkKind::CommonName => 4,
        LinkKind::Aud => 5,
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn pack_guid(id: &[u8]) -> Option<[u8; 16]> {
    if id.len() != 36 {
        return None;
    }
    let mut packed = [0; 16];
    let mut digits = id
        .iter()
        .enumerate()
        .filter(|(index, _)| !matches!(index, 8 | 13 | 18 | 23));
    if [8, 13, 18, 23].iter().any(|index| id.get(*index) != Some(&b'-')) {
        return None;
    }
    for byte in &mut packed {
        let high = nibble(*digits.next()?.1)?;
        let low = nibble(*digits.next()?.1)?;
        *byte = high << 4 | low;
    }
    Some(packed)
}

fn pack_hex(id: &[u8], into: &mut [u8]) -> Option<usize> {
    if id.len() < 8 || !id.len().is_multiple_of(2) {
        return None;
    }
    for (pair, byte) in id.as_chunks::<2>().0.iter().zip(into.iter_mut()) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    (id.len() / 2 <= into.len()).then_some(id.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9a-fA-F]{1,70}",
            "[0-9a-f-]{36}",
            "org_[A-Za-z0-9]{16}",
            "\\PC{1,60}",
        ]
    }

    proptest! {
        #[test]
        fn a_packed_key_reads_back(provider in "[a-z0-9-]{2,63}", kind in 0..6usize, id in id()) {
            let kind = LinkKind::ALL[kind];
            let key = LinkKey::new(&provider, kind, &id).unwrap();
            let (read_provider, read_kind, form, packed) = split(key.as_bytes()).unwrap();
            prop_assert_eq!((read_provider, read_kind), (provider.as_str(), kind));
            prop_assert_eq!(packed, key.packed());
            prop_assert_eq!(form as u8, key.form());
            prop_assert_eq!(unpack(form, packed), id);
        }

        #[test]
        fn two_ids_never_share_a_key(a in id(), b in id()) {
            let key = |id: &str| LinkKey::new("entra", LinkKind::Tid, id).unwrap().as_bytes().to_vec();
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }
    }

    #[test]
    fn what_cannot_be_stored_has_no_key() {
        assert!(LinkKey::new("entra", LinkKind::Tid, "").is_none());
        assert!(LinkKey::new("entra", LinkKind::Tid, &"x".repeat(256)).is_none());
        assert!(LinkKey::new("entra", LinkKind::Tid, &"a".repeat(1000)).is_none());
        assert!(LinkKey::new(&"p".repeat(64), LinkKind::Tid, "x").is_none());
        assert!(LinkKey::new("entra", LinkKind::Tid, &"x".repeat(255)).is_some());
    }

    #[test]
    fn common_ids_are_stored_short() {
        let packed = |id: &str| LinkKey::new("p1", LinkKind::Tid, id).unwrap().packed().len();
        assert_eq!(packed("72f988bf-86f1-41af-91ab-2d7cd011db47"), 16);
        assert_eq!(packed(&"0f".repeat(32)), 32);
        assert_eq!(packed("72F988BF-86F1-41AF-91AB-2D7CD011DB47"), 36);
    }
}
