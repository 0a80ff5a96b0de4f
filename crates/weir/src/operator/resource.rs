//! What the API can be asked for.

use std::fmt;

use reqwest::Url;

/// A resource of the management API.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource<'a> {
    Tenants,
    Tenant(&'a str),
    /// The devices of a tenant.
    Devices(&'a str),
    Device(&'a str, &'a str),
    /// The credentials of a device.
    Credentials(&'a str, &'a str),
    /// What the gateway logs.
    Log,
}

impl<'a> Resource<'a> {
    /// The resource's URL below that of the API; `None` if an id cannot be part of one.
    pub(super) fn url(self, base: &Url) -> Option<Url> {
        let (collection, ids): (_, &[&'a str]) = match &self {
            Self::Tenants => ("tenants", &[]),
            Self::Tenant(tenant) => ("tenants", &[tenant]),
            Self::Devices(tenant) => ("devices", &[tenant]),
            Self::Device(tenant, device) => ("devices", &[tenant, device]),
            Self::Credentials(tenant, device) => ("credentials", &[tenant, device]),
            Self::Log => ("log", &[]),
        };
        if !ids.iter().all(|id| is_segment(id)) {
            return None;
        }
        let mut url = base.clone();
        let mut path = url.path_segments_mut().ok()?;
        path.pop_if_empty().extend(["v1", collection]).extend(ids);
        drop(path);
        Some(url)
    }
}

/// `..` would name the collection above, and deleting "the device" would delete them all; so would an
/// empty id, which is what a script's unset variable becomes.
fn is_segment(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
}

/// An id among the arguments.
pub(super) fn id(text: &str) -> Result<String, String> {
    match is_segment(text) {
        true => Ok(text.to_owned()),
        false => Err("is not an id".to_owned()),
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenants => f.write_str("tenants"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Devices(tenant) => write!(f, "devices of tenant {tenant}"),
            Self::Device(tenant, device) => write!(f, "device {tenant}/{device}"),
            Self::Credentials(tenant, device) => write!(f, "credentials of {tenant}/{device}"),
            Self::Log => f.write_str("log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_one_segment_of_the_path() {
        let rows = [
            ("http://h", Resource::Tenants, Some("http://h/v1/tenants")),
            (
                "http://h/registry/",
                Resource::Device("t", "a/b?c"),
                Some("http://h/registry/v1/devices/t/a%2Fb%3Fc"),
            ),
            (
                "http://h",
                Resource::Credentials("t", "a:b=c"),
                Some("http://h/v1/credentials/t/a:b=c"),
            ),
            ("http://h", Resource::Device("t", ".."), None),
            ("http://h", Resource::Device("t", "."), None),
            ("http://h", Resource::Device("t", ""), None),
            ("http://h", Resource::Devices(""), None),
        ];
        for (base, resource, expected) in rows {
            let url = resource.url(&base.parse().unwrap());
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{resource}");
        }
    }
}
