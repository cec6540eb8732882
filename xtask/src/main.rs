//! Set-up, demo, tests and packaging of the workspace.

fn main() {}
