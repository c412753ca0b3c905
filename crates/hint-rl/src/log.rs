//! Log of the libraries' `tracing` events, as lines above what is drawn on the terminal.
//!
//! ```text
//! hint-rl train --log info
//! hint-rl train --log warn,hint_rollout=debug
//! ```

use std::io::{self, Write};

use anyhow::{Context, Result};
use tracing::Subscriber;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Writes the events that pass `filter` to the standard error, from now on and for the whole process.
///
/// # Errors
///
/// A program that has a subscriber already.
pub fn install(filter: Targets) -> Result<()> {
    tracing::subscriber::set_global_default(subscriber(filter, || Lines))
        .context("the process has a log already")
}

fn subscriber<W>(filter: Targets, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// Lines of the terminal; each event is one write.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note!("{}", String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Bytes that were written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn events_pass_the_filter_of_their_library() {
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = "warn,hint_rollout=debug".parse::<Targets>().unwrap();
        tracing::subscriber::with_default(subscriber(filter, move || writer.clone()), || {
            tracing::warn!(step = 3, "a loss is not finite");
            tracing::info!("a step is done");
            tracing::debug!(target: "hint_rollout::net", "a request failed");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("WARN") && lines[0].contains("a loss is not finite step=3"));
        assert!(lines[1].contains("hint_rollout::net: a request failed"), "{text}");
    }
}
