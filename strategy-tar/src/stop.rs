//! How work on another thread learns that nobody wants it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diy_backup_core::{Control, Error, ErrorKind, Result};

/// Asked often by threads that work on an archive.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    control: Control,
    abandoned: Arc<AtomicBool>,
}

/// Held by the future that waits for the work: dropping it stops the work.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn new(control: Control) -> (Self, Waiting) {
        let abandoned = Arc::new(AtomicBool::new(false));
        let waiting = Waiting(abandoned.clone());
        (Self { control, abandoned }, waiting)
    }

    /// An error once the run is cancelled or the future that waited is gone.
    pub(crate) fn ensure_running(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "nobody waits for the archive any more",
            ));
        }
        self.control.ensure_running()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
