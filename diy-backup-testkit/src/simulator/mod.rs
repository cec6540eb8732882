//! A strict Bitbucket: the maintenance calls, the delays of a cluster, faults on demand, and an application that lives.
//!
//! It refuses whatever the documented interface would refuse, so a client that works here has not been flattered. It
//! runs on threads of its own: a test may block, and a program that is not asynchronous may hold one.

mod answer;
mod auth;
mod builder;
mod core;
mod drain;
mod fault;
mod handle;
mod http;
mod maintenance;
mod operations;
mod record;
mod routes;

pub use builder::{
    BasicAuthentication, DrainOutcome, EndedTask, ServerState, SimulatorBuilder, UnlockWhileRunning,
};
pub use fault::{CallKind, Fault, FaultBody, FaultId, FaultKind, RetryAfter, Times, When};
pub use handle::Simulator;
pub use maintenance::{LatchState, LatchStates, TaskKind, TaskState, TaskView, Window};
pub use record::RecordedRequest;
