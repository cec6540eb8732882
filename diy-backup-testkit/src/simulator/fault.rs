//! Faults on demand.

use std::time::{Duration, SystemTime};

/// One of the calls the simulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// `POST /mvc/maintenance/lock`
    Lock,
    /// `GET /mvc/maintenance/lock`
    LockState,
    /// `DELETE /mvc/maintenance/lock`
    Unlock,
    /// `POST /mvc/admin/backups`
    StartBackup,
    /// `GET /mvc/maintenance`
    MaintenanceState,
    /// `POST /mvc/admin/backups/progress/client`
    Progress,
    /// `POST /mvc/maintenance`
    Cancel,
    /// `GET /status`
    Status,
    /// `GET /rest/api/latest/application-properties`
    ApplicationProperties,
    /// `GET /rest/api/latest/admin/cluster`
    Cluster,
    /// Every other request; as the call of a fault: every request there is.
    Any,
}

impl CallKind {
    /// The call that a method and a path (without the context path) stand for.
    pub(super) fn of(method: &str, path: &str) -> Self {
        let rest = path
            .strip_prefix("/rest/api/latest")
            .or_else(|| path.strip_prefix("/rest/api/1.0"));
        match (method, path, rest) {
            ("POST", "/mvc/maintenance/lock", _) => Self::Lock,
            ("GET", "/mvc/maintenance/lock", _) => Self::LockState,
            ("DELETE", "/mvc/maintenance/lock", _) => Self::Unlock,
            ("POST", "/mvc/admin/backups", _) => Self::StartBackup,
            ("GET", "/mvc/maintenance", _) => Self::MaintenanceState,
            ("POST", "/mvc/admin/backups/progress/client", _) => Self::Progress,
            ("POST", "/mvc/maintenance", _) => Self::Cancel,
            ("GET", "/status", _) => Self::Status,
            ("GET", _, Some("/application-properties")) => Self::ApplicationProperties,
            ("GET", _, Some("/admin/cluster")) => Self::Cluster,
            _ => Self::Any,
        }
    }
}

/// The body that goes with a [`FaultKind::Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultBody {
    /// The `errors` form.
    Json,
    /// A proxy's page.
    Html,
    /// JSON of a gateway that knows no route to a node that it has taken out.
    GatewayJson,
    /// Nothing.
    Empty,
}

/// The value of the header `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// A date that lies this many seconds ahead when the answer is made.
    Date(u64),
}

impl RetryAfter {
    pub(super) fn value(self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Date(seconds) => {
                httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
            }
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Another status than the true one.
    Status {
        /// For example 503.
        status: u16,
        /// What comes with it.
        body: FaultBody,
    },
    /// Another status than the true one, with the header `Retry-After`: a rate limiter, or a gateway whose node is out.
    RetryAfter {
        /// 429 or 503.
        status: u16,
        /// In whole seconds, or up to a date.
        pause: RetryAfter,
    },
    /// 302 to the login page.
    LoginRedirect,
    /// No answer, until the client gives up.
    Hang,
    /// No answer for so long, then the end of the connection: what a proxy makes of a server that hangs.
    Stall(Duration),
    /// The connection is reset (RST, not FIN).
    Reset,
    /// The headers, half of the promised body, then the end of the connection.
    HalfBody,
    /// 200 and JSON that ends too early.
    MalformedJson,
    /// 200 and an HTML page.
    HtmlOk,
}

/// Which of the matching calls go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next one.
    Once,
    /// All of them.
    Always,
    /// Only this one, counted from 1 since the fault was added.
    Nth(u64),
    /// All but the first so many.
    After(u64),
}

impl Times {
    fn includes(self, number: u64) -> bool {
        match self {
            Self::Once => number == 1,
            Self::Always => true,
            Self::Nth(nth) => number == nth,
            Self::After(first) => number > first,
        }
    }
}

/// Whether the call has its effect on the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It goes wrong before the instance sees it: no effect.
    Before,
    /// It has its effect, and the answer is lost or spoiled.
    After,
}

/// A fault: which call, what goes wrong, how often, and whether the call has its effect.
///
/// ```
/// use diy_backup_testkit::simulator::{CallKind, Fault, FaultKind, Times, When};
///
/// let lost_answer = Fault { when: When::After, ..Fault::once(CallKind::Lock, FaultKind::Reset) };
/// assert_eq!(lost_answer.times, Times::Once);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which call; [`CallKind::Any`] is every request.
    pub call: CallKind,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often.
    pub times: Times,
    /// Whether the call has its effect.
    pub when: When,
}

impl Fault {
    /// A fault of the next such call, before the instance sees it.
    pub fn once(call: CallKind, kind: FaultKind) -> Self {
        Self {
            call,
            kind,
            times: Times::Once,
            when: When::Before,
        }
    }

    /// A fault of every such call, before the instance sees it.
    pub fn always(call: CallKind, kind: FaultKind) -> Self {
        Self {
            times: Times::Always,
            ..Self::once(call, kind)
        }
    }

    /// A gateway that answers every request by itself, as one does that has taken the only node out.
    pub fn gateway(status: u16, body: FaultBody) -> Self {
        Self::always(CallKind::Any, FaultKind::Status { status, body })
    }

    /// An answer with this status and a proxy's page, for the next such call.
    pub fn status_once(call: CallKind, status: u16) -> Self {
        Self::once(
            call,
            FaultKind::Status {
                status,
                body: FaultBody::Html,
            },
        )
    }
}

/// Names an added fault, to remove it or to ask how often it struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Entry {
    id: FaultId,
    fault: Fault,
    seen: u64,
    struck: u64,
}

/// All faults there are.
#[derive(Debug, Default)]
pub(super) struct FaultBook {
    entries: Vec<Entry>,
    next: u64,
}

impl FaultBook {
    pub(super) fn add(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.entries.push(Entry {
            id,
            fault,
            seen: 0,
            struck: 0,
        });
        id
    }

    pub(super) fn remove(&mut self, id: FaultId) {
        self.entries.retain(|entry| entry.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn struck(&self, id: FaultId) -> u64 {
        self.entries
            .iter()
            .find(|entry| entry.id == id)
            .map_or(0, |entry| entry.struck)
    }

    /// Counts a call and returns the fault that strikes it: the one added first.
    pub(super) fn strike(&mut self, call: CallKind) -> Option<Fault> {
        let mut striking = None;
        for entry in &mut self.entries {
            if entry.fault.call != call && entry.fault.call != CallKind::Any {
                continue;
            }
            entry.seen += 1;
            if striking.is_none() && entry.fault.times.includes(entry.seen) {
                entry.struck += 1;
                striking = Some(entry.fault);
            }
        }
        striking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(times: Times) -> Vec<bool> {
        let mut book = FaultBook::default();
        book.add(Fault {
            times,
            ..Fault::once(CallKind::Lock, FaultKind::Hang)
        });
        (0..4)
            .map(|_| book.strike(CallKind::Lock).is_some())
            .collect()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        assert_eq!(strikes(Times::Once), [true, false, false, false]);
        assert_eq!(strikes(Times::Always), [true, true, true, true]);
        assert_eq!(strikes(Times::Nth(3)), [false, false, true, false]);
        assert_eq!(strikes(Times::After(2)), [false, false, true, true]);
    }

    #[test]
    fn other_calls_neither_suffer_nor_count() {
        let mut book = FaultBook::default();
        let id = book.add(Fault::once(CallKind::Lock, FaultKind::Hang));
        assert!(book.strike(CallKind::Unlock).is_none());
        assert!(book.strike(CallKind::Lock).is_some());
        assert_eq!(book.struck(id), 1);
    }
}
