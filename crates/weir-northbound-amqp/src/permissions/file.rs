//! The permission file: Hono's `permissions.json`, with hashed passwords (northbound contract §1.11).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use weir_core::{HashFunction, PasswordSecret, Validity};

use super::grants::{Activity, Grants};

/// Who holds this role may log in for another user. It need not be among the roles.
const IMPERSONATOR: &str = "hono-component";

/// The costs of bcrypt that are taken. What is above would take longer than a log-in may.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// What is wrong in a file, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct Mistake {
    /// The member, as the path to it from the outermost object, or `line 3, column 7`.
    pub place: String,
    /// What is wrong with it; never its value if that is a password.
    pub rule: String,
}

/// A user of a file.
pub(super) struct FileUser {
    pub(super) login: FileLogin,
    pub(super) grants: Grants,
    pub(super) may_impersonate: bool,
}

/// How a user of a file logs in.
pub(super) enum FileLogin {
    /// With a password that the file has in plain text.
    Plain(String),
    /// With a password that the file has the hash of.
    Hashed(PasswordSecret),
    /// With a certificate.
    External,
}

/// Reads a file's text: the users by their names.
pub(super) fn parse(text: &[u8]) -> Result<HashMap<String, FileUser>, Mistake> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read =
        Object::<Body>::deserialize(tracked).and_then(|Object(body)| json.end().map(|()| body));
    let body = read.map_err(|error| mistake(&track.path().to_string(), &error))?;

    let mut roles = HashMap::new();
    for (name, permissions) in body.roles.0 {
        roles.insert(name.clone(), grants(&name, permissions)?);
    }
    body.users
        .0
        .into_iter()
        .map(|(name, Object(user))| Ok((name.clone(), user.check(&name, &roles)?)))
        .collect()
}

/// The parser's words, with its path instead of its line, which says nothing in a file that a
/// program has written on one. Broken JSON has no path.
fn mistake(path: &str, error: &serde_json::Error) -> Mistake {
    let (line, column) = (error.line(), error.column());
    let rule = error.to_string();
    let rule = rule.strip_suffix(&format!(" at line {line} column {column}"));
    let has_path = error.is_data() && path != ".";
    Mistake {
        place: if has_path {
            path.to_owned()
        } else {
            format!("line {line}, column {column}")
        },
        rule: rule.map_or_else(|| error.to_string(), str::to_owned),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    roles: Members<Vec<Object<Permission>>>,
    #[serde(default)]
    users: Members<Object<User>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Permission {
    resource: Option<String>,
    operation: Option<String>,
    activities: Vec<Activity>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mechanism {
    Plain,
    External,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct User {
    mechanism: Mechanism,
    password: Option<Text>,
    password_hash: Option<Text>,
    #[serde(default)]
    authorities: Vec<String>,
}

/// Text that messages must not quote, neither when it is there nor when it is no text.
struct Text(String);

/// What a role allows. Operations are none of the addresses that applications can attach to.
fn grants(role: &str, permissions: Vec<Object<Permission>>) -> Result<Grants, Mistake> {
    let mut grants = Grants::default();
    for (index, Object(permission)) in permissions.into_iter().enumerate() {
        let wrong = |member: &str, rule: &str| Mistake {
            place: format!("roles.{role}[{index}]{member}"),
            rule: rule.to_owned(),
        };
        match (permission.resource, permission.operation) {
            (Some(resource), None) if resource.is_empty() => {
                return Err(wrong(".resource", "is empty"));
            }
            (Some(resource), None) => grants.add(&resource, &permission.activities),
            (None, Some(operation)) if !operation.contains(':') => {
                return Err(wrong(
                    ".operation",
                    "an address, ':' and a name are expected",
                ));
            }
            (None, Some(_)) => {}
            _ => return Err(wrong("", "either resource or operation is expected")),
        }
    }
    Ok(grants)
}

impl User {
    fn check(self, name: &str, roles: &HashMap<String, Grants>) -> Result<FileUser, Mistake> {
        let wrong = |member: &str, rule: &str| Mistake {
            place: format!("users.{name}{member}"),
            rule: rule.to_owned(),
        };
        if name.is_empty() {
            return Err(wrong("", "a user needs a name"));
        }
        let login = match (self.mechanism, self.password, self.password_hash) {
            (Mechanism::External, None, None) => FileLogin::External,
            (Mechanism::External, Some(_), _) => {
                return Err(wrong(".password", "has no use with mechanism EXTERNAL"));
            }
            (Mechanism::External, ..) => {
                let rule = "has no use with mechanism EXTERNAL";
                return Err(wrong(".password-hash", rule));
            }
            (Mechanism::Plain, Some(Text(password)), None) if password.is_empty() => {
                return Err(wrong(".password", "is empty"));
            }
            (Mechanism::Plain, Some(Text(password)), None) => FileLogin::Plain(password),
            (Mechanism::Plain, None, Some(Text(hash))) => {
                let secret = bcrypt(hash).map_err(|rule| wrong(".password-hash", &rule))?;
                FileLogin::Hashed(secret)
            }
            (Mechanism::Plain, ..) => {
                return Err(wrong("", "either password-hash or password is expected"));
            }
        };
        let mut user = FileUser {
            login,
            grants: Grants::default(),
            may_impersonate: false,
        };
        for (index, role) in self.authorities.iter().enumerate() {
            let known = roles.get(role);
            user.may_impersonate |= role == IMPERSONATOR;
            if known.is_none() && role != IMPERSONATOR {
                let place = format!(".authorities[{index}]");
                return Err(wrong(&place, &format!("there is no role {role:?}")));
            }
            if let Some(grants) = known {
                user.grants.add_all(grants);
            }
        }
        Ok(user)
    }
}

/// The modular crypt form: `$2b$10$` and 53 letters of salt and hash.
fn bcrypt(hash: String) -> Result<PasswordSecret, String> {
    let malformed = || "is not a bcrypt hash".to_owned();
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix));
    let (cost, rest) = rest
        .and_then(|rest| rest.split_once('$'))
        .ok_or_else(malformed)?;
    let is_number = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    if !is_number || rest.len() != 53 || !rest.bytes().all(is_letter) {
        return Err(malformed());
    }
    let cost: u32 = cost.parse().map_err(|_| malformed())?;
    if !COSTS.contains(&cost) {
        let (low, high) = (COSTS.start(), COSTS.end());
        return Err(format!("a bcrypt cost from {low} to {high} is expected"));
    }
    Ok(PasswordSecret {
        function: HashFunction::Bcrypt,
        hash,
        salt: Vec::new(),
        validity: Validity::default(),
    })
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl Visitor<'_> for Texts {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            // The others' own messages would quote what they got.
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Err(E::custom("a text is expected"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Err(E::custom("a text is expected"))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Err(E::custom("a text is expected"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Err(E::custom("a text is expected"))
            }
        }
        // Not as a string: the parser itself would then quote what it got.
        deserializer.deserialize_any(Texts)
    }
}

/// An object with the members of `T`, which by itself could also be written as an array of values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Whole<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Whole(PhantomData))
    }
}

/// The members of an object that has any names, each of which is there once.
struct Members<T>(BTreeMap<String, T>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if members.contains_key(&name) {
                        let rule = format!("{name:?} is there twice");
                        return Err(de::Error::custom(rule));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each(PhantomData))
    }
}
