//! The words and commands of the lexer.

use crate::math::lex::token::Kind;
use crate::math::tree::node::{Function, Relation};

/// The token of a command without its backslash. `None` for one that is not known.
pub(crate) fn command(name: &str) -> Option<Kind<'static>> {
    if let Some(function) = function(name) {
        return Some(Kind::Function(function));
    }
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "nicefrac" | "sfrac" | "flatfrac" => Kind::Fraction,
        "sqrt" => Kind::Root,
        "binom" | "dbinom" | "tbinom" => Kind::Binomial,
        "boxed" | "fbox" | "framebox" => Kind::Box,
        "sum" => Kind::Sum,
        "prod" => Kind::Product,
        "pi" => Kind::Pi,
        "infty" | "infin" => Kind::Infinity,
        "pm" => Kind::PlusMinus,
        "mp" => Kind::MinusPlus,
        "cdot" | "times" | "ast" | "cdotp" => Kind::Operator('*'),
        "div" => Kind::Operator('/'),
        "le" | "leq" | "leqslant" | "leqq" => Kind::Relation(Relation::LessEqual),
        "ge" | "geq" | "geqslant" | "geqq" => Kind::Relation(Relation::GreaterEqual),
        "lt" => Kind::Relation(Relation::Less),
        "gt" => Kind::Relation(Relation::Greater),
        "ne" | "neq" => Kind::Relation(Relation::NotEqual),
        "approx" | "simeq" | "approxeq" => Kind::Relation(Relation::Approximately),
        "in" => Kind::Relation(Relation::In),
        "equiv" => Kind::Relation(Relation::Other('≡')),
        "sim" => Kind::Relation(Relation::Other('∼')),
        "cong" => Kind::Relation(Relation::Other('≅')),
        "propto" => Kind::Relation(Relation::Other('∝')),
        "perp" => Kind::Relation(Relation::Other('⊥')),
        "parallel" => Kind::Relation(Relation::Other('∥')),
        "subset" | "subseteq" => Kind::Relation(Relation::Other('⊂')),
        "to" | "rightarrow" | "longrightarrow" | "mapsto" => Kind::Relation(Relation::Other('→')),
        "implies" | "Rightarrow" | "Longrightarrow" => Kind::Relation(Relation::Other('⇒')),
        "iff" | "Leftrightarrow" => Kind::Relation(Relation::Other('⇔')),
        "nmid" => Kind::Relation(Relation::Other('∤')),
        "notin" => Kind::Relation(Relation::Other('∉')),
        "cup" | "bigcup" => Kind::Union,
        "cap" | "bigcap" => Kind::Intersection,
        "setminus" | "backslash" => Kind::SetMinus,
        "emptyset" | "varnothing" => Kind::EmptySet,
        "lor" | "vee" => Kind::Operator('∨'),
        "land" | "wedge" => Kind::Operator('∧'),
        "colon" => Kind::Colon,
        "mid" | "vert" | "lvert" | "rvert" => {
            return Some(if name == "mid" { Kind::Mid } else { Kind::Operator('|') });
        }
        "lfloor" => Kind::Open('f'),
        "rfloor" => Kind::Close('f'),
        "lceil" => Kind::Open('c'),
        "rceil" => Kind::Close('c'),
        "lbrace" => Kind::Open('S'),
        "rbrace" => Kind::Close('S'),
        "lbrack" => Kind::Open('['),
        "rbrack" => Kind::Close(']'),
        "langle" | "lparen" => Kind::Open('('),
        "rangle" | "rparen" => Kind::Close(')'),
        "circ" | "degree" | "textcirc" | "textdegree" | "degrees" => Kind::Degree,
        "prime" => Kind::Operator('\''),
        "mod" | "bmod" => Kind::Mod,
        "pmod" => Kind::Modulo,
        "choose" => Kind::Choose,
        "over" => Kind::Over,
        "imath" => Kind::I,
        "jmath" => Kind::Name("j"),
        "int" => Kind::Integral,
        "lim" => Kind::Limit,
        "forall" => Kind::Prefix("forall"),
        "exists" => Kind::Prefix("exists"),
        "neg" | "lnot" => Kind::Prefix("neg"),
        "R" | "reals" => Kind::NumberSet('R'),
        "Z" => Kind::NumberSet('Z'),
        "N" => Kind::NumberSet('N'),
        "Q" => Kind::NumberSet('Q'),
        "C" => Kind::NumberSet('C'),
        "euro" | "texteuro" => Kind::Currency("eur"),
        "pounds" | "textsterling" => Kind::Currency("gbp"),
        "yen" => Kind::Currency("jpy"),
        "angle" | "measuredangle" => Kind::Prefix("angle"),
        "triangle" => Kind::Prefix("triangle"),
        "overline" | "bar" | "vec" | "hat" | "widehat" | "tilde" | "dot" | "overrightarrow"
        | "underline" | "widetilde" | "ddot" | "mathring" => Kind::Accent(accent(name)),
        _ => Kind::Name(symbol(name)?),
    })
}

/// One name for the accents that mean the same.
fn accent(name: &str) -> &'static str {
    match name {
        "vec" | "overrightarrow" => "vec",
        "hat" | "widehat" => "hat",
        "tilde" | "widetilde" => "tilde",
        "dot" => "dot",
        "ddot" => "ddot",
        "underline" => "under",
        _ => "bar",
    }
}

/// The name of a Greek letter or another letter-like command.
pub(crate) fn symbol(name: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
        "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
        "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "ell",
        "hbar", "partial", "nabla",
    ];
    let name = match name {
        "varepsilon" => "epsilon",
        "vartheta" => "theta",
        "varphi" => "phi",
        "varrho" => "rho",
        "varsigma" => "sigma",
        other => other,
    };
    NAMES.iter().find(|known| **known == name).copied()
}

/// A function by the name of its command or by its plain name.
pub(crate) fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "cot" | "ctg" | "cotg" => Function::Cot,
        "sec" => Function::Sec,
        "csc" | "cosec" => Function::Csc,
        "arcsin" | "asin" => Function::Asin,
        "arccos" | "acos" => Function::Acos,
        "arctan" | "atan" | "arctg" => Function::Atan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "ln" => Function::Ln,
        "log" | "lg" => Function::Log,
        "gcd" => Function::Gcd,
        "lcm" => Function::Lcm,
        "min" => Function::Min,
        "max" => Function::Max,
        "abs" => Function::Abs,
        "floor" => Function::Floor,
        "ceil" | "ceiling" => Function::Ceil,
        "exp" | "cis" | "det" | "dim" | "ker" | "deg" | "arg" | "Re" | "Im" | "Pr" | "tr"
        | "rank" | "arsinh" | "arcsinh" | "arcosh" | "arccosh" | "artanh" | "arctanh" => {
            Function::Named(name.into())
        }
        _ => return None,
    })
}

/// A word of plain text that is mathematics.
pub(crate) fn plain_word(word: &str) -> Option<Kind<'static>> {
    if let Some(function) = function(word) {
        return Some(Kind::Function(function));
    }
    Some(match word {
        "sqrt" => Kind::Root,
        "pi" | "Pi" => Kind::Pi,
        "infinity" | "Infinity" | "infty" | "inf" | "oo" => Kind::Infinity,
        "and" | "And" => Kind::And,
        "or" | "Or" => Kind::Or,
        "percent" | "pct" | "Percent" | "percentage" | "percents" => Kind::Percent,
        "degrees" | "degree" | "deg" => Kind::Degree,
        "union" | "cup" => Kind::Union,
        "mod" => Kind::Mod,
        "alpha" | "beta" | "gamma" | "delta" | "theta" | "lambda" | "phi" | "omega" | "sigma"
        | "rho" => Kind::Name(symbol(word)?),
        _ => return None,
    })
}

/// Commands that only change how things look; those with an argument leave it in place.
pub(crate) fn is_decoration(name: &str) -> bool {
    matches!(
        name,
        "left"
            | "right"
            | "big"
            | "Big"
            | "bigg"
            | "Bigg"
            | "bigl"
            | "bigr"
            | "Bigl"
            | "Bigr"
            | "biggl"
            | "biggr"
            | "Biggl"
            | "Biggr"
            | "middle"
            | "displaystyle"
            | "textstyle"
            | "limits"
            | "nolimits"
            | "quad"
            | "qquad"
            | "space"
            | "thinspace"
            | "enspace"
            | "hfill"
            | "nonumber"
            | "hline"
            | "mathop"
            | "displaylines"
            | "ensuremath"
            | "strut"
            | "allowbreak"
            | "enskip"
            | "medspace"
            | "thickspace"
            | "negthinspace"
            | "rm"
            | "bf"
            | "it"
            | "large"
            | "Large"
            | "small"
            | "normalsize"
            | "centering"
            | "mathrel"
            | "mathbin"
            | "mathord"
    )
}

/// Commands for a group of words, with the brace that opens it.
pub(crate) const TEXT_GROUPS: [&str; 6] =
    ["\\text{", "\\textbf{", "\\textit{", "\\textnormal{", "\\mathrm{", "\\mbox{"];

/// Commands whose argument is text.
pub(crate) fn is_text_command(name: &str) -> bool {
    matches!(
        name,
        "text"
            | "textbf"
            | "textit"
            | "textrm"
            | "textnormal"
            | "textsf"
            | "texttt"
            | "textup"
            | "mbox"
            | "hbox"
            | "emph"
    )
}

/// Commands that change the typeface of mathematics.
pub(crate) fn is_font_command(name: &str) -> bool {
    matches!(
        name,
        "mathrm"
            | "mathbf"
            | "mathit"
            | "mathsf"
            | "mathtt"
            | "boldsymbol"
            | "bm"
            | "operatorname"
            | "mathbb"
            | "mathcal"
            | "mathfrak"
            | "mathscr"
            | "pmb"
            | "Bbb"
    )
}

/// The token of a mathematical character outside ASCII.
pub(crate) fn character(c: char) -> Option<Kind<'static>> {
    Some(match c {
        '×' | '·' | '⋅' | '∙' | '∗' => Kind::Operator('*'),
        '÷' | '∕' | '⁄' => Kind::Operator('/'),
        '−' | '–' | '—' | '‐' | '‑' | '\u{fe63}' | '\u{ff0d}' => Kind::Operator('-'),
        '\u{ff0b}' => Kind::Operator('+'),
        '′' | '’' => Kind::Operator('\''),
        'π' => Kind::Pi,
        '∞' => Kind::Infinity,
        '≤' | '⩽' | '≦' => Kind::Relation(Relation::LessEqual),
        '≥' | '⩾' | '≧' => Kind::Relation(Relation::GreaterEqual),
        '≠' => Kind::Relation(Relation::NotEqual),
        '≈' | '≃' => Kind::Relation(Relation::Approximately),
        '\u{ff1d}' => Kind::Relation(Relation::Equal),
        '∈' => Kind::Relation(Relation::In),
        '≡' | '∼' | '≅' | '→' | '⇒' | '⇔' | '∉' | '⊂' | '⊥' | '∥' | '∝' | '∤' => {
            Kind::Relation(Relation::Other(c))
        }
        '±' => Kind::PlusMinus,
        '∓' => Kind::MinusPlus,
        '∪' => Kind::Union,
        '∩' => Kind::Intersection,
        '∖' => Kind::SetMinus,
        '∅' => Kind::EmptySet,
        '√' => Kind::Root,
        '∑' => Kind::Sum,
        '∏' => Kind::Product,
        '°' | '˚' | 'º' => Kind::Degree,
        '\u{ff05}' => Kind::Percent,
        'ℝ' => Kind::NumberSet('R'),
        'ℤ' => Kind::NumberSet('Z'),
        'ℕ' => Kind::NumberSet('N'),
        'ℚ' => Kind::NumberSet('Q'),
        'ℂ' => Kind::NumberSet('C'),
        '∠' => Kind::Prefix("angle"),
        '△' => Kind::Prefix("triangle"),
        '⌊' => Kind::Open('f'),
        '⌋' => Kind::Close('f'),
        '⌈' => Kind::Open('c'),
        '⌉' => Kind::Close('c'),
        '\u{ff08}' => Kind::Open('('),
        '\u{ff09}' => Kind::Close(')'),
        '\u{ff0c}' | '、' => Kind::Comma,
        '\u{ff1b}' => Kind::Semicolon,
        '\u{ff1a}' | '∶' => Kind::Colon,
        '€' => Kind::Currency("eur"),
        '¢' => Kind::Currency("cent"),
        '£' => Kind::Currency("gbp"),
        '¥' | '\u{ffe5}' => Kind::Currency("jpy"),
        '₹' => Kind::Currency("inr"),
        '∨' => Kind::Operator('∨'),
        '∧' => Kind::Operator('∧'),
        '∣' => Kind::Mid,
        'α' => Kind::Name("alpha"),
        'β' => Kind::Name("beta"),
        'γ' => Kind::Name("gamma"),
        'δ' => Kind::Name("delta"),
        'Δ' => Kind::Name("Delta"),
        'ε' => Kind::Name("epsilon"),
        'θ' => Kind::Name("theta"),
        'λ' => Kind::Name("lambda"),
        'μ' => Kind::Name("mu"),
        'ρ' => Kind::Name("rho"),
        'σ' => Kind::Name("sigma"),
        'τ' => Kind::Name("tau"),
        'φ' | 'ϕ' => Kind::Name("phi"),
        'ω' => Kind::Name("omega"),
        'Ω' => Kind::Name("Omega"),
        'ψ' => Kind::Name("psi"),
        'ξ' => Kind::Name("xi"),
        'η' => Kind::Name("eta"),
        'ζ' => Kind::Name("zeta"),
        'κ' => Kind::Name("kappa"),
        'ν' => Kind::Name("nu"),
        'χ' => Kind::Name("chi"),
        'Γ' => Kind::Name("Gamma"),
        'Σ' => Kind::Name("Sigma"),
        'Φ' => Kind::Name("Phi"),
        'Ψ' => Kind::Name("Psi"),
        'Λ' => Kind::Name("Lambda"),
        'Θ' => Kind::Name("Theta"),
        _ => return None,
    })
}
