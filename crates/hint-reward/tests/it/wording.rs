//! Answers that say in words what others write in signs.

use crate::kinds::check;

#[test]
fn comparisons_in_words_are_inequalities() {
    check(&[
        (r"n \ge 4", r"\boxed{n \text{ is at least } 4}"),
        (r"n \ge 4", r"\boxed{\text{all integers } n \text{ greater than or equal to } 4}"),
        (r"n \ge 4", r"!\boxed{n \text{ is at most } 4}"),
        (r"n \ge 4", r"!\boxed{n \text{ is greater than } 4}"),
        (r"x < 7", "x is strictly less than 7"),
        (r"x < 7", "!x is less than or equal to 7"),
        ("2 < t < 7", "t is between 2 and 7, exclusive"),
        ("[2,7]", "t is between 2 and 7 inclusive"),
        ("(2,7)", "!t is between 2 and 7 inclusive"),
        // What is more than 4 by n is a sum.
        ("n > 4", "!n more than 4"),
    ]);
}

#[test]
fn residue_classes_have_many_names() {
    check(&[
        (r"n \equiv 0 \pmod 4", r"\boxed{4 \mid n}"),
        (r"n \equiv 0 \pmod 4", r"\boxed{n \text{ is divisible by } 4}"),
        (r"n \equiv 0 \pmod 4", r"!\boxed{n \mid 4}"),
        (r"n \equiv 0 \pmod 4", r"!\boxed{4 \nmid n}"),
        (r"n \equiv 0 \pmod 4", r"!\boxed{n \text{ is not divisible by } 4}"),
        ("4 divides n", "n is a multiple of 4"),
        ("4 divides n", "!4"),
        (r"\text{all multiples of } 5", r"\boxed{n \text{ divisible by } 5}"),
        (r"\text{all multiples of } 5", r"!\boxed{\text{all multiples of } 10}"),
        (r"\text{all odd integers}", r"\boxed{n \equiv 1 \pmod 2}"),
        (r"\text{all odd integers}", r"!\boxed{\text{odd positive integers}}"),
        (
            r"m \equiv 2 \pmod 9",
            r"\boxed{m \text{ leaves a remainder of } 2 \text{ when divided by } 9}",
        ),
        (
            r"m \equiv 2 \pmod 9",
            r"!\boxed{m \text{ leaves a remainder of } 9 \text{ when divided by } 2}",
        ),
        (r"p\equiv 1\ (\mathrm{mod}\ 4)", r"\boxed{p \equiv 5 \pmod 4}"),
        (r"n = 6k \pm 1", r"\boxed{n \equiv \pm 1 \pmod 6}"),
        (r"n = 6k \pm 1", r"!\boxed{n \equiv 1 \pmod 6}"),
        (r"n \equiv 3 \pmod 8", r"\boxed{n = 8k + 3 \text{ for some integer } k}"),
        // A parameter that is no integer, or takes few values.
        (r"n \equiv 3 \pmod 8", r"!n = 8k+3, k \in \mathbb{R}"),
        (r"n \equiv 3 \pmod 8", r"!\boxed{n = 8k+3 \text{ for } k \in \{0,1\}}"),
    ]);
}

#[test]
fn sets_of_numbers_have_names() {
    check(&[
        (r"\text{all positive integers } n", r"\boxed{n \in \mathbb{Z}^+}"),
        (r"\text{all positive integers } n", r"!\boxed{n \in \mathbb{Z}}"),
        (r"[0,\infty)", r"\boxed{\text{all nonnegative real numbers}}"),
        (r"[0,\infty)", r"!\boxed{\text{all positive real numbers}}"),
        (r"x \ne \pm 2", r"\boxed{\text{all real numbers except } -2 \text{ and } 2}"),
        (r"x \ne \pm 2", r"!\boxed{\text{all real numbers except } 2}"),
        (r"\text{All real $x$ with $x>2$}", r"!\boxed{\mathbb{R}}"),
        (r"\text{all primes } p", r"\boxed{\text{all prime numbers}}"),
        (r"\text{all primes } p", r"!\boxed{\text{all odd primes}}"),
        (r"(-\infty,-1)\cup(3,\infty)", r"\boxed{(-\infty,-1) \text{ and } (3,\infty)}"),
        ("(1,2),(3,4)", r"!\boxed{(1,2)\cup(3,4)}"),
    ]);
}

#[test]
fn branches_may_stand_in_a_sentence() {
    let cases = r"\begin{cases}\frac{n}{2}&n\text{ even}\\\frac{n+1}{2}&n\text{ odd}\end{cases}";
    check(&[
        (r"$\frac{n}{2}$ if $n$ is even and $\frac{n+1}{2}$ if $n$ is odd", cases),
        (r"$\frac{n}{2}$ for odd $n$, $\frac{n+1}{2}$ for even $n$", &format!("!{cases}")),
        (
            r"\begin{cases}1&x\ne0\\0&x=0\end{cases}",
            r"\begin{cases}0&x=0\\1&\text{otherwise}\end{cases}",
        ),
        (
            r"\begin{cases}1&x\ne0\\0&x=0\end{cases}",
            r"!\begin{cases}1&x=0\\0&\text{otherwise}\end{cases}",
        ),
        (
            r"\begin{cases}1&x\ne0\\0&x=0\end{cases}",
            r"!\begin{cases}0&x=1\\1&\text{otherwise}\end{cases}",
        ),
        ("The cost is $30$ for adults and $18$ for children.", r"!\boxed{18}"),
    ]);
}

#[test]
fn permutations_stand_for_their_tuples() {
    check(&[
        ("(1,1,2) and its permutations", r"\boxed{(1,1,2),(1,2,1),(2,1,1)}"),
        ("(1,1,2) and its permutations", r"!\boxed{(1,1,2)}"),
        ("(a,b,c) = (1,2,3) and its permutations", r"\boxed{\text{all permutations of } (3,2,1)}"),
        ("(1,2,3) and its cyclic permutations", "!(1,2,3) and its permutations"),
    ]);
}

#[test]
fn amounts_in_words_are_quantities() {
    check(&[
        ("30 minutes", "half an hour"),
        ("90 minutes", "an hour and a half"),
        ("90 minutes", "!two hours and a half"),
        ("4 cats", "four cats"),
        ("4", "!four minus one"),
        ("1.5", "one point five"),
        ("1.5", "!one point fifteen"),
        ("25 cents", "!$25"),
        (r"\$15 \text{ per hour}", r"\boxed{\$15/\text{hour}}"),
        (r"\$15 \text{ per hour}", r"!\boxed{\$15 \text{ per day}}"),
        (r"9.8\text{ m/s}^2", r"\boxed{9.8\ \mathrm{m\,s^{-2}}}"),
        (r"8\text{ J}", r"\boxed{8\ \mathrm{N\cdot m}}"),
        (r"24\text{ cm}^2", r"\boxed{24 \text{ (square centimetres)}}"),
        ("3.14", "approximately 3.14"),
        // An integer may be meant exactly.
        ("13", r"!\boxed{\text{about } 13}"),
        ("maximum 7, minimum 3", r"\boxed{\text{min}=3, \text{max}=7}"),
        ("maximum 7, minimum 3", r"!\boxed{\text{min}=7, \text{max}=3}"),
    ]);
}

#[test]
fn names_of_equal_things_have_no_order() {
    check(&[
        ("a=b=c", r"\boxed{a=c=b}"),
        ("a=b=c", r"!\boxed{a=c}"),
        ("x_1=1, x_2=2", r"\boxed{x=1,2}"),
        ("x_1=1, x_2=2", r"!\boxed{x=1}"),
        (r"f(x)\equiv 0", r"\boxed{f(x)=0}"),
        (r"x \equiv 3 \pmod 7", r"!x \equiv 3"),
        (r"x=\frac{\pi}{4}+k\pi", r"\boxed{x=\frac{\pi}{4}+n\pi, n\in\mathbb{Z}}"),
        (r"x=\frac{\pi}{4}+k\pi", r"!\boxed{x=\frac{\pi}{4}+2n\pi, n\in\mathbb{Z}}"),
        ("3i-2j+5k", r"\boxed{\langle 3,-2,5\rangle}"),
        ("3i-2j+5k", r"!\boxed{\langle 3,2,5\rangle}"),
    ]);
}

#[test]
fn sentences_lead_to_a_box_by_the_step_that_gave_it() {
    check(&[
        ("12", r"Completing the square, \boxed{12}."),
        ("12", r"!Completing the wrong square, \boxed{12}."),
        ("(3,-1)", r"The center is the point \boxed{(3,-1)}."),
        ("(3,-1)", r"!We must avoid the point \boxed{(3,-1)}."),
        ("9", r"\boxed{9\text{ (since }3^2=9)}"),
        ("9", r"!\boxed{9\text{ (since the answer is }10)}"),
        ("9", r"!\boxed{9 (since 9 is wrong)}"),
        ("9", r"!\boxed{9} (since 9 is wrong)"),
        ("9", r"!\boxed{9}, since 9 is wrong."),
        ("9", r"!The answer is 9 (since 9 is wrong)."),
        ("9", r"!\boxed{9 (because 10 is right)}"),
        ("9", r"!\boxed{9 (because 3*3=10)}"),
        ("9", r"!\boxed{9 (since 9 \neq 9)}"),
        ("9", r"\boxed{9} (since the other root is wrong)"),
        ("12", "The answer is 12. I hope it is correct.\n\nProblem:\nWhat is 1+1?\n\nSolution: 2."),
        (
            "12",
            "!The answer is 13. I hope it is correct.\n\nProblem:\nWhat is 3*4? The answer is 12.",
        ),
        ("Solution. Let $p$ be it. Then $3p=51$. Answer: 17.", r"\boxed{17}"),
        ("Solution. Let $p$ be it. Then $3p=51$. Answer: 17.", r"!\boxed{51}"),
    ]);
}
