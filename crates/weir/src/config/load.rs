//! Reading the configuration and telling mistakes.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Config;

/// Prefix of the environment variables that set keys.
const PREFIX: &str = "WEIR__";

/// What is wrong with a configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    File {
        /// Which file.
        path: PathBuf,
        /// The line, from 1; 0 if it cannot be told.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An environment variable is wrong.
    Environment {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Values that do not go together, set outside the file.
    Value {
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::File {
                path,
                line,
                message,
            } => {
                write!(f, "{}, line {line}: {message}", path.display())
            }
            Self::Environment { name, message } => {
                write!(f, "environment variable {name}: {message}")
            }
            Self::Value { key, message } => write!(f, "{key}: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file, if there is one, and what the environment says on top of it.
    ///
    /// # Errors
    /// The first mistake, with the line or the variable it is in.
    pub fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
                path: path.to_owned(),
                source,
            })?,
            None => String::new(),
        };
        let file = Source {
            path: path.unwrap_or_else(|| Path::new("")),
            text: &text,
        };
        let mut config: Self = toml::from_str(&text).map_err(|error| file.mistake(&error))?;
        let mut table: Table = toml::from_str(&text).map_err(|error| file.mistake(&error))?;
        let mut variables: Vec<_> = environment
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        variables.sort();
        for (name, value) in &variables {
            config =
                overlay(&mut table, name, value).map_err(|message| ConfigError::Environment {
                    name: name.clone(),
                    message,
                })?;
        }
        let mut mistakes = config.mistakes();
        // One that the file makes can be told with its line.
        mistakes.sort_by_key(|(key, _)| file.find(key).is_none());
        match mistakes.into_iter().next() {
            None => Ok(config),
            Some((key, message)) => Err(file.wrong_value(&key, message)),
        }
    }
}

/// Sets one key and reads the whole anew, so that a wrong value is told with its variable's name.
///
/// The text is taken as a TOML value where it is one that fits (numbers, booleans, arrays), else as a
/// string.
fn overlay(table: &mut Table, name: &str, text: &str) -> Result<Config, String> {
    let literal = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"));
    let mut message = String::new();
    for value in literal.into_iter().chain([Value::String(text.to_owned())]) {
        let mut changed = table.clone();
        set(&mut changed, &name[PREFIX.len()..], value)?;
        match Config::deserialize(changed.clone()) {
            Ok(config) => {
                *table = changed;
                return Ok(config);
            }
            Err(error) if message.is_empty() => message = error.message().to_owned(),
            Err(_) => {}
        }
    }
    Err(message)
}

fn set(table: &mut Table, name: &str, value: Value) -> Result<(), String> {
    let mut parts: Vec<String> = name.split("__").map(str::to_lowercase).collect();
    let last = parts
        .pop()
        .filter(|part| !part.is_empty())
        .ok_or("names no key")?;
    let mut table = table;
    for part in parts {
        let inner = table
            .entry(part.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        table = inner
            .as_table_mut()
            .ok_or_else(|| format!("{part} has no keys below it"))?;
    }
    table.insert(last, value);
    Ok(())
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn mistake(&self, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map_or(0, |span| self.line(span.start));
        let message = error.message().to_owned();
        ConfigError::File {
            path: self.path.to_owned(),
            line,
            message,
        }
    }

    /// A value that cannot be, with its line if the file sets it.
    fn wrong_value(&self, key: &str, message: String) -> ConfigError {
        match self.find(key) {
            Some(at) => ConfigError::File {
                path: self.path.to_owned(),
                line: self.line(at),
                message: format!("{key}: {message}"),
            },
            None => ConfigError::Value {
                key: key.to_owned(),
                message,
            },
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text
            .bytes()
            .take(at)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    /// Where the file sets `key`, as a byte offset.
    fn find(&self, key: &str) -> Option<usize> {
        let document = DeTable::parse(self.text).ok()?;
        let mut table = document.get_ref();
        let mut at = None;
        for part in key.split('.') {
            let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
            at = Some(name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(file.path()), environment).map_err(|error| {
            error
                .to_string()
                .replace(&file.path().display().to_string(), "weir.toml")
        })
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        assert_eq!(
            Config::load(None, std::iter::empty()).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let rows = [
            (
                "workers = 1\n[http]\nprot = 1\n",
                "weir.toml, line 3: unknown field `prot`",
            ),
            ("workers = 1\n\n[http\n", "weir.toml, line 3: "),
            (
                "[http]\n\nport = \"http\"\n",
                "weir.toml, line 3: invalid type",
            ),
            ("[http]\nport = 70000\n", "weir.toml, line 2: invalid value"),
            (
                "\nworkers = 0\n",
                "weir.toml, line 2: workers: must be from 1 to 1024",
            ),
            (
                "[mqtt]\nbind = \"0.0.0.0\"\n",
                "weir.toml, line 2: mqtt.bind: 0.0.0.0 can be",
            ),
            ("[http]\nport = 1883\n", "weir.toml, line"),
            (
                "[registry]\nurl = \"mysql://x\"\n",
                "weir.toml, line 2: registry.url: must begin with sqlite: or postgres:",
            ),
            (
                "[log]\nfilter = \"inf\"\n",
                "weir.toml, line 2: log.filter: is not a level",
            ),
            (
                "[accounts.operator]\nusername = \"op\"\npassword_hash = \"xyz\"\n",
                "weir.toml, line 1: accounts.operator: password_hash is not a bcrypt hash",
            ),
            (
                "[northbound.amqp]\npermissions = \"p.json\"\n[accounts.application]\n\
                 username = \"app\"\npassword = \"x\"\n",
                "weir.toml, line 3: accounts.application: has no effect with northbound.amqp.permi",
            ),
            (
                "[accounts.operator]\nusername = \"op\"\n",
                "weir.toml, line 1: accounts.operator: needs either password or password_hash",
            ),
            (
                "[traces]\nendpoint = \"localhost:4317\"\n",
                "weir.toml, line 2: traces.endpoint: must be a URL",
            ),
            (
                "[log]\nfilter = \"wrong=level=x\"",
                "weir.toml, line 2: log.filter: is not",
            ),
        ];
        for (text, expected) in rows {
            let error = load(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn every_key_can_come_from_the_environment() {
        let variables = [
            ("WEIR__HTTP__PORT", "9080"),
            ("WEIR__NORTHBOUND__AMQP__QUEUE_MESSAGES", "5"),
            ("WEIR__MQTT__ENABLED", "false"),
            ("WEIR__HEALTH__BIND", "::1"),
            ("WEIR__ACCOUNTS__OPERATOR__USERNAME", "op"),
            ("WEIR__ACCOUNTS__OPERATOR__PASSWORD", "12345"),
            ("WEIR_HTTP_PORT", "tcp://10.0.0.1:8080"),
        ];
        let config = load("[http]\nport = 1\n", &variables).unwrap();
        assert_eq!(config.http.port, 9080);
        assert_eq!(config.northbound.amqp.queue_messages, 5);
        assert!(!config.mqtt.enabled);
        assert!(config.health.bind.is_ipv6());
        assert_eq!(
            config.accounts.operator.unwrap().password.unwrap().reveal(),
            "12345"
        );
    }

    #[test]
    fn a_text_that_looks_like_a_number_may_be_a_text() {
        let account = "[accounts.application]\nusername = \"app\"\npassword = \"x\"\n";
        let variables = [("WEIR__ACCOUNTS__APPLICATION__PASSWORD", "12345")];
        let config = load(account, &variables).unwrap();
        assert_eq!(
            config
                .accounts
                .application
                .unwrap()
                .password
                .unwrap()
                .reveal(),
            "12345"
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let rows = [
            ("WEIR__HTTP__PROT", "1", "unknown field `prot`"),
            ("WEIR__HTTP__PORT", "many", "invalid type"),
            ("WEIR__WORKERS__X", "1", "workers has no keys below it"),
            ("WEIR__", "1", "names no key"),
        ];
        for (name, value, expected) in rows {
            let error = load("workers = 1", &[(name, value)]).unwrap_err();
            let start = format!("environment variable {name}: ");
            assert!(
                error.starts_with(&start) && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn an_exposed_listener_has_to_be_allowed() {
        let variables = [("WEIR__HTTP__BIND", "0.0.0.0")];
        let error = load("", &variables).unwrap_err();
        assert!(
            error.starts_with("http.bind: 0.0.0.0 can be reached"),
            "{error}"
        );
        assert!(load("[http]\nallow_insecure = true", &variables).is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let variables = [(
            "WEIR__ACCOUNTS__OPERATOR",
            "{ username = \"op\", password = \"s3cret\" }",
        )];
        assert!(!format!("{:?}", load("", &variables)).contains("s3cret"));
    }
}
