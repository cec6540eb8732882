//! The strategy `postgresql` on private servers.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod check;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod fslevel;
#[cfg(test)]
mod instance;
#[cfg(test)]
mod originals;
#[cfg(test)]
mod pinning;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod support;
