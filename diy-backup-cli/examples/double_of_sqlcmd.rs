//! The `sqlcmd` that the tests of the strategy `mssql` run: a client of the testkit's SQL Server double.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    diy_backup_testkit::mssql::sqlcmd()
}

#[cfg(not(unix))]
fn main() {}
