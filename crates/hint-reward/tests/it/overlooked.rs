//! Parts of an answer that are easily overlooked: the order of names, an index, a sign in front of words, a second letter, an
//! adverb, a condition, a large constant. Each changes the answer, or it leaves the answer unreadable.

use crate::kinds::check;

#[test]
fn values_stand_in_the_order_of_their_names() {
    check(&[
        ("(6,11)", r"\boxed{y=11,x=6}"),
        ("(6,11)", r"!\boxed{y=6,x=11}"),
        ("(6,11)", r"!\boxed{y=6\text{ and }x=11}"),
        ("(6,11)", r"!\boxed{(y,x)=(6,11)}"),
        ("(6,11)", r"\boxed{(y,x)=(11,6)}"),
        ("6, 11", r"!\boxed{b=6,a=11}"),
        ("(1,4,9)", r"\boxed{z=9,y=4,x=1}"),
        ("(1,4,9)", r"!\boxed{z=1,y=4,x=9}"),
        ("(-3,7)", r"!\boxed{k=-3,h=7}"),
        ("x=6,y=11", r"\boxed{\{x=6,y=11\}}"),
        ("x=6,y=11", r"!\boxed{\{x=11,y=6\}}"),
    ]);
}

#[test]
fn only_the_indices_of_roots_are_arbitrary() {
    check(&[
        ("x_1=4, x_2=9", r"\boxed{x_1=9, x_2=4}"),
        ("x_1=4, x_2=9", r"\boxed{x=4, x=9}"),
        ("x_1=4, x_2=9", r"!\boxed{x_1=4, x_5=9}"),
        ("x_1=4, x_2=9", r"!\boxed{x_0=4, x_1=9}"),
        ("a_1=4, a_2=9", r"!\boxed{a_1=9, a_2=4}"),
        ("a_1=4, a_2=9", r"\boxed{a_2=9, a_1=4}"),
        ("a_1=4, a_2=9", "4, 9"),
        ("a_1=4, a_2=9", "!9, 4"),
        ("v_A=4, v_B=9", r"!\boxed{v_A=9, v_B=4}"),
        (r"x_{\max}=4, x_{\min}=1", r"!\boxed{x_{\max}=1, x_{\min}=4}"),
        ("t=4,9", r"\boxed{t=9,4}"),
    ]);
}

#[test]
fn a_named_chain_says_its_last_value() {
    check(&[
        ("w=2+5=7", "w=3+4=7"),
        ("w=2+5=7", "w=9+1=7"),
        ("w=2+5=7", "!w=2+5=8"),
        ("2/3", r"t=2/3\approx6.7"),
        ("7", r"!\boxed{9=7=7}"),
        ("7", r"!\boxed{7\approx 300}"),
        ("7", r"!\boxed{x=8=7}"),
        ("7", r"!\boxed{x=3=4=5=7}"),
        ("7", r"!\boxed{x=7\approx300}"),
    ]);
}

#[test]
fn a_row_break_may_have_a_length() {
    check(&[
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\[4pt]2\end{pmatrix}}"),
        (r"\begin{pmatrix}1\\[0.5 em]2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"!\boxed{\begin{pmatrix}1\\[4pt]3\end{pmatrix}}"),
    ]);
}

#[test]
fn signs_and_commas_between_number_words_count() {
    check(&[
        ("17", r"!\boxed{-\text{seventeen}}"),
        ("-17", r"\boxed{-\text{seventeen}}"),
        ("17", "!The answer is -seventeen."),
        ("35", r"!\boxed{\text{thirty, five}}"),
        ("35", r"!\boxed{\text{thirty; five}}"),
        ("35", r"!\boxed{\text{thirty - five}}"),
        ("35", r"\boxed{\text{thirty-five}}"),
        ("110", r"!\boxed{\text{one hundred - ten}}"),
        (r"\frac35", r"!\boxed{\text{three, fifths}}"),
        ("1250", r"\boxed{\text{one thousand, two hundred and fifty}}"),
        (r"3\text{ hours}", r"!\boxed{-\text{three hours}}"),
    ]);
}

#[test]
fn one_letter_is_named() {
    check(&[
        ("C", r"!\boxed{C. D. A.}"),
        ("C", r"!\boxed{\text{(C) D}}"),
        ("C", r"!\boxed{\text{C: A}}"),
        ("C", r"!\boxed{\text{(C) A or B}}"),
        ("C", "!<answer>C. Or D.</answer>"),
        ("C", r"\boxed{\text{(C) A square}}"),
        ("C", r"\boxed{\text{(C) orange}}"),
        ("C", r"\boxed{\textbf{(C)}\ 24}"),
    ]);
}

#[test]
fn yes_and_no_are_not_qualified() {
    check(&[
        (r"\text{Yes}", r"!\boxed{\text{Yes, sometimes}}"),
        (r"\text{Yes}", r"!\boxed{\text{Yes, in about half of the cases}}"),
        (r"\text{Yes}", r"!\boxed{\text{Yes, as long as n is odd}}"),
        (r"\text{Yes}", r"!\boxed{\text{Yes, it cannot}}"),
        (r"\text{No}", r"!\boxed{\text{No, mostly}}"),
        (r"\text{True}", r"!\boxed{\text{True, although it fails for 3}}"),
        (r"\text{Yes}", r"\boxed{\text{Yes, because 3 divides it}}"),
        (r"\text{Yes}", r"\boxed{\text{Yes, it does.}}"),
        (r"\text{No}", r"\boxed{\text{No, it does not}}"),
        (r"\text{No}", r"\boxed{\text{No, there is no such integer}}"),
    ]);
}

#[test]
fn a_condition_that_restricts_is_part_of_the_answer() {
    check(&[
        ("3^n", r"!\boxed{3^n\text{ where }n=4}"),
        ("x^2-5", r"!\boxed{x^2-5\text{ for }x<0}"),
        ("x^2-5", r"!\boxed{x^2-5\text{ for }x>50}"),
        ("x^2-5", r"!\boxed{x^2-5\text{ where }a=b}"),
        ("15", r"!\boxed{15\text{ when }15=16}"),
        ("x^2-5", r"!\boxed{x^2-5\text{ such that }x\ne x}"),
        (r"\frac{a+b}{2}", r"!\boxed{\frac{a+b}{2}\text{ where }b=-a}"),
        (r"3^n\text{ for }n\ge1", r"\boxed{3^n}"),
        (r"x+2\text{ for }x\ne2", r"\boxed{x+2}"),
        ("15", r"\boxed{15\text{ when }x=4}"),
        (r"2\sqrt{ab}", r"\boxed{2\sqrt{ab}\text{ when }x=\sqrt{a/b}}"),
    ]);
}

#[test]
fn roundings_and_sums_are_compared_around_their_constants() {
    check(&[
        (r"\lfloor\frac{n}{1999}\rfloor", r"!\boxed{\lfloor\frac{n}{1998}\rfloor}"),
        (r"\lceil\frac{n}{1999}\rceil", r"!\boxed{\lfloor\frac{n}{1999}\rfloor+1}"),
        (r"\lceil\frac{n}{1999}\rceil", r"\boxed{\lfloor\frac{n+1998}{1999}\rfloor}"),
        (r"\lfloor\frac{n}{20000}\rfloor", r"!\boxed{0}"),
        (r"n\bmod 7000", r"!\boxed{n}"),
        (r"\sum_{k=18}^{n}k", r"!\boxed{0}"),
        (r"\sum_{k=1}^n\min(k,60)", r"!\boxed{\frac{n(n+1)}{2}}"),
        (r"\sum_{k=1}^n\lfloor\frac{k}{2030}\rfloor", r"!\boxed{0}"),
        (r"\sum_{k=1}^{n}k^2", r"\boxed{\frac{n(n+1)(2n+1)}{6}}"),
        (r"\sum_{k=1}^{n}2030k", r"\boxed{1015n(n+1)}"),
    ]);
}

#[test]
fn products_of_functions_and_vectors_have_an_order() {
    check(&[
        (r"p\circ q", r"!\boxed{q\circ p}"),
        (r"p\circ q\circ r", r"!\boxed{r\circ q\circ p}"),
        (r"p\circ q", r"\boxed{ p \circ q }"),
        (r"(p\circ q)(x)", r"!\boxed{(q\circ p)(x)}"),
        (r"40^\circ", r"\boxed{40\circ}"),
        (r"\mathbf{p}\times\mathbf{q}", r"!\boxed{\mathbf{q}\times\mathbf{p}}"),
        (r"\mathbf{p}\times\mathbf{q}", r"!\boxed{\mathbf{p}\cdot\mathbf{q}}"),
        (r"\vec p\times\vec q", r"!\boxed{\vec q\times\vec p}"),
        (r"\vec p\times\vec q", r"\boxed{\vec p \times \vec q}"),
    ]);
}

#[test]
fn products_that_show_their_order_keep_it() {
    check(&[
        (r"QRQ^{-1}", r"!\boxed{R}"),
        (r"QRQ^{-1}", r"!\boxed{Q^{-1}RQ}"),
        (r"QRQ^{-1}", r"\boxed{(QR)Q^{-1}}"),
        (r"S^{-1}R^{-1}", r"!\boxed{R^{-1}S^{-1}}"),
        (r"S^{-1}R^{-1}", r"\boxed{(RS)^{-1}}"),
        (r"(RS)^T", r"\boxed{S^T R^T}"),
        (r"RS-SR", r"!\boxed{0}"),
        (r"sts^{-1}", r"!\boxed{t}"),
        (r"\mathbf{R}\mathbf{S}", r"!\boxed{\mathbf{S}\mathbf{R}}"),
        (r"\frac{ab}{c}", r"\boxed{bac^{-1}}"),
        (r"\text{NOON}", r"\boxed{\text{noon}}"),
        (r"\text{twenty-seven}", r"\boxed{27}"),
    ]);
}

#[test]
fn labels_powers_and_signs_that_touch_a_value_count() {
    check(&[
        ("19", r"!\boxed{\text{its square}=19}"),
        ("19", r"!\boxed{\text{twice the sum}=19}"),
        ("19", r"!\boxed{\text{lower bound}=19}"),
        ("19", r"!\boxed{x_{\text{wrong}}=19}"),
        ("19", r"\boxed{\text{total cost}=19}"),
        (r"6\text{ cm}", r"!\boxed{6} cm^2"),
        (r"6\text{ cm}^2", r"\boxed{6} cm^2"),
        (r"6\text{ m}^{11}", r"!\boxed{6\text{ m}^{12}}"),
        ("19", r"!½\boxed{19}"),
        ("19", r"!(-)\boxed{19}"),
        ("19", r"!\boxed{19}‰"),
        (r"f(x)=3x-4", r"\boxed{y=3x-4}"),
        (r"y=3x-4", r"!\boxed{f(y)=3x-4}"),
    ]);
}

#[test]
fn words_behind_a_number_are_known_or_open() {
    check(&[
        ("14", r"!\boxed{14\text{ тысяч}}"),
        ("14", r"!\boxed{14\text{ más dos}}"),
        ("14", "!The answer is 14 не верно."),
        ("14", r"!\boxed{14\text{ 平方}}"),
        ("14", r"!\boxed{14\text{ 만}}"),
        ("14", r"\boxed{14\text{ рублей}}"),
        ("14", r"\boxed{14\text{ 个}}"),
        ("14", r"!\boxed{14} fourteenths"),
        ("14", r"!\boxed{14\text{ quintillions}}"),
        ("14", r"!\boxed{14\text{ basis points}}"),
        ("14", r"!\boxed{14\text{ orders of magnitude}}"),
        ("14", r"!\boxed{14} groups of three"),
        ("14", r"!\boxed{14} dollars in debt"),
        ("14", r"\boxed{14\text{ months}}"),
        ("14", r"\boxed{14\text{ orders}}"),
        ("14", r"\boxed{14} bags of rice"),
    ]);
}

#[test]
fn a_sentence_is_read_from_its_subject_on() {
    check(&[
        (r"\infty", r"!\boxed{\text{its inverse tends to infinity}}"),
        (r"\infty", r"!\boxed{\text{1 when y tends to infinity}}"),
        (r"\infty", r"\boxed{\text{The series diverges to infinity}}"),
        (r"\text{converges}", r"!\boxed{\text{no series converges}}"),
        (r"\text{converges}", r"\boxed{\text{the series converges}}"),
        (r"\text{does not exist}", r"!\boxed{\text{a largest prime does not exist}}"),
        (r"\text{does not exist}", r"\boxed{\text{The limit does not exist}}"),
        (r"\text{No such function exists}", r"!\boxed{\text{no such bound exists}}"),
        (r"\text{no such integer}", r"!\boxed{\text{no such polynomial}}"),
        (r"\text{No such integer exists}", r"\boxed{\text{does not exist}}"),
        ("n^3+1", r"!\boxed{n^3+1\bmod 11}"),
        (r"n^3+1\bmod 11", r"\boxed{(n^3+12)\bmod 11}"),
        (r"4\mod 9", r"!\boxed{4\mod 10}"),
    ]);
}

#[test]
fn courtesies_behind_an_answer_say_nothing() {
    use hint_reward::{MathVerifier, RewardInput, Verifier};

    for completion in [
        "$$\\boxed{31}$$\n\nLet me know if you have any questions!",
        "\\boxed{31}. I hope this helps!",
        "Final Answer: The final answer is $31$. I hope it is correct. Thank you for reading!",
        "The answer should be 31.",
        "The answer to the question is 31.",
        "The **final answer** is **31**.",
        "\\framebox{31}",
        "\\boxed{31 \\blacksquare}",
    ] {
        for verifier in [MathVerifier::new(), MathVerifier::strict()] {
            let judgment = verifier.verify(&RewardInput::new(completion, "31"));
            assert!(judgment.verdict.is_correct(), "{completion}: {judgment:?}");
        }
    }
}
