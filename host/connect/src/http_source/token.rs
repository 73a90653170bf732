//! What senders have to show. It is compared by its digest, so that how long a comparison takes says nothing about it.

use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// A token that is never shown.
pub(super) struct Token([u8; 32]);

impl Token {
    pub fn new(value: &str) -> Self {
        Self(Sha256::digest(value).into())
    }

    /// Whether it is what an `Authorization` header shows.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, shown)) = authorization.and_then(|value| value.split_at_checked(7)) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return false;
        }
        let shown = Sha256::digest(shown.trim_ascii());
        // All bytes are looked at, whichever differ.
        let differ = self.0.iter().zip(shown).fold(0, |differ, (a, b)| differ | black_box(a ^ b));
        differ == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_admitted() {
        let token = Token::new("s3cret");
        let cases: [(Option<&[u8]>, bool); 9] = [
            (Some(b"Bearer s3cret"), true),
            (Some(b"bearer  s3cret "), true),
            (Some(b"Bearer s3cre"), false),
            (Some(b"Bearer s3cret2"), false),
            (Some(b"Bearer "), false),
            (Some(b"Basic s3cret"), false),
            (Some(b"s3cret"), false),
            (Some(b""), false),
            (None, false),
        ];
        for (shown, admitted) in cases {
            assert_eq!(token.admits(shown), admitted, "{shown:?}");
        }
    }
}
