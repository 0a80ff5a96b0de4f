//! From a file to entries.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{DeviceEntry, Entry, Members, TenantEntry};

/// The longest line, bytes: more than the API accepts.
const LINE: u64 = 1024 * 1024;

/// A file's entries, in its order.
pub(super) struct Source {
    /// How many there are, if that is known before they are read.
    pub(super) total: Option<u64>,
    pub(super) entries: Box<dyn Iterator<Item = Result<Entry, String>> + Send>,
}

/// Opens a file, or standard input if it is `-`. What is YAML or JSON is read and checked as a whole;
/// lines are read, and their mistakes told, one by one.
///
/// # Errors
/// If it cannot be read, or is YAML or JSON and not a fleet.
pub(super) fn open(path: &Path) -> anyhow::Result<Source> {
    let named = || path.display().to_string();
    let is_stdin = path.as_os_str() == "-";
    let input: Box<dyn Read + Send> = match is_stdin {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).with_context(named)?),
    };
    let mut input = BufReader::new(input);
    // Enough to see what it is.
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() {
        let start = first.len();
        input.by_ref().take(LINE).read_until(b'\n', &mut first)?;
        if first.len() == start {
            break;
        }
    }
    let known = path.extension().and_then(|extension| extension.to_str());
    let is_lines = match known {
        Some("ndjson" | "jsonl") => true,
        _ => is_line(&first),
    };
    let whole = Cursor::new(first).chain(input);
    if is_lines {
        let total = match is_stdin {
            true => None,
            false => Some(count_lines(path).with_context(named)?),
        };
        let entries = Box::new(Lines::new(BufReader::new(whole)));
        return Ok(Source { total, entries });
    }
    document(whole).with_context(named)
}

/// Whether it is a whole entry by itself.
fn is_line(line: &[u8]) -> bool {
    serde_json::from_slice::<Members>(line).is_ok_and(|members| members.contains_key("tenant"))
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut input = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut lines, mut last) = (0, b'\n');
    loop {
        let chunk = input.fill_buf()?;
        let Some(end) = chunk.last() else {
            break;
        };
        last = *end;
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = chunk.len();
        input.consume(length);
    }
    // The last line may lack its end.
    Ok(lines + u64::from(last != b'\n'))
}

/// Entries, one a line.
struct Lines<R> {
    input: R,
    number: u64,
    seen: Seen,
    is_over: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            number: 0,
            seen: Seen::default(),
            is_over: false,
        }
    }

    /// The next line; `None` at the end.
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(LINE).read_until(b'\n', &mut line);
        self.number += 1;
        match read {
            Ok(0) => Ok(None),
            Ok(length) if length as u64 == LINE => {
                self.is_over = true;
                Err("is longer than a million bytes".to_owned())
            }
            Ok(_) => Ok(Some(line)),
            Err(error) => {
                self.is_over = true;
                Err(error.to_string())
            }
        }
    }

    fn parse(&mut self, line: &[u8]) -> Result<Entry, String> {
        let mut members: Members =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let tenant = take_id(&mut members, "tenant")?;
        let entry = match members.contains_key("device") {
            false => Entry::Tenant(TenantEntry {
                id: tenant,
                members,
            }),
            true => {
                let id = take_id(&mut members, "device")?;
                Entry::Device(device(tenant, id, members)?)
            }
        };
        self.seen.first(&entry)?;
        Ok(entry)
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.is_over {
                return None;
            }
            let entry = match self.read() {
                Ok(None) => return None,
                Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                Ok(Some(line)) => self.parse(&line),
                Err(error) => Err(error),
            };
            return Some(entry.map_err(|error| format!("line {}: {error}", self.number)));
        }
    }
}

fn document(mut input: impl Read) -> anyhow::Result<Source> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let Document { tenants } = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text)?,
        false => serde_norway::from_str(&text)?,
    };
    drop(text);
    let total = tenants.iter().map(|tenant| 1 + tenant.devices.len() as u64);
    let total = total.sum();
    // All of it, before anything is sent.
    let mut seen = Seen::default();
    for tenant in &tenants {
        for entry in tenant.entries() {
            seen.first(&entry?).map_err(anyhow::Error::msg)?;
        }
    }
    let entries = tenants.into_iter().flat_map(|tenant| {
        // One tenant's at a time in the form that takes more room.
        let entries: Vec<_> = tenant.entries().collect();
        entries
            .into_iter()
            .map(|entry| entry.map_err(|error| error.to_string()))
    });
    Ok(Source {
        total: Some(total),
        entries: Box::new(entries),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tenants: Vec<TenantNode>,
}

struct TenantNode {
    members: Members,
    devices: Vec<Compact>,
}

/// An object as JSON text, which takes a tenth of the room.
struct Compact(Box<str>);

impl<'de> Deserialize<'de> for Compact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        let text = serde_json::to_string(&members).map_err(D::Error::custom)?;
        Ok(Self(text.into()))
    }
}

impl<'de> Deserialize<'de> for TenantNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TenantVisitor)
    }
}

struct TenantVisitor;

impl<'de> Visitor<'de> for TenantVisitor {
    type Value = TenantNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TenantNode, A::Error> {
        let (mut members, mut devices) = (Members::new(), None);
        while let Some(name) = map.next_key::<String>()? {
            let is_new = match name.as_str() {
                "devices" => {
                    // A list without elements is nothing in YAML.
                    let listed: Option<Vec<Compact>> = map.next_value()?;
                    devices.replace(listed.unwrap_or_default()).is_none()
                }
                _ => members.insert(name.clone(), map.next_value()?).is_none(),
            };
            if !is_new {
                return Err(A::Error::custom(format!("{name} is there twice")));
            }
        }
        let devices = devices.unwrap_or_default();
        Ok(TenantNode { members, devices })
    }
}

impl TenantNode {
    fn entries(&self) -> impl Iterator<Item = anyhow::Result<Entry>> {
        let mut members = self.members.clone();
        let id = take_id(&mut members, "id");
        let key = id.clone().unwrap_or_default();
        let head = id.map(|id| Entry::Tenant(TenantEntry { id, members }));
        let devices = self.devices.iter().zip(0..).map(move |(device, place)| {
            let entry = device_of(&key, device);
            entry.with_context(|| format!("tenant {key}: devices[{place}]"))
        });
        let head = head.map_err(|error| anyhow::anyhow!("a tenant: {error}"));
        std::iter::once(head).chain(devices)
    }
}

fn device_of(tenant: &str, Compact(text): &Compact) -> anyhow::Result<Entry> {
    let mut members: Members = serde_json::from_str(text)?;
    let id = take_id(&mut members, "id").map_err(anyhow::Error::msg)?;
    match device(tenant.to_owned(), id, members) {
        Ok(device) => Ok(Entry::Device(device)),
        Err(error) => bail!(error),
    }
}

fn device(tenant: String, id: String, mut members: Members) -> Result<DeviceEntry, String> {
    let credentials = match members.remove("credentials") {
        None => None,
        Some(Value::Array(listed)) => Some(credentials(listed)?),
        Some(_) => return Err(format!("device {id}: credentials: a list is required")),
    };
    Ok(DeviceEntry {
        tenant,
        id,
        members,
        credentials,
    })
}

fn credentials(listed: Vec<Value>) -> Result<Vec<Members>, String> {
    let mut credentials = Vec::new();
    for (value, place) in listed.into_iter().zip(0..) {
        match value {
            Value::Object(credential) => credentials.push(credential),
            _ => return Err(format!("credentials[{place}]: an object is required")),
        }
    }
    Ok(credentials)
}

fn take_id(members: &mut Members, name: &str) -> Result<String, String> {
    match members.remove(name) {
        Some(Value::String(id)) => Ok(id),
        // YAML reads 4711 as a number, and 0815 as whichever it likes.
        Some(Value::Number(id)) => Err(format!("{name}: {id} is a number; write it in quotes")),
        Some(_) => Err(format!("{name}: a text is required")),
        None => Err(format!("{name}: is missing")),
    }
}

/// What was read already. Two entries for the same would be applied in either order.
#[derive(Default)]
struct Seen(HashSet<[u8; 16]>);

impl Seen {
    fn first(&mut self, entry: &Entry) -> Result<(), String> {
        let name = match entry {
            Entry::Tenant(tenant) => format!("tenant {}", tenant.id),
            Entry::Device(device) => format!("device {}/{}", device.tenant, device.id),
        };
        let digest = Sha256::digest(&name);
        let (mut key, half) = ([0; 16], &digest[..16]);
        key.copy_from_slice(half);
        match self.0.insert(key) {
            true => Ok(()),
            false => Err(format!("{name} is there twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn source(suffix: &str, text: &str) -> Result<Source, String> {
        let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        open(file.path()).map_err(|error| format!("{error:#}"))
    }

    fn entries(suffix: &str, text: &str) -> Vec<Result<Entry, String>> {
        source(suffix, text).unwrap().entries.collect()
    }

    fn members(value: Value) -> Members {
        value.as_object().unwrap().clone()
    }

    fn expected() -> Vec<Result<Entry, String>> {
        let tenant = TenantEntry {
            id: "acme".to_owned(),
            members: members(json!({"enabled": true})),
        };
        let device = |id: &str, of: Value, credentials: Option<Value>| {
            let credentials = credentials.map(|set| serde_json::from_value(set).unwrap());
            Ok(Entry::Device(DeviceEntry {
                tenant: "acme".to_owned(),
                id: id.to_owned(),
                members: members(of),
                credentials,
            }))
        };
        vec![
            Ok(Entry::Tenant(tenant)),
            device("a", json!({"via": ["gw"]}), Some(json!([{"type": "t"}]))),
            device("b", json!({}), None),
        ]
    }

    #[test]
    fn a_fleet_reads_the_same_in_every_form() {
        let yaml = "# fleet\ntenants:\n- devices:\n  - id: a\n    via: [gw]\n    credentials:\n    \
                    - type: t\n  - id: b\n  id: acme\n  enabled: true\n";
        let json = "\n{\t\"tenants\": [{\"id\": \"acme\", \"enabled\": true, \"devices\": [\n\
                    {\"id\": \"a\", \"via\": [\"gw\"], \"credentials\": [{\"type\": \"t\"}]},\n\
                    {\"id\": \"b\"}]}]}";
        let lines = "{\"tenant\": \"acme\", \"enabled\": true}\n\n\
                     {\"tenant\": \"acme\", \"device\": \"a\", \"via\": [\"gw\"], \
                     \"credentials\": [{\"type\": \"t\"}]}\r\n\
                     {\"device\": \"b\", \"tenant\": \"acme\"}";
        for (suffix, text) in [(".yaml", yaml), ("", json), ("", lines), (".ndjson", lines)] {
            assert_eq!(entries(suffix, text), expected(), "{suffix} {text}");
        }
        assert_eq!(source("", yaml).unwrap().total, Some(3));
        assert_eq!(source("", lines).unwrap().total, Some(4), "the empty line");
    }

    #[test]
    fn what_is_no_fleet_is_refused_before_anything_is_read_of_it() {
        let rows = [
            ("tenants: 5", "invalid type"),
            ("fleet: []", "unknown field `fleet`"),
            ("", "missing field `tenants`"),
            ("tenants:\n- id: acme\n   enabled: true", "line 3"),
            ("tenants:\n- enabled: true", "id: is missing"),
            (
                "tenants:\n- id: 4711",
                "id: 4711 is a number; write it in quotes",
            ),
            (
                "tenants:\n- id: acme\n  devices:\n  - id: a\n  - via: [b]",
                "tenant acme: devices[1]: id: is missing",
            ),
            (
                "tenants:\n- id: acme\n  devices:\n  - id: a\n  - id: a",
                "device acme/a is there twice",
            ),
            ("tenants:\n- id: a\n  id: b", "id is there twice"),
            (
                "tenants:\n- id: a\n  devices:\n  - id: a\n    credentials: {}",
                "credentials: a list is required",
            ),
            ("{\"tenants\": [{\"id\": \"a\"}", "line 1"),
        ];
        for (text, expected) in rows {
            let error = source("", text).err().unwrap_or_default();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bad_line_is_told_and_the_next_one_read() {
        let text = "{\"tenant\": \"acme\"}\n{\"tenant\": \nnull\n{\"device\": \"a\"}\n\
                    {\"tenant\": \"acme\"}\n{\"tenant\": \"b\"}\n";
        let read = entries(".jsonl", text);
        let errors: Vec<&str> = read
            .iter()
            .filter_map(|entry| entry.as_ref().err())
            .map(|error| error.split(": ").next().unwrap())
            .collect();
        assert_eq!(errors, ["line 2", "line 3", "line 4", "line 5"]);
        assert_eq!(read.iter().filter(|entry| entry.is_ok()).count(), 2);
    }
}
