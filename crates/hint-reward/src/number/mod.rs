//! Numbers that a text states, in digits and in words.

mod mention;
mod role;
mod scan;
mod value;
mod word;

pub use mention::{NumberMention, NumberRole, is_number_word, numbers_in};
pub use value::ExactNumber;
pub(crate) use word::cardinal;
