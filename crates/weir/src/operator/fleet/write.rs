//! A fleet written as it is found.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::Members;

/// The form of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    #[default]
    Yaml,
    /// Lines of JSON, for many devices.
    Ndjson,
}

/// Writes tenants, each with its devices after it.
pub(super) struct Writer<W> {
    out: W,
    form: Form,
    tenant: String,
    has_tenants: bool,
    has_devices: bool,
}

/// A device, or a tenant, of a YAML file.
#[derive(Serialize)]
struct Yaml<'a> {
    id: &'a str,
    #[serde(flatten)]
    members: &'a Members,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a [Members]>,
}

#[derive(Serialize)]
struct Line<'a> {
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(flatten)]
    members: &'a Members,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a [Members]>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, form: Form) -> Self {
        Self {
            out,
            form,
            tenant: String::new(),
            has_tenants: false,
            has_devices: false,
        }
    }

    pub(super) fn tenant(&mut self, id: &str, members: &Members) -> anyhow::Result<()> {
        match self.form {
            Form::Ndjson => self.line(id, None, members, None)?,
            Form::Yaml => {
                if !self.has_tenants {
                    writeln!(self.out, "tenants:")?;
                }
                self.yaml("", id, members, None)?;
            }
        }
        id.clone_into(&mut self.tenant);
        (self.has_tenants, self.has_devices) = (true, false);
        Ok(())
    }

    /// Writes a device of the tenant that was written last.
    pub(super) fn device(
        &mut self,
        id: &str,
        members: &Members,
        credentials: &[Members],
    ) -> anyhow::Result<()> {
        match self.form {
            Form::Ndjson => {
                let tenant = self.tenant.clone();
                self.line(&tenant, Some(id), members, Some(credentials))?;
            }
            Form::Yaml => {
                if !self.has_devices {
                    writeln!(self.out, "  devices:")?;
                }
                self.yaml("  ", id, members, Some(credentials))?;
            }
        }
        self.has_devices = true;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.has_tenants && self.form == Form::Yaml {
            writeln!(self.out, "tenants: []")?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(
        &mut self,
        tenant: &str,
        device: Option<&str>,
        members: &Members,
        credentials: Option<&[Members]>,
    ) -> anyhow::Result<()> {
        let line = Line {
            tenant,
            device,
            members,
            credentials,
        };
        writeln!(self.out, "{}", serde_json::to_string(&line)?)?;
        Ok(())
    }

    /// One element of a list.
    fn yaml(
        &mut self,
        indent: &str,
        id: &str,
        members: &Members,
        credentials: Option<&[Members]>,
    ) -> anyhow::Result<()> {
        let element = Yaml {
            id,
            members,
            credentials,
        };
        // Texts of several lines move as a block.
        for line in serde_norway::to_string(&[element])?.lines() {
            writeln!(self.out, "{indent}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn members(value: Value) -> Members {
        value.as_object().unwrap().clone()
    }

    fn fleet(form: Form) -> String {
        let mut writer = Writer::new(Vec::new(), form);
        let text =
            members(json!({"enabled": true, "ext": {"text": "two\nlines\n\nmore", "no": "1"}}));
        writer.tenant("acme", &text).unwrap();
        let credentials = [members(json!({"type": "t", "secrets": [{"id": "1"}]}))];
        writer.device("4711", &text, &credentials).unwrap();
        writer.device("null", &members(json!({})), &[]).unwrap();
        writer
            .tenant("b", &members(json!({"enabled": false})))
            .unwrap();
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let text = json!({"text": "two\nlines\n\nmore", "no": "1"});
        let yaml: Value = serde_norway::from_str(&fleet(Form::Yaml)).unwrap();
        let device = json!({
            "id": "4711", "enabled": true, "ext": text,
            "credentials": [{"type": "t", "secrets": [{"id": "1"}]}],
        });
        let bare = json!({"id": "null", "credentials": []});
        let tenants = json!({"tenants": [
            {"id": "acme", "enabled": true, "ext": text, "devices": [device, bare]},
            {"id": "b", "enabled": false},
        ]});
        assert_eq!(yaml, tenants);
        let lines = fleet(Form::Ndjson);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[2],
            json!({"tenant": "acme", "device": "null", "credentials": []})
        );
        assert_eq!(lines[3], json!({"tenant": "b", "enabled": false}));
    }

    #[test]
    fn an_empty_fleet_can_be_read() {
        let writer = Writer::new(Vec::new(), Form::Yaml);
        assert_eq!(writer.finish().unwrap(), b"tenants: []\n");
    }
}
