//! What a server says when it refuses.

/// A message with its number; its severity is 16, as of all that ends a statement and not the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) number: u32,
    pub(super) message: String,
    /// What the server adds for a backup or restore that it gives up.
    pub(super) verb: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(number: u32, message: impl Into<String>) -> Self {
        Self {
            number,
            message: message.into(),
            verb: None,
        }
    }

    pub(super) fn ends(mut self, verb: &'static str) -> Self {
        self.verb = Some(verb);
        self
    }

    pub(super) fn syntax(near: &str) -> Self {
        Self::new(102, format!("Incorrect syntax near '{near}'."))
    }

    pub(super) fn unclosed(text: &str) -> Self {
        Self::new(
            105,
            format!("Unclosed quotation mark after the character string '{text}'."),
        )
    }

    pub(super) fn no_database(name: &str) -> Self {
        let message = format!(
            "Database '{name}' does not exist. Make sure that the name is entered correctly."
        );
        Self::new(911, message)
    }

    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::new(50000, format!("The double itself has failed: {error}"))
    }

    /// As sqlcmd prints it.
    pub(super) fn lines(&self) -> Vec<String> {
        let head = |number| format!("Msg {number}, Level 16, State 1, Server DOUBLE, Line 1");
        let mut lines = vec![head(self.number), self.message.clone()];
        if let Some(verb) = self.verb {
            lines.push(head(3013));
            lines.push(format!("{verb} DATABASE is terminating abnormally."));
        }
        lines
    }
}
