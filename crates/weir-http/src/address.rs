//! The path grammar: `/<endpoint>[/<tenant>][/<device>][/…]`, from the raw path.
//!
//! An empty inner segment names nothing, empty segments at the end count for nothing, and segments
//! behind the device are tolerated (contract §1.2). Dot segments are not resolved: clients do that
//! before they send (RFC 3986 §5.2.4), and `..` may be a device's name.

use std::borrow::Cow;

use bytestring::ByteString;
use http::Method;
use percent_encoding::percent_decode_str;
use weir_core::{Endpoint, Reason, Rule, Target};

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    /// The device that the path names, as far as it does.
    pub(crate) target: Target,
    /// Whether the path ends with the endpoint: a device's address for its own data.
    pub(crate) is_own: bool,
}

impl Address {
    /// Parses a raw path.
    ///
    /// # Errors
    /// [`Reason::NoSuchEndpoint`] for a path that is not served, a bad request for one that cannot
    /// be decoded.
    pub(crate) fn parse(path: &str) -> Result<Self, Reason> {
        let path = path.strip_prefix('/').ok_or(Reason::NoSuchEndpoint)?;
        path.split('/')
            .try_for_each(|segment| decode(segment).map(drop))?;
        let path = path.trim_end_matches('/');
        // Doubled slashes before an own address are harmless: there is nothing to split.
        if let Some(endpoint) = endpoint(&decode(path.trim_start_matches('/'))?) {
            return Ok(Self {
                endpoint,
                target: Target::default(),
                is_own: true,
            });
        }
        let mut segments = path.split('/').map(decode);
        let first = segments.next().transpose()?.unwrap_or_default();
        let mut name = || segments.next().transpose().map(filled);
        Ok(Self {
            endpoint: endpoint(&first).ok_or(Reason::NoSuchEndpoint)?,
            target: Target {
                tenant: name()?,
                device: name()?,
            },
            is_own: false,
        })
    }

    /// Whether an upload to this address may be sent with `method`. A `PUT` to an own address is let
    /// through to the check that misses the device (contract §2.2).
    pub(crate) fn accepts(&self, method: &Method) -> bool {
        *method == Method::PUT || (self.is_own && *method == Method::POST)
    }

    /// The upload method of this address, as CORS names it.
    pub(crate) fn method(&self) -> &'static str {
        if self.is_own { "POST" } else { "PUT" }
    }

    /// All methods of this address, as `Allow` names them.
    pub(crate) fn methods(&self) -> &'static str {
        if self.is_own {
            "POST, OPTIONS"
        } else {
            "PUT, OPTIONS"
        }
    }
}

fn endpoint(name: &str) -> Option<Endpoint> {
    let mut all = Endpoint::ALL.into_iter();
    all.find(|endpoint| endpoint.as_str() == name)
}

/// Decodes one segment by form rules: percent escapes, and `+` for a space.
fn decode(segment: &str) -> Result<Cow<'_, str>, Reason> {
    if !segment.contains(['%', '+']) {
        return Ok(Cow::Borrowed(segment));
    }
    let undecodable = || Reason::BadRequest(Rule::Encoding, "request URI cannot be decoded".into());
    let is_escape = |text: &str| {
        let mut digits = text.bytes();
        let mut digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    };
    if !segment.split('%').skip(1).all(is_escape) {
        return Err(undecodable());
    }
    let spaced = segment.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| undecodable())?;
    Ok(Cow::Owned(decoded.into_owned()))
}

fn filled(segment: Option<Cow<'_, str>>) -> Option<ByteString> {
    segment
        .filter(|segment| !segment.is_empty())
        .map(|segment| ByteString::from(&*segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoint, tenant, device; no names at all for an own address.
    type Parts<'a> = (Endpoint, Option<(&'a str, &'a str)>);

    fn parts(path: &str) -> Result<(Endpoint, Option<(String, String)>), u16> {
        let text = |name: Option<ByteString>| name.map(|name| name.to_string()).unwrap_or_default();
        let address = Address::parse(path).map_err(|reason| reason.status())?;
        let Target { tenant, device } = address.target;
        let named = (!address.is_own).then(|| (text(tenant), text(device)));
        Ok((address.endpoint, named))
    }

    #[test]
    fn paths_name_an_endpoint_and_perhaps_a_device() {
        use Endpoint::{Event, Telemetry};
        let cases: [(&str, Parts<'_>); 21] = [
            ("/telemetry", (Telemetry, None)),
            ("/event", (Event, None)),
            ("/telemetry/", (Telemetry, None)),
            ("/telemetry//", (Telemetry, None)),
            ("//telemetry", (Telemetry, None)),
            ("/%74elemetry", (Telemetry, None)),
            ("/telemetry/acme/4711", (Telemetry, Some(("acme", "4711")))),
            ("/event/acme/4711", (Event, Some(("acme", "4711")))),
            ("/telemetry//4711", (Telemetry, Some(("", "4711")))),
            ("/event//4711", (Event, Some(("", "4711")))),
            ("/telemetry/acme", (Telemetry, Some(("acme", "")))),
            ("/telemetry/acme/", (Telemetry, Some(("acme", "")))),
            ("/telemetry/acme//", (Telemetry, Some(("acme", "")))),
            ("/telemetry/acme//4711", (Telemetry, Some(("acme", "")))),
            ("/telemetry///4711", (Telemetry, Some(("", "")))),
            ("/telemetry/acme/4711/", (Telemetry, Some(("acme", "4711")))),
            (
                "/telemetry/acme/4711/more",
                (Telemetry, Some(("acme", "4711"))),
            ),
            // Form rules: a plus is a space, an escaped one is a plus; an escaped slash is a letter.
            ("/telemetry/a+b/c%2Bd", (Telemetry, Some(("a b", "c+d")))),
            (
                "/telemetry/a%2fb/%C3%A4",
                (Telemetry, Some(("a/b", "\u{e4}"))),
            ),
            ("/telemetry/acme/..", (Telemetry, Some(("acme", "..")))),
            ("/telemetry/%20/%25", (Telemetry, Some((" ", "%")))),
        ];
        for (path, (endpoint, named)) in cases {
            let named = named.map(|(tenant, device)| (tenant.to_owned(), device.to_owned()));
            assert_eq!(parts(path), Ok((endpoint, named)), "{path}");
        }
    }

    #[test]
    fn what_is_not_served_is_not_found() {
        let paths = [
            "",
            "/",
            "//",
            "*",
            "/t",
            "/e",
            "/Telemetry",
            "/telemetryx/acme/4711",
            "/command/res/1",
            "//telemetry/acme/4711",
            "/x/../telemetry",
            "telemetry",
        ];
        for path in paths {
            assert_eq!(parts(path), Err(404), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_a_bad_request() {
        let paths = [
            "/telemetry/acme/%",
            "/telemetry/acme/%4",
            "/telemetry/acme/%zz",
            "/telemetry/acme/%+1",
            "/telemetry/%ff/4711",
            "/telemetry/acme/4711/%x",
            "/%",
            "/nowhere/%c3",
        ];
        for path in paths {
            assert_eq!(parts(path), Err(400), "{path}");
        }
    }

    #[test]
    fn own_addresses_are_posted_to_and_others_put() {
        let accepted = |path: &str, method: Method| {
            Address::parse(path).is_ok_and(|address| address.accepts(&method))
        };
        assert!(accepted("/telemetry", Method::POST));
        assert!(accepted("/telemetry//4711", Method::PUT));
        assert!(accepted("/telemetry", Method::PUT), "to miss its device");
        assert!(!accepted("/telemetry//4711", Method::POST));
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::PATCH] {
            assert!(!accepted("/telemetry", method.clone()) && !accepted("/event//4711", method));
        }
    }
}
