//! Typed client of the maintenance REST API of Atlassian Bitbucket Server and Data Center.
