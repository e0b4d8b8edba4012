use proptest::prelude::*;

use super::*;
use crate::testing::encode;

fn decode(token: &str) -> Result<UnverifiedToken<'_>, Rule> {
    UnverifiedToken::decode(token, Payload::Claims)
}

#[test]
fn the_signed_part_is_the_text_before_the_last_dot() {
    let token = format!(
        "{}.{}.{}",
        encode(r#"{"alg":"RS256"}"#),
        encode("{}"),
        encode([1, 2, 3])
    );
    let decoded = decode(&token).unwrap();
    assert_eq!(decoded.signed, token.rsplit_once('.').unwrap().0.as_bytes());
    assert_eq!(decoded.signature(), [1, 2, 3]);
    assert_eq!(decoded.header().unwrap().alg, "RS256");
    assert!(decoded.claims().is_ok());
}

#[test]
fn an_empty_payload_is_legal_only_where_claims_are_not_expected() {
    let token = format!("{}..{}", encode(r#"{"alg":"RS256"}"#), encode([1]));
    assert_eq!(decode(&token).err(), Some(Rule::Parts));
    assert!(
        UnverifiedToken::decode(&token, Payload::Any)
            .unwrap()
            .into_payload()
            .is_empty()
    );
}

#[test]
fn the_longest_token_is_decoded_and_one_byte_more_is_not() {
    let (header, signature) = (encode(r#"{"alg":"RS256"}"#), encode([1; 256]));
    let room = MAX_TOKEN_BYTES - header.len() - signature.len() - 2;
    let token = |length: usize| format!("{header}.{}.{signature}", "A".repeat(length));
    let longest = (room - 4..=room).rev().find(|length| length % 4 != 1).unwrap();
    assert!(decode(&token(longest)).is_ok());
    assert_eq!(decode(&token(room + 1)).err(), Some(Rule::Size));
}

#[test]
fn escapes_in_the_header_are_compared_as_what_they_mean() {
    let header = |text: &str| {
        let token = format!("{}.{}.{}", encode(text), encode("{}"), encode([1]));
        let decoded = decode(&token).unwrap();
        decoded.header().map(|header| header.alg.into_owned())
    };
    assert_eq!(header(r#"{"\u0061lg":"R\u0053256"}"#), Ok("RS256".to_owned()));
    assert_eq!(
        header(r#"{"alg":"RS256","\u0063rit":[]}"#),
        Err(Rule::HeaderMember)
    );
    assert_eq!(
        header(r#"{"alg":"RS256","\u0061lg":"RS256"}"#),
        Err(Rule::HeaderDuplicate)
    );
}

/// Header, payload and signature as decoded.
fn parts<'d>(token: &'d UnverifiedToken<'_>) -> [&'d [u8]; 3] {
    let (front, signature) = token.decoded.split_at(token.signature_at);
    let (header, payload) = front.split_at(token.payload_at);
    [header, payload, signature]
}

proptest! {
    #[test]
    fn never_panics_on_text(token in ".{0,300}") {
        if let Ok(decoded) = decode(&token) {
            let _ = (decoded.header(), decoded.claims());
        }
    }

    #[test]
    fn never_panics_on_three_parts(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 3)) {
        let token = parts.iter().map(encode).collect::<Vec<_>>().join(".");
        let decoded = decode(&token).unwrap();
        let _ = (decoded.header(), decoded.claims());
    }

    /// Whatever decodes has exactly one spelling: encoding it again gives the token back.
    #[test]
    fn every_decoded_token_is_canonical(token in "[A-Za-z0-9_-]{1,12}\\.[A-Za-z0-9_-]{1,12}\\.[A-Za-z0-9_-]{1,12}") {
        if let Ok(decoded) = decode(&token) {
            let again = parts(&decoded).map(encode).join(".");
            prop_assert_eq!(again, token);
        }
    }

    /// One changed character of a token either refuses it or changes what it decodes to.
    #[test]
    fn no_two_spellings(at in any::<proptest::sample::Index>(), replacement in proptest::char::range(' ', '~')) {
        let token = format!("{}.{}.{}", encode(r#"{"alg":"RS256"}"#), encode(r#"{"a":1}"#), encode([7; 32]));
        let mut characters: Vec<char> = token.chars().collect();
        let at = at.index(characters.len());
        prop_assume!(characters[at] != replacement);
        characters[at] = replacement;
        let changed: String = characters.into_iter().collect();
        let original = decode(&token).unwrap();
        if let Ok(decoded) = decode(&changed) {
            prop_assert!(parts(&decoded) != parts(&original));
        }
    }
}
