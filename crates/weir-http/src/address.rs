//! The path grammar: `/<endpoint>[/<tenant>][/<device>][/…]`, from the raw path. Where responses to
//! commands go it is `/command/res/<tenant>/<device>/<request id>[/…]`, or `/command/res/<request id>`.
//!
//! An empty inner segment names nothing, empty segments at the end count for nothing, and segments
//! behind the device are tolerated (contract §1.2). Dot segments are not resolved: clients do that
//! before they send (RFC 3986 §5.2.4), and `..` may be a device's name.

use std::borrow::Cow;

use bytestring::ByteString;
use http::Method;
use percent_encoding::percent_decode_str;
use weir_core::{Endpoint, Reason, Rule, Target};

const COMMAND: &str = "command";
const RESPONSE: &str = "res";

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    /// The device that the path names, as far as it does.
    pub(crate) target: Target,
    /// Whether the path names no device: a device's address for its own data.
    pub(crate) is_own: bool,
    /// Of a response: the command it answers, if the path is long enough to say so.
    pub(crate) request_id: Option<ByteString>,
    /// Whether devices have to say who they are. If not, they have no address of their own.
    is_authenticated: bool,
}

impl Address {
    /// Parses a raw path. Only where devices are authenticated do they have addresses of their own.
    ///
    /// # Errors
    /// [`Reason::NoSuchEndpoint`] for a path that is not served, a bad request for one that cannot
    /// be decoded.
    pub(crate) fn parse(path: &str, is_authenticated: bool) -> Result<Self, Reason> {
        let path = path.strip_prefix('/').ok_or(Reason::NoSuchEndpoint)?;
        path.split('/')
            .try_for_each(|segment| decode(segment).map(drop))?;
        let path = path.trim_end_matches('/');
        // Doubled slashes before an own address are harmless: there is nothing to split.
        if let Some((endpoint, request_id)) = own(path.trim_start_matches('/'))? {
            if !is_authenticated && endpoint != Endpoint::CommandResponse {
                return Err(Reason::NoSuchEndpoint);
            }
            return Ok(Self {
                endpoint,
                target: Target::default(),
                is_own: true,
                request_id,
                is_authenticated,
            });
        }
        let mut segments = path.split('/').map(decode);
        let mut segment = || segments.next().transpose();
        let first = segment()?.unwrap_or_default();
        let endpoint = if first == COMMAND {
            let is_response = segment()?.is_some_and(|second| second == RESPONSE);
            is_response.then_some(Endpoint::CommandResponse)
        } else {
            endpoint(&first)
        };
        let endpoint = endpoint.ok_or(Reason::NoSuchEndpoint)?;
        let target = Target {
            tenant: filled(segment()?),
            device: filled(segment()?),
        };
        let request_id = if endpoint == Endpoint::CommandResponse {
            segment()?.map(|id| ByteString::from(&*id))
        } else {
            None
        };
        Ok(Self {
            endpoint,
            target,
            is_own: false,
            request_id,
            is_authenticated,
        })
    }

    /// Whether an upload to this address may be sent with `method`. A `PUT` to an own address is let
    /// through to the check that misses the device (contract §2.2).
    pub(crate) fn accepts(&self, method: &Method) -> bool {
        *method == Method::PUT || (self.may_post() && *method == Method::POST)
    }

    /// A device sends what is its own with `POST`.
    fn may_post(&self) -> bool {
        self.is_own && self.is_authenticated
    }

    /// The upload method of this address, as CORS names it (contract §2.10).
    pub(crate) fn method(&self) -> &'static str {
        match (self.endpoint, self.is_own) {
            (Endpoint::CommandResponse, _) if self.is_authenticated => "PUT, POST",
            (Endpoint::CommandResponse, _) => "PUT",
            (Endpoint::Event | Endpoint::Telemetry, true) => "POST",
            (Endpoint::Event | Endpoint::Telemetry, false) => "PUT",
        }
    }

    /// All methods of this address, as `Allow` names them.
    pub(crate) fn methods(&self) -> &'static str {
        if self.may_post() {
            "POST, OPTIONS"
        } else {
            "PUT, OPTIONS"
        }
    }
}

/// The endpoint of a device's own address; for its responses also the request id.
fn own(path: &str) -> Result<Option<(Endpoint, Option<ByteString>)>, Reason> {
    let mut segments = path.split('/').map(decode);
    let mut segment = || segments.next().transpose();
    let own = match (segment()?, segment()?, segment()?, segment()?) {
        (Some(first), None, None, None) => endpoint(&first).map(|endpoint| (endpoint, None)),
        (Some(first), Some(second), Some(id), None) if first == COMMAND && second == RESPONSE => {
            Some((Endpoint::CommandResponse, Some(ByteString::from(&*id))))
        }
        _ => None,
    };
    Ok(own)
}

fn endpoint(name: &str) -> Option<Endpoint> {
    let mut all = Endpoint::UPLOADS.into_iter();
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
        let address = Address::parse(path, true).map_err(|reason| reason.status())?;
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
    fn a_responses_path_names_a_request_too() {
        /// Tenant and device, none for an own address; the request id.
        type Parts<'a> = (Option<(&'a str, &'a str)>, Option<&'a str>);
        let named = |tenant, device| Some((tenant, device));
        let cases: [(&str, Parts<'_>); 12] = [
            ("/command/res/1", (None, Some("1"))),
            ("/command/res/1/", (None, Some("1"))),
            ("//command/res/1", (None, Some("1"))),
            ("/command/%72es/1%2b+", (None, Some("1+ "))),
            ("/command/res", (named("", ""), None)),
            ("/command/res/acme/4711", (named("acme", "4711"), None)),
            ("/command/res/acme/4711/", (named("acme", "4711"), None)),
            (
                "/command/res/acme/4711/1",
                (named("acme", "4711"), Some("1")),
            ),
            ("/command/res//4711/1/2", (named("", "4711"), Some("1"))),
            ("/command/res//4711//1", (named("", "4711"), Some(""))),
            ("/command/res/acme//1", (named("acme", ""), Some("1"))),
            ("/command/res//1", (named("", "1"), None)),
        ];
        for (path, (named, request_id)) in cases {
            let address = Address::parse(path, true).unwrap();
            assert_eq!(address.endpoint, Endpoint::CommandResponse, "{path}");
            assert_eq!(address.is_own, named.is_none(), "{path}");
            let Target { tenant, device } = &address.target;
            let (tenant, device) = (tenant.as_deref(), device.as_deref());
            let told = (tenant.unwrap_or_default(), device.unwrap_or_default());
            assert_eq!(told, named.unwrap_or_default(), "{path}");
            assert_eq!(address.request_id.as_deref(), request_id, "{path}");
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
            "/command",
            "/command/req/1",
            "/command_response/acme/4711/1",
            "/response",
            "//telemetry/acme/4711",
            "//command/res/acme/4711/1",
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
            Address::parse(path, true).is_ok_and(|address| address.accepts(&method))
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
