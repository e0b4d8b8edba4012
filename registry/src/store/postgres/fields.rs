//! From a row's columns, in PostgreSQL's binary form, to a record, or to the reason why not. The model's own serde
//! decodes here too, without JSON between: a million rows would be written and read twice.

use std::fmt;

use serde::de::value::{Error, MapDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use super::super::decode::{Decoded, checked};
use crate::key::{Key, Kind};
use crate::model::Record;

/// A column's type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    Text,
    /// bigint
    Number,
    Boolean,
    /// text that holds JSON, or should
    Json,
}

/// The columns of a kind of record, named as its fields are.
pub(super) type Columns = &'static [(&'static str, Type)];

/// The bytes of each column; `None` is NULL.
pub(super) type Values<'a> = [Option<&'a [u8]>];

/// One row.
pub(super) fn record(kind: Kind, columns: Columns, values: &Values<'_>) -> Decoded {
    match kind {
        Kind::Cell => typed(kind, columns, values, Record::Cell),
        Kind::Tenant => typed(kind, columns, values, Record::Tenant),
        Kind::Link => typed(kind, columns, values, Record::Link),
        Kind::Placement => typed(kind, columns, values, Record::Placement),
        Kind::Host => typed(kind, columns, values, Record::Host),
        Kind::Revocation => typed(kind, columns, values, Record::Revocation),
    }
}

fn typed<T: DeserializeOwned>(
    kind: Kind,
    columns: Columns,
    values: &Values<'_>,
    wrap: fn(T) -> Record,
) -> Decoded {
    let fields = columns.iter().zip(values).map(|((name, kind), bytes)| {
        let field = Field {
            kind: *kind,
            bytes: *bytes,
        };
        (*name, field)
    });
    match T::deserialize(MapDeserializer::<_, Error>::new(fields)) {
        Ok(fact) => checked(wrap(fact)),
        Err(error) => Err((key_of(kind, columns, values), error.to_string())),
    }
}

#[derive(Clone, Copy)]
struct Field<'a> {
    kind: Type,
    bytes: Option<&'a [u8]>,
}

fn error(text: impl fmt::Display) -> Error {
    serde::de::Error::custom(text)
}

impl<'a> Field<'a> {
    fn text(&self) -> Result<&'a str, Error> {
        // The server checks this too, but for databases whose encoding is SQL_ASCII.
        std::str::from_utf8(self.bytes.unwrap_or_default()).map_err(|_| error("no UTF-8"))
    }
}

impl<'de, 'a: 'de> IntoDeserializer<'de, Error> for Field<'a> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de, 'a: 'de> Deserializer<'de> for Field<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some(bytes) = self.bytes else {
            return visitor.visit_unit();
        };
        match self.kind {
            Type::Text => visitor.visit_borrowed_str(self.text()?),
            Type::Number => match bytes.try_into() {
                Ok(bytes) => visitor.visit_i64(i64::from_be_bytes(bytes)),
                Err(_) => Err(error("no bigint")),
            },
            Type::Boolean => visitor.visit_bool(bytes != [0]),
            Type::Json => {
                let value: serde_json::Value = serde_json::from_str(self.text()?).map_err(plain)?;
                value.deserialize_any(visitor).map_err(plain)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.bytes {
            Some(_) => visitor.visit_some(self),
            None => visitor.visit_none(),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: StrDeserializer<'de, Error> = self.text()?.into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

fn plain(found: serde_json::Error) -> Error {
    error(super::super::decode::plain(&found))
}

fn key_of(kind: Kind, columns: Columns, values: &Values<'_>) -> Key {
    let text = |name: &str| {
        let mut found = columns
            .iter()
            .zip(values)
            .filter(|((column, _), _)| *column == name);
        let bytes = found.next().and_then(|(_, bytes)| *bytes).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Key::of(kind, text)
}

/// Takes rows out of `COPY … (FORMAT binary)`, whole messages of which were put together.
/// <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.55.9.4>
pub(super) struct Copied<'a> {
    rest: &'a [u8],
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

impl<'a> Copied<'a> {
    /// `first` when these are the first bytes, which begin with a header.
    pub(super) fn new(bytes: &'a [u8], first: bool) -> Option<Self> {
        let mut copied = Self { rest: bytes };
        if first {
            copied.rest = bytes.strip_prefix(SIGNATURE)?;
            copied.take(4)?;
            let extension = u32::from_be_bytes(copied.take(4)?.try_into().ok()?);
            copied.take(extension as usize)?;
        }
        Some(copied)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next row into `values`: `Some(false)` at the end, `None` when this is no such data.
    pub(super) fn next(&mut self, values: &mut Vec<Option<&'a [u8]>>) -> Option<bool> {
        values.clear();
        if self.rest.is_empty() {
            return Some(false);
        }
        let fields = i16::from_be_bytes(self.take(2)?.try_into().ok()?);
        if fields == -1 {
            return Some(false);
        }
        for _ in 0..fields {
            let length = i32::from_be_bytes(self.take(4)?.try_into().ok()?);
            values.push(match usize::try_from(length) {
                Ok(length) => Some(self.take(length)?),
                Err(_) => None,
            });
        }
        Some(true)
    }
}
