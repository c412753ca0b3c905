//! Whether a box holds the whole statement of its formula, or a part: `x = \boxed{18}`, not `2\cdot\boxed{18}`.

mod before;
mod behind;
mod commands;

use std::ops::Range;

use self::before::opened;
use self::behind::closed;
pub(super) use self::behind::power_of_unit;
use crate::extract::formula::math_segments;

/// The `\%` or unit behind the last box, which belongs to its value. `None` if the boxes are a part of a larger formula.
pub(crate) fn attached(text: &str, span: &Range<usize>) -> Option<String> {
    let paragraph = paragraph(text, span);
    let (start, end) = (span.start - paragraph.start, span.end - paragraph.start);
    let text = &text[paragraph];
    let segments = math_segments(text);
    let in_formula =
        |at: usize| segments.iter().any(|(_, formula)| formula.start < at && at < formula.end);
    let groups = opened(&text[..start], in_formula(start))?;
    closed(&text[end..], groups, in_formula(end))
}

/// Whether a command sets text or ends a formula, and changes no value.
pub(super) fn is_layout(command: &str) -> bool {
    matches!(command, "left" | "right" | "big" | "Big" | "circ" | "degree")
        || commands::STYLES.contains(&command)
        || commands::SEPARATORS.contains(&command)
}

/// The lines around a place, up to empty ones.
fn paragraph(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind("\n\n").map_or(0, |at| at + 2);
    let end = text[span.end..].find("\n\n").map_or(text.len(), |at| span.end + at);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::boxed::BoxedAnswer;

    fn suffix(text: &str) -> Option<String> {
        let boxes = BoxedAnswer::all(text);
        attached(text, &boxes.last()?.span)
    }

    #[test]
    fn a_box_is_taken_where_it_is_the_whole_of_its_formula() {
        for text in [
            r"\boxed{9}",
            r"Hence \boxed{9}.",
            r"$x = \boxed{9}$, as wanted",
            r"\[ 3\cdot 3 = \boxed{9}. \]",
            "$$\n\\begin{aligned} x &= 3\\cdot3 \\\\ &= \\boxed{9} \\end{aligned}\n$$",
            r"$\therefore\ \boxed{9}$",
            r"**\boxed{9}**",
            r"- \boxed{9}",
            r"$\color{red}{\boxed{9}}$",
            r"$\mathbf{\boxed{9}}$",
            r"$2^5\equiv\boxed{9}\pmod{23}$",
            r"$\left(\boxed{9}\right)$",
            r"The answer is \boxed{9}!",
            r"答案是\boxed{9}。",
            r"$\text{Answer: }\boxed{9}$",
            r"\boxed{9} marbles are left",
            r"$\boxed{9} = 3^2$",
            r"In 2 steps we get $\boxed{9}$.",
            r"the $\boxed{9}$th term",
            r"| total | \boxed{9} |",
            r"\boxed{9} (да)",
            r"\boxed{9}(是的)",
            r"\boxed{9} (μ = 3)",
            "**The answer**\n\\boxed{9}",
            "*The answer is*\n\\boxed{9}",
            "So *the answer is*\n\\boxed{9}",
            "* $\\boxed{9}$",
            "- $\\boxed{9}$",
            "For $x = 2$ $\\boxed{9}$",
            "We are done:\n$x = 2\\pi$\n$\\boxed{9}$",
            "\\boxed{9}\n- Check: it holds",
            "\\boxed{9}\n* $x = 3$ is a root",
            "\\boxed{9}\n---\nDone",
            "\\boxed{9}\n**Check** it",
            "$\\boxed{9}$\n$-3$ is no solution",
            "\\boxed{9}\n</answer>",
        ] {
            assert_eq!(suffix(text).as_deref(), Some(""), "{text}");
        }
        for text in [
            r"$-\boxed{9}$",
            r"-\boxed{9}",
            r"$2\cdot\boxed{9}$",
            r"$2\boxed{9}$",
            r"2\boxed{9}",
            r"$\frac{1}{\boxed{9}}$",
            r"$\sqrt{\boxed{9}}$",
            r"$x^{\boxed{9}}$",
            r"$\boxed{9}^2$",
            r"$\boxed{9}+1$",
            r"\boxed{9}0",
            r"\boxed{9}.5",
            r"$\boxed{9}$0",
            r"$\boxed{9}!$",
            r"$x\ne\boxed{9}$",
            r"$x<\boxed{9}$",
            r"$f(\boxed{9})=2$",
            r"\boxed{9} squared",
            r"\boxed{9} or 10",
            r"\boxed{9} and a half",
            r"$\boxed{9}x$",
            r"$1,\boxed{9}$",
            r"\boxed{9}(是)",
            "2 *\n\\boxed{9}",
            "2*\n\\boxed{9}",
            "2 * 3 *\n\\boxed{9}",
            r"$-$ $\boxed{9}$",
            r"$-$ \boxed{9}",
            r"$2\cdot$ $\boxed{9}$",
            r"\(2\cdot\) \(\boxed{9}\)",
            "$2 +$\n$\\boxed{9}$",
            r"2 + $\boxed{9}$",
            r"2 * $\boxed{9}$",
            r"It is - $\boxed{9}$",
            "\\boxed{9}\n+ 1",
            "\\boxed{9}\n- 1",
            "\\boxed{9}\n\\cdot 2",
            "\\boxed{9}\n× 2",
            "$\\boxed{9}$\n$+ 1$",
        ] {
            assert_eq!(suffix(text), None, "{text}");
        }
    }

    #[test]
    fn a_unit_behind_a_box_belongs_to_its_value() {
        for (text, expected) in [
            (r"$\boxed{9}\%$", r"\%"),
            (r"\boxed{9}%", r"\%"),
            (r"$\boxed{9}^\circ$", r"^\circ"),
            (r"$\boxed{9}\text{ km}$", r"\text{ km}"),
            (r"\boxed{9} km", r"\text{ km}"),
            (r"$\boxed{9}$ square meters", r"\text{ square meters}"),
            (r"\boxed{9} dozen", r"\text{ dozen}"),
        ] {
            assert_eq!(suffix(text).as_deref(), Some(expected), "{text}");
        }
    }
}
