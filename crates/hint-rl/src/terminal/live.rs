//! Lines at the bottom of the terminal that are redrawn in place.
//!
//! The cursor rests below the lines and is never hidden. So a process that ends at any moment leaves a
//! clean terminal. Other lines, such as warnings, are written above: [`note`](super::note) and
//! [`say`](super::say) go through [`above`].

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use console::{Term, measure_text_width, truncate_str};
use hint_process::clock;
use hint_rollout::run::Activity;

use super::bar::{remaining, time, with_bar};

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(200);

/// Lines on the screen at the moment.
static DRAWN: Mutex<Block> = Mutex::new(Block { lines: Vec::new() });

fn drawn() -> MutexGuard<'static, Block> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the standard error is a terminal that can be drawn on.
pub(crate) fn is_possible() -> bool {
    #[expect(clippy::disallowed_methods, reason = "this crate reads the environment for programs")]
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stderr().is_terminal() && !is_dumb
}

/// Columns of the terminal; nothing where none can be drawn on.
pub(super) fn columns() -> Option<usize> {
    is_possible().then(|| size().0)
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let (rows, columns) = Term::stderr().size_checked().unwrap_or((24, 80));
    (usize::from(columns).max(2), usize::from(rows).max(2))
}

/// Runs `write`, which writes lines to the terminal, above the lines that are drawn.
pub(super) fn above(write: impl FnOnce()) {
    let mut block = drawn();
    if block.lines.is_empty() {
        return write();
    }
    let size = size();
    let erased = block.erase(size.0);
    let _ = stderr().write_all(erased.as_bytes());
    let _ = stderr().flush();
    write();
    let lines = std::mem::take(&mut block.lines);
    let text = block.draw(lines, size);
    let _ = stderr().write_all(text.as_bytes());
}

/// Lines that are drawn on the terminal until they are dropped or finished.
#[derive(Debug)]
pub(crate) struct Live {
    /// Ends the thread when it is dropped.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Draws the result of `lines` for a number of columns, several times a second.
    pub(crate) fn start(lines: impl Fn(usize) -> Vec<String> + Send + 'static) -> Self {
        let (end, ended) = channel();
        let draw = move || {
            redraw(&lines);
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                redraw(&lines);
            }
            // What is true in the end.
            redraw(&lines);
        };
        // Without a thread nothing is shown, and the run continues.
        let thread = std::thread::Builder::new().name("display".to_owned()).spawn(draw).ok();
        Self { end: Some(end), thread }
    }

    /// Draws how many of its pieces, in `unit`s, `activity` has done; nothing without a terminal.
    pub(crate) fn counter(name: &str, unit: &'static str, activity: &Activity) -> Option<Self> {
        let (activity, clock, name) = (activity.clone(), clock(), name.to_owned());
        let line = move |width: usize| {
            let (_, done, total) = activity.now();
            let left = remaining(clock(), done, total - done);
            let left = left.map_or_else(String::new, |left| format!(", {} left", time(left)));
            let (start, end) =
                (format!("{name:>8} {done}/{total} {unit} "), format!("  {}{left}", time(clock())));
            vec![with_bar(&start, &end, (done, total), width.saturating_sub(1))]
        };
        is_possible().then(|| Self::start(line))
    }

    /// Leaves the last lines where they are.
    pub(crate) fn finish(mut self) {
        self.stop();
        drawn().lines.clear();
    }

    fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // The thread does not panic, and nothing is lost if it did.
            let _ = thread.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
        let mut block = drawn();
        if std::thread::panicking() {
            // The message of the panic is below the lines.
            block.lines.clear();
        }
        let _ = stderr().write_all(block.erase(size().0).as_bytes());
        block.lines.clear();
    }
}

fn redraw(lines: &dyn Fn(usize) -> Vec<String>) {
    let size = size();
    // Before the lock: other threads may write meanwhile.
    let lines = lines(size.0);
    let mut block = drawn();
    let mut text = block.erase(size.0);
    text += &block.draw(lines, size);
    let _ = stderr().write_all(text.as_bytes());
}

/// The lines that are drawn, each as wide as the terminal was.
#[derive(Debug)]
struct Block {
    lines: Vec<String>,
}

impl Block {
    /// Moves the cursor to the first line and erases from there. In a terminal that became narrower, lines
    /// take several rows.
    fn erase(&self, columns: usize) -> String {
        let rows = |line: &String| measure_text_width(line).div_ceil(columns).max(1);
        let rows = self.lines.iter().map(rows).sum::<usize>();
        let mut text = "\r".to_owned();
        if rows > 0 {
            let _ = write!(text, "\x1b[{rows}A");
        }
        text + "\x1b[J"
    }

    /// Writes `lines`, each cut to one row, and no more than fit.
    fn draw(&mut self, lines: Vec<String>, (columns, rows): (usize, usize)) -> String {
        let cut = |line: String| truncate_str(&line, columns - 1, "…").into_owned();
        self.lines = lines.into_iter().take(rows - 1).map(cut).collect();
        self.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &[&str], size: (usize, usize)) -> (Block, String) {
        let mut block = Block { lines: Vec::new() };
        let text = block.draw(lines.iter().map(|line| (*line).to_owned()).collect(), size);
        (block, text)
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        let (block, text) = block(&["0123456789", "é→", "third", "fourth"], (8, 4));
        assert_eq!(text, "012345…\né→\nthird\n");
        assert_eq!(block.erase(8), "\r\x1b[3A\x1b[J");
    }

    #[test]
    fn colors_take_no_room_and_are_not_cut() {
        let (block, text) = block(&["\x1b[31mred\x1b[0m and more"], (8, 4));
        assert_eq!(measure_text_width(text.trim_end()), 7, "{text:?}");
        assert!(text.contains("\x1b[0m"), "{text:?}");
        assert_eq!(block.erase(8), "\r\x1b[1A\x1b[J");
    }

    #[test]
    fn what_a_narrower_terminal_wrapped_is_erased() {
        let (block, _) = block(&[&"x".repeat(79), "short", ""], (80, 24));
        // 79 columns take 2 rows of 40, 4 of 20.
        assert_eq!(block.erase(40), "\r\x1b[4A\x1b[J");
        assert_eq!(block.erase(20), "\r\x1b[6A\x1b[J");
        assert_eq!(Block { lines: Vec::new() }.erase(80), "\r\x1b[J");
    }
}
