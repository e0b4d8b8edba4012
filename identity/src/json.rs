//! JSON as strict as a security decision needs it: no duplicate keys at any depth (compared after unescaping), bounded
//! depth, a bounded number of values, integers told apart from every other number.
//!
//! `serde_json` scans; this only decides what may be kept. Strings borrow from the input unless they hold escapes, so
//! the memory of a parse is bounded by the limits and the input, whatever the input says about itself.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// Written as an integer and fits.
    Integer(i64),
    /// Any other number: fractions, exponents, out of range.
    Number,
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// Members in the order of the document, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<Member<'a>>);

#[derive(Clone, Debug, PartialEq)]
struct Member<'a> {
    tag: Tag,
    name: Cow<'a, str>,
    value: Json<'a>,
}

/// A name's length and its first seven bytes in one word. Most names of claims are told apart by it alone, and a
/// profile asks for two dozen of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag(u64);

impl Tag {
    #[inline]
    fn of(name: &str) -> Self {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().zip(name.bytes().take(7)) {
            *place = byte;
        }
        // Longer names than that share a length; their text decides, as always.
        word[7] = u8::try_from(name.len()).unwrap_or(u8::MAX);
        Self(u64::from_ne_bytes(word))
    }
}

impl<'a> Member<'a> {
    fn is(&self, tag: Tag, name: &str) -> bool {
        self.tag == tag && self.name == name
    }
}

impl<'a> Object<'a> {
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        let tag = Tag::of(name);
        self.0
            .iter()
            .find(|member| member.is(tag, name))
            .map(|member| &member.value)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|member| member.name.as_ref())
    }
}

/// What a document may be at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Nesting; the outermost object is depth 1.
    pub(crate) depth: u8,
    /// Values in all, member names not counted.
    pub(crate) values: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// No JSON object, or past a limit.
    Malformed,
    Duplicate,
}

/// Parses one JSON object and nothing after it.
pub(crate) fn parse_object(bytes: &[u8], limits: Limits) -> Result<Object<'_>, JsonError> {
    let state = State {
        values_left: Cell::new(limits.values),
        duplicate: Cell::new(false),
    };
    // Once for all, so that the reader need not check string by string.
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Malformed)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Seed {
        state: &state,
        depth_left: limits.depth,
        outermost: true,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value));
    match parsed {
        Ok(Json::Object(object)) => Ok(object),
        Err(_) if state.duplicate.get() => Err(JsonError::Duplicate),
        _ => Err(JsonError::Malformed),
    }
}

struct State {
    values_left: Cell<u16>,
    duplicate: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    state: &'s State,
    depth_left: u8,
    outermost: bool,
}

impl Seed<'_> {
    fn descend<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("too deep"))?;
        Ok(Self {
            depth_left,
            outermost: false,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let left = self
            .state
            .values_left
            .get()
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom("too many values"))?;
        self.state.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or(Json::Number, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let seed = self.descend()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(seed)? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let seed = self.descend()?;
        let mut object = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            let value = members.next_value_seed(seed)?;
            if object.is_empty() && self.outermost {
                // Claims are about this many. Nested objects grow as they come: what only says `{` reserves nothing.
                object.reserve(16);
            }
            object.push(Member {
                tag: Tag::of(&name),
                name,
                value,
            });
        }
        if has_duplicate(&object) {
            self.state.duplicate.set(true);
            return Err(A::Error::custom("duplicate member"));
        }
        Ok(Json::Object(Object(object)))
    }
}

/// Pairwise for the usual few members; sorted for many, so that a hostile object costs n log n.
fn has_duplicate(members: &[Member<'_>]) -> bool {
    if members.len() <= 24 {
        return members.iter().enumerate().any(|(at, member)| {
            members
                .iter()
                .skip(at + 1)
                .any(|other| other.is(member.tag, &member.name))
        });
    }
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair.first() == pair.last())
}

/// A member's name, borrowed where it holds no escape. (`Cow` itself would always be copied.)
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { depth: 4, values: 64 };

    fn parse(text: &str) -> Result<Object<'_>, JsonError> {
        parse_object(text.as_bytes(), LIMITS)
    }

    #[test]
    fn duplicates_are_refused_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"tid":1,"\u0074id":2}"#,
            r#"{"\u0074id":1,"t\u0069d":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[{"a":1},{"a":1,"\u0061":1}]}"#,
            r#"{"":1,"":2}"#,
            r#"{"é":1,"\u00e9":2}"#,
            r#"{"/":1,"\/":2}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Duplicate), "{text}");
        }
        for text in [
            r#"{"a":1,"A":1}"#,
            r#"{"x":{"a":1},"y":{"a":1}}"#,
            r#"{"x":[{"a":1},{"a":1}]}"#,
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        let many: String = (0..40).map(|n| format!(r#""k{n}":0,"#)).collect();
        assert!(parse(&format!(r#"{{{many}"z":0}}"#)).is_ok());
        assert_eq!(parse(&format!(r#"{{{many}"k7":0}}"#)), Err(JsonError::Duplicate));
    }

    #[test]
    fn only_one_bounded_object_passes() {
        let deep = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(parse(&deep(3)).is_ok());
        let long = |n: usize| format!(r#"{{"a":[{}0]}}"#, "0,".repeat(n));
        assert!(parse(&long(61)).is_ok());
        for text in [
            "",
            "{",
            "[]",
            "1",
            "null",
            r#""a""#,
            "{}{}",
            "{} x",
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            "{'a':1}",
            "\u{feff}{}",
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"\u{0}\"}",
            r#"{"a":+1}"#,
            "{/**/}",
            &deep(4),
            &deep(100_000),
            &long(62),
        ] {
            assert_eq!(
                parse(text),
                Err(JsonError::Malformed),
                "{}",
                text.get(..40).unwrap_or(text)
            );
        }
        assert_eq!(
            parse_object(b"{\"a\":\"\xff\"}", LIMITS),
            Err(JsonError::Malformed)
        );
    }

    #[test]
    fn only_plain_integers_are_integers() {
        for (text, value) in [
            ("0", Json::Integer(0)),
            ("-7", Json::Integer(-7)),
            ("9223372036854775807", Json::Integer(i64::MAX)),
            ("9223372036854775808", Json::Number),
            ("18446744073709551615", Json::Number),
            ("18446744073709551616", Json::Number),
            ("1e19", Json::Number),
            ("1e3", Json::Number),
            ("1.0", Json::Number),
            ("-0", Json::Number),
            ("1e300", Json::Number),
        ] {
            assert_eq!(
                parse(&format!(r#"{{"a":{text}}}"#)).unwrap().get("a"),
                Some(&value),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_object(&bytes, LIMITS);
        }

        #[test]
        fn agrees_with_serde_json_on_distinct_keys(keys in proptest::collection::btree_set(".{0,6}", 0..12)) {
            let map: serde_json::Map<String, serde_json::Value> =
                keys.iter().map(|key| (key.clone(), serde_json::Value::from(key.as_str()))).collect();
            let text = serde_json::Value::Object(map).to_string();
            let object = parse(&text).unwrap();
            prop_assert_eq!(object.names().count(), keys.len());
            for key in &keys {
                prop_assert_eq!(object.get(key), Some(&Json::Text(Cow::Borrowed(key.as_str()))));
            }
        }
    }
}
