//! Archive strategy of diy-backup that keeps each backup as one checksummed tar file.
