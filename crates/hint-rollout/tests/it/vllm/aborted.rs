//! Requests in flight that nobody waits for any more.

use std::sync::mpsc::channel;
use std::time::Duration;

use hint_rollout::engine::vllm::VllmOptions;
use hint_rollout::error::VllmError;
use hint_rollout::{RolloutEngine, RolloutError};

use super::{COMPLETION, HANG, Recorded, connect, connect_to, connect_with, options, request};

const COMPLETIONS: &str = "/v1/completions";

#[test]
fn an_abort_ends_the_requests_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let (begin, has_begun) = channel();
    let server = Recorded::start(Box::new(move |path| {
        (path == COMPLETIONS).then(|| {
            // Later requests find nobody who waits.
            let _ = begin.send(());
            (HANG, String::new())
        })
    }));
    let mut engine = connect_with(&[&server], dir.path(), 1).0.unwrap();
    let aborter = engine.aborter();
    let error = std::thread::scope(|scope| {
        scope.spawn(move || {
            has_begun.recv().expect("the server is asked");
            aborter.abort();
        });
        engine.generate(&[request(6), request(6)]).unwrap_err()
    });
    assert!(matches!(error, RolloutError::Vllm(VllmError::Aborted)), "{error}");
    // By the closed connection, a server notices that nobody waits.
    server.closed.recv_timeout(Duration::from_mins(1)).expect("the connection is closed");
    server.log();
    let error = engine.generate(&[request(6)]).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::Aborted)), "{error}");
    assert_eq!(server.count(COMPLETIONS), 0);
}

#[test]
fn a_request_that_hangs_on_a_server_that_failed_goes_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (begin, has_begun) = channel();
    let mut asked = 0;
    let bad = Recorded::start(Box::new(move |path| {
        (path == COMPLETIONS).then(|| {
            asked += 1;
            let _ = begin.send(());
            // The second request breaks, while the first one waits.
            (if asked == 1 { HANG } else { 0 }, String::new())
        })
    }));
    let mut has_begun = Some(has_begun);
    let good = Recorded::start(Box::new(move |path| {
        if path == COMPLETIONS
            && let Some(has_begun) = has_begun.take()
        {
            for _ in 0..2 {
                has_begun.recv().expect("the bad server is asked twice");
            }
        }
        None
    }));
    let patient = options(&[&bad, &good], dir.path());
    let patient = VllmOptions { attempts: 1, parallel: 2, request_timeout_s: 600.0, ..patient };
    let (engine, events) = connect_to(patient);
    let mut engine = engine.unwrap();
    let (send, sampled) = channel();
    std::thread::spawn(move || {
        let _ = send.send(engine.generate(&vec![request(6); 4]));
    });
    let groups = sampled.recv_timeout(Duration::from_mins(1)).expect("nobody waits for it");
    assert_eq!(groups.unwrap().len(), 4);
    assert_eq!(*events.lock().unwrap(), ["down 2"]);
    assert_eq!((bad.count(COMPLETIONS), good.count(COMPLETIONS)), (2, 4));
}

#[test]
fn an_error_that_ends_the_batch_ends_the_requests_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (begin, has_begun) = channel();
    let slow = Recorded::start(Box::new(move |path| {
        (path == COMPLETIONS).then(|| {
            let _ = begin.send(());
            (HANG, String::new())
        })
    }));
    // Its completions have six tokens where eight were asked for.
    let mut has_begun = Some(has_begun);
    let wrong = Recorded::start(Box::new(move |path| {
        (path == COMPLETIONS).then(|| {
            if let Some(has_begun) = has_begun.take() {
                has_begun.recv().expect("the slow server is asked");
            }
            (200, COMPLETION.to_owned())
        })
    }));
    let (engine, events) = connect_with(&[&slow, &wrong], dir.path(), 1);
    let mut engine = engine.unwrap();
    let error = engine.generate(&vec![request(8); 4]).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::Setting { .. })), "{error}");
    slow.closed.recv_timeout(Duration::from_mins(1)).expect("the connection is closed");
    // One that waited for its time limit would be asked again.
    assert_eq!((slow.count(COMPLETIONS), wrong.count(COMPLETIONS)), (1, 1));
    assert!(events.lock().unwrap().is_empty(), "no server is down");
    // The next call has connections of its own.
    let mut engine = connect(&[&wrong], dir.path()).0.unwrap();
    engine.generate(&[request(8)]).unwrap_err();
    assert_eq!(engine.generate(&[request(6)]).unwrap()[0].len(), 2);
}
