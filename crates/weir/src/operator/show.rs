//! Tables for people, JSON for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::api::{Found, Members};
use crate::person::printable;

/// What the output looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// What the API says, for programs.
    Json,
}

/// One line, for people; programs read the exit status.
pub(super) fn done(format: Format, text: &str) -> io::Result<()> {
    match format {
        Format::Table => writeln!(io::stdout(), "{}", printable(text)),
        Format::Json => Ok(()),
    }
}

pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(io::stdout(), "{text}")
}

/// One object with its version, a line per member.
pub(super) fn object(id: &str, found: &Found<Members>) -> io::Result<()> {
    let head = [("id", id.to_owned()), ("version", found.version.clone())];
    let head = head.map(|(name, value)| vec![name.to_owned(), value]);
    let members = found.object.iter();
    let members = members.map(|(name, value)| vec![name.clone(), cell(value)]);
    let rows: Vec<_> = head.into_iter().chain(members).collect();
    io::stdout().write_all(table(&[], &rows).as_bytes())
}

/// An object that has neither, a line per member.
pub(super) fn members(members: &Members) -> io::Result<()> {
    let rows = members.iter();
    let rows = rows.map(|(name, value)| vec![name.clone(), cell(value)]);
    let rows: Vec<_> = rows.collect();
    io::stdout().write_all(table(&[], &rows).as_bytes())
}

/// Lines of columns that are as wide as their widest cell.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines = (!heads.is_empty())
        .then_some(&heads)
        .into_iter()
        .chain(rows);
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = Vec::new();
    for (at, text) in lines.clone().flat_map(|line| line.iter().enumerate()) {
        match widths.get_mut(at) {
            Some(widest) => *widest = width(text).max(*widest),
            None => widths.push(width(text)),
        }
    }
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// A value in a table.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.iter().all(|value| !value.is_object()) => {
            let cells: Vec<String> = values.iter().map(cell).collect();
            cells.join(",")
        }
        value => printable(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let rows = [row("größe", "x"), row("b", "")];
        assert_eq!(table(&["ID", "VIA"], &rows), "ID     VIA\ngröße  x\nb\n");
        assert_eq!(table(&[], &rows), "größe  x\nb\n");
    }

    #[test]
    fn cells_show_values_as_people_write_them() {
        let rows = [
            (json!("a"), "a"),
            (json!(["a", 1]), "a,1"),
            (json!(true), "true"),
            (json!({"a": 1}), r#"{"a":1}"#),
            (json!([{"a": 1}]), r#"[{"a":1}]"#),
            (json!("\u{1b}[2J\n"), "\u{fffd}[2J\u{fffd}"),
            (Value::Null, ""),
        ];
        for (value, expected) in rows {
            assert_eq!(cell(&value), expected, "{value}");
        }
    }
}
