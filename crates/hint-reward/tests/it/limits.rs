//! Limits, infinite sums and products, and integrals: a value that is not known equals nothing.

use hint_reward::{MathVerifier, Verdict};

fn verdict(answer: &str, reference: &str) -> Verdict {
    MathVerifier::new().compare(answer, reference).verdict
}

/// The two are unequal, whichever is the reference. One without a value makes no answer incorrect.
#[track_caller]
fn unknown(formula: &str, wrong: &[&str]) {
    for wrong in wrong {
        assert_eq!(verdict(wrong, formula), Verdict::ReferenceUnparseable, "{formula} for {wrong}");
        assert!(!verdict(formula, wrong).is_correct(), "{formula} is not {wrong}");
    }
}

#[track_caller]
fn known(formula: &str, right: &str, wrong: &str) {
    for (answer, reference) in [(formula, right), (right, formula)] {
        let judgment = MathVerifier::new().compare(answer, reference);
        assert_eq!(judgment.verdict, Verdict::Correct, "{answer} for {reference}: {judgment:?}");
    }
    assert_eq!(verdict(wrong, formula), Verdict::Incorrect, "{formula} is not {wrong}");
    assert_eq!(verdict(formula, wrong), Verdict::Incorrect, "{formula} is not {wrong}");
}

#[test]
fn what_oscillates_has_no_limit() {
    for (body, wrong) in [
        (r"\frac{(-1)^n}{4}", &[r"\frac14", "0", r"-\frac14"][..]),
        ("(2+(-1)^n)", &["3", "1", "2"]),
        ("(3+(-1)^n)", &["4"]),
        (r"\cos\frac{n\pi}{2}", &["1", "0"]),
        (r"\sin^2\frac{n\pi}{3}", &[r"\frac34", "0"]),
        (r"\frac{(-1)^n n}{4n+1}", &[r"\frac14"]),
        (r"\left(5+\frac{(-1)^n n}{n+1}\right)", &["6", "5", "4"]),
        (r"\left(1+\frac{(-1)^n}{3}\right)", &[r"\frac43", "1"]),
        (r"\left(10+5\sin\frac{n\pi}{4}\right)", &["10"]),
        (r"\left(10+\sin\frac{n\pi}{4}\right)", &["10"]),
        (r"(1+\cos^2(n\pi/2))", &["2"]),
        (r"\frac{3n+(-1)^n n}{n}", &["4", "3"]),
        (r"\left(7+\cos\frac{2n\pi}{3}\right)", &[r"\frac{13}{2}", "8"]),
        (r"\left(7+\cos\frac{n\pi}{6}\right)", &["7", r"\frac{13}{2}"]),
        (r"\left(2+\frac{(-1)^n}{1000000}\right)", &["2", "2.000001"]),
        (r"\left(2+\frac1n+\frac{(-1)^n}{1000000}\right)", &["2", "2.000001"]),
    ] {
        unknown(&format!(r"\lim_{{n\to\infty}}{body}"), wrong);
    }
    for (limit, wrong) in [
        (r"\lim_{x\to0}\sin\frac{\pi}{x}", &["0"][..]),
        (r"\lim_{x\to0^+}\sin\frac{\pi}{x}", &["0"]),
        (r"\lim_{x\to0^-}\sin\frac{\pi}{x}", &["0"]),
        (r"\lim_{x\to0}\cos\frac{2\pi}{x}", &["1"]),
        (r"\lim_{x\to\infty}\sin(\pi x)", &["0"]),
        (r"\lim_{x\to\infty}\cos(2\pi x)", &["1"]),
        (r"\lim_{x\to-\infty}\cos(2\pi x)", &["1"]),
        (r"\lim_{x\to0}\left(4+\sin\frac{3\pi}{x}\right)", &["4"]),
        (r"\lim_{x\to2}\sin\frac{\pi}{x-2}", &["0"]),
    ] {
        unknown(limit, wrong);
    }
}

#[test]
fn limits_that_exist_keep_their_values() {
    for (limit, right, wrong) in [
        (r"\lim_{n\to\infty}\frac{(-1)^n}{n}", "0", "1"),
        (r"\lim_{n\to\infty}\frac{3n^2+n}{5n^2-7}", r"\frac35", r"\frac53"),
        (r"\lim_{n\to\infty}\left(1+\frac1n\right)^n", "e", "1"),
        (r"\lim_{n\to\infty}\left(\sqrt{n^2+n}-n\right)", r"\frac12", "0"),
        (r"\lim_{x\to0}\frac{\sin 3x}{x}", "3", "1"),
        (r"\lim_{x\to0}\frac{1-\cos x}{x^2}", r"\frac12", "1"),
        (r"\lim_{x\to0}\frac{e^x-1-x}{x^2}", r"\frac12", "1"),
        (r"\lim_{x\to2}\frac{x^2-4}{x-2}", "4", "2"),
        (r"\lim_{x\to0^+}x\ln x", "0", "1"),
        (r"\lim_{x\to0}(1+x)^{1/x}", "e", "1"),
        (r"\lim_{n\to\infty}n^{1/n}", "1", "0"),
        (r"\lim_{x\to\infty}\arctan x", r"\frac{\pi}{2}", r"\pi"),
        (r"\lim_{x\to1}\frac{\ln x}{x-1}", "1", "0"),
        (r"\lim_{x\to0}\frac{\tan x-\sin x}{x^3}", r"\frac12", "0"),
    ] {
        known(limit, right, wrong);
    }
}

#[test]
fn zeros_in_front_of_a_sum_or_inside_it_do_not_end_it() {
    for (sum, right) in [
        (r"\sum_{n=0}^{\infty}\frac{n(n-1)(n-2)}{2^n}", "12"),
        (r"\sum_{n=0}^{\infty}\binom{n}{3}\frac{1}{2^n}", "2"),
        (r"\sum_{n=0}^{\infty}\binom{n}{5}\frac{1}{3^n}", r"\frac{3}{64}"),
        (r"\sum_{n=0}^{\infty}\frac{n(n-1)(n-2)}{n!}", "e"),
        (r"\sum_{n=1}^{\infty}\frac{(n-1)(n-2)(n-3)}{3^n}", r"\frac{3}{8}"),
        (r"\sum_{k=0}^{\infty}\binom{k}{4}\left(\frac12\right)^k", "2"),
        (r"\sum_{n=0}^{\infty}\frac{n(n-1)(n-2)}{3^n}", r"\frac{9}{8}"),
        (r"\sum_{n=1}^{\infty}\frac{\max(0,n-5)}{2^n}", r"\frac{1}{16}"),
    ] {
        known(sum, right, "0");
    }
    // Three zeros behind ten terms that are none.
    let gap = r"\sum_{n=1}^{\infty}\frac{(n-11)(n-12)(n-13)}{2^n}";
    let cut = r"\sum_{n=1}^{13}\frac{(n-11)(n-12)(n-13)}{2^n}";
    assert!(!verdict(cut, gap).is_correct());
    known(gap, "-1044", "0");
    unknown(r"\sum_{n=1}^{\infty}\max(0,n-300)2^{-n}", &["0"]);
    unknown(r"\sum_{n=1}^{\infty}\cos\frac{n\pi}{2}", &["0", "-1"]);
    unknown(r"\sum_{n=1}^{\infty}\sin\frac{n\pi}{2}", &["0", "1", r"\frac12"]);
    for (sum, right) in [
        (r"\sum_{n=1}^{\infty}\frac{1}{n^2}", r"\frac{\pi^2}{6}"),
        (r"\sum_{n=0}^{\infty}\frac{(-1)^n}{2n+1}", r"\frac{\pi}{4}"),
        (r"\sum_{n=0}^{\infty}\binom{5}{n}", "32"),
        (r"\sum_{n=1}^{\infty}\frac{1}{n(n+1)}", "1"),
    ] {
        known(sum, right, "0");
    }
}

#[test]
fn infinite_products_have_values() {
    known(r"\prod_{n=2}^{\infty}\left(1-\frac{1}{n^2}\right)", r"\frac12", "0");
    known(r"\prod_{n=2}^{\infty}\frac{n^3-1}{n^3+1}", r"\frac23", r"\frac32");
    unknown(r"\prod_{n=1}^{\infty}\left(1-\frac{2}{n}\right)", &["0", "1"]);
}

#[test]
fn a_narrow_peak_is_no_nothing() {
    for integral in [
        r"\int_0^{\infty} e^{-(x-400)^2}\,dx",
        r"\int_0^{\infty} e^{-(x-3000)^2}\,dx",
        r"\int_0^1 e^{-10^8(x-0.3)^2}\,dx",
        r"\int_0^1 e^{-10^6(x-\frac13)^2}\,dx",
        r"\int_0^{10} e^{-10^9(x-7.1)^2}\,dx",
        r"\int_{-\infty}^{\infty} e^{-(x-500)^4}\,dx",
        r"\int_0^1\frac{1}{1+10^{12}(x-0.3)^2}\,dx",
        r"\int_0^1 e^{-10^9(x^2-0.3)^2}\,dx",
        r"\int_0^1 e^{-10^9|x-0.3|}\,dx",
    ] {
        assert!(!verdict("0", integral).is_correct(), "{integral}");
        assert!(!verdict(integral, "0").is_correct(), "{integral}");
    }
    // A broad part must not hide a narrow one.
    for integral in [
        r"\int_0^1\left(1+e^{-10^8(x-0.3)^2}\right)\,dx",
        r"\int_0^1\left(1+\frac{1}{1+10^{12}(x-0.3)^2}\right)\,dx",
    ] {
        assert!(!verdict("1", integral).is_correct(), "{integral}");
    }
    known(r"\int_{-\infty}^{\infty} e^{-x^2}\,dx", r"\sqrt{\pi}", r"\pi");
}
