//! Claims by type: a claim is absent, exactly of its type, or the token is refused. Nothing is coerced.

use crate::json::{Json, Object};
use crate::refusal::Rule;

/// The longest identifier a claim may hold, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 256;
/// 9999-12-31T23:59:59Z. Times beyond it are mistakes or attacks, and sums of times up to it cannot overflow.
const MAX_TIME: i64 = 253_402_300_799;

impl<'a> Object<'a> {
    /// A string, possibly empty.
    pub(crate) fn any_text(&self, name: &str, rule: Rule) -> Result<Option<&str>, Rule> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(rule),
        }
    }

    /// An identifier: 1 to [`MAX_ID_BYTES`] bytes without control characters.
    pub(crate) fn optional_id(&self, name: &str, rule: Rule) -> Result<Option<&str>, Rule> {
        match self.any_text(name, rule)? {
            Some(id) if !is_plain_id(id) => Err(rule),
            id => Ok(id),
        }
    }

    /// An identifier that must be there.
    pub(crate) fn id(&self, name: &str, rule: Rule) -> Result<&str, Rule> {
        self.optional_id(name, rule)?.ok_or(rule)
    }

    /// Seconds since 1970, as an integer.
    pub(crate) fn optional_time(&self, name: &str, rule: Rule) -> Result<Option<i64>, Rule> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Integer(time)) if (0..=MAX_TIME).contains(time) => Ok(Some(*time)),
            Some(_) => Err(rule),
        }
    }

    /// A time that must be there.
    pub(crate) fn time(&self, name: &str, rule: Rule) -> Result<i64, Rule> {
        self.optional_time(name, rule)?.ok_or(rule)
    }

    /// An array of strings; empty if absent.
    pub(crate) fn texts(&self, name: &str, rule: Rule) -> Result<Vec<&str>, Rule> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Json::List(list)) => list
                .iter()
                .map(|element| match element {
                    Json::Text(text) => Ok(text.as_ref()),
                    _ => Err(rule),
                })
                .collect(),
            Some(_) => Err(rule),
        }
    }

    /// A string as a list of one, or an array of strings.
    pub(crate) fn text_or_texts(&self, name: &str, rule: Rule) -> Result<Vec<&str>, Rule> {
        match self.get(name) {
            Some(Json::Text(text)) => Ok(vec![text]),
            _ => self.texts(name, rule),
        }
    }

    /// Whether any of these claims is there, whatever it holds.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        self.names().any(|name| names.contains(&name))
    }
}

fn is_plain_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// `8-4-4-4-12` lower-case hexadecimal: the only form in which Entra writes ids.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
