//! Protobuf's wire format, as far as a check needs it. Reading borrows: of some fifty fields of a `CheckRequest` five are of
//! use, and to build all of them as messages takes longer than the decision. Writing knows its length beforehand, so that an
//! answer is one piece of memory.
//!
//! What is read is what generated code would read (a test compares them): fields come in any order, a message that comes
//! twice is one with the fields of both, of a single field the last value counts.

use prost::{decode_length_delimiter, encode_length_delimiter, length_delimiter_len};

/// A message that ends in the middle, or has a field of another type than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The value of one field.
pub(crate) enum Value<'a> {
    /// Text, bytes or a message.
    Piece(&'a [u8]),
    /// A number: nothing that we read is one.
    Number,
}

impl<'a> Value<'a> {
    pub(crate) const fn piece(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Piece(bytes) => Ok(bytes),
            Self::Number => Err(Malformed),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.piece()?).map_err(|_| Malformed)
    }
}

/// Calls `field` with the number and the value of each field of a message.
pub(crate) fn fields<'a>(
    mut message: &'a [u8],
    mut field: impl FnMut(usize, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => {
                varint(&mut message)?;
                Value::Number
            }
            1 => number(&mut message, 8)?,
            2 => {
                let length = varint(&mut message)?;
                Value::Piece(take(&mut message, length)?)
            }
            5 => number(&mut message, 4)?,
            _ => return Err(Malformed), // groups: no message of Envoy's has one
        };
        match key >> 3 {
            0 => return Err(Malformed),
            own => field(own, value)?,
        }
    }
    Ok(())
}

fn varint(message: &mut &[u8]) -> Result<usize, Malformed> {
    decode_length_delimiter(message).map_err(|_| Malformed)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = message.split_at_checked(length).ok_or(Malformed)?;
    *message = rest;
    Ok(taken)
}

fn number<'a>(message: &mut &[u8], length: usize) -> Result<Value<'a>, Malformed> {
    take(message, length)?;
    Ok(Value::Number)
}

/// The length of a field with `length` bytes in it. Its number is below 16.
pub(crate) fn field_len(length: usize) -> usize {
    1 + length_delimiter_len(length) + length
}

/// The length of a field with a number in it. Its own number is below 16.
pub(crate) fn number_len(value: u16) -> usize {
    1 + length_delimiter_len(value.into())
}

/// Begins a field of `length` bytes; they follow.
pub(crate) fn begin(out: &mut Vec<u8>, field: u8, length: usize) {
    out.push(field << 3 | 2);
    put(out, length);
}

/// A field of text.
pub(crate) fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    begin(out, field, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A field with a number.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u8, value: u16) {
    out.push(field << 3);
    put(out, value.into());
}

fn put(out: &mut Vec<u8>, value: usize) {
    // It fails where there is no room, and a vector makes room.
    let _ = encode_length_delimiter(value, out);
}
