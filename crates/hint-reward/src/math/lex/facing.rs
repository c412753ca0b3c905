//! Square brackets that face outwards, `]0, 1[`.

use crate::math::lex::token::{Kind, Token};

/// Turns square brackets that face outwards, `]0, 1[`, into the round ones they mean. Brackets that pair as they stand
/// are left alone.
pub(crate) fn face_inwards(tokens: &mut [Token<'_>]) {
    let is_square = |kind: &Kind<'_>| matches!(kind, Kind::Open('[') | Kind::Close('['));
    let mut depth = 0_i32;
    let mut squares = 0;
    let mut pairs = true;
    for token in tokens.iter() {
        match token.kind {
            Kind::Open('(' | '[') => depth += 1,
            Kind::Close('(' | '[') => depth -= 1,
            _ => {}
        }
        pairs &= depth >= 0;
        squares += usize::from(is_square(&token.kind));
    }
    if (pairs && depth == 0) || squares % 2 == 1 {
        return;
    }
    let brackets = tokens.iter_mut().filter(|token| is_square(&token.kind));
    for (index, token) in brackets.enumerate() {
        let opens = index % 2 == 0;
        let faces_in = opens == matches!(token.kind, Kind::Open(_));
        let bracket = if faces_in { '[' } else { '(' };
        token.kind = if opens { Kind::Open(bracket) } else { Kind::Close(bracket) };
    }
}
