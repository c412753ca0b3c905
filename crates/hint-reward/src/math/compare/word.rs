//! Products whose order counts: words of matrices or of the elements of a group.
//!
//! Letters stand for matrices with two rows in a finite field, whose products do not commute. A formula is read so only where it
//! shows that it means such products: `PDP^{-1}`, `AB − BA`, bold capitals side by side.

/// The prime of the field.
const PRIME: u64 = 2_147_483_647;

/// Bytes beyond which a text is no word.
const MAX_BYTES: usize = 120;

/// Power beyond which one is not computed.
const MAX_POWER: i64 = 12;

/// Depth of brackets beyond which a text is no word.
const MAX_DEPTH: usize = 8;

/// Letters of physical dimensions, such as `MLT^{-2}`: these commute.
const DIMENSIONS: [&str; 6] = ["M", "L", "T", "I", "K", "N"];

/// Whether two texts are the same product, in its order. `None` if neither has products whose order counts.
pub(crate) fn same_products(a: &str, b: &str) -> Option<bool> {
    let may_be = |text: &str| {
        text.len() <= MAX_BYTES
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
            && !text.contains(['/', ',', '<', '>', '|', '_', '!', '.', ':', ';', '&'])
    };
    if !may_be(a) && !may_be(b) {
        return None;
    }
    let (first, second) = (Word::read(value_of(a)), Word::read(value_of(b)));
    let is_ordered = |word: &Option<Word>| word.as_ref().is_some_and(Word::is_ordered);
    if !is_ordered(&first) && !is_ordered(&second) {
        return None;
    }
    match (first, second) {
        (Some(first), Some(second)) => {
            let is_formula = |word: &Word| word.has_inverse || word.is_short_capitals();
            let are_formulas = first.has_inverse
                || second.has_inverse
                || (is_formula(&first) && is_formula(&second));
            are_formulas.then_some(first.value == second.value)
        }
        (Some(word), None) | (None, Some(word)) => word.has_inverse.then_some(false),
        (None, None) => None,
    }
}

/// The text behind the name of a value: `X = A^{-1}B`.
fn value_of(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value)) if name.trim_matches([' ', '$']).len() == 1 => value,
        _ => text,
    }
}

type Matrix = [u64; 4];

const ONE: Matrix = [1, 0, 0, 1];

fn product(a: Matrix, b: Matrix) -> Matrix {
    let dot = |row: usize, column: usize| {
        (a[2 * row] * b[column] % PRIME + a[2 * row + 1] * b[2 + column] % PRIME) % PRIME
    };
    [dot(0, 0), dot(0, 1), dot(1, 0), dot(1, 1)]
}

fn sum(a: Matrix, b: Matrix) -> Matrix {
    std::array::from_fn(|at| (a[at] + b[at]) % PRIME)
}

fn scaled(a: Matrix, factor: u64) -> Matrix {
    a.map(|entry| entry * (factor % PRIME) % PRIME)
}

fn inverse(a: Matrix) -> Option<Matrix> {
    let minus = |value: u64| (PRIME - value) % PRIME;
    let determinant = (a[0] * a[3] % PRIME + minus(a[1] * a[2] % PRIME)) % PRIME;
    if determinant == 0 {
        return None;
    }
    // By Fermat.
    let (mut reciprocal, mut base, mut left) = (1, determinant, PRIME - 2);
    while left > 0 {
        if left & 1 == 1 {
            reciprocal = reciprocal * base % PRIME;
        }
        base = base * base % PRIME;
        left >>= 1;
    }
    Some(scaled([a[3], minus(a[1]), minus(a[2]), a[0]], reciprocal))
}

/// A formula of letters, sums, products and powers.
struct Word {
    value: Matrix,
    /// The letters of each product, in their order.
    products: Vec<Vec<String>>,
    /// Whether a letter has the exponent −1 or T.
    has_inverse: bool,
    /// Whether a capital is bold.
    is_bold: bool,
}

impl Word {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('$');
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut reader = Reader {
            rest: text,
            products: Vec::new(),
            has_inverse: false,
            is_bold: false,
            depth: 0,
        };
        let value = reader.sum()?;
        let Reader { rest, products, has_inverse, is_bold, .. } = reader;
        rest.trim_start().is_empty().then_some(Self { value, products, has_inverse, is_bold })
    }

    /// Whether all letters are capitals, and few in each product: no word of a language.
    fn is_short_capitals(&self) -> bool {
        let is_capital = |letter: &String| letter.bytes().all(|byte| byte.is_ascii_uppercase());
        self.products.iter().all(|letters| letters.len() <= 3 && letters.iter().all(is_capital))
    }

    /// Whether the formula shows that the order of its factors counts.
    fn is_ordered(&self) -> bool {
        let is_capital = |letter: &String| letter.bytes().all(|byte| byte.is_ascii_uppercase());
        let all_capitals = self.products.iter().flatten().all(is_capital);
        let is_varied = |letters: &[String]| letters.iter().any(|letter| *letter != letters[0]);
        // `ABA`, not `AAB`.
        let comes_back = |letters: &Vec<String>| {
            let mut runs = letters.clone();
            runs.dedup();
            let mut names = runs.clone();
            names.sort_unstable();
            names.dedup();
            names.len() < runs.len()
        };
        let is_dimension = self.products.iter().flatten().all(|l| DIMENSIONS.contains(&&**l));
        let has_both_orders = self.products.iter().enumerate().any(|(at, letters)| {
            self.products[..at].iter().any(|other| {
                let (mut first, mut second) = (letters.clone(), other.clone());
                first.sort_unstable();
                second.sort_unstable();
                first == second && letters != other
            })
        });
        let varied = self.products.iter().any(|letters| is_varied(letters));
        (self.products.iter().any(comes_back) && (self.has_inverse || self.is_short_capitals()))
            || (all_capitals
                && varied
                && (has_both_orders || self.is_bold || (self.has_inverse && !is_dimension)))
    }
}

struct Reader<'t> {
    rest: &'t str,
    products: Vec<Vec<String>>,
    has_inverse: bool,
    is_bold: bool,
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self, sign: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(sign) {
            Some(behind) => {
                self.rest = behind;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Matrix> {
        let mut total = [0; 4];
        let mut is_first = true;
        loop {
            let factor = if self.take("-") || self.take("−") {
                PRIME - 1
            } else if self.take("+") || is_first {
                1
            } else {
                return Some(total);
            };
            is_first = false;
            total = sum(total, scaled(self.product()?, factor));
        }
    }

    fn product(&mut self) -> Option<Matrix> {
        let mut total: Option<Matrix> = None;
        let mut letters = Vec::new();
        loop {
            let is_joined = self.take("\\cdot") || self.take("\\,");
            if self.product_ends() {
                if is_joined {
                    return None;
                }
                break;
            }
            let factor = self.factor(&mut letters)?;
            total = Some(total.map_or(factor, |total| product(total, factor)));
        }
        if !letters.is_empty() {
            self.products.push(letters);
        }
        total
    }

    /// Whether no further factor follows.
    fn product_ends(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty() || self.rest.starts_with([')', '+', '-', '−'])
    }

    fn factor(&mut self, letters: &mut Vec<String>) -> Option<Matrix> {
        let base = match self.rest.chars().next()? {
            '(' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return None;
                }
                self.rest = &self.rest[1..];
                let inner = self.sum()?;
                self.depth -= 1;
                if !self.take(")") {
                    return None;
                }
                inner
            }
            '0'..='9' => scaled(ONE, self.number()?.unsigned_abs()),
            'A'..='Z' | 'a'..='z' | '\\' => {
                let letter = self.letter()?;
                let value = of_letter(&letter);
                letters.push(letter);
                value
            }
            _ => return None,
        };
        if !self.take("^") {
            return Some(base);
        }
        let grouped = self.take("{");
        let value = if self.take("T") || self.take("\\top") {
            self.has_inverse = true;
            [base[0], base[2], base[1], base[3]]
        } else {
            let negative = self.take("-") || self.take("−");
            let power = self.number()?;
            self.has_inverse |= negative && power == 1;
            let base = if negative { inverse(base)? } else { base };
            (0..power).fold(ONE, |value, _| product(value, base))
        };
        (!grouped || self.take("}")).then_some(value)
    }

    fn number(&mut self) -> Option<i64> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        (0..=MAX_POWER).contains(&number).then_some(number)
    }

    /// A letter, bold or not, or the name of a Greek one.
    fn letter(&mut self) -> Option<String> {
        for font in ["\\mathbf{", "\\boldsymbol{", "\\bm{"] {
            if let Some(behind) = self.rest.strip_prefix(font) {
                let letter = behind.get(..1)?.to_owned();
                self.rest = behind.get(1..)?.strip_prefix('}')?;
                self.is_bold |= letter.bytes().all(|byte| byte.is_ascii_uppercase());
                return letter.bytes().all(|b| b.is_ascii_alphabetic()).then_some(letter);
            }
        }
        let length = match self.rest.strip_prefix('\\') {
            Some(command) => {
                let name: &str = command.split(|c: char| !c.is_ascii_alphabetic()).next()?;
                let is_greek = ["alpha", "beta", "gamma", "sigma", "tau", "rho", "pi"];
                if !is_greek.contains(&name) {
                    return None;
                }
                name.len() + 1
            }
            None => 1,
        };
        let letter = self.rest[..length].to_owned();
        self.rest = &self.rest[length..];
        Some(letter)
    }
}

/// The matrix of a letter.
fn of_letter(letter: &str) -> Matrix {
    let entry = |salt: u64| {
        let mut hash = salt;
        for byte in letter.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            hash ^= hash >> 29;
        }
        hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
    };
    [entry(3), entry(5), entry(7), entry(11)].map(|entry| entry % PRIME)
}
