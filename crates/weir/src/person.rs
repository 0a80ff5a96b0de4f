//! What the commands of operators and of applications share: who somebody is at which gateway, and
//! how text is shown to them.

use std::fmt;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
