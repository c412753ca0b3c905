//! Reading and comparing mathematical answers.
//!
//! Text becomes tokens ([`lexer`]), tokens become an answer ([`parser`]), the answer is brought into the form that
//! is compared ([`prepare`]), and two answers are compared ([`compare`]) down to expressions, which are equal when
//! they are the same number or the same function ([`identity`]).

mod fuel;

mod lexer;
mod lexer_command;
mod literal;
mod token;
mod units;
mod vocabulary;

mod node;
mod parser;
mod parser_bracket;
mod parser_expression;
mod parser_matrix;
mod parser_name;
mod parser_quantity;
mod parser_relation;
mod render;

mod answer;
mod calendar;
mod choice;
mod compare;
mod compare_collection;
mod compare_quantity;
mod phrase;
mod prepare;
mod real_set;
mod text;

mod ball;
mod exact;
mod identity;
mod modular;
mod numeric;
mod real;

pub(crate) use answer::{Answer, Readable, compare, constant_value, is_readable};
pub(crate) use choice::named_choice;
pub(crate) use fuel::{Fuel, Stop};
pub(crate) use vocabulary::vulgar_fraction;
