//! Whether two names mean one machine.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

/// A name server that does not answer is no reason to wait for long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    Same,
    Different,
    /// Such as the name of a container, which means something to other containers alone.
    Unknown,
}

/// Compares the names or addresses of two machines.
pub(super) async fn compare(one: &str, other: &str) -> Hosts {
    let (one, other) = (normal(one), normal(other));
    if one == other || (is_local_name(&one) && is_local_name(&other)) || is_short_for(&one, &other)
    {
        return Hosts::Same;
    }
    let (first, second) = tokio::join!(addresses(&one), addresses(&other));
    match (first, second) {
        (Some(first), Some(second)) => {
            let is_here = |addresses: &[IpAddr]| addresses.iter().any(|&address| is_own(address));
            let shared = first.iter().any(|address| second.contains(address));
            if shared || (is_here(&first) && is_here(&second)) {
                Hosts::Same
            } else {
                Hosts::Different
            }
        }
        // A full name that nobody knows here may be known where Bitbucket runs, and is not this machine.
        (None, Some(_)) if one.contains('.') => Hosts::Different,
        (Some(_), None) if other.contains('.') => Hosts::Different,
        (None, None) if one.contains('.') && other.contains('.') => Hosts::Different,
        _ => Hosts::Unknown,
    }
}

fn normal(host: &str) -> String {
    let host = host.split('\\').next().unwrap_or(host);
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    host.to_ascii_lowercase()
}

fn is_local_name(host: &str) -> bool {
    let is_loopback = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    host.is_empty()
        || host.starts_with(['/', '@'])
        || ["localhost", "(local)", "localhost.localdomain"].contains(&host)
        || host.parse().is_ok_and(is_loopback)
}

/// Whether one is the first part of the other, as machines of one domain call each other.
fn is_short_for(one: &str, other: &str) -> bool {
    let is_short = |short: &str, long: &str| {
        !short.contains('.')
            && long.parse::<IpAddr>().is_err()
            && long.split('.').next() == Some(short)
    };
    is_short(one, other) || is_short(other, one)
}

async fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    if is_local_name(host) {
        return Some(vec![[127, 0, 0, 1].into()]);
    }
    if let Ok(address) = host.parse() {
        return Some(vec![address]);
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await;
    let found: Vec<IpAddr> = found.ok()?.ok()?.map(|socket| socket.ip()).collect();
    (!found.is_empty()).then_some(found)
}

/// Whether the address is one of this machine's: the kernel lets a socket have no other.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_one_machine_are_the_same() {
        for (one, other) in [
            ("localhost", "127.0.0.1"),
            ("::1", "/var/run/postgresql"),
            ("", "LOCALHOST"),
            ("db", "db.example.com."),
            ("DB.example.com", "db.example.com"),
            ("localhost\\SQLEXPRESS", "(local)"),
            ("db.invalid\\A", "db.invalid"),
        ] {
            assert_eq!(compare(one, other).await, Hosts::Same, "{one} {other}");
            assert_eq!(compare(other, one).await, Hosts::Same, "{one} {other}");
        }
    }

    #[tokio::test]
    async fn other_machines_differ_and_a_name_without_a_domain_may_be_anything() {
        for (one, other, expected) in [
            ("localhost", "192.0.2.7", Hosts::Different),
            ("192.0.2.8", "192.0.2.7", Hosts::Different),
            ("localhost", "db.invalid", Hosts::Different),
            ("one.invalid", "two.invalid", Hosts::Different),
        ] {
            assert_eq!(compare(one, other).await, expected, "{one} {other}");
        }
        let service = "a-container-that-nobody-has";
        if tokio::net::lookup_host((service, 0)).await.is_err() {
            assert_eq!(compare(service, "localhost").await, Hosts::Unknown);
        }
    }
}
