//! Each kind of notation on its own: what is the same, and what is not.

use hint_reward::{MathVerifier, RewardInput, Verifier};

/// Pairs of each kind: reference, completion, whether they are equal. A `!` in front of the completion says not.
#[track_caller]
pub(crate) fn check(pairs: &[(&str, &str)]) {
    let verifier = MathVerifier::new();
    let wrong: Vec<_> = pairs
        .iter()
        .filter(|(reference, completion)| {
            let (completion, equal) = match completion.strip_prefix('!') {
                Some(rest) => (rest, false),
                None => (*completion, true),
            };
            let judgment = verifier.verify(&RewardInput::new(completion, reference));
            judgment.verdict.is_correct() != equal
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn references_are_read_whole_with_their_conditions() {
    check(&[
        ("The minimum is $-4$ when $t=1$.", r"\boxed{-4}"),
        ("The minimum is $-4$ when $t=1$.", r"!\boxed{1}"),
        (r"$2m+1$ for $m\ge 0$", r"!\boxed{m\ge0}"),
        (r"$2m+1$ for $m\ge 0$", r"\boxed{2m+1}"),
        ("The cost is $30$ for adults and $18$ for children.", r"!\boxed{18}"),
        ("$p=7$ if $q=2$", r"!\boxed{2}"),
        ("$k=2$ or $k=5$, where $k$ is prime", r"!\boxed{5}"),
        ("The value of $x$ is $17$.", r"\boxed{17}"),
        (r"All primes $p \ge 5$ except $7$", r"!\boxed{7}"),
        (r"All primes $p \ge 5$ except $7$", r"!\boxed{p\ge5}"),
        (r"\text{Answer: } (3, 9)", r"!\boxed{9}"),
        (r"\text{Answer: } (3, 9)", r"\boxed{(3,9)}"),
        ("$g(t)=t^3$ for all $t$", r"!\boxed{g(t)=t^2}"),
        ("$a=3$, $b=4$", r"!\boxed{4}"),
        ("The area is $12$ and the perimeter is $14$", r"!\boxed{14}"),
    ]);
}

#[test]
fn a_reason_or_the_place_of_a_value_may_follow_it() {
    check(&[
        ("120", "So the answer is 120, as there are five people to seat."),
        ("120", "!So the answer is 120, as a percentage of 400."),
        ("-1", r"The minimum of $f$ is $\boxed{-1}$, attained at $x=2$."),
        ("2", r"!The minimum of $f$ is $\boxed{-1}$, attained at $x=2$."),
        ("-1", "The minimum value is $-1$, which occurs when $x = 2$."),
        (r"3\sqrt2", r"The length is $3\sqrt{2}$ units, or approximately $4.243$ units."),
        (r"3\sqrt2", r"!The length is $3\sqrt{2}$ units, or approximately $5.243$ units."),
        ("C", "The correct option is C because the slopes agree."),
        ("C", "!The correct option is C or D because the slopes agree."),
    ]);
}

#[test]
fn numbers_and_sets_in_words_are_read() {
    check(&[
        ("3 hours", "three hours"),
        ("3 hours", "!three minutes"),
        ("7.5", "seven and a half hours"),
        (r"12\text{ cm}^2", "12 sq. cm"),
        (r"\mathbb{R}\setminus\{0\}", "all nonzero real numbers"),
        (r"\mathbb{R}\setminus\{2\}", r"\boxed{\text{all real numbers except } 2}"),
        (r"\mathbb{R}\setminus\{1\}", r"!\boxed{\text{all real numbers except } -1}"),
        ("Alice wins.", r"\boxed{\text{Alice}}"),
        ("Alice wins.", r"!\boxed{\text{Alice loses}}"),
        ("Alice wins.", r"!\boxed{\text{Bob}}"),
        (r"0.\dot{1}\dot{8}", r"\frac{2}{11}"),
        (r"0.\dot{1}2\dot{3}", r"\frac{41}{333}"),
        (r"11_{(2)}", "11_2"),
        (r"11_{(2)}", "!11_3"),
        (r"\operatorname{arsinh} x", r"\ln(x+\sqrt{x^2+1})"),
        (r"\operatorname{artanh} x", r"!\ln\frac{1+x}{1-x}"),
        ("24", "综上所述，共有 24 种不同的排法。"),
    ]);
}

#[test]
fn units_hold_with_and_without_a_name() {
    check(&[
        (r"h = 8\text{ cm}", r"!8\text{ m}"),
        (r"h = 8\text{ cm}", r"80\text{ mm}"),
        (r"m=3\text{ kg}", r"!\boxed{3\text{ g}}"),
        (r"m=3\text{ kg}", r"\boxed{3000\text{ g}}"),
        (r"\text{Volume}=20\text{ m}^3", r"!\boxed{20\text{ m}^2}"),
        (r"\alpha=30^\circ", r"!30\text{ rad}"),
        (r"\alpha=30^\circ", r"\frac{\pi}{6}"),
        ("12", "12 s."),
        ("7", r"\boxed{7\ \mathrm{kg}}"),
        ("7", r"!\boxed{7x}"),
        (r"2.5\text{ hours}", "2 hours 30 minutes"),
        (r"5\text{ ft }2\text{ in}", "62 inches"),
        (r"3 \text{ L}", "3000 mL"),
        (r"3 \text{ L}", "3000 cm^3"),
        (r"50\ \Omega", "50 ohms"),
        (r"v=10\text{ m/s}", r"!10\text{ km/h}"),
        (r"v=10\text{ m/s}", r"36\text{ km/h}"),
        (r"p=\$7", "!7 cents"),
        (r"2.5 \text{ million dollars}", r"\$2,500,000"),
        ("€15", "15 euros"),
        ("€15", r"!\$15"),
        ("3 dollars 25 cents", r"\boxed{\$3.25}"),
        (r"1.2\,\mathrm{m/s^2}", r"1.2\ \text{m}\cdot\text{s}^{-2}"),
        (r"t=4\text{ s}", r"!4\text{ min}"),
        (r"40\%", r"!\boxed{40}"),
        (r"40\%", r"\boxed{40\text{ percent}}"),
        (r"40\%", r"\boxed{0.4}"),
        (r"40\%", "forty percent"),
    ]);
}

#[test]
fn a_modulus_is_part_of_a_congruence() {
    check(&[
        (r"y \equiv 2 \mod 9", r"!y \equiv 2 \mod 5"),
        (r"y \equiv 2 \mod 9", r"!y \equiv 2"),
        (r"y \equiv 2 \mod 9", r"y \equiv 11 \pmod 9"),
        (r"y \equiv 2 \pmod{9}", "y ≡ 2 (mod 9)"),
        (r"y \equiv 2 \pmod{9}", "!y ≡ 2 (mod 8)"),
        (r"k\equiv 0\pmod 2", "k is even"),
        (r"k\equiv 0\pmod 2", "!k is odd"),
        (r"y\equiv 2\pmod 9", r"y=9m+2, m\in\mathbb{Z}"),
        (r"y\equiv 2\pmod 9", r"!y=9m+3, m\in\mathbb{Z}"),
        (r"x\equiv 2, 3\pmod 5", r"x\equiv \pm 2 \pmod 5"),
        ("7 (mod 11)", "!7 (mod 12)"),
        ("7 (mod 11)", "18 (mod 11)"),
        (r"17 \bmod 5", "!17"),
        (r"17 \bmod 5", "2"),
        ("-6", r"!-6 \bmod 7"),
        (r"x \equiv 1 \pmod{3}", r"x \equiv 1 \ (\text{mod } 3)"),
    ]);
}

#[test]
fn brackets_behind_an_answer_restate_or_change_it() {
    check(&[
        ("21 (base 5)", "!21 (base 6)"),
        ("36", "!6 (six)"),
        ("6", "6 (six)"),
        ("6", "!6 (seven)"),
        ("11", "eleven (11)"),
        ("10 (per week)", "!10 (per month)"),
        ("5", "!5 (or 6)"),
        (r"\frac{5}{3}", "The answer is 5/3 (or 1.667)."),
        (r"\frac{5}{3}", "!The answer is 5/3 (or 1.766)."),
        ("121", r"!\boxed{11 \text{ (eleven)}}"),
        ("12_{5}", "12 (base 5)"),
    ]);
}

#[test]
fn typography_changes_nothing() {
    check(&[
        ("3", "!3¹²"),
        ("3^{12}", "3¹²"),
        ("70", "!7×10¹⁰"),
        (r"7\times10^{12}", "7×10¹²"),
        ("8", "!∛8"),
        ("2", "∛8"),
        (r"5.1\times10^{-6}", "5.1 × 10⁻⁶"),
        ("y^{m}", "yᵐ"),
        (r"\{3,4\}", "｛3，4｝"),
        ("4", "!｛3，4｝"),
        ("27", "２７"),
        ("27", "٢٧"),
        ("27", "२७"),
        ("9", "𝟗"),
        ("y-2", "𝑦−2"),
        ("②③", r"\boxed{③②}"),
        ("②③", r"\boxed{2,3}"),
        ("②③", r"!\boxed{②④}"),
        ("a_{12}", "a₁₂"),
        ("2.5", "٢٫٥"),
        (r"\triangle PQR", "△PQR"),
        ("3<sup>n</sup>", "3^n"),
        (r"\frac{3}{8}", "⅜"),
        ("5", "!y₂+5"),
        ("10^{6}", "!10⁻⁶"),
    ]);
}

#[test]
fn formulas_are_not_cut_at_commas() {
    check(&[
        ("4", "!The answer is $p=4, q=9$."),
        ("p=4, q=9", "Final Answer: The final answer is $p=4, q=9$. I hope it is correct."),
        ("p=4", "!Final Answer: The final answer is $p=4, q=9$. I hope it is correct."),
        (
            r"(n\pi, n\pi+1), n\in\mathbb{Z}",
            r"The final answer is $(n\pi, n\pi+1), n\in\mathbb{Z}$. I hope it is correct.",
        ),
        ("10{,}455", "Final Answer: The final answer is $10,455$. I hope it is correct."),
    ]);
}

#[test]
fn a_sentence_states_at_most_one_number() {
    check(&[
        ("45", "!2 hours 45 minutes"),
        ("5", "!minus 5"),
        ("-5", "minus 5"),
        ("6", "!It is above 6."),
        ("9", "!9 is not possible."),
        ("9", "!See Problem 9."),
        ("3", "!We refer to Case 3"),
        ("20", "!If it were 20 then we fail."),
        ("18", "There are 18 apples in the 6 boxes."),
        ("6", "!There are 18 apples in the 6 boxes."),
        ("75", "Leo pays $75 for 25 pens."),
        ("25", "!Leo pays $75 for 25 pens."),
        ("31", "The class had 31 students in those 2 terms."),
        ("9600", "The yearly fee is $9,600 (12 months)."),
        ("8", "The answer is 8 pears and the 2 plums remain."),
        ("2", "!The answer is 8 pears and the 2 plums remain."),
        ("7", "!It is at least 7."),
        ("7", "!fewer than 7"),
        ("7", "!between 5 and 7"),
        ("44", "So the sum is 44."),
        ("44", "Adding 40 and 4 gives 44."),
        ("4", "!Is it 4?"),
        ("11", "!I am not sure, maybe 11."),
        ("29", "29 because 28 is even"),
        ("91", "The total is 91 pages, altogether."),
        ("91", "Ans: 91"),
        ("13", r"$y = 13$ $\blacksquare$"),
        ("13", "$y = 13$ is the only solution, because $y = -13$ is negative."),
        ("-13", "!$y = 13$ is the only solution, because $y = -13$ is negative."),
        (r"\sqrt{3}", r"The answer is $\sqrt{3}$ which is approximately $1.732$."),
        ("1.732", r"!The answer is $\sqrt{3}$ which is approximately $1.732$."),
        ("40", "Out of 100, 40 remain."),
        ("100", "!Out of 100, 40 remain."),
        ("15", "15 (fifteen)"),
    ]);
}

#[test]
fn connectives_and_quantifiers_differ() {
    check(&[
        (r"a\land b", r"!a\lor b"),
        (r"a\land b", r"b\land a"),
        ("10:30", r"!\frac13"),
        ("10:05", "!2"),
        (r"\neg q", "!q"),
        ("∃n ∈ ℕ, n^2 > 5", r"\boxed{\exists n\in\mathbb{N}, n^2>5}"),
        ("∃n ∈ ℕ, n^2 > 5", r"!\boxed{\forall n\in\mathbb{N}, n^2>5}"),
    ]);
}

#[test]
fn coefficients_are_no_bases() {
    check(&[
        ("3A_1-A_2", r"\boxed{-A_2+3A_1}"),
        ("5S_m+2", r"\boxed{2+5S_m}"),
        ("5S_m", r"!\boxed{S_{5m}}"),
        (r"\frac14 5^m", r"\boxed{\frac{5^m}{4}}"),
        (r"\frac{2}{7} 3^n", r"\boxed{\frac{2\cdot 3^n}{7}}"),
    ]);
}

#[test]
fn letters_in_formulas_are_variables() {
    check(&[
        ("e^{bt}", r"\boxed{e^{tb}}"),
        ("ps-qr", r"\boxed{-(qr-ps)}"),
        ("uv(u+v)", "u^2v+uv^2"),
        ("ps-qr", r"!\boxed{qr-ps}"),
        (r"k\in Z", r"\boxed{k \in \mathbb{Z}}"),
        ("{y}_{1}=3,{y}_{2}=-7", r"\boxed{-7, 3}"),
        (r"60{}^{\circ }", r"\boxed{60^\circ}"),
        (r"\left[{-2,5}\right]", r"\boxed{[-2,5]}"),
        (r"\begin{cases} x = 1, \\ y = 2. \end{cases}", "x=1, y=2"),
    ]);
}

#[test]
fn choices_go_by_letter_or_text() {
    check(&[
        (r"\textbf{(D)}\ 45", "45"),
        (r"\textbf{(D)}\ 45", "!54"),
        (r"\textbf{(D)}\ 45", "D"),
        (r"\textbf{(D)}\ 45", r"!\boxed{\textbf{(E)}\ 45}"),
        ("B. 17", "17"),
        ("BD", "B, D"),
        ("BD", "!B"),
        ("C", "c)"),
        ("A", "故选：A"),
        ("A", "【答案】: A <eoa>"),
        ("A", "!【答案】: B"),
        ("D", "None of A, B, C holds, so D."),
        ("['C']", r"\boxed{C}"),
        ("B", "The correct answer is (B)."),
    ]);
}

#[test]
fn bound_names_are_arbitrary_and_domains_may_be_restated() {
    check(&[
        ("$f(u)=5u$", r"\boxed{f(x)=5x}"),
        ("$f(u)=5u$", r"!\boxed{f(x)=5u}"),
        ("h(x)=x+2", "h(s)=s+2"),
        ("y = C_1 e^{2x} + C_2", r"\boxed{y = A e^{2x} + B}"),
        ("$f(x)=3$", r"\boxed{f(x)=3 \text{ for all } x \in \mathbb{R}}"),
        (r"n\ge 4", r"\boxed{\text{all integers } n \ge 4}"),
        (r"2^{m} \text{ for } m \ge 1", r"\boxed{2^m, m \geq 1}"),
        (r"2^{m} \text{ for } m \ge 1", r"!\boxed{2^m, m \geq 2}"),
        (r"f(x)=1 \text{ for } x>2", r"!f(x)=1 \text{ for } x<2"),
    ]);
}

#[test]
fn branches_have_no_order() {
    check(&[
        (
            r"\begin{cases}a,&n\text{ odd}\\b,&n\text{ even}\end{cases}",
            r"\begin{cases}b,&\text{if }n\text{ is even}\\a,&\text{if }n\text{ is odd}\end{cases}",
        ),
        (
            r"\begin{cases}a,&n\text{ odd}\\b,&n\text{ even}\end{cases}",
            r"!\begin{cases}a,&n\text{ even}\\b,&n\text{ odd}\end{cases}",
        ),
        (r"\begin{cases}x-1&x\ge1\\1-x&x<1\end{cases}", "|x-1|"),
        (r"\begin{cases}x-1&x\ge1\\1-x&x<1\end{cases}", "!|x+1|"),
    ]);
}

#[test]
fn sets_have_many_notations() {
    check(&[
        (r"b\ge 4 \text{ or } b=-1", r"\boxed{\{-1\}\cup[4,\infty)}"),
        (r"\{-1,0,1\}", r"-1\le m\le 1, m\in\mathbb{Z}"),
        (r"\{-1,0,1\}", r"!-1< m\le 1, m\in\mathbb{Z}"),
        (r"(0,\infty)", r"\mathbb{R}^{+}"),
        ("D: [2, 9)", r"\boxed{[2,9)}"),
        ("t | 0 < t < 3", r"\boxed{0<t<3}"),
        ("Every $m$ except $m=2$", r"\boxed{m\ne2}"),
        (r"x=\pm 4", r"\boxed{4, -4}"),
    ]);
}

#[test]
fn numbers_are_read_in_words() {
    check(&[
        ("37", "thirty-seven"),
        ("200", "two hundred"),
        ("412", "four hundred and twelve"),
        ("36", "three dozen"),
        (r"\frac34", "three quarters"),
        ("4.5", "four and a half"),
        ("1200", "twelve hundred"),
        ("-8", "minus 8"),
        (r"2\times10^6", "two million"),
        (r"60\%", "sixty percent"),
        (r"\frac25", "五分之二"),
        ("19", "nineteen"),
        ("37", "!thirty-six"),
        ("2", "!two thirds"),
        ("3", "!the third"),
    ]);
}

#[test]
fn words_differ_only_in_what_they_say() {
    check(&[
        (r"\text{Odd}", "odd"),
        (r"\text{square}", "a square"),
        (r"\text{south-west}", "southwest"),
        (r"\text{DNE}", "The limit does not exist."),
        (r"\text{infinitely many}", "There are infinitely many solutions."),
        (r"\text{infinitely many}", "!finitely many solutions"),
        ("The graph is connected.", r"\boxed{\text{The graph is connected.}}"),
        ("The graph is connected.", r"!\boxed{\text{The graph is not connected.}}"),
        ("Player 1", r"\boxed{\text{Player 1}}"),
        ("Player 1", r"!\boxed{\text{Player 2}}"),
        ("M is odd", r"\boxed{M \text{ is odd}}"),
        ("M is odd", r"!\boxed{M \text{ is even}}"),
        ("noon", "12:00 p.m."),
        (r"\text{Bob}", "!Bobby"),
        ("B and C are thieves.", r"\boxed{\text{B and C are thieves.}}"),
        ("B and C are thieves.", r"!\boxed{\text{A and C are thieves.}}"),
    ]);
}

#[test]
fn damaged_commands_are_repaired() {
    check(&[
        ("\u{c}rac{5}{9}", r"\boxed{\frac{5}{9}}"),
        ("48 \text{ hours}", r"\boxed{48}"),
        ("2.1 \times 10^{5}", r"\boxed{210000}"),
        ("\theta+1", r"\boxed{\theta+1}"),
        ("\u{c}rac{5}{9}", r"!\boxed{\frac{9}{5}}"),
        ("['$3k+1$']", r"\boxed{3k+1}"),
        ("\u{8}inom{5}{2}", r"\boxed{10}"),
    ]);
}

#[test]
fn sums_limits_and_integrals_have_values() {
    check(&[
        (r"\int_0^2 x^2\,dx", r"\frac83"),
        (r"\int_0^2 x^2\,dx", r"!\frac73"),
        (r"\sum_{n=1}^{\infty}\frac{1}{3^n}", r"\frac12"),
        (r"\lim_{x\to0}\frac{1-\cos x}{x^2}", "!1"),
        (r"\sum_{k=0}^{\infty} \frac{(-1)^k x^{2k}}{(2k)!}", r"\cos x"),
        (r"\lim_{n\to\infty}\left(1+\frac{2}{n}\right)^n", "e^2"),
        (r"\int_0^1\int_0^x (x-y)\,dy\,dx", r"\frac16"),
        (r"\int_0^1\int_0^1 e^{x+y}\,dx\,dy", "(e-1)^2"),
        (r"\int_0^1\int_0^1 e^{x+y}\,dx\,dy", "!e^2-1"),
        (r"\int_0^1\int_0^1\int_0^1 xyz\,dx\,dy\,dz", r"\frac18"),
        (r"\int_{-1}^{2}|x|\,dx", r"\frac52"),
        (r"\int_{-1}^{2}|x|\,dx", r"!\frac32"),
        (r"\int_0^{2\pi}|\sin x|\,dx", "4"),
        (r"\int_{-\infty}^{\infty}e^{-|x|}\,dx", "2"),
        (r"\int_0^1\max(x,1-x)\,dx", r"\frac34"),
        (r"\int_0^1\int_0^1|x-y|\,dx\,dy", r"\frac13"),
        (r"\int_1^0 x\,dx", r"-\frac12"),
        (r"\int_1^0 x\,dx", "!0"),
        (r"\int_{-\infty}^{\infty}\int_{-\infty}^{\infty}e^{-(x^2+y^2)/2}\,dx\,dy", r"2\pi"),
        (r"\int_0^{\infty}\int_0^{\infty}xye^{-x-y}\,dx\,dy", "1"),
        (r"\int_0^{\infty}\int_0^{\infty}xye^{-x-y}\,dx\,dy", "!2"),
        (r"\lim_{n\to\infty}n^{1/n}", "1"),
        (r"\lim_{n\to\infty}\sqrt[n]{2^n+3^n}", "3"),
        (r"\lim_{x\to0^+}x\ln x", "0"),
        ("1", r"!\lim_{n\to\infty}(-1)^n"),
        (r"\zeta(2)", r"\frac{\pi^2}{6}"),
        (r"\zeta(3)", r"\sum_{n=1}^{\infty}n^{-3}"),
        (r"\zeta(2)", r"!2\zeta"),
        ("1", r"!\zeta(99)"),
        // An answer that repeats the question is none.
        (r"\frac{x^3}{3}+C", r"!\int x^2\,dx"),
    ]);
}

#[test]
fn notations_of_one_value_agree() {
    check(&[
        ("7654321", "76,54,321"),
        ("1234567", r"1\text{,}234\text{,}567"),
        (r"\frac{3}{7}", r"\boxed{^3/_7}"),
        (r"\frac{3}{7}", r"\boxed{\nicefrac{3}{7}}"),
        ("9", r"\boxed9"),
        (r"x \not= 3", r"x \ne 3"),
        (r"45^\circ 15'", r"45.25^\circ"),
        (r"45^\circ 15'", r"!45.15^\circ"),
        ("C(7,2)", "21"),
        (r"\mathrm{C}_7^2", "21"),
        (r"3\operatorname{cis}90^\circ", "3i"),
        ("P(4, -1)", "(4,-1)"),
        ("P(4, -1)", "!(-1,4)"),
        (r"2\hat{\imath}-5\hat{\jmath}", "(2,-5)"),
        (r"2\hat{\imath}-5\hat{\jmath}", "!(5,-2)"),
        (r"\begin{pmatrix}2\\0\\1\end{pmatrix}", r"2\mathbf{i}+\mathbf{k}"),
        ("xy = 12", r"\boxed{y=\frac{12}{x}}"),
        ("x(x-1)=0", "!x-1=0"),
        (r"\lfloor n/2 \rfloor", r"\lceil (n-1)/2 \rceil"),
        (r"\lfloor n/2 \rfloor", r"!\lceil n/2 \rceil"),
        (r"PQ\parallel RS", r"\boxed{PQ // RS}"),
        (r"72^\circ", r"72\text{°}"),
        (r"\frac{7}{6}", r"\boxed{\frac{7}{6} \text{ or } 1.1\overline{6}}"),
        (r"\frac{7}{6}", r"!\boxed{\frac{7}{6} \text{ or } \frac{6}{7}}"),
        ("3", r"\boxed{\text{Step 2: }5-2=3}"),
        ("21", r"\boxed{}: 21"),
        (r"\frac{19}{8}", "2 3/8"),
        (r"\frac{61}{700}", "8 5/7%"),
        ("S(1)=3, S(2)=5", "3,5"),
        ("S(1)=3, S(2)=5", "!5,3"),
        ("Tom: 4, Ann: 6", "Ann: 6, Tom: 4"),
        ("Tom: 4, Ann: 6", "!Ann: 4, Tom: 6"),
        (r"(1,1), \pm(2,3)", r"\boxed{(1,1),(2,3),(-2,-3)}"),
        (r"x \pm 2y = 0", r"\boxed{x+2y=0 \text{ and } x-2y=0}"),
        (r"e^{\pi\sqrt{67}}", "!147197952744"),
    ]);
}

#[test]
fn a_box_in_a_larger_formula_is_no_answer() {
    check(&[
        ("18", r"!The answer is $-\boxed{18}$."),
        ("18", r"!The answer is $2\cdot\boxed{18}$."),
        ("18", r"!The answer is $\frac{1}{\boxed{18}}$."),
        ("18", r"!$\boxed{18}^2$"),
        ("18", r"!$\boxed{18}0$"),
        ("18", r"!$x\ne\boxed{18}$"),
        ("18", r"!\boxed{18} dozen"),
        (r"18\%", r"$\boxed{18}\%$"),
        ("18", r"!$\boxed{18}\%$"),
        (r"18\text{ km}", r"$\boxed{18}$ km"),
        (r"18\text{ km}", r"!$\boxed{18}$ m"),
        ("18", r"$\begin{aligned} S &= 2\cdot 9 \\ &= \boxed{18}. \end{aligned}$"),
    ]);
}

#[test]
fn a_sentence_must_stand_by_its_box() {
    check(&[
        ("18", r"!It is not the case that the answer is \boxed{18}."),
        ("18", r"!It is untrue that the answer is \boxed{18}."),
        ("18", r"!The answer is anything but \boxed{18}."),
        ("18", r"!The answer is one less than \boxed{18}."),
        ("18", r"!\boxed{18} is greater than the answer."),
        ("18", r"!\boxed{18}, which is impossible."),
        ("18", r"!\boxed{18}. The real answer is 20."),
        ("18", r"The smallest number that cannot be written so is \boxed{18}."),
        ("18", r"Since 5 is not prime, the answer is \boxed{18}."),
        ("18", r"\boxed{18}, which is the smallest such number. The answer is 18."),
    ]);
}

#[test]
fn words_behind_a_value_name_what_was_counted() {
    check(&[
        ("12", r"\boxed{12\text{ red marbles}}"),
        ("12", r"\boxed{12\text{ years old}}"),
        ("12", r"!\boxed{12\text{ doubled}}"),
        ("12", r"!\boxed{12\text{ rounded down}}"),
        ("12", "!The answer is 12 in hexadecimal."),
        ("12", "!The answer is 12 with the digits swapped."),
        ("12", "!The answer is 12 when rounded to the nearest 6."),
        ("12", "!The answer is 12, give or take."),
        ("12", "!12-fold"),
        ("12", "The answer is 12, since 3 of 4 are even."),
        ("There are exactly 6 such triples.", "6"),
    ]);
}

#[test]
fn letters_that_are_looked_for_are_no_labels() {
    check(&[
        ("5", "!|x|=5"),
        ("5", r"!\ln x=5"),
        ("5", "x+y=5"),
        ("5", "|AB|=5"),
        (r"\frac35", r"\sin A=\frac35"),
        ("x=1, y=2", r"!x=1\text{ or }y=2"),
        (r"\frac{\pi}{3}", r"!\frac{\pi}{3}^\circ"),
        (r"\{1,2\}", r"!\{\{1\},2\}"),
        (r"\{(x,y):y=x^2\}", r"!\{x:y=x^2\}"),
        ("Ann wins if and only if n is odd.", r"!\boxed{\text{Bob wins if and only if n is odd.}}"),
        ("Ann wins if and only if n is odd.", r"\boxed{n\text{ is odd}}"),
        ("The minimum is $3$, attained at $x=5$.", r"\boxed{3}"),
        ("The minimum is $3$, attained at $x=5$.", r"!\boxed{x=3}"),
    ]);
}
