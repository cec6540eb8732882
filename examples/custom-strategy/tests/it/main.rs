//! The site's own program, with its own strategy, against a Bitbucket simulator.

#[cfg(test)]
mod flow;
#[cfg(test)]
mod site;
