//! Sessions driven in the one right order: a capture cannot be skipped or repeated.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::manifest::PartName;
use crate::phase::Phase;
use crate::strategy::{Artifact, Session};
use crate::window::{LockWindow, Released};

/// A session that has not captured yet.
#[derive(Debug)]
pub(crate) struct Prepared;

/// A session that has captured.
#[derive(Debug)]
pub(crate) struct Captured;

/// The session of one part, in the state `S`.
#[derive(Debug)]
pub(crate) struct Driven<S> {
    part: PartName,
    session: Box<dyn Session>,
    state: PhantomData<S>,
}

/// A step that failed. The session is here as long as it can be aborted.
#[derive(Debug)]
pub(crate) struct StepFailed {
    pub(crate) error: Error,
    pub(crate) rest: Aborting,
}

/// A session that will not go on.
#[derive(Debug)]
pub(crate) struct Aborting {
    part: PartName,
    session: Box<dyn Session>,
}

impl<S> Driven<S> {
    fn failed(self, error: Error, phase: Phase) -> StepFailed {
        StepFailed {
            error: error.in_phase(phase),
            rest: self.give_up(),
        }
    }

    pub(crate) fn give_up(self) -> Aborting {
        Aborting {
            part: self.part,
            session: self.session,
        }
    }
}

impl Driven<Prepared> {
    pub(crate) fn new(part: PartName, session: Box<dyn Session>) -> Self {
        Self {
            part,
            session,
            state: PhantomData,
        }
    }

    pub(crate) async fn capture(
        mut self,
        window: &LockWindow,
    ) -> Result<Driven<Captured>, StepFailed> {
        match guarded(self.part, self.session.capture(window)).await {
            Ok(()) => Ok(Driven {
                part: self.part,
                session: self.session,
                state: PhantomData,
            }),
            Err(error) => Err(self.failed(error, Phase::Capture)),
        }
    }
}

impl Driven<Captured> {
    /// Completes the part. A session that has completed has nothing left to abort.
    pub(crate) async fn complete(
        mut self,
        released: &Released,
    ) -> Result<(PartName, Artifact), StepFailed> {
        match guarded(self.part, self.session.complete(released)).await {
            Ok(artifact) => Ok((self.part, artifact)),
            Err(error) => Err(self.failed(error, Phase::Complete)),
        }
    }
}

impl Aborting {
    /// Aborts the session and says what could not be taken back.
    pub(crate) async fn abort(self) -> Option<String> {
        let Self { part, session } = self;
        let failed = guarded(part, session.abort()).await.err()?;
        Some(format!(
            "aborting the {part} part left something behind: {}",
            crate::error::chain(&failed)
        ))
    }
}

/// Does a part's work. A panic in it, or in one of its workers, becomes an error that names the part: the instance has
/// to be unlocked and the other parts aborted all the same.
pub(crate) async fn guarded<T>(part: PartName, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let ended = std::future::poll_fn(|cx| {
        // What has panicked is never looked at again but to be dropped.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(Error::new(ErrorKind::Internal, words_of(&*panic)))),
        }
    })
    .await;
    ended.map_err(|error| {
        if error.kind() != ErrorKind::Internal || error.is_interruption() {
            return error;
        }
        let message = format!("the {part} part broke off");
        Error::new(ErrorKind::Internal, message).with_source(error)
    })
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}

/// Of the errors of two parts, the one that tells why the run fails. If both failed by themselves, the other one becomes
/// a warning.
pub(crate) fn first_cause(one: Error, other: Error, events: &Events) -> Error {
    let (cause, rest) = if one.is_interruption() && !other.is_interruption() {
        (other, one)
    } else {
        (one, other)
    };
    if !rest.is_interruption() {
        let why = crate::error::chain(&rest);
        events.warning(format!("another part of the run failed, too: {why}"));
    }
    cause
}
