//! Backup and restore flows, strategy traits and recovery for Bitbucket Server and Data Center.
