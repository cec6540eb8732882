//! What strategy authors of diy-backup test with: a Bitbucket simulator, private servers, contract suites.
