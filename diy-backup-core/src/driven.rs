//! Sessions driven in the one right order: a capture cannot be skipped or repeated.

use std::marker::PhantomData;

use crate::error::{Error, Result};
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
        match self.session.capture(window).await {
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
        match self.session.complete(released).await {
            Ok(artifact) => Ok((self.part, artifact)),
            Err(error) => Err(self.failed(error, Phase::Complete)),
        }
    }
}

impl Aborting {
    /// Aborts the session and says what could not be taken back.
    pub(crate) async fn abort(self) -> Option<String> {
        let Self { part, session } = self;
        let failed = session.abort().await.err()?;
        Some(format!(
            "aborting the {part} part left something behind: {}",
            crate::error::chain(&failed)
        ))
    }
}
