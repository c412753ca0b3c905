//! Commands and signs around a box.

/// Commands that set the text behind them in another way, and change nothing.
pub(super) const STYLES: [&str; 22] = [
    "mathbf",
    "boldsymbol",
    "bm",
    "mathrm",
    "text",
    "textbf",
    "textit",
    "mathit",
    "underline",
    "emph",
    "displaystyle",
    "textstyle",
    "large",
    "Large",
    "LARGE",
    "huge",
    "Huge",
    "bf",
    "color",
    "textcolor",
    "colorbox",
    "mbox",
];

/// Commands that separate the text in front of them from the text behind.
pub(super) const SEPARATORS: [&str; 34] = [
    "quad",
    "qquad",
    "Rightarrow",
    "rightarrow",
    "implies",
    "Longrightarrow",
    "longrightarrow",
    "iff",
    "Leftrightarrow",
    "therefore",
    "because",
    "to",
    "approx",
    "equiv",
    "hfill",
    "newline",
    "item",
    "par",
    "noindent",
    "dots",
    "ldots",
    "cdots",
    "blacksquare",
    "square",
    "Box",
    "qed",
    "checkmark",
    "hline",
    "pmod",
    "end",
    "tag",
    "label",
    "hspace",
    "vspace",
];

/// Commands that take the text in front of them or behind them into a larger formula.
pub(super) const OPERATORS: [&str; 18] = [
    "cdot", "times", "div", "pm", "mp", "ast", "star", "le", "leq", "ge", "geq", "lt", "gt", "ne",
    "neq", "ll", "gg", "sqrt",
];

/// Signs that do the same.
pub(super) const SIGNS: &str = "+-*/^<×÷±√·−≠≤≥∛∜";
