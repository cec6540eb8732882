//! As much of Transact-SQL as backups and restores need; all else is a syntax error, as a server would say.

use super::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Text { text: String, unicode: bool },
    Number(i64),
    Mark(char),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    NoCount,
    Use(String),
    Select(Select),
    Backup {
        database: String,
        path: String,
        options: Vec<Item>,
    },
    Restore {
        what: Restore,
        path: String,
        options: Vec<Item>,
    },
    Rename {
        from: String,
        to: String,
    },
    Drop {
        name: String,
        if_exists: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restore {
    Database(String),
    HeaderOnly,
    FileListOnly,
    VerifyOnly,
}

/// One option after WITH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Word(String),
    Text(String, String),
    Number(String, i64),
    Move { logical: String, physical: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Select {
    pub(super) columns: Vec<(Expression, String)>,
    pub(super) from: Option<Vec<String>>,
    pub(super) alias: Option<String>,
    pub(super) condition: Option<(Expression, Expression)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Null,
    Number(i64),
    Text {
        text: String,
        unicode: bool,
    },
    Column(Vec<String>),
    Call(String, Vec<Expression>),
    Convert {
        to: String,
        width: Option<i64>,
        value: Box<Expression>,
        style: i64,
    },
    CountAll,
}

/// Reads a whole batch: nothing of it runs when any of it is wrong.
pub(super) fn parse(batch: &str) -> Result<Vec<Statement>, Refusal> {
    let mut parser = Parser {
        tokens: tokens(batch)?,
        at: 0,
    };
    let mut statements = Vec::new();
    while parser.peek().is_some() {
        if parser.take_mark(';') {
            continue;
        }
        statements.push(parser.statement()?);
    }
    Ok(statements)
}

fn tokens(batch: &str) -> Result<Vec<Token>, Refusal> {
    let letters: Vec<char> = batch.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        if letter.is_whitespace() {
            at += 1;
        } else if letter == '[' {
            tokens.push(Token::Quoted(enclosed(&letters, &mut at, ']')?));
        } else if letter == '\''
            || (matches!(letter, 'N' | 'n') && letters.get(at + 1) == Some(&'\''))
        {
            let unicode = letter != '\'';
            at += usize::from(unicode);
            let text = enclosed(&letters, &mut at, '\'')?;
            tokens.push(Token::Text { text, unicode });
        } else if letter.is_ascii_digit() {
            let digits = run(&letters, &mut at, |c| c.is_ascii_digit());
            tokens.push(Token::Number(
                digits.parse().map_err(|_| Refusal::syntax(&digits))?,
            ));
        } else if letter.is_alphabetic() || letter == '_' {
            tokens.push(Token::Word(run(&letters, &mut at, |c| {
                c.is_alphanumeric() || c == '_'
            })));
        } else if ";,().=*".contains(letter) {
            tokens.push(Token::Mark(letter));
            at += 1;
        } else {
            return Err(Refusal::syntax(&letter.to_string()));
        }
    }
    Ok(tokens)
}

fn run(letters: &[char], at: &mut usize, belongs: impl Fn(char) -> bool) -> String {
    let rest = letters[*at..].iter().copied();
    let found: String = rest.take_while(|&c| belongs(c)).collect();
    *at += found.chars().count();
    found
}

/// What stands between two marks; a doubled closing mark is one that belongs to it.
fn enclosed(letters: &[char], at: &mut usize, close: char) -> Result<String, Refusal> {
    let mut text = String::new();
    *at += 1;
    loop {
        match (letters.get(*at), letters.get(*at + 1)) {
            (Some(&letter), Some(&next)) if letter == close && next == close => {
                text.push(close);
                *at += 2;
            }
            (Some(&letter), _) if letter == close => {
                *at += 1;
                return Ok(text);
            }
            (Some(&letter), _) => {
                text.push(letter);
                *at += 1;
            }
            (None, _) => return Err(Refusal::unclosed(&text)),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.peek().cloned();
        self.at += 1;
        token.ok_or_else(|| Refusal::syntax("end of batch"))
    }

    fn wrong<T>(&self) -> Result<T, Refusal> {
        let token = self.tokens.get(self.at.saturating_sub(1));
        Err(Refusal::syntax(&format!("{token:?}")))
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: char) -> Result<(), Refusal> {
        if self.next()? == Token::Mark(mark) {
            Ok(())
        } else {
            self.wrong()
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(there)) if there.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> Result<(), Refusal> {
        if self.take_word(word) {
            return Ok(());
        }
        self.at += 1;
        self.wrong()
    }

    fn name(&mut self) -> Result<String, Refusal> {
        match self.next()? {
            Token::Word(name) | Token::Quoted(name) => Ok(name),
            _ => self.wrong(),
        }
    }

    fn text(&mut self) -> Result<String, Refusal> {
        match self.next()? {
            Token::Text { text, .. } => Ok(text),
            _ => self.wrong(),
        }
    }

    fn statement(&mut self) -> Result<Statement, Refusal> {
        let Token::Word(verb) = self.next()? else {
            return self.wrong();
        };
        match verb.to_ascii_uppercase().as_str() {
            "SET" => {
                self.word("NOCOUNT")?;
                self.word("ON")?;
                Ok(Statement::NoCount)
            }
            "USE" => Ok(Statement::Use(self.name()?)),
            "SELECT" => Ok(Statement::Select(self.select()?)),
            "BACKUP" => {
                self.word("DATABASE")?;
                let database = self.name()?;
                self.word("TO")?;
                let path = self.disk()?;
                let options = self.options()?;
                Ok(Statement::Backup {
                    database,
                    path,
                    options,
                })
            }
            "RESTORE" => self.restore(),
            "ALTER" => {
                self.word("DATABASE")?;
                let from = self.name()?;
                self.word("MODIFY")?;
                self.word("NAME")?;
                self.mark('=')?;
                Ok(Statement::Rename {
                    from,
                    to: self.name()?,
                })
            }
            "DROP" => {
                self.word("DATABASE")?;
                let if_exists = self.take_word("IF");
                if if_exists {
                    self.word("EXISTS")?;
                }
                Ok(Statement::Drop {
                    name: self.name()?,
                    if_exists,
                })
            }
            _ => self.wrong(),
        }
    }

    fn restore(&mut self) -> Result<Statement, Refusal> {
        let what = match self.name()?.to_ascii_uppercase().as_str() {
            "DATABASE" => Restore::Database(self.name()?),
            "HEADERONLY" => Restore::HeaderOnly,
            "FILELISTONLY" => Restore::FileListOnly,
            "VERIFYONLY" => Restore::VerifyOnly,
            _ => return self.wrong(),
        };
        self.word("FROM")?;
        let path = self.disk()?;
        let options = self.options()?;
        Ok(Statement::Restore {
            what,
            path,
            options,
        })
    }

    fn disk(&mut self) -> Result<String, Refusal> {
        self.word("DISK")?;
        self.mark('=')?;
        self.text()
    }

    fn options(&mut self) -> Result<Vec<Item>, Refusal> {
        let mut options = Vec::new();
        if !self.take_word("WITH") {
            return Ok(options);
        }
        loop {
            let Token::Word(word) = self.next()? else {
                return self.wrong();
            };
            let word = word.to_ascii_uppercase();
            options.push(if word == "MOVE" {
                let logical = self.text()?;
                self.word("TO")?;
                Item::Move {
                    logical,
                    physical: self.text()?,
                }
            } else if self.take_mark('=') {
                match self.next()? {
                    Token::Number(number) => Item::Number(word, number),
                    Token::Text { text, .. } => Item::Text(word, text),
                    _ => return self.wrong(),
                }
            } else {
                Item::Word(word)
            });
            if !self.take_mark(',') {
                return Ok(options);
            }
        }
    }

    fn select(&mut self) -> Result<Select, Refusal> {
        let mut columns = Vec::new();
        loop {
            let expression = self.expression()?;
            let name = if self.take_word("AS") {
                self.name()?
            } else {
                String::new()
            };
            columns.push((expression, name));
            if !self.take_mark(',') {
                break;
            }
        }
        let (mut from, mut alias, mut condition) = (None, None, None);
        if self.take_word("FROM") {
            from = Some(self.path()?);
            if self.take_word("AS") {
                alias = Some(self.name()?);
            }
            if self.take_word("WHERE") {
                let left = self.expression()?;
                self.mark('=')?;
                condition = Some((left, self.expression()?));
            }
        }
        Ok(Select {
            columns,
            from,
            alias,
            condition,
        })
    }

    fn path(&mut self) -> Result<Vec<String>, Refusal> {
        let mut parts = vec![self.name()?];
        while self.take_mark('.') {
            parts.push(self.name()?);
        }
        Ok(parts)
    }

    fn expression(&mut self) -> Result<Expression, Refusal> {
        match self.next()? {
            Token::Number(number) => Ok(Expression::Number(number)),
            Token::Text { text, unicode } => Ok(Expression::Text { text, unicode }),
            Token::Word(word) if word.eq_ignore_ascii_case("NULL") => Ok(Expression::Null),
            Token::Word(word) if self.peek() == Some(&Token::Mark('(')) => self.call(&word),
            Token::Word(_) | Token::Quoted(_) => {
                self.at -= 1;
                Ok(Expression::Column(self.path()?))
            }
            Token::Mark(_) => self.wrong(),
        }
    }

    fn call(&mut self, word: &str) -> Result<Expression, Refusal> {
        self.mark('(')?;
        let name = word.to_ascii_uppercase();
        if name == "CONVERT" {
            let to = self.name()?.to_ascii_lowercase();
            let mut width = None;
            if self.take_mark('(') {
                let Token::Number(number) = self.next()? else {
                    return self.wrong();
                };
                width = Some(number);
                self.mark(')')?;
            }
            self.mark(',')?;
            let value = Box::new(self.expression()?);
            let mut style = 0;
            if self.take_mark(',') {
                let Token::Number(number) = self.next()? else {
                    return self.wrong();
                };
                style = number;
            }
            self.mark(')')?;
            return Ok(Expression::Convert {
                to,
                width,
                value,
                style,
            });
        }
        if name == "COUNT" && self.take_mark('*') {
            self.mark(')')?;
            return Ok(Expression::CountAll);
        }
        let mut arguments = Vec::new();
        while !self.take_mark(')') {
            if !arguments.is_empty() {
                self.mark(',')?;
            }
            arguments.push(self.expression()?);
        }
        Ok(Expression::Call(name, arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_undone_and_everything_unknown_is_refused() {
        let parsed = parse("USE [a]]b]; DROP DATABASE IF EXISTS [x]").unwrap();
        assert_eq!(parsed[0], Statement::Use("a]b".into()));
        for wrong in [
            "FROB",
            "USE 'x'",
            "SELECT 1 +",
            "BACKUP LOG x TO DISK = 'y'",
            "USE [a",
            "SELECT 'a",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
