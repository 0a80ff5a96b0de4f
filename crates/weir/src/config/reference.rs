//! The configuration's reference, generated from the structs and their comments.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// `docs/configuration.md` as it has to be.
pub fn reference() -> String {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value();
    let defaults = toml::Value::try_from(Config::default())
        .ok()
        .and_then(|value| serde_json::to_value(value).ok())
        .unwrap_or_default();
    let mut page = String::from(INTRODUCTION);
    section(&mut page, "", &schema, &defaults);
    page
}

const INTRODUCTION: &str = "\
# Configuration reference

Generated from the source; `UPDATE_DOCS=1 cargo test -p weir` writes it anew.

`weir serve` needs no configuration. `weir serve --config weir.toml` reads one TOML file; `weir check
--config weir.toml` validates it. Each key can also be set by an environment variable, which wins over
the file: `WEIR__`, then the key's path in capital letters with two underscores between its parts, for
example `WEIR__NORTHBOUND__AMQP__PORT` for `northbound.amqp.port`. Unknown keys are errors.
";

/// Writes the keys of one table, then its tables.
fn section(page: &mut String, path: &str, schema: &Value, defaults: &Value) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let title = if path.is_empty() {
        "Top level".to_owned()
    } else {
        format!("`[{path}]`")
    };
    // Writing to a String cannot fail.
    let _ = writeln!(page, "\n## {title}\n\n{}\n", text(&schema["description"]));
    let (tables, keys): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, schema)| table(schema).is_some());
    if !keys.is_empty() {
        page.push_str("| key | default | meaning |\n|---|---|---|\n");
    }
    for (name, schema) in keys {
        let default = defaults.get(name).unwrap_or(&Value::Null);
        let default = if default.is_null() {
            "–".to_owned()
        } else {
            format!("`{default}`")
        };
        let meaning = text(&schema["description"]);
        let _ = writeln!(page, "| `{name}` | {default} | {meaning} |");
    }
    for (name, schema) in tables {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let inner = defaults.get(name).unwrap_or(&Value::Null);
        section(page, &path, table(schema).unwrap_or(schema), inner);
    }
}

/// The schema of a table, also of one that may be left out.
fn table(schema: &Value) -> Option<&Value> {
    if schema["properties"].is_object() {
        return Some(schema);
    }
    schema["anyOf"]
        .as_array()?
        .iter()
        .find(|choice| choice["properties"].is_object())
}

fn text(description: &Value) -> String {
    description.as_str().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_in_docs_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == reference(),
            "run UPDATE_DOCS=1 cargo test -p weir"
        );
    }

    #[test]
    fn every_key_says_what_it_means() {
        for line in reference().lines().filter(|line| line.starts_with("| `")) {
            let meaning = line.rsplit('|').nth(1).unwrap_or_default().trim();
            assert!(meaning.len() > 10, "{line}");
        }
    }
}
