//! What is particular to one operating system: inodes, owners, modes, mount points. Elsewhere there is an honest fallback.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::*;
#[cfg(unix)]
pub(crate) use unix::*;
