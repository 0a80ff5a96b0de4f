//! Leaves in SQLite: rows of `type` and `value`, as `json_each` names them. `value` alone would not
//! do: there, true is 1.

use std::fmt::Write as _;

use super::filter::Wanted;
use super::pointer::{Pointer, index};
use super::statement::{Args, Order, Source};

/// How a search begins. It sees the database as it is at its first statement.
pub(super) const BEGIN: &str = "BEGIN";

/// Whom devices name as their gateways; to be restricted to a tenant.
pub(super) const VIA: &str = "SELECT gateway.value AS id \
                              FROM devices AS other, json_each(other.object, '$.via') AS gateway";

/// Of what is absent, null, a number, a text, an object or array, or a boolean; in this order.
const RANK: &str = "CASE leaf.type WHEN 'null' THEN 0 WHEN 'integer' THEN 1 WHEN 'real' THEN 1 \
                    WHEN 'text' THEN 2 WHEN 'true' THEN 4 WHEN 'false' THEN 4 ELSE 3 END";

/// What selects the leaves.
pub(super) fn leaves(source: &Source<'_>, args: &mut Args) -> String {
    match source {
        Source::Stored(table, pointer) => stored(table, pointer, args),
        Source::Text(column) => {
            format!("SELECT 'text' AS type, {column} AS value WHERE {column} IS NOT NULL")
        }
        Source::Time(column) => format!(
            "SELECT 'text' AS type, \
             strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch') AS value \
             WHERE {column} IS NOT NULL"
        ),
        Source::Flag(condition) => {
            format!("SELECT 'true' AS type, 1 AS value WHERE {condition}")
        }
        Source::Object => "SELECT 'object' AS type, '{}' AS value".to_owned(),
        Source::Nothing => "SELECT 'null' AS type, NULL AS value WHERE FALSE".to_owned(),
    }
}

/// Names are compared with keys rather than put into a path, in which they would have to be quoted.
fn stored(table: &str, pointer: &Pointer, args: &mut Args) -> String {
    let (mut from, mut keys) = (String::new(), String::new());
    let mut last = String::new();
    for (number, name) in pointer.names().enumerate() {
        let member = format!("m{number}");
        let mut key = format!("{member}.key = {}", args.text(name));
        if number == 0 {
            let _ = write!(from, "json_each({table}.object) AS {member}");
        } else if let Some(index) = index(name) {
            // Where an element is named, the array stands for itself.
            let _ = write!(
                from,
                ", json_each(CASE WHEN {last}.type IN ('object', 'array') THEN {last}.value \
                 ELSE '[]' END) AS {member}"
            );
            key = format!("({key} OR {member}.key = {index})");
        } else {
            let place = format!("p{number}");
            let _ = write!(
                from,
                ", json_each(CASE {last}.type WHEN 'array' THEN {last}.value \
                 WHEN 'object' THEN '[' || {last}.value || ']' ELSE '[]' END) AS {place}, \
                 json_each(CASE {place}.type WHEN 'object' THEN {place}.value \
                 ELSE '[]' END) AS {member}"
            );
        }
        let and = if number == 0 { "" } else { " AND " };
        let _ = write!(keys, "{and}{key}");
        last = member;
    }
    format!(
        "SELECT coalesce(e.type, {last}.type) AS type, \
         CASE WHEN e.type IS NULL THEN {last}.value ELSE e.value END AS value \
         FROM {from} LEFT JOIN json_each(CASE {last}.type WHEN 'array' THEN {last}.value \
         ELSE '[]' END) AS e ON TRUE WHERE {keys}"
    )
}

/// The condition on a leaf that it equals a value.
pub(super) fn equals(value: &Wanted, args: &mut Args) -> String {
    match value {
        Wanted::Null => "leaf.type = 'null'".to_owned(),
        Wanted::Bool(value) => format!("leaf.type = '{value}'"),
        Wanted::Number(value) => {
            // As SQLite has what does not fit into 64 bits with a sign.
            let number = match value.as_i64() {
                Some(number) => args.int(number),
                None => args.real(value.as_f64().unwrap_or(f64::NAN)),
            };
            format!("(leaf.type IN ('integer', 'real') AND leaf.value = {number})")
        }
        Wanted::Text(text) => {
            format!("(leaf.type = 'text' AND leaf.value = {})", args.text(text))
        }
        Wanted::Pattern(pattern) => {
            let glob = args.text(&pattern.replace('[', "[[]"));
            format!("(leaf.type = 'text' AND leaf.value GLOB {glob})")
        }
    }
}

/// The rule that compares first leaves.
pub(super) fn order(leaves: &str, direction: &str) -> Order {
    let first = |column: &str| {
        format!(
            "(SELECT {column} FROM (SELECT {RANK} AS rank, \
             CASE WHEN leaf.type IN ('object', 'array') THEN NULL ELSE leaf.value END AS value \
             FROM ({leaves}) AS leaf) AS ranked \
             ORDER BY ranked.rank {direction}, ranked.value {direction} LIMIT 1)"
        )
    };
    Order {
        join: String::new(),
        keys: vec![
            format!("coalesce({}, 0) {direction}", first("ranked.rank")),
            format!("{} {direction}", first("ranked.value")),
        ],
    }
}
