//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets `stop` at the first SIGINT or SIGTERM; the second ends the process at once.
pub fn stop_on_signal(stop: &Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = stop.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                // Guests die with us: each was told to when it was started.
                std::process::exit(130);
            }
            eprintln!("stopping: what has been found so far is kept (once more to stop at once)");
            stop.store(true, Ordering::Relaxed);
        }
    });
}
