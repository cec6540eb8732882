//! Home strategy of diy-backup that copies the Bitbucket home directory with rsync.
