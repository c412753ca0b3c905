//! Answers that differ from their reference in one letter, one part or one word, beside those that only look so.

use crate::kinds::check;

#[test]
fn words_of_a_condition_are_part_of_it() {
    check(&[
        ("12", r"!\boxed{12\text{ with its last digit replaced by }7}"),
        ("12", r"!\boxed{12\text{ when multiplied by }5}"),
        ("12", r"!\boxed{12\text{ for all but }5}"),
        ("12", r"!\boxed{12\text{ where doubled by }n}"),
        (r"\frac n2\text{ for even }n", r"!\boxed{\frac n2\text{ for odd }n}"),
        (r"\frac n2\text{ for even }n", r"!\boxed{\frac n2}"),
        (r"f(n)=n\text{ for composite }n", r"!\boxed{f(n)=n\text{ for prime }n}"),
        (r"n=2k\text{ for positive integers }k", r"!\boxed{n=2k\text{ for negative integers }k}"),
        (r"x=3\text{ with }y=4", r"!\boxed{x=3}"),
        (r"k^2\text{ for }n=2k", r"!\boxed{k^2}"),
        // What bounds a letter of the answer may be left out, and the place of an extreme.
        (r"$(m,m+2)$ for $m\ge1$", r"\boxed{(m,m+2)}"),
        ("The minimum is $5$ when $y=2$.", r"\boxed{5}"),
        (r"f(x)=ax\text{ for some constant }a", r"\boxed{f(x)=cx\text{ for a constant }c}"),
        (r"f(x)=ax\text{ for some constant }a", r"!\boxed{f(x)=cx\text{ for no constant }c}"),
    ]);
}

#[test]
fn only_constants_of_integration_have_arbitrary_names() {
    check(&[
        (r"\frac12 ab\sin C", r"!\boxed{\frac12 ab\sin B}"),
        ("b^2-4ac", r"!\boxed{b^2-4ak}"),
        ("a^2+b^2-2ab\\cos C", r"!\boxed{a^2+b^2-2ab\cos A}"),
        ("F=kx", r"!\boxed{F=cx}"),
        ("ax^2+bx+c", r"!\boxed{ax^2+bx+D}"),
        ("x^3-x+C", r"\boxed{x^3-x+K}"),
        ("y=Ce^{2x}", r"\boxed{y=Ae^{2x}}"),
        (r"C_1\cos t+C_2\sin t", r"\boxed{A\sin t+B\cos t}"),
        (r"C_1\cos t+C_2\sin t", r"!\boxed{A\sin t+A\cos t}"),
    ]);
}

#[test]
fn segments_are_named_by_both_of_their_ends() {
    check(&[
        ("AB=CD", r"!\boxed{AC=BD}"),
        (r"\frac{AE}{EC}", r"!\boxed{\frac{A}{C}}"),
        (r"\frac{AB}{AC}", r"!\boxed{\frac{DB}{DC}}"),
        ("OA+OB", r"!\boxed{O(A+B)}"),
        (r"PA\cdot PB", r"!\boxed{P^2AB}"),
        ("AB=CD", r"\boxed{DC=BA}"),
        (r"\frac{AE}{EC}", r"\boxed{\frac{EA}{CE}}"),
        ("V=IR", r"\boxed{I=\frac{V}{R}}"),
        ("PV=nRT", r"\boxed{V=\frac{nRT}{P}}"),
        ("ABC", r"!\boxed{CAB}"),
        ("BCA", r"!\boxed{CAB}"),
        ("BD", r"\boxed{\text{D, B}}"),
    ]);
}

#[test]
fn a_chain_says_all_of_its_equations() {
    check(&[
        ("x=y=z=2", r"!\boxed{x=2}"),
        ("x=y=z=2", r"!\boxed{x=z=2}"),
        ("a=b=1", "!1"),
        ("f(0)=f(1)=0", r"!\boxed{f(0)=0}"),
        ("AB=BC=5", r"!\boxed{AC=5}"),
        ("x=y=z=2", r"\boxed{(2,2,2)}"),
        ("x=y=z=2", r"\boxed{z=2, y=2, x=2}"),
        ("12", r"!\boxed{12 \approx 500}"),
        ("4", r"!\boxed{17=4=4}"),
        (r"\frac13", r"\boxed{\frac13 \approx 0.333}"),
    ]);
}

#[test]
fn closing_words_name_no_other_answer() {
    check(&[
        ("12", r"!\boxed{12} is the sum of all solutions, and the answer is the largest of them."),
        ("12", r"!\boxed{12} is even, and the answer is odd."),
        ("12", r"!\boxed{12} is the smallest, the largest is the answer."),
        ("12", "!\\boxed{12}\n\nThe final answer is odd."),
        ("12", "!\\boxed{12}\n\nFinal answer: the sum of these."),
        ("B", r"!\boxed{B} is the smallest; the question asked for the largest."),
        ("12", r"!\boxed{12} hundredths"),
        ("12", r"!\boxed{12\text{ reciprocals}}"),
        ("12", r"!\boxed{\phantom{12}}"),
        ("12", r"!The answer is .\boxed{12}"),
        ("12", r"\boxed{12} is the largest such number, and this is the answer."),
        ("12", "\\boxed{12}. The answer is correct."),
        ("12", r"\boxed{12}, which is the required value."),
    ]);
}
