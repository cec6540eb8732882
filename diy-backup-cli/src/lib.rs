//! The diy-backup command and its configuration file.
