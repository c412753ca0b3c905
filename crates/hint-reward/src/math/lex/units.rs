//! Units of measurement and of counting.

use std::collections::HashMap;
use std::sync::LazyLock;

use num_bigint::BigInt;

use crate::math::tree::node::Rational;

/// Kind of a unit, and its size as a fraction of the base unit of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    kind: String,
    numerator: i64,
    denominator: i64,
}

/// Kind, spellings (the first is canonical), numerator and denominator of the size.
type Row = (&'static str, &'static [&'static str], i64, i64);

const UNITS: &[Row] = &[
    ("length", &["m", "meter", "meters", "metre", "metres"], 1, 1),
    ("length", &["km", "kilometer", "kilometers", "kilometre", "kilometres"], 1000, 1),
    ("length", &["cm", "centimeter", "centimeters", "centimetre", "centimetres"], 1, 100),
    ("length", &["mm", "millimeter", "millimeters", "millimetre", "millimetres"], 1, 1000),
    ("length", &["nm", "nanometer", "nanometers"], 1, 1_000_000_000),
    ("length", &["in", "inch", "inches"], 254, 10_000),
    ("length", &["ft", "foot", "feet"], 3048, 10_000),
    ("length", &["yd", "yard", "yards"], 9144, 10_000),
    ("length", &["mi", "mile", "miles"], 1_609_344, 1000),
    ("mass", &["g", "gram", "grams"], 1, 1),
    ("mass", &["kg", "kilogram", "kilograms"], 1000, 1),
    ("mass", &["mg", "milligram", "milligrams"], 1, 1000),
    ("mass", &["t", "ton", "tons", "tonne", "tonnes"], 1_000_000, 1),
    ("mass", &["lb", "lbs", "pound", "pounds"], 45_359_237, 100_000),
    ("mass", &["oz", "ounce", "ounces"], 28_349_523_125, 1_000_000_000),
    ("time", &["s", "sec", "second", "seconds"], 1, 1),
    ("time", &["ms", "millisecond", "milliseconds"], 1, 1000),
    ("time", &["min", "mins", "minute", "minutes"], 60, 1),
    ("time", &["h", "hr", "hrs", "hour", "hours"], 3600, 1),
    ("time", &["day", "days"], 86_400, 1),
    ("time", &["week", "weeks"], 604_800, 1),
    ("month", &["month", "months"], 1, 1),
    ("month", &["year", "years", "yr", "yrs"], 12, 1),
    ("volume", &["l", "L", "liter", "liters", "litre", "litres"], 1, 1),
    ("volume", &["ml", "mL", "milliliter", "milliliters", "millilitre", "millilitres"], 1, 1000),
    ("volume", &["gal", "gallon", "gallons"], 3_785_411_784, 1_000_000_000),
    ("money-usd", &["usd", "dollar", "dollars"], 1, 1),
    ("money-usd", &["cent", "cents", "¢"], 1, 100),
    ("money-eur", &["eur", "euro", "euros"], 1, 1),
    ("money-gbp", &["gbp"], 1, 1),
    ("money-gbp", &["pence"], 1, 100),
    ("money-jpy", &["jpy", "yen"], 1, 1),
    ("money-cny", &["cny", "yuan", "rmb"], 1, 1),
    ("money-inr", &["inr", "rupee", "rupees"], 1, 1),
    ("angle", &["degree", "degrees", "deg"], 1, 1),
    ("radian", &["rad", "radian", "radians"], 1, 1),
    ("force", &["N", "newton", "newtons"], 1, 1),
    ("energy", &["J", "joule", "joules"], 1, 1),
    ("energy", &["Nm"], 1, 1),
    ("energy", &["kJ", "kilojoule", "kilojoules"], 1000, 1),
    ("power", &["W", "watt", "watts"], 1, 1),
    ("frequency", &["Hz", "hertz"], 1, 1),
    ("voltage", &["V", "volt", "volts"], 1, 1),
    ("temperature", &["K", "kelvin", "kelvins"], 1, 1),
    ("data", &["byte", "bytes"], 1, 1),
    ("length", &["μm", "micrometer", "micrometers", "micron", "microns"], 1, 1_000_000),
    ("length", &["dm", "decimeter", "decimeters"], 1, 10),
    ("time", &["μs", "microsecond", "microseconds"], 1, 1_000_000),
    ("mass", &["μg", "microgram", "micrograms"], 1, 1_000_000),
    ("current", &["A", "ampere", "amperes", "amp", "amps"], 1, 1),
    ("current", &["mA", "milliampere", "milliamperes"], 1, 1000),
    ("voltage", &["mV", "millivolt", "millivolts"], 1, 1000),
    ("voltage", &["kV", "kilovolt", "kilovolts"], 1000, 1),
    ("power", &["kW", "kilowatt", "kilowatts"], 1000, 1),
    ("power", &["MW", "megawatt", "megawatts"], 1_000_000, 1),
    ("energy", &["kWh"], 3_600_000, 1),
    ("energy", &["MJ", "megajoule", "megajoules"], 1_000_000, 1),
    ("frequency", &["kHz", "kilohertz"], 1000, 1),
    ("frequency", &["MHz", "megahertz"], 1_000_000, 1),
    ("force", &["kN", "kilonewton", "kilonewtons"], 1000, 1),
    ("pressure", &["Pa", "pascal", "pascals"], 1, 1),
    ("pressure", &["kPa", "kilopascal", "kilopascals"], 1000, 1),
    ("resistance", &["Ω", "ohm", "ohms"], 1, 1),
    ("resistance", &["kΩ", "kilohm", "kilohms"], 1000, 1),
    ("amount", &["mol", "mole", "moles"], 1, 1),
    ("volume", &["cc"], 1, 1000),
    ("volume", &["cl", "cL", "centiliter", "centiliters"], 1, 100),
    ("area", &["ha", "hectare", "hectares"], 10_000, 1),
];

/// The row of each spelling; of two with the same one, the first.
static SPELLINGS: LazyLock<HashMap<&'static str, &'static Row>> = LazyLock::new(|| {
    let spellings = UNITS.iter().flat_map(|row| row.1.iter().map(move |spelling| (*spelling, row)));
    spellings.rev().collect()
});

/// Whether a run of at least two letters behind a number is a unit or the start of one.
pub(crate) fn is_unit(word: &str) -> bool {
    word.len() > 1 && (matches!(word, "sq" | "cu" | "mph" | "kmh" | "kph") || row(word).is_some())
}

/// Whether a single letter names a unit.
pub(crate) fn is_unit_letter(name: &str) -> bool {
    name.len() == 1 && row(name).is_some()
}

/// Whether a text has units in it and nothing else: `m/s^2`.
pub(crate) fn is_unit_expression(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '^' | ' ' | '~' | '-');
    text.contains(['/', '^'])
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && words.all(|word| row(word).is_some())
}

/// Kind and size of a unit by its spelling, where capitals matter (`mm` and `Mm`). Then in small letters for words of
/// three or more, else by a prefix: `ns`, `megahertz`.
fn row(word: &str) -> Option<(&'static str, i64, i64)> {
    let exact = |word: &str| SPELLINGS.get(word);
    let lowered = || if word.len() > 2 { exact(&word.to_ascii_lowercase()) } else { None };
    match exact(word).or_else(lowered) {
        Some(row) => Some((row.0, row.2, row.3)),
        None => prefixed(word),
    }
}

/// Prefixes by letter and by name, with the size as a fraction. A letter of theirs may start other words, so only
/// these units take them.
fn prefixed(word: &str) -> Option<(&'static str, i64, i64)> {
    const PREFIXES: [(&str, &str, i64, i64); 9] = [
        ("p", "pico", 1, 1_000_000_000_000),
        ("n", "nano", 1, 1_000_000_000),
        ("μ", "micro", 1, 1_000_000),
        ("m", "milli", 1, 1000),
        ("c", "centi", 1, 100),
        ("d", "deci", 1, 10),
        ("k", "kilo", 1000, 1),
        ("M", "mega", 1_000_000, 1),
        ("G", "giga", 1_000_000_000, 1),
    ];
    const LETTERS: [&str; 14] =
        ["m", "g", "s", "L", "l", "N", "J", "W", "V", "A", "Hz", "Pa", "Ω", "mol"];
    const NAMES: [&str; 15] = [
        "meter", "metre", "gram", "second", "liter", "litre", "newton", "joule", "watt", "volt",
        "ampere", "hertz", "pascal", "ohm", "mole",
    ];
    // `pm` is half of the day, `Ms` a title.
    if matches!(word, "pm" | "am" | "Ms" | "pg") {
        return None;
    }
    let lowered = word.to_ascii_lowercase();
    let (base, up, down) = PREFIXES.into_iter().find_map(|(letter, name, up, down)| {
        let symbol = word.strip_prefix(letter).filter(|base| LETTERS.contains(base));
        let spelled = lowered.strip_prefix(name).map(|base| base.strip_suffix('s').unwrap_or(base));
        let spelled = spelled.and_then(|base| NAMES.into_iter().find(|known| *known == base));
        Some((symbol.or(spelled)?, up, down))
    })?;
    let (kind, _, numerator, denominator) = SPELLINGS.get(base)?;
    Some((kind, numerator.checked_mul(up)?, denominator.checked_mul(down)?))
}

impl Unit {
    /// Reads a unit as written: words with optional powers, products and at most one quotient.
    ///
    /// Words that are not in the table are units of their own kind: `apples` differs from `pears`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut unit = Self { kind: String::new(), numerator: 1, denominator: 1 };
        let spelled = text
            .replace("mph", "mile/hour")
            .replace("kmh", "km/hour")
            .replace("kph", "km/hour")
            .replace(" per ", "/")
            .replace(['·', '*', '.', '~'], " ");
        let mut kinds: Vec<(String, i32)> = Vec::new();
        for (index, part) in spelled.split('/').enumerate() {
            let sign = if index == 0 { 1 } else { -1 };
            let mut square = 1;
            for word in part.split_whitespace() {
                match word {
                    "square" | "sq" => square = 2,
                    "cubic" | "cu" => square = 3,
                    "of" | "the" | "a" => {}
                    _ => {
                        unit.word(word, sign, square, &mut kinds);
                        square = 1;
                    }
                }
            }
        }
        kinds.sort();
        let mut merged: Vec<(String, i32)> = Vec::new();
        for (kind, power) in kinds {
            match merged.last_mut() {
                Some(last) if last.0 == kind => last.1 += power,
                _ => merged.push((kind, power)),
            }
        }
        for (kind, power) in merged.iter().filter(|entry| entry.1 != 0) {
            unit.kind.extend([kind.as_str(), "^", &power.to_string(), " "]);
        }
        unit
    }

    fn word(&mut self, word: &str, sign: i32, power: i32, kinds: &mut Vec<(String, i32)>) {
        let (name, written) = word.split_once('^').unwrap_or((word, "1"));
        let power_written = written.trim_matches(['{', '}', '(', ')']).parse::<i32>().ok();
        // A power that is not read, or none of a unit, makes a kind of its own.
        let Some(written) = power_written.filter(|power| power.abs() <= 9) else {
            kinds.push((word.to_owned(), sign));
            return;
        };
        let power = sign * power * written;
        if let Some((kind, numerator, denominator)) = row(name) {
            let (up, down) =
                if power < 0 { (denominator, numerator) } else { (numerator, denominator) };
            for _ in 0..power.unsigned_abs() {
                match (self.numerator.checked_mul(up), self.denominator.checked_mul(down)) {
                    (Some(numerator), Some(denominator)) => {
                        (self.numerator, self.denominator) = (numerator, denominator);
                    }
                    // A size beyond 64 bits: a kind of its own.
                    _ => kinds.push((word.to_owned(), 1)),
                }
            }
            match kind {
                // A litre is a thousandth of a cubic meter.
                "volume" => {
                    kinds.push(("length".to_owned(), 3 * power));
                    let (up, down) = if power < 0 { (1000, 1) } else { (1, 1000) };
                    for _ in 0..power.unsigned_abs() {
                        self.numerator = self.numerator.saturating_mul(up);
                        self.denominator = self.denominator.saturating_mul(down);
                    }
                }
                // In kilograms, meters and seconds, where the base of mass is the gram.
                "force" | "energy" | "power" | "pressure" => {
                    let (length, time) = match kind {
                        "force" => (1, -2),
                        "energy" => (2, -2),
                        "power" => (2, -3),
                        _ => (-1, -2),
                    };
                    for (kind, times) in [("mass", 1), ("length", length), ("time", time)] {
                        kinds.push((kind.to_owned(), times * power));
                    }
                    let (up, down) = if power < 0 { (1, 1000) } else { (1000, 1) };
                    for _ in 0..power.unsigned_abs() {
                        self.numerator = self.numerator.saturating_mul(up);
                        self.denominator = self.denominator.saturating_mul(down);
                    }
                }
                "area" => kinds.push(("length".to_owned(), 2 * power)),
                _ => kinds.push((kind.to_owned(), power)),
            }
        } else {
            let name = match name.to_lowercase().as_str() {
                "celsius" => "c".to_owned(),
                "fahrenheit" => "f".to_owned(),
                other => other.to_owned(),
            };
            let singular = name.strip_suffix('s').filter(|stem| stem.len() > 2).unwrap_or(&name);
            kinds.push((singular.to_owned(), power));
        }
    }

    /// Whether two units measure the same kind of thing.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        self.kind == other.kind
    }

    /// For an angle, whether it is in degrees; `None` for anything else.
    pub(crate) fn is_angle(&self) -> Option<bool> {
        match self.kind.as_str() {
            "angle^1 " => Some(true),
            "radian^1 " => Some(false),
            _ => None,
        }
    }

    /// Size in the base unit of the kind.
    pub(crate) fn size(&self) -> Rational {
        Rational::new(BigInt::from(self.numerator), BigInt::from(self.denominator))
    }
}
