//! What the commands of operators and of applications share: who somebody is at which gateway, and
//! how text is shown to them.

use std::fmt;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::bail;
use reqwest::Url;

/// Who asks.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl FromStr for User {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, password) = text.split_once(':').ok_or("is not NAME:PASSWORD")?;
        let (name, password) = (name.to_owned(), password.to_owned());
        Ok(Self { name, password })
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The URL of a gateway, which begins with `plain` or, with TLS, with `tls`.
pub(crate) fn gateway_url(text: &str, plain: &str, tls: &str) -> Result<Url, String> {
    let forms = format!("{plain}://HOST:PORT, or {tls}://HOST:PORT with TLS");
    // A host before a port would be taken for a scheme.
    if !text.contains("://") {
        return Err(format!("has no scheme; write {forms}"));
    }
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if ![plain, tls].contains(&url.scheme()) || !url.has_host() {
        return Err(format!("is not {forms}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user in it; give it as --user".to_owned());
    }
    Ok(url)
}

/// Refuses certificates for a connection that has no TLS: whoever gave them believes it is safe.
pub(crate) fn no_cacert(cacert: Option<&Path>, url: &Url) -> anyhow::Result<()> {
    if cacert.is_some() {
        let scheme = url.scheme();
        bail!(
            "--cacert or WEIR_CACERT is of no use for {url}, which is without TLS: leave it out, or give a \
             URL that begins with {scheme}s"
        );
    }
    Ok(())
}

/// The URL's host without what encloses an IPv6 address.
pub(crate) fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether the gateway runs here, so that its own password may be used.
pub(crate) fn is_this_host(url: &Url) -> bool {
    let address = host(url).parse::<IpAddr>();
    host(url) == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The text without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(printable).collect()
}

/// Says something besides the output.
pub(crate) fn note(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{}", printable(text))
}

/// An error and its causes, each said once: many errors have the words of their cause in their own.
pub fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_url_without_scheme_is_told_which_there_are() {
        let rows = [
            (
                "localhost:5672",
                "has no scheme; write amqp://HOST:PORT, or amqps://",
            ),
            ("127.0.0.1:5672", "has no scheme"),
            ("gateway", "has no scheme"),
            ("", "has no scheme"),
            ("http://h", "is not amqp://HOST:PORT"),
            ("amqp://", "is not amqp://HOST:PORT"),
            ("amqps://u:p@h", "--user"),
        ];
        for (text, expected) in rows {
            let error = gateway_url(text, "amqp", "amqps").unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for good in ["amqp://h", "amqps://[::1]:15671"] {
            assert!(gateway_url(good, "amqp", "amqps").is_ok(), "{good}");
        }
    }

    #[test]
    fn certificates_are_not_ignored() {
        let url = "amqp://h".parse().unwrap();
        assert!(no_cacert(None, &url).is_ok());
        let error = no_cacert(Some(Path::new("ca.pem")), &url).unwrap_err();
        assert!(error.to_string().contains("begins with amqps"), "{error}");
    }

    /// Has its cause's words in its own, and the cause besides.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read file: {source}")]
    struct Twice {
        source: io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let twice = || Twice {
            source: io::Error::other("gone"),
        };
        let rows = [
            (anyhow!("a"), "a"),
            (anyhow!("b").context("a"), "a: b"),
            (anyhow!("b").context("b"), "b"),
            (twice().into(), "cannot read file: gone"),
            (
                anyhow::Error::new(twice()).context("--cacert"),
                "--cacert: cannot read file: gone",
            ),
            (anyhow!("b").context("a").context("x: a"), "x: a: b"),
        ];
        for (error, expected) in rows {
            assert_eq!(words(&error), expected);
        }
    }

    #[test]
    fn only_this_host_is_given_its_own_password() {
        let rows = [
            ("http://127.0.0.1:1", true),
            ("amqp://localhost", true),
            ("amqps://[::1]:1", true),
            ("http://127.0.0.1.example.com", false),
            ("amqp://10.0.0.1", false),
            ("https://gateway", false),
        ];
        for (url, expected) in rows {
            assert_eq!(is_this_host(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_users_password_is_not_shown() {
        let user: User = "op:s3:cret".parse().unwrap();
        assert_eq!(
            (user.name.as_str(), user.password.as_str()),
            ("op", "s3:cret")
        );
        assert!(!format!("{user:?}").contains("s3"));
        assert!("op".parse::<User>().is_err());
    }
}
